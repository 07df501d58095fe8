"""What is in the files of a folder: their hashes, and whether they can be decoded; read once, then remembered."""

import hashlib
import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image
from pydantic import StringConstraints, TypeAdapter

from benchmark.ahead import map_ahead
from benchmark.datasets.decoding import decode
from benchmark.datasets.files import FoundFile, path_text, readable_suffixes, unreadable
from benchmark.datasets.pixels import OnProgress, PixelCache
from benchmark.errors import DataError
from benchmark.preprocessing import View
from benchmark.provenance import usable_cpus
from benchmark.storage import cache_root, digest_of_text, write_whole

log = logging.getLogger(__name__)

# What a file without the suffix of an image can be; these begin with bytes of their own.
USUAL_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# How often the result is saved, so that a scan that is killed goes on where it stood.
SAVE_INTERVAL_S = 10.0
# To see whether a file can be decoded, any size will do.
ANY_SIZE = View(1, "bilinear-antialias", "squash")


class Scan(NamedTuple):
    """What a file holds.

    Attributes:
        sha256: Of its bytes; empty if it is no image.
        fault: Why it cannot be decoded; empty if it can.
        grey_top: See `Depth`.
        is_wide_colour: See `Depth`.
    """

    sha256: Annotated[str, StringConstraints(pattern="^([0-9a-f]{64})?$")]
    fault: str = ""
    grey_top: int | None = None
    is_wide_colour: bool = False


_MEMORY = TypeAdapter(dict[str, Scan])


def scan_files(
    root: Path, files: Sequence[FoundFile], on_progress: OnProgress | None, views: Collection[View] = ()
) -> list[Scan]:
    """What each file below `root` holds. Those unchanged since an earlier scan, by size and time, are not read again.

    Args:
        root: The folder.
        files: Those to scan.
        on_progress: Called after each file.
        views: The images that are read now are kept for these, so that they are not decoded a second time.

    Raises:
        DataError: The system does not let us read a file.
    """
    # Another version of Pillow may decode what this one cannot.
    place = f"{path_text(root.resolve())}|{PIL.__version__}"
    memory_path = cache_root() / "scans" / f"{digest_of_text(place)[:16]}.json"
    keys = [f"{path_text(file.path.relative_to(root))}|{file.state}" for file in files]
    # Sorted, because processes that take locks in different orders can deadlock.
    caches = {view: PixelCache(home_of(root), view) for view in sorted(views, key=str)}
    with ExitStack() as stack:
        memory = _read_memory(memory_path)
        if any(key not in memory for key in keys):
            for cache in caches.values():
                stack.enter_context(cache.filling())
            memory = _read_memory(memory_path)  # another process may have scanned meanwhile
        found = {position: memory[key] for position, key in enumerate(keys) if key in memory}
        unknown = [position for position in range(len(files)) if position not in found]
        with_room = _with_room(caches, len(unknown))

        def remember() -> None:
            known = {**memory, **{keys[position]: scan for position, scan in found.items()}}
            try:
                with write_whole(memory_path) as output:
                    output.write(json.dumps(known).encode())
            except OSError as error:
                log.warning("the scan of %s is not saved: %s", root, error)

        if unknown:
            stack.callback(remember)  # also what was scanned before an error or an interruption
        scanned = map_ahead(lambda position: _scan_file(files[position].path, tuple(with_room)), unknown, usable_cpus())
        saved = time.monotonic()
        for position, (scan, resized) in zip(unknown, scanned, strict=True):
            found[position] = scan
            for view, pixels in resized.items():
                with_room[view].add(scan.sha256, pixels)
            if on_progress:
                on_progress(len(found), len(files))
            if time.monotonic() - saved > SAVE_INTERVAL_S:
                remember()
                saved = time.monotonic()
    return [found[position] for position in range(len(files))]


def _with_room(caches: Mapping[View, PixelCache], n_images: int) -> dict[View, PixelCache]:
    """The first of these caches for which the disk has room together."""
    chosen: dict[View, PixelCache] = {}
    n_bytes = 0
    for view, cache in caches.items():
        n_bytes += cache.size_of(n_images)
        if cache.has_room(n_bytes):
            chosen[view] = cache
    return chosen


def home_of(root: Path) -> str:
    """The name under which the resized images of a folder are cached."""
    return path_text(root.resolve())


def _read_memory(path: Path) -> dict[str, Scan]:
    """What was remembered; nothing if the file is missing or damaged."""
    try:
        return _MEMORY.validate_json(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _scan_file(path: Path, views: Collection[View]) -> tuple[Scan, dict[View, NDArray[np.uint8]]]:
    """What a file holds, and its pixels for each view."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() not in readable_suffixes() and not _is_usual_image(file):
                return Scan(""), {}
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            try:
                return _decode_for(file, path, sha256, views)
            except DataError as error:
                return Scan(sha256, str(error)), {}
    except OSError as error:
        raise unreadable(path, error) from error


def _decode_for(
    file: IO[bytes], path: Path, sha256: str, views: Collection[View]
) -> tuple[Scan, dict[View, NDArray[np.uint8]]]:
    resized = {}
    for view in views or (ANY_SIZE,):
        file.seek(0)
        resized[view], depth = decode(file, path, view)
    # How 16-bit grey is scaled depends on the whole folder.
    return Scan(sha256, "", *depth), resized if views and depth.grey_top is None else {}


def _is_usual_image(file: IO[bytes]) -> bool:
    """Whether a file begins as an image does; its pixels are not read."""
    try:
        with Image.open(file, formats=[name for name in USUAL_FORMATS if name in Image.OPEN]):
            return True
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow has many types of errors for a file that is no image
        return False
