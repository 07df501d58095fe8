"""The train, validation and test images of a run."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.dataset import Dataset
from benchmark.datasets.drawing import FOLDS, divided, places
from benchmark.errors import DataError


@dataclass(frozen=True)
class Split:
    """Positions `(k,)` int64 of the train, validation and test images; each image is in exactly one."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def split_dataset(dataset: Dataset, *, seed: int, val_fraction: float, folds: int | None = None) -> Split:
    """The three splits of a run. What is drawn is drawn by content; see `drawing.places`.

    Without folds, the seed moves images between train and validation only. With folds, each image is a test image of
    one fold, whatever splits the dataset has.

    Args:
        dataset: The dataset.
        seed: Of the validation split; with `folds`, also the number of the fold that is the test split.
        val_fraction: Share of the validation split in the images that are not tested, if it is drawn.
        folds: Number of parts of all images, always the same.

    Raises:
        DataError: A class has too few images to be in both train and validation, or in each fold.
    """
    test = dataset.test if folds is None else _fold(dataset, seed, folds)
    rest = np.setdiff1d(np.arange(len(dataset)), test)
    if folds is None and dataset.val is not None:
        return Split(np.setdiff1d(rest, dataset.val), dataset.val, test)
    what = f"the validation split of {dataset.name}"
    cure = _cure(dataset.labels[rest], val_fraction)
    train, val = divided(dataset.images.contents, dataset.labels, rest, val_fraction, draw=seed, what=what, cure=cure)
    return Split(train, val, test)


def check_splits(dataset: Dataset, draws: Iterable[tuple[int, float, int | None]]) -> None:
    """Refuse splits that cannot be drawn, before work is done for a run that would need them.

    Args:
        dataset: The dataset.
        draws: Seed, `val_fraction` and folds of each run.

    Raises:
        DataError: As `split_dataset`.
    """
    for seed, val_fraction, folds in dict.fromkeys(draws):
        split_dataset(dataset, seed=seed, val_fraction=val_fraction, folds=folds)


def _cure(labels: NDArray[np.int64], val_fraction: float) -> str:
    """What to do if no validation split of this share can be drawn from images with these labels."""
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    if smallest == 1:
        return "add images"
    enough = math.ceil(50 / smallest) / 100  # half an image of the smallest class, which is rounded to one
    change = (
        f"raise val_fraction (--val-fraction) to {enough} or more" if val_fraction < enough else "lower val_fraction"
    )
    return f"{change}, add images"


def _fold(dataset: Dataset, number: int, folds: int) -> NDArray[np.int64]:
    """The positions of the images of one fold, ascending: a contiguous part of each class in the order of the draw."""
    labels, contents = dataset.labels, dataset.images.contents
    different = np.unique(contents, return_index=True)[1]  # copies are in one fold
    present, counts = np.unique(labels[different], return_counts=True)
    if folds > counts.min():
        raise DataError(
            f"folds = {folds}: class {dataset.class_names[present[counts.argmin()]]!r} of {dataset.name} has only "
            f"{counts.min()} different images, fewer than one per fold. Take fewer folds or more images."
        )
    return np.flatnonzero(np.floor(places(contents, labels, FOLDS) * folds) == number)
