"""TFRecord files, read record by record without TensorFlow, which reads them from beginning to end only.

The format: for each record its length (uint64, little-endian), a checksum of the length (4 bytes), the record, and a
checksum of the record (4 bytes). https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.errors import DataError

HEAD = struct.Struct("<Q4x")
TAIL_BYTES = 4


class TFRecords:
    """The records of some files, one file after the other.

    Args:
        paths: The files.

    Raises:
        DataError: A file is missing or cut off.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._places = [(path, start, length) for path in paths for start, length in _places(path)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        path, start, length = self._places[index]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)


def _places(path: Path) -> Iterator[tuple[int, int]]:
    """Where each record of a file starts, and its length."""
    try:
        size = path.stat().st_size
        start = 0
        with path.open("rb") as file:
            while start < size:
                file.seek(start)
                (length,) = HEAD.unpack(file.read(HEAD.size))
                start += HEAD.size
                yield start, length
                start += length + TAIL_BYTES
    except (OSError, struct.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Delete its folder and fetch it again.") from error
    if start > size:
        raise DataError(f"{path} is cut off: delete its folder and fetch it again.")
