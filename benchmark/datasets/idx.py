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
# Bytes that one byte of a gzip file can stand for.
MOST_OF_A_BYTE = 1032


def has_idx_files(folder: Path) -> bool:
    """Whether the folder holds the four files of an MNIST-format dataset."""
    return all(_find(folder, f"{split}-{kind}") for split in SPLITS for kind in (IMAGES, LABELS))


def read_idx_folder(folder: Path, class_names: tuple[str, ...] | None = None) -> LabelledArrays:
    """The grey images of an MNIST-format dataset.

    Args:
        folder: Holds its four files.
        class_names: In the order of the labels; None names the classes by the numbers that occur.

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
    if not images[0].size or not images[1].size:
        raise DataError(f"{folder}: {SPLITS[0]} and {SPLITS[1]} hold {len(images[0])} and {len(images[1])} images.")
    # EMNIST's letters, for one, are numbered from 1: there is no class 0.
    numbers, positions = np.unique(np.concatenate(labels).astype(np.int64), return_inverse=True)
    return LabelledArrays(
        np.concatenate(images)[..., np.newaxis],
        positions if class_names is None else numbers[positions],
        len(labels[0]),
        class_names or tuple(map(str, numbers.tolist())),
    )


def read_idx_file(path: Path, *, n_dimensions: int) -> NDArray[np.uint8]:
    """The array of one IDX file, gzipped or not.

    The format: two zero bytes, the type (8 is uint8), the number of dimensions, each dimension as a
    big-endian uint32, then the values. http://yann.lecun.com/exdb/mnist

    Raises:
        DataError: The header or the length is wrong.
    """
    try:
        is_gzip = path.suffix == ".gz"
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            start = file.read(4)
            if start != bytes((0, 0, UNSIGNED_BYTE, n_dimensions)):
                raise DataError(
                    f"{path} is not an IDX file of {n_dimensions} dimensions of bytes: it starts {start!r}."
                )
            sizes = file.read(4 * n_dimensions)
            shape = struct.unpack(f">{n_dimensions}I", sizes.ljust(4 * n_dimensions, b"\0"))
            n_values = math.prod(shape)
            # Memory is taken before reading, so no more is asked for than is promised and than there can be.
            n_possible = path.stat().st_size * (MOST_OF_A_BYTE if is_gzip else 1)
            content = file.read(min(n_values, n_possible) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if len(content) != n_values or len(sizes) < 4 * n_dimensions:
        more = "more than " if len(content) > n_values else ""
        raise DataError(f"{path} holds {more}{min(len(content), n_values)} values, its header says {shape}.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _require(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder} has neither {name} nor {name}.gz: expected the four files of an MNIST-format set.")
    return path


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    try:
        return next((path for path in candidates if path.is_file()), None)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}.") from error
