"""Files in the MNIST format (IDX)."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.images import LabelledArrays
from benchmark.errors import DataError

# Debian's package dataset-fashion-mnist puts its files here.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
SPLITS = ("train", "t10k")
IMAGES = "images-idx3-ubyte"
LABELS = "labels-idx1-ubyte"
UNSIGNED_BYTE = 8


def has_idx_files(folder: Path) -> bool:
    """Whether the folder holds the four files of an MNIST-format dataset."""
    return all(_find(folder, f"{split}-{kind}") for split in SPLITS for kind in (IMAGES, LABELS))


def read_idx_folder(folder: Path) -> LabelledArrays:
    """The grey images of an MNIST-format dataset; its classes are named by their numbers.

    Raises:
        DataError: A file is missing or does not match its header.
    """
    images, labels = (
        [read_idx_file(_require(folder, f"{split}-{kind}"), n_dimensions=n) for split in SPLITS]
        for kind, n in ((IMAGES, 3), (LABELS, 1))
    )
    for split, n_images, n_labels in zip(SPLITS, map(len, images), map(len, labels), strict=True):
        if n_images != n_labels:
            raise DataError(f"{folder}: {n_images} {split} images, but {n_labels} labels.")
    if images[0].shape[1:] != images[1].shape[1:]:
        raise DataError(
            f"{folder}: training images are {images[0].shape[1:]} px, test images {images[1].shape[1:]} px."
        )
    all_labels = np.concatenate(labels).astype(np.int64)
    class_names = tuple(map(str, range(int(all_labels.max()) + 1)))
    return LabelledArrays(np.concatenate(images)[..., np.newaxis], all_labels, len(labels[0]), class_names)


def read_idx_file(path: Path, *, n_dimensions: int) -> NDArray[np.uint8]:
    """The array of one IDX file, gzipped or not.

    The format: two zero bytes, the type (8 is uint8), the number of dimensions, each dimension as a
    big-endian uint32, then the values. http://yann.lecun.com/exdb/mnist

    Raises:
        DataError: The header or the length is wrong.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    header = bytes((0, 0, UNSIGNED_BYTE, n_dimensions))
    if content[:4] != header:
        raise DataError(f"{path} is not an IDX file of {n_dimensions} dimensions of bytes: it starts {content[:4]!r}.")
    offset = 4 + 4 * n_dimensions
    shape = struct.unpack(f">{n_dimensions}I", content[4:offset].ljust(4 * n_dimensions, b"\0"))
    if len(content) - offset != math.prod(shape):
        raise DataError(f"{path} holds {len(content) - offset} values, its header says {shape}: is it cut off?")
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


def _require(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder} has neither {name} nor {name}.gz: expected the four files of an MNIST-format set.")
    return path


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)
