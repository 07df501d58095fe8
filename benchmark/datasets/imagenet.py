"""The 1,000 classes of ImageNet, and the classes of a dataset among them."""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.dataset import Dataset
from benchmark.errors import DataError, some_of

# Which classes the answers of an ImageNet classifier are scored over.
ALL_CLASSES, OWN_CLASSES = "all", "own"

# The WordNet ids, one a line, sorted: the order of the outputs of Keras's networks.
IDS_FILE = Path(__file__).with_name("imagenet_ids.txt")
# A class is called by its id, which words may follow: `n01440764`, `n01440764-tench`, `n01440764_tench`.
CLASS_NAME = re.compile(r"(?P<id>n\d{8})(?:[-_ .].*)?", re.DOTALL)


@functools.cache
def imagenet_ids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet's 1,000 classes; the place of an id is the number of its class."""
    return tuple(IDS_FILE.read_text(encoding="ascii").split())


def imagenet_positions(dataset: str, class_names: Sequence[str]) -> NDArray[np.int64]:
    """The ImageNet class, 0 to 999, of each class of a dataset.

    Args:
        dataset: Its name, for messages.
        class_names: Of its classes.

    Raises:
        DataError: A name is not the id of such a class, or two names have the same id.
    """
    numbers = {wordnet_id: number for number, wordnet_id in enumerate(imagenet_ids())}
    matches = [CLASS_NAME.fullmatch(name) for name in class_names]
    found = [numbers.get(match["id"]) if match else None for match in matches]
    if unknown := [name for name, number in zip(class_names, found, strict=True) if number is None]:
        raise DataError(
            f"{dataset}: {len(unknown)} of {len(class_names)} classes are not named by an ImageNet id: "
            f"{some_of(unknown)}. Strategy 'classify' knows the classes of ImageNet only: expected names such as "
            "n01440764 or n01440764-tench. Rename the folders, choose some with --classes, or choose another strategy."
        )
    classes = np.array(found, np.int64)
    if len(np.unique(classes)) < len(classes):
        twice = [name for name, number in zip(class_names, found, strict=True) if found.count(number) > 1]
        raise DataError(f"{dataset}: classes with the same ImageNet id: {some_of(twice)}. Merge or rename them.")
    return classes


def with_imagenet_classes(dataset: Dataset, classes: str) -> Dataset:
    """A dataset labelled for an ImageNet classifier.

    Its fingerprint is another one, so that its rows, predictions and true classes are not taken for those of the
    dataset as it is.

    Args:
        dataset: Its classes are some of ImageNet's.
        classes: `ALL_CLASSES` gives it all 1,000 classes, by their ids; `OWN_CLASSES` leaves it its own.

    Raises:
        DataError: A class is not one of ImageNet's.
    """
    numbers = imagenet_positions(dataset.name, dataset.class_names)
    has_all = classes == ALL_CLASSES
    return replace(
        dataset,
        labels=numbers[dataset.labels] if has_all else dataset.labels,
        class_names=imagenet_ids() if has_all else dataset.class_names,
        fingerprint=hashlib.sha256(f"{dataset.fingerprint}:imagenet:{classes}".encode()).hexdigest(),
    )
