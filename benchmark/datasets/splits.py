"""The train, validation and test images of a run."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.dataset import Dataset
from benchmark.datasets.drawing import FOLDS, divided, in_order, places
from benchmark.errors import DataError


@dataclass(frozen=True)
class Split:
    """Positions `(k,)` int64 of the train, validation and test images; each image is in exactly one.

    With shots, most images are in none.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def split_dataset(
    dataset: Dataset, *, seed: int, val_fraction: float, folds: int | None = None, shots: int | None = None
) -> Split:
    """The three splits of a run. What is drawn is drawn by content; see `drawing.places`.

    Without folds, the seed moves images between train and validation only. With folds, each image is a test image of
    one fold, whatever splits the dataset has. A dataset that is only tested has no other images.

    With shots, only so many training images of each class are used, and at most as many validation images: these are
    labelled too, and choosing a penalty by hundreds of labels is not learning from few. The test images stay. The 5
    shots of a seed contain its 1 shot.

    Args:
        dataset: The dataset.
        seed: Of the validation split; with `folds`, also the number of the fold that is the test split.
        val_fraction: Share of the validation split in the images that are not tested, if it is drawn.
        folds: Number of parts of all images, always the same.
        shots: Number of training images of each class, and of validation images where there are enough; None for all.

    Raises:
        DataError: A class has too few images to be in both train and validation, or in each fold, or fewer training
            images than `shots`.
    """
    if dataset.is_only_tested:
        nothing = np.arange(0)
        return Split(nothing, nothing, dataset.test)
    test = dataset.test if folds is None else _fold(dataset, seed, folds)
    rest = np.setdiff1d(np.arange(len(dataset)), test)
    if folds is None and dataset.val is not None:
        split = Split(np.setdiff1d(rest, dataset.val), dataset.val, test)
    else:
        contents = dataset.images.contents
        what = f"the validation split of {dataset.name}"
        cure = _cure(contents[rest], dataset.labels[rest], val_fraction)
        parts = divided(contents, dataset.labels, rest, val_fraction, draw=seed, what=what, cure=cure)
        split = Split(*parts, test)
    return split if shots is None else _few(dataset, split, seed, shots)


def check_splits(dataset: Dataset, draws: Iterable[tuple[int, float, int | None, int | None]]) -> None:
    """Refuse splits that cannot be drawn, before work is done for a run that would need them.

    Args:
        dataset: The dataset.
        draws: Seed, `val_fraction`, folds and shots of each run.

    Raises:
        DataError: As `split_dataset`.
    """
    for seed, val_fraction, folds, shots in dict.fromkeys(draws):
        split_dataset(dataset, seed=seed, val_fraction=val_fraction, folds=folds, shots=shots)


def _cure(contents: NDArray[np.uint64], labels: NDArray[np.int64], val_fraction: float) -> str:
    """What to do if no validation split of this share can be drawn from images with these contents and labels."""
    different = np.unique(contents, return_index=True)[1]  # copies stay together
    smallest = int(np.unique(labels[different], return_counts=True)[1].min())
    if smallest == 1:
        return "add images"
    enough = math.ceil(50 / smallest) / 100  # half an image of the smallest class, which is rounded to one
    change = (
        f"raise val_fraction (--val-fraction) to {enough} or more" if val_fraction < enough else "lower val_fraction"
    )
    return f"{change}, add images"


def _few(dataset: Dataset, split: Split, seed: int, shots: int) -> Split:
    """The split with few images of each class in train and validation; copies count once.

    Training images come from the end of the class's order and validation images from its start, so that one added image
    replaces one of them at most.
    """
    labels, contents = dataset.labels, dataset.images.contents
    train, val = (
        [part[some] for some in in_order(contents[part], labels[part], seed)] for part in (split.train, split.val)
    )
    sizes = {len(some): label for label, some in enumerate(train) if len(some)}
    if shots > min(sizes):
        raise DataError(
            f"shots = {shots}: class {dataset.class_names[sizes[min(sizes)]]!r} of {dataset.name} has only "
            f"{min(sizes)} different training images. Take fewer shots or more images."
        )
    return replace(
        split,
        train=np.sort(np.concatenate([some[-shots:] for some in train])),
        val=np.sort(np.concatenate([some[:shots] for some in val])),
    )


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
