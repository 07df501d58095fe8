"""What is in the files of a folder: their hashes, and whether they can be decoded; read once, then remembered."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Annotated, NamedTuple

from PIL import Image
from pydantic import StringConstraints, TypeAdapter

from benchmark.datasets.files import FoundFile, path_text, readable_suffixes, unreadable
from benchmark.datasets.images import decode
from benchmark.errors import DataError
from benchmark.provenance import usable_cpus
from benchmark.storage import cache_root, digest_of_text, write_whole

# What a file without the suffix of an image can be; these begin with bytes of their own.
USUAL_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# Called with `n_done` of `n_total`.
OnProgress = Callable[[int, int], None]


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


def scan_files(root: Path, files: Sequence[FoundFile], on_progress: OnProgress | None) -> list[Scan]:
    """What each file below `root` holds. Those unchanged since an earlier scan, by size and time, are not read again.

    Raises:
        DataError: The system does not let us read a file.
    """
    memory_path = cache_root() / "scans" / f"{digest_of_text(path_text(root.resolve()))[:16]}.json"
    memory = _read_memory(memory_path)
    keys = [f"{path_text(file.path.relative_to(root))}|{file.state}" for file in files]
    scans = []
    with ThreadPoolExecutor(usable_cpus()) as pool:
        found = pool.map(lambda key, file: memory.get(key) or _scan_file(file.path), keys, files)
        for n_done, scan in enumerate(found, start=1):
            scans.append(scan)
            if on_progress:
                on_progress(n_done, len(files))
    present = dict(zip(keys, scans, strict=True))
    if present.keys() - memory.keys():
        with write_whole(memory_path) as output:
            output.write(json.dumps({**memory, **present}).encode())
    return scans


def _read_memory(path: Path) -> dict[str, Scan]:
    """What was remembered; nothing if the file is missing, damaged or of another version."""
    try:
        return _MEMORY.validate_json(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _scan_file(path: Path) -> Scan:
    try:
        with path.open("rb") as file:
            if path.suffix.lower() not in readable_suffixes() and not _is_usual_image(file):
                return Scan("")
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            try:
                return Scan(sha256, "", *decode(file, path)[1])
            except DataError as error:
                return Scan(sha256, str(error))
    except OSError as error:
        raise unreadable(path, error) from error


def _is_usual_image(file: IO[bytes]) -> bool:
    """Whether a file begins as an image does; its pixels are not read."""
    try:
        with Image.open(file, formats=[name for name in USUAL_FORMATS if name in Image.OPEN]):
            return True
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow has many types of errors for a file that is no image
        return False
