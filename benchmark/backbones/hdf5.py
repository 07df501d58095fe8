"""HDF5 files of Keras opened only if they hold what Keras writes: plain arrays, each once, in the file itself."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from benchmark.downloads import MAX_COMPRESSION, unpacks_too_far
from benchmark.errors import WeightsError
from benchmark.storage import MIB

ARCHIVED_WEIGHTS = "model.weights.h5"
ARCHIVED = ("metadata.json", "config.json", ARCHIVED_WEIGHTS)
MAX_DEPTH = 64


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file, or the one inside a `.keras` archive, checked and open for reading.

    Raises:
        WeightsError: It holds links, arrays outside the file, or claims more than it can hold.
        OSError, KeyError, zipfile.BadZipFile: It is damaged or something else.
    """
    content: Any = path
    n_bytes = path.stat().st_size
    if path.suffix == ".keras":
        content = io.BytesIO(_archived_weights(path))
        n_bytes = len(content.getbuffer())
    with h5py.File(content, "r") as file:
        _check(file, path, MAX_COMPRESSION * n_bytes + MIB, {h5py.h5o.get_info(file.id).addr}, 0)
        yield file


def _archived_weights(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            is_known = info.filename in ARCHIVED or info.filename.startswith("assets/")
            if not is_known or ".." in Path(info.filename).parts:
                raise WeightsError(f"{path} holds {info.filename!r}, which Keras does not write.")
            if unpacks_too_far(info):
                raise WeightsError(
                    f"{path}: {info.filename} unpacks {info.compress_size:,} bytes to {info.file_size:,}, which no "
                    "weights do."
                )
        return archive.read(ARCHIVED_WEIGHTS)


def _check(group: h5py.Group, path: Path, limit: int, seen: set[int], n_bytes: int, depth: int = 0) -> int:
    """Walk all objects of a group; the number of bytes that their arrays take, with `n_bytes` before them."""
    for name in group:
        place = f"{path}:{group.name.rstrip('/')}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise WeightsError(f"{place} is a link to another place, which Keras does not write and is not followed.")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if depth > MAX_DEPTH:
            raise WeightsError(f"{place} is nested more deeply than Keras writes.")
        if address in seen:
            raise WeightsError(f"{place} is a second link to the same object, which Keras does not write.")
        seen.add(address)
        if isinstance(item, h5py.Group):
            n_bytes = _check(item, path, limit, seen, n_bytes, depth + 1)
            continue
        if not isinstance(item, h5py.Dataset):
            continue
        if item.external or item.is_virtual:
            raise WeightsError(f"{place} keeps its numbers in another file, which is not read.")
        n_bytes += item.nbytes
        if n_bytes > limit:
            raise WeightsError(f"{place} claims more numbers {item.shape} than the file can hold.")
    return n_bytes
