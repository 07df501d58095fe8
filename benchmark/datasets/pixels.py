"""The cache of resized images: each image is decoded and resized once for a size, whatever then uses its pixels.

An entry holds the images of one folder (or of one dataset of records) for one view. `pixels` holds their rows one after
the other, and `index` says which image each row is. Both only grow, and the row is written first: a half-written row is
never read, and the next process overwrites it.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

import numpy as np
import PIL
from numpy.typing import NDArray

from benchmark.ahead import map_ahead
from benchmark.caching import MANIFEST, lock_of
from benchmark.preprocessing import View
from benchmark.provenance import usable_cpus
from benchmark.storage import OUT_OF_SPACE, cache_root, digest_of_text, write_whole

log = logging.getLogger(__name__)

# Part of every key. Raise it, and `features.cache.FEATURE_VERSION`, when the code that decodes or resizes changes.
PIXELS_VERSION = 1
# The cache leaves at least this much of a disk free.
RESERVE_BYTES = 2**30

PIXELS = "pixels"
INDEX = "index"
RGB = 3
# The digest of an image's id, and the checksum of its row.
RECORD = struct.Struct("<32sI")

Pixels = NDArray[np.uint8]
# Called with `n_done` of `n_total`.
OnProgress = Callable[[int, int], None]


class PixelCache:
    """The resized images of one folder or dataset for one view; see this module.

    Args:
        home: See `EncodedImages`.
        view: Its mode is not part of the entry.
    """

    def __init__(self, home: str, view: View) -> None:
        self._manifest = {"dataset": home, "facts": {"view": str(view.before_mode)}}
        key = json.dumps([PIXELS_VERSION, PIL.__version__, self._manifest])
        self.folder = cache_root() / "images" / digest_of_text(key)[:32]
        self._shape = (view.size_px, view.size_px, RGB)
        self._n_bytes = view.size_px**2 * RGB
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._n_rows = 0
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._read_index()

    def __contains__(self, image_id: str) -> bool:
        return _digest(image_id) in self._rows

    def read(self, image_id: str) -> Pixels | None:
        """The pixels of an image; None if they are not in the cache, or damaged there."""
        row, checksum = self._rows.get(_digest(image_id), (None, 0))
        if row is None:
            return None
        try:
            # Not memory-mapped: all pixels that were read would count as memory of this process.
            with (self.folder / PIXELS).open("rb", buffering=0) as file:
                file.seek(row * self._n_bytes)
                content = file.read(self._n_bytes)
        except OSError:  # the cache was pruned meanwhile
            return None
        if zlib.crc32(content) != checksum:
            log.warning("%s: row %d is damaged; the image is decoded each time it is read", self.folder, row)
            self._rows.pop(_digest(image_id), None)
            return None
        return np.frombuffer(content, np.uint8).reshape(self._shape)

    def fill(
        self, image_ids: Sequence[str], decode: Callable[[int], Pixels], on_progress: OnProgress | None = None
    ) -> bool:
        """Add the images that are not in the cache, unless the disk has no room for them.

        Args:
            image_ids: Of all images.
            decode: From the position of an image to its resized pixels.
            on_progress: Called after each image.

        Returns:
            Whether all images are in the cache now.
        """
        missing = [position for position, image_id in enumerate(image_ids) if image_id not in self]
        if not missing:
            with suppress(OSError):
                os.utime(self.folder / MANIFEST)
            return True
        if not self.has_room(self.size_of(len(missing))):
            return False
        with self.filling():
            missing = [position for position in missing if image_ids[position] not in self]
            decoded = map_ahead(decode, missing, usable_cpus())
            for n_done, (position, pixels) in enumerate(zip(missing, decoded, strict=True), start=1):
                if not self.add(image_ids[position], pixels):
                    return False
                if on_progress:
                    on_progress(n_done, len(missing))
        return True

    def size_of(self, n_images: int) -> int:
        """The bytes that this many images take."""
        return n_images * (self._n_bytes + RECORD.size)

    def has_room(self, n_bytes: int) -> bool:
        """Whether the disk has room for this many more bytes."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder.parent).free - n_bytes > RESERVE_BYTES

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Inside, images can be added; other processes wait, and then find what was added."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock_of(self.folder), ExitStack() as files:
            self._read_index()
            with write_whole(self.folder / MANIFEST) as file:
                file.write(json.dumps(self._manifest).encode())
            ends = {PIXELS: self._n_rows * self._n_bytes, INDEX: self._n_rows * RECORD.size}
            for name, end in ends.items():
                path = self.folder / name
                path.touch()
                with path.open("r+b") as file:
                    file.truncate(end)  # what a killed process left half
            pixels, index = (files.enter_context((self.folder / name).open("ab", buffering=0)) for name in ends)
            self._files = (pixels, index)
            try:
                yield
            finally:
                self._files = None

    def add(self, image_id: str, pixels: Pixels) -> bool:
        """Keep an image, inside `filling`; whether it is there now, since the disk may be full."""
        if image_id in self:
            return True
        if self._files is None:
            return False
        content, digest = pixels.tobytes(), _digest(image_id)
        checksum = zlib.crc32(content)
        try:
            for file, part in zip(self._files, (content, RECORD.pack(digest, checksum)), strict=True):
                if file.write(part) != len(part):
                    raise OSError(errno.ENOSPC, "the disk is full")
        except OSError as error:
            if error.errno not in OUT_OF_SPACE:
                raise
            log.warning("%s: %s; images are decoded each time they are read", self.folder, error)
            self._files = None
            return False
        self._rows[digest] = (self._n_rows, checksum)
        self._n_rows += 1
        return True

    def _read_index(self) -> None:
        """Take in the rows that are whole in both files."""
        try:
            content = (self.folder / INDEX).read_bytes()
            self._n_rows = min(len(content) // RECORD.size, (self.folder / PIXELS).stat().st_size // self._n_bytes)
        except OSError:
            content, self._n_rows = b"", 0
        records = RECORD.iter_unpack(content[: self._n_rows * RECORD.size])
        self._rows = {digest: (row, checksum) for row, (digest, checksum) in enumerate(records)}


def _digest(image_id: str) -> bytes:
    return hashlib.sha256(image_id.encode()).digest()
