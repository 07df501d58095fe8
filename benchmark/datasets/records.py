"""What a dataset is, and how its images are divided."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split

from benchmark.datasets.decode import decode_file
from benchmark.errors import DataError

# The subset that `limit` takes and the test images of a dataset without a test split never depend on a run's seed.
SUBSET_SEED = 0


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size, held in memory.

    Attributes:
        pixels: `(n, height, width, channels)` uint8 in 0..255, one channel (grey) or three (RGB).
    """

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: NDArray[np.int64]) -> "ArrayImages":
        """The images at these positions."""
        return ArrayImages(self.pixels[indices])


@dataclass(frozen=True)
class FileImages:
    """Images of any sizes, read from files one at a time."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: NDArray[np.int64]) -> "FileImages":
        """The images at these positions."""
        return FileImages(tuple(self.paths[index] for index in indices))

    def decode(self, index: int) -> NDArray[np.uint8]:
        """One image, `(height, width, 3)` uint8, RGB, 0..255."""
        return decode_file(self.paths[index])


@dataclass(frozen=True)
class RecordImages:
    """Images of any sizes, decoded one at a time out of somebody else's records.

    Attributes:
        places: Of each image, its source and its number there.
    """

    places: tuple[tuple[Any, int], ...]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, indices: NDArray[np.int64]) -> "RecordImages":
        """The images at these positions."""
        return RecordImages(tuple(self.places[index] for index in indices))

    def decode(self, index: int) -> NDArray[np.uint8]:
        """One image, `(height, width, 3)` uint8, RGB, 0..255."""
        source, number = self.places[index]
        image: NDArray[np.uint8] = source[number]
        return image


Images = ArrayImages | FileImages | RecordImages


@dataclass(frozen=True)
class Dataset:
    """Labelled images with a fixed test split.

    Attributes:
        name: As the ledger writes it; `@1000` at its end marks a subset of 1,000 images.
        images: `n` images.
        labels: `(n,)` int64, positions in `class_names`.
        class_names: One a class, in the order of the labels.
        test: Positions of the test images, ascending.
        val: Positions of the validation images where the dataset brings its own, else None.
        fingerprint: Hash of pixels, labels, class names and splits, 64 hexadecimal digits.
        bad_files: Names of the files that were left out because they cannot be decoded.
    """

    name: str
    images: Images
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    test: NDArray[np.int64]
    fingerprint: str
    val: NDArray[np.int64] | None = None
    bad_files: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of images a class, over all splits."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))


@dataclass(frozen=True)
class Partition:
    """Positions `(k,)` int64 of the train, validation and test images; together every image once."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def partition(dataset: Dataset, *, seed: int, val_fraction: float, folds: int | None = None) -> Partition:
    """The three splits of a run. The seed moves images between train and validation only.

    Args:
        dataset: The dataset.
        seed: Of the validation split or, with `folds`, the number of the fold that is the validation split.
        val_fraction: Share of the validation split, without `folds`.
        folds: Number of stratified parts, always the same ones, that the images besides the test split make.

    Raises:
        DataError: A class has too few images to stand in both train and validation, or in each fold.
    """
    rest = _others(len(dataset), dataset.test)
    if folds is not None:
        return _fold(dataset, rest, seed, folds)
    if dataset.val is not None:
        return Partition(_others(len(dataset), dataset.test, dataset.val), dataset.val, dataset.test)
    train, val = _stratified(rest, dataset.labels, val_fraction, seed, f"the validation split of {dataset.name}")
    return Partition(train, val, dataset.test)


def _fold(dataset: Dataset, rest: NDArray[np.int64], number: int, folds: int) -> Partition:
    if dataset.val is not None:
        raise DataError(f"{dataset.name} brings a validation split of its own: folds would mix it with train.")
    counts = np.bincount(dataset.labels[rest], minlength=len(dataset.class_names))
    smallest = int(counts.argmin())
    if folds > counts[smallest]:
        raise DataError(
            f"folds = {folds}: class {dataset.class_names[smallest]!r} of {dataset.name} has only {counts[smallest]} "
            "images outside the test split, fewer than one a fold. Take fewer folds or more images."
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=SUBSET_SEED)
    train, val = list(splitter.split(rest, dataset.labels[rest]))[number]
    return Partition(rest[train], rest[val], dataset.test)


