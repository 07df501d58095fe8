"""The names of datasets, and how each is loaded."""

import sys
from collections.abc import Collection, Sequence

import numpy as np

from benchmark.datasets.dataset import Dataset, make_dataset, take_subset, take_train_part
from benchmark.datasets.files import check_text
from benchmark.datasets.folder import load_folder
from benchmark.datasets.idx import read_idx_folder
from benchmark.datasets.imagenet import with_imagenet_classes
from benchmark.datasets.images import ArrayImages, LabelledArrays
from benchmark.datasets.keras_cache import DIGIT_NAMES, KERAS_DATASETS, has_keras_dataset, read_keras_dataset
from benchmark.datasets.pixels import OnProgress
from benchmark.datasets.tfds import has_tfds, load_tfds
from benchmark.errors import BenchmarkError, DataError, check_known
from benchmark.preprocessing import View
from benchmark.storage import expanded

DIGITS_MAXIMUM = 16

DATASETS = {
    "digits": "1,797 handwritten digits, 8x8 grey, 10 classes; part of scikit-learn",
    "mnist": "70,000 handwritten digits, 28x28 grey, 10 classes",
    "fashion_mnist": "70,000 pictures of clothes, 28x28 grey, 10 classes",
    "cifar10": "60,000 photographs, 32x32 RGB, 10 classes",
    "cifar100": "60,000 photographs, 32x32 RGB, 100 classes",
    "idx:FOLDER": "the four files of an MNIST-format dataset",
    "folder:PATH": "one folder of images per class, or train, val and test folders of them",
    "tfds:NAME": "a dataset of TensorFlow Datasets, such as tfds:stanford_dogs; needs the extra tfds",
}

# Channels and number of classes, known before the data is there.
KNOWN_SHAPES = {
    "digits": (1, 10),
    "mnist": (1, 10),
    "fashion_mnist": (1, 10),
    "cifar10": (3, 10),
    "cifar100": (3, 100),
    "tfds:stanford_dogs": (3, 120),
}


def known_shape(name: str, classes: Sequence[str] | None = None) -> tuple[int, int] | None:
    """Channels and number of classes of a dataset, if they are known without reading it; `classes` are of a folder."""
    if name in KNOWN_SHAPES:
        return KNOWN_SHAPES[name]
    return (3, len(classes)) if classes else None


def check_dataset_name(name: str) -> None:
    """Refuse an unknown name.

    Raises:
        UnknownNameError: It is neither built in nor starts with `idx:`, `folder:` or `tfds:`.
        DataError: It is a folder without `folder:`, or not UTF-8.
    """
    is_place = name.startswith(("idx:", "folder:", "tfds:")) and name.partition(":")[2]
    if not is_place and name not in DATASETS and name and expanded(name).is_dir():
        raise DataError(f"Unknown dataset {name!r}. To read this folder of images, write folder:{name}.")
    if not is_place:
        check_known("dataset", name, DATASETS)
    check_text(name, "dataset")


def load_dataset(
    name: str,
    *,
    limit: int | None = None,
    part: str | None = None,
    classes: Sequence[str] | None = None,
    max_bad_images: int = 0,
    drop_duplicates: bool = False,
    imagenet_classes: str | None = None,
    views: Collection[View] = (),
    on_progress: OnProgress | None = None,
) -> Dataset:
    """The dataset of that name, or a stratified subset of `limit` of its images.

    Args:
        name: As `benchmark list datasets` shows it.
        limit: Number of images to keep, over all splits.
        part: `"train"` leaves the test images out, after the limit; see `take_train_part`.
        classes: For `folder:`, keep only these.
        max_bad_images: For `folder:`, the number of files that may be left out because they cannot be decoded.
        drop_duplicates: For `folder:`, leave out copies of images.
        imagenet_classes: For networks that know ImageNet's classes and are only tested: one split, labelled as
            `with_imagenet_classes` has it for these. None for the dataset as it is.
        views: For `folder:`, keep the images that are read for these; the files are decoded in any case.
        on_progress: For `folder:`, called after each file.

    Raises:
        UnknownNameError: There is no such dataset.
        DataError: It cannot be used as it is.
        DownloadError: It is not on this machine and cannot be downloaded.
    """
    check_dataset_name(name)
    kind, _, place = name.partition(":")
    if classes and kind != "folder":
        raise BenchmarkError(f"classes can be chosen for folder: datasets only, not for {name}.")
    if drop_duplicates and kind != "folder":
        raise BenchmarkError(f"duplicates can be dropped from folder: datasets only, not from {name}.")
    folder = expanded(place)
    if kind == "folder":
        dataset = load_folder(
            name,
            folder,
            classes=classes,
            max_bad_images=max_bad_images,
            drop_duplicates=drop_duplicates,
            only_tested=imagenet_classes is not None,
            # A subset is drawn after the scan, and only its images are worth their room.
            views=views if limit is None else (),
            on_progress=on_progress,
        )
    elif kind == "tfds":
        dataset = load_tfds(name, only_tested=imagenet_classes is not None)
    elif kind == "idx":
        dataset = _array_dataset(name, read_idx_folder(folder))
    else:
        dataset = _array_dataset(name, _read_digits() if name == "digits" else read_keras_dataset(name))
    if imagenet_classes is not None:
        dataset = with_imagenet_classes(dataset, imagenet_classes)
    if limit is not None:
        dataset = take_subset(dataset, limit)
    return dataset if part is None else take_train_part(dataset)


def load_local_dataset(
    name: str,
    *,
    limit: int | None = None,
    part: str | None = None,
    classes: Sequence[str] | None = None,
    drop_duplicates: bool = False,
    imagenet_classes: str | None = None,
) -> Dataset:
    """The dataset of that name if it is on this machine: nothing is downloaded, and any bad files are left out.

    Raises:
        UnknownNameError: There is no such dataset.
        DataError: It is not on this machine, or cannot be used as it is.
    """
    check_dataset_name(name)
    is_local = has_keras_dataset(name) if name in KERAS_DATASETS else not name.startswith("tfds:") or has_tfds(name)
    if not is_local:
        raise DataError(f"{name} is not on this machine: download it with 'benchmark fetch --datasets {name}'.")
    # A row does not say how many bad files were accepted; its fingerprint tells whether these are the same images.
    return load_dataset(
        name,
        limit=limit,
        part=part,
        classes=classes,
        max_bad_images=sys.maxsize,
        drop_duplicates=drop_duplicates,
        imagenet_classes=imagenet_classes,
    )


def _read_digits() -> LabelledArrays:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / DIGITS_MAXIMUM)).astype(np.uint8)[..., np.newaxis]
    return LabelledArrays(pixels, bunch.target.astype(np.int64), len(pixels), DIGIT_NAMES)


def _array_dataset(name: str, arrays: LabelledArrays) -> Dataset:
    pixels, labels, n_train, class_names = arrays
    content = str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
    test = np.arange(n_train, len(labels)) if n_train < len(labels) else None
    return make_dataset(name, ArrayImages(pixels), labels, class_names, content=content, test=test)
