"""A file of features that grows row by row, with its checksum."""

import hashlib
import io
import math
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


class Rows:
    """The rows of an array, written one after the other to a file in NumPy's format.

    Attributes:
        n_done: Number of rows that are written.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...]) -> None:
        header = io.BytesIO()
        npy.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        self._header = header.getvalue()
        self._row_bytes = 4 * math.prod(shape[1:])
        self._file = file
        self._digest = hashlib.sha256()
        self.n_done = 0

    @property
    def sha256(self) -> str:
        """Of the file so far."""
        return self._digest.hexdigest()

    def skip(self, n_rows: int, sha256: str) -> bool:
        """Go on after so many rows, up to which the file has this checksum; False, and nothing is changed, if not."""
        n_bytes = len(self._header) + n_rows * self._row_bytes
        self._file.seek(0)
        digest = hashlib.sha256()
        while n_bytes and (part := self._file.read(min(n_bytes, 2**20))):
            digest.update(part)
            n_bytes -= len(part)
        is_whole = digest.hexdigest() == sha256
        if is_whole:
            self._file.truncate()  # what came after the last save
            self._digest, self.n_done = digest, n_rows
        return is_whole

    def write(self, features: NDArray[np.float32]) -> None:
        """Add rows."""
        if not self.n_done:
            self._file.seek(0)
            self._file.truncate()
            self._put(self._header)
        self._put(features.tobytes())
        self.n_done += len(features)

    def _put(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)