def set_test_aside(
    labels: NDArray[np.int64], is_free: NDArray[np.bool_], fraction: float, name: str
) -> NDArray[np.int64]:
    """Positions of a stratified test split for a dataset that brings none; always the same ones.

    Args:
        labels: `(n,)` of all images.
        is_free: `(n,)`, false for images that another split has.
        fraction: Share of the free images to take.
        name: Of the dataset, for the message.
    """
    _, test = _stratified(np.flatnonzero(is_free), labels, fraction, SUBSET_SEED, f"the test split of {name}")
    return test


def take_subset(dataset: Dataset, limit: int) -> Dataset:
    """A dataset of `limit` images that keeps the shares of classes and splits.

    Raises:
        DataError: `limit` leaves some class of some split without an image.
    """
    if limit >= len(dataset):
        return dataset
    split = np.zeros(len(dataset), np.int64)
    split[dataset.test] = 1
    if dataset.val is not None:
        split[dataset.val] = 2
    groups = split * len(dataset.class_names) + dataset.labels
    fraction = limit / len(dataset)
    _, kept = _stratified(np.arange(len(dataset)), groups, fraction, SUBSET_SEED, f"--limit {limit} of {dataset.name}")
    names = f"{dataset.fingerprint}:{kept.tolist()}"
    return replace(
        dataset,
        name=f"{dataset.name}@{limit}",
        images=dataset.images.take(kept),
        labels=dataset.labels[kept],
        test=np.flatnonzero(split[kept] == 1),
        val=None if dataset.val is None else np.flatnonzero(split[kept] == 2),
        fingerprint=hashlib.sha256(names.encode()).hexdigest(),
    )


def fingerprint_of(
    content: bytes | memoryview, labels: NDArray[np.int64], class_names: tuple[str, ...], *splits: NDArray[np.int64]
) -> str:
    """Hash of everything in a dataset that can change a number.

    Args:
        content: The pixels, or the hashes of the image files.
        labels: `(n,)` positions in `class_names`.
        class_names: In the order of the labels.
        splits: Positions of the fixed splits.
    """
    digest = hashlib.sha256(content)
    digest.update("\0".join(class_names).encode())
    for array in (labels, *splits):
        digest.update(f"|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array, np.int64).data)
    return digest.hexdigest()


def _others(n: int, *taken: NDArray[np.int64]) -> NDArray[np.int64]:
    is_free = np.ones(n, bool)
    for positions in taken:
        is_free[positions] = False
    return np.flatnonzero(is_free)


def _stratified(
    positions: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int, what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions divided into the larger part and a part of about `fraction`, each ascending."""
    n_part = round(fraction * len(positions))
    try:
        rest, part = train_test_split(positions, test_size=n_part, stratify=groups[positions], random_state=seed)
    except ValueError as error:
        raise DataError(
            f"{what} cannot be drawn: {n_part} of {len(positions)} images cannot have some of each of the "
            f"{len(np.unique(groups[positions]))} classes, or classes of a split. {_advice(groups[positions])}"
        ) from error
    for side in (rest, part):
        lost = np.setdiff1d(groups[positions], groups[side])
        if len(lost):
            raise DataError(
                f"{what} cannot be drawn: of {n_part} images {len(lost)} classes would get none. "
                f"{_advice(groups[positions])}"
            )
    return np.sort(rest), np.sort(part)


def _advice(groups: NDArray[np.int64]) -> str:
    counts = np.bincount(groups)
    return (
        f"There are {len(groups)} images, the smallest class of a split has {counts[counts > 0].min()}: "
        "take or add more images, or leave that class out."
    )
