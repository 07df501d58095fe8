"""The record of a dataset, its fingerprint, its test images and its subsets."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.decoding import USUAL_SHIFT
from benchmark.datasets.drawing import SUBSET, TEST, check_parts, divided, places, shuffled
from benchmark.datasets.images import Images
from benchmark.errors import DataError, some_of

TEST_FRACTION = 0.2
MIN_CLASSES = 2
# The part of a dataset that is not its test split.
TRAIN_PART = "train"


@dataclass(frozen=True)
class Dataset:
    """Labelled images with a fixed test split.

    Attributes:
        name: As the user wrote it; only shown. `@1000` at its end marks a subset of 1,000 images, and ` (train)` the
            images that are not its test images.
        images: `n` images.
        labels: `(n,)` int64, positions in `class_names`.
        class_names: In the order of the labels.
        test: Positions of the test images, ascending.
        val: Positions of the validation images if the dataset has its own, else None.
        has_own_test: Whether the dataset has its own test split; the test images of others are drawn.
        fingerprint: Hash of pixels, labels, class names and splits, 64 hexadecimal digits.
        notes: What is left out, assumed or doubtful, a short sentence each; also of the whole where this is a subset.
        remarks: As `notes`, of what concerns no result.
        n_left_out: Number of files that could have been meant as images and are not used.
        n_duplicates: Number of images with a byte copy in another class or split; None if this is not known.
        grey_shift: Number of bits by which the values of 16-bit grey are divided.
    """

    name: str
    images: Images
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    test: NDArray[np.int64]
    fingerprint: str
    val: NDArray[np.int64] | None = None
    has_own_test: bool = False
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    n_left_out: int = 0
    n_duplicates: int | None = None
    grey_shift: int = USUAL_SHIFT

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_only_tested(self) -> bool:
        """Whether all images are test images, so that nothing can be trained on them."""
        return len(self.test) == len(self)


def make_dataset(
    name: str,
    images: Images,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    content: bytes,
    test: NDArray[np.int64] | None = None,
    val: NDArray[np.int64] | None = None,
) -> Dataset:
    """A dataset with its fingerprint, made from its attributes and `content`: its pixels, or the hashes of its files.

    The name is only shown, so it is not part of the fingerprint. If the dataset has no test split, a fifth of each
    class is set aside, drawn by content: an image stays in it, or out of it, when others are added; see
    `drawing.places`.

    Raises:
        DataError: A class has too few images for a test split, fewer than two classes have images, a split has none, or
            a class has images in the validation or test split only.
    """
    notes = _class_notes(name, labels, class_names, {"validation": val, "test": test})
    has_own_test = test is not None
    if test is None:
        positions = np.setdiff1d(np.arange(len(labels)), [] if val is None else val)
        what, cure = f"the test split of {name}", "add images or a test split"
        _, test = divided(images.contents, labels, positions, TEST_FRACTION, draw=TEST, what=what, cure=cure)
    fingerprint = _fingerprint(content, class_names, labels, test, val)
    return Dataset(name, images, labels, class_names, test, fingerprint, val, has_own_test, notes)


def make_tested_dataset(
    name: str, images: Images, labels: NDArray[np.int64], class_names: tuple[str, ...], *, content: bytes
) -> Dataset:
    """A dataset that is only tested: a class may have a single image. See `make_dataset`.

    Raises:
        DataError: Fewer than two classes have images.
    """
    notes = _class_notes(name, labels, class_names, {})
    test = np.arange(len(labels))
    fingerprint = _fingerprint(content, class_names, labels, test)
    return Dataset(name, images, labels, class_names, test, fingerprint, has_own_test=True, notes=notes)


def _fingerprint(content: bytes, class_names: Sequence[str], *arrays: NDArray[np.int64] | None) -> str:
    digest = hashlib.sha256(content)
    digest.update("\0".join(class_names).encode())
    for array in arrays:
        if array is not None:
            digest.update(f"|{array.shape}|".encode())
            digest.update(np.ascontiguousarray(array, np.int64).data)
    return digest.hexdigest()


def _class_notes(
    name: str, labels: NDArray[np.int64], class_names: Sequence[str], own_splits: Mapping[str, NDArray[np.int64] | None]
) -> tuple[str, ...]:
    """The classes that are missing from the whole or from a split; an error if nothing could be learned of one."""
    present = set(labels.tolist())
    if len(present) < MIN_CLASSES:
        raise DataError(f"{name} has images of {len(present)} class: classification needs at least {MIN_CLASSES}.")
    splits = {split: positions for split, positions in own_splits.items() if positions is not None}
    trained = set(np.delete(labels, np.concatenate([[], *splits.values()]).astype(np.int64)).tolist())
    missing = {"": set(range(len(class_names))) - present}
    for split, positions in splits.items():
        found = set(labels[positions].tolist())
        if not found:
            raise DataError(f"{name}: the {split} split has no images. Add some, or remove it.")
        if found - trained:
            raise DataError(
                f"{name}: no images to train on in class {_names(found - trained, class_names)}, which the {split} "
                "split has. Add some, or leave that class out."
            )
        missing[f"{split} "] = present - found
    return tuple(
        f"classes without {split}images: {len(some):,} ({_names(some, class_names)})"
        for split, some in missing.items()
        if some
    )


def _names(labels: set[int], class_names: Sequence[str]) -> str:
    return some_of([class_names[label] for label in sorted(labels)])


def take_subset(dataset: Dataset, limit: int) -> Dataset:
    """A dataset of `limit` images that keeps the shares of classes and splits; a larger one contains a smaller one.

    Raises:
        DataError: `limit` leaves some class of some split without an image, and the dataset is not only tested.
    """
    if limit >= len(dataset):
        return dataset
    split = np.zeros(len(dataset), np.int64)
    split[dataset.test] = 1
    if dataset.val is not None:
        split[dataset.val] = 2
    groups = split * len(dataset.class_names) + dataset.labels
    contents = dataset.images.contents
    order = np.lexsort((shuffled(contents, SUBSET), places(contents, groups, SUBSET)))
    kept = np.sort(order[:limit])
    if not dataset.is_only_tested:
        check_parts(f"--limit {limit} of {dataset.name}", groups, [kept], "take a larger --limit")
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


def take_train_part(dataset: Dataset) -> Dataset:
    """The images of a dataset that are not its test images, with test images drawn among them.

    So settings can be compared on images that are not trained on, and the dataset's own test images stay unseen. A
    validation split of the dataset stays.

    Raises:
        DataError: A class has too few images for a test split.
    """
    kept = np.setdiff1d(np.arange(len(dataset)), dataset.test)
    images, labels = dataset.images.take(kept), dataset.labels[kept]
    val = None if dataset.val is None else np.flatnonzero(np.isin(kept, dataset.val))
    positions = np.setdiff1d(np.arange(len(kept)), [] if val is None else val)
    what, cure = f"a split of the training images of {dataset.name}", "take a larger --limit, add images"
    _, test = divided(images.contents, labels, positions, TEST_FRACTION, draw=TEST, what=what, cure=cure)
    return replace(
        dataset,
        name=f"{dataset.name} ({TRAIN_PART})",
        images=images,
        labels=labels,
        test=test,
        val=val,
        has_own_test=False,
        fingerprint=hashlib.sha256(f"{dataset.fingerprint}:{TRAIN_PART}:{test.tolist()}".encode()).hexdigest(),
    )
