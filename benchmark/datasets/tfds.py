"""`tfds:NAME`: datasets of TensorFlow Datasets, read record by record without importing TensorFlow."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.records import Dataset, RecordImages, fingerprint_of, set_test_aside
from benchmark.downloads import explained_download, require_host
from benchmark.errors import DataError, UnknownNameError
from benchmark.isolation import call_silently_in_child

TEST_FRACTION = 0.2
STORE = "storage.googleapis.com"  # where TensorFlow Datasets keeps what it knows of its datasets
FILE_FORMAT = "array_record"  # the one that gives any record without reading those before it
# In this order; a dataset's only further split is its test split.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitRecords:
    """The images of one split, decoded when asked for."""

    source: Sequence[Mapping[str, Any]]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        with self.lock:
            image = np.asarray(self.source[index]["image"], np.uint8)
        return image if image.shape[-1] == 3 else np.repeat(image, 3, axis=-1)  # RGB


def load_tfds(name: str) -> Dataset:
    """The dataset that TensorFlow Datasets knows by what follows `tfds:`.

    Its splits `train`, `validation` and `test` are used; where one of the last two is missing the other is the test
    split, and without both a fixed stratified part is set aside.

    Args:
        name: Such as `tfds:stanford_dogs`.

    Raises:
        DataError: TensorFlow Datasets is not installed, or the dataset has no images with one label each.
        UnknownNameError: It has no such dataset.
        DownloadError: The dataset is not on this machine and cannot be brought.
    """
    builder = _builder(name)
    class_names = _class_names(name, builder)
    if not split_names(builder):
        call_silently_in_child(prepare_tfds, name)
        builder = _builder(name)
    found = split_names(builder)
    if "train" not in found:
        raise DataError(f"{name} has no split 'train'; it has {', '.join(found) or 'none'}.")
    images = {split: SplitRecords(_records(builder, split, with_images=True)) for split in found}
    labels = {split: _labels(_records(builder, split, with_images=False)) for split in found}
    return _joined(name, str(builder.info.full_name), class_names, images, labels)


def has_tfds(name: str) -> bool:
    """Whether a dataset of TensorFlow Datasets is on this machine, prepared; asked without any network."""
    try:
        from tensorflow_datasets.core.utils.file_utils import list_data_dirs
    except ImportError:
        return False
    # A name may go on with a configuration and a version; whoever makes a builder asks a host for what is not here.
    folder = re.split("[/:]", name.partition(":")[2])[0]
    return any(Path(root, folder).is_dir() for root in list_data_dirs()) and bool(split_names(_builder(name)))


def prepare_tfds(name: str) -> None:
    """Download and prepare a dataset into the folder of TensorFlow Datasets.

    Raises:
        DownloadError: It cannot be brought.
    """
    require_host(STORE, f"The dataset {name}")
    with explained_download(f"The dataset {name}"):
        _builder(name).download_and_prepare(file_format=FILE_FORMAT)


def split_names(builder: Any) -> tuple[str, ...]:
    """The splits that are on this machine and used."""
    return tuple(split for split in SPLITS if split in builder.info.splits)


def _builder(name: str) -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            f"{name} needs TensorFlow Datasets, which is not installed: pip install 'backbone-benchmark[tfds]'."
        ) from error
    known = name.partition(":")[2]
    try:
        return tensorflow_datasets.builder(known, file_format=FILE_FORMAT)
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise UnknownNameError("dataset of TensorFlow Datasets", known, tensorflow_datasets.list_builders()) from error


def _class_names(name: str, builder: Any) -> tuple[str, ...]:
    features = builder.info.features
    has_both = {"image", "label"} <= set(features)
    if not has_both or not hasattr(features["label"], "names"):
        raise DataError(f"{name} is not for classification: it needs one image and one label a record.")
    return tuple(features["label"].names)


def _records(builder: Any, split: str, *, with_images: bool) -> Sequence[Mapping[str, Any]]:
    """The records of a split; without images they are read many times faster."""
    import tensorflow_datasets

    decoders = None if with_images else {"image": tensorflow_datasets.decode.SkipDecoding()}
    records: Sequence[Mapping[str, Any]] = builder.as_data_source(split=split, decoders=decoders)
    return records


def _labels(records: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    return np.array([int(records[index]["label"]) for index in range(len(records))], np.int64)


def _joined(
    name: str,
    version: str,
    class_names: tuple[str, ...],
    images: Mapping[str, SplitRecords],
    labels: Mapping[str, NDArray[np.int64]],
) -> Dataset:
    """The splits one after the other, known by the version that TensorFlow Datasets gives each state of a dataset."""
    sizes = [len(labels[split]) for split in images]
    ends = np.cumsum(sizes)
    ranges = {split: np.arange(end - size, end) for split, size, end in zip(images, sizes, ends, strict=True)}
    all_labels = np.concatenate(list(labels.values()))
    val = ranges["validation"] if {"validation", "test"} <= set(ranges) else None
    test = ranges.get("test", ranges.get("validation"))
    if test is None:
        test = set_test_aside(all_labels, np.full(len(all_labels), True), TEST_FRACTION, name)
    return Dataset(
        name=name,
        images=RecordImages(
            tuple((source, index) for source, size in zip(images.values(), sizes, strict=True) for index in range(size))
        ),
        labels=all_labels,
        class_names=class_names,
        test=test,
        val=val,
        fingerprint=fingerprint_of(version.encode(), all_labels, class_names, test, *(() if val is None else (val,))),
    )
