"""The names that the command line takes, and what they load."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.folder import TEST_FRACTION, Progress, load_folder
from benchmark.datasets.idx import read_idx_folder
from benchmark.datasets.keras_cache import DIGIT_NAMES, KERAS_DATASETS, read_keras_dataset
from benchmark.datasets.records import ArrayImages, Dataset, fingerprint_of, set_test_aside, take_subset
from benchmark.datasets.tfds import has_tfds, load_tfds
from benchmark.errors import BenchmarkError, DataError, UnknownNameError

DIGITS_MAXIMUM = 16
# As ledgers write it: folder:pets[cat,dog]@100 is 100 images of two of its classes.
LABEL = re.compile(r"(?P<name>.*?)(\[(?P<classes>[^\[\]]*)\])?(@(?P<limit>\d+))?", re.DOTALL)

DESCRIPTIONS = {
    "digits": "1,797 handwritten digits, 8x8 grey, 10 classes; part of scikit-learn",
    "mnist": "70,000 handwritten digits, 28x28 grey, 10 classes",
    "fashion_mnist": "70,000 pictures of clothes, 28x28 grey, 10 classes",
    "cifar10": "60,000 photographs, 32x32 RGB, 10 classes",
    "cifar100": "60,000 photographs, 32x32 RGB, 100 classes",
    "idx:FOLDER": "the four files of an MNIST-format dataset",
    "folder:PATH": "a folder a class, or train, val and test folders of them",
    "tfds:NAME": "a dataset of TensorFlow Datasets, such as tfds:stanford_dogs; needs the extra tfds",
}


# Channels and number of classes, for who wants to know before the data is there.
KNOWN_SHAPES = {
    "digits": (1, 10),
    "mnist": (1, 10),
    "fashion_mnist": (1, 10),
    "cifar10": (3, 10),
    "cifar100": (3, 100),
    "tfds:stanford_dogs": (3, 120),
}


def known_shape(name: str, classes: Sequence[str] | None = None) -> tuple[int, int] | None:
    """Channels and number of classes of a dataset, without reading it; None where only its files can tell.

    Args:
        name: As `benchmark list datasets` shows it.
        classes: Those chosen of a folder.
    """
    if name in KNOWN_SHAPES:
        return KNOWN_SHAPES[name]
    return (3, len(classes)) if classes else None


def list_datasets() -> dict[str, str]:
    """What each dataset name means."""
    return dict(DESCRIPTIONS)


def check_dataset_name(name: str) -> None:
    """Refuse a name that no dataset has.

    Raises:
        UnknownNameError: It is neither built in nor starts with `idx:`, `folder:` or `tfds:`.
    """
    is_place = name.startswith(("idx:", "folder:", "tfds:")) and name.partition(":")[2]
    if name not in DESCRIPTIONS and not is_place:
        raise UnknownNameError("dataset", name, DESCRIPTIONS)


def load_dataset(
    name: str,
    *,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    max_bad_images: int = 0,
    on_progress: Progress | None = None,
) -> Dataset:
    """The dataset of that name, or a stratified subset of `limit` of its images.

    Args:
        name: As `benchmark list datasets` shows it.
        limit: Number of images to keep, over all splits.
        classes: For `folder:`, keep only these.
        max_bad_images: For `folder:`, how many undecodable files may be left out.
        on_progress: For `folder:`, called with the number of files looked at, and of all.

    Raises:
        UnknownNameError: There is no such dataset.
        DataError: It cannot be used as it is.
        DownloadError: It is not on this machine and cannot be brought.
    """
    check_dataset_name(name)
    kind, _, place = name.partition(":")
    if kind == "folder":
        dataset = load_folder(
            name, Path(place), classes=classes, max_bad_images=max_bad_images, on_progress=on_progress
        )
    elif classes:
        raise BenchmarkError(f"classes can be chosen of folder: datasets only, not of {name}.")
    elif kind == "idx":
        dataset = _load_idx(name, Path(place))
    elif kind == "tfds":
        dataset = load_tfds(name)
    elif name == "digits":
        dataset = _load_digits()
    else:
        dataset = _load_keras(name)
    return dataset if limit is None else take_subset(dataset, limit)


def load_local_dataset(label: str) -> Dataset:
    """The dataset that a ledger calls so; what is not on this machine is not downloaded.

    Args:
        label: A name of `load_dataset`, then the chosen classes in brackets, then `@` and the limit, if there are any.

    Raises:
        UnknownNameError: There is no such dataset.
        DataError: It is not on this machine, or cannot be used as it is.
    """
    parts = LABEL.fullmatch(label)
    assert parts is not None, "every text has a name at least"
    name = parts["name"]
    check_dataset_name(name)
    if not _is_local(name):
        raise DataError(f"{name} is not on this machine: bring it with 'benchmark fetch --datasets {name}'.")
    return load_dataset(
        name,
        limit=int(parts["limit"]) if parts["limit"] else None,
        classes=parts["classes"].split(",") if parts["classes"] else None,
        # How many were accepted is not in the label; the fingerprint says whether these are the same images.
        max_bad_images=sys.maxsize,
    )


def _is_local(name: str) -> bool:
    """Whether loading the dataset would download nothing."""
    if name in KERAS_DATASETS:
        return KERAS_DATASETS[name].find() is not None
    return has_tfds(name) if name.startswith("tfds:") else True


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / DIGITS_MAXIMUM)).astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int64)
    return _array_dataset(
        "digits",
        pixels,
        labels,
        DIGIT_NAMES,
        set_test_aside(labels, np.full(len(labels), True), TEST_FRACTION, "digits"),
    )


def _load_idx(name: str, folder: Path) -> Dataset:
    pixels, labels, n_train = read_idx_folder(folder)
    class_names = tuple(str(label) for label in range(int(labels.max()) + 1))
    return _array_dataset(name, pixels, labels, class_names, np.arange(n_train, len(labels)))


def _load_keras(name: str) -> Dataset:
    (pixels, labels, n_train), class_names = read_keras_dataset(name)
    assert name in KERAS_DATASETS
    return _array_dataset(name, pixels, labels, class_names, np.arange(n_train, len(labels)))


def _array_dataset(
    name: str, pixels: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], test: np.ndarray
) -> Dataset:
    content = str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
    return Dataset(
        name=name,
        images=ArrayImages(pixels),
        labels=labels,
        class_names=class_names,
        test=test,
        fingerprint=fingerprint_of(content, labels, class_names, test),
    )
