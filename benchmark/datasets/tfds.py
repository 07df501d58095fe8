"""`tfds:NAME`: datasets of TensorFlow Datasets, read record by record without importing TensorFlow."""

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.datasets.dataset import Dataset, make_dataset, make_tested_dataset
from benchmark.datasets.images import EncodedImages
from benchmark.datasets.layout import SPLITS, TEST, TESTED_FIRST, TRAIN, VAL, split_words
from benchmark.datasets.pixels import RGB
from benchmark.datasets.resizing import resize
from benchmark.datasets.tfrecords import TFRecords
from benchmark.downloads import TIMEOUT_S, can_reach
from benchmark.errors import DataError, DownloadError, UnknownNameError
from benchmark.isolation import call_silently_in_child, silence
from benchmark.preprocessing import View

STORE = "storage.googleapis.com"  # where TensorFlow Datasets keeps the descriptions of its datasets
FILE_FORMAT = "array_record"  # allows reading a record without those before it

Records = Sequence[Mapping[str, Any]]


def load_tfds(name: str, *, only_tested: bool = False) -> Dataset:
    """The dataset of TensorFlow Datasets whose name follows `tfds:`, such as `tfds:stanford_dogs`.

    Its splits for training, validation and testing are used, by any of their usual names. With only one of the last
    two, that one is the test split; with neither, a fifth of each class is set aside, drawn by content. A split
    whose labels are kept secret is not used.

    Args:
        name: Of the dataset.
        only_tested: Nothing is trained: read one split only, see `TESTED_FIRST`, all of whose images are tested.

    Raises:
        DataError: TensorFlow Datasets is not installed, or the dataset has no images with one label each.
        UnknownNameError: There is no such dataset.
        DownloadError: The dataset is not on this machine and cannot be downloaded.
    """
    builder = _builder(name)
    class_names = _class_names(name, builder)
    if not split_names(builder):
        call_silently_in_child(prepare_tfds, name)
        builder = _builder(name)
    found = split_words({split: split for split in split_names(builder)}, name, needs_train=not only_tested)
    read = _labelled_splits(builder, found, only_tested=only_tested)
    used = list(read)
    if not used or not (only_tested or TRAIN in used):
        raise DataError(f"{name} has training images without a label, so nothing can be learned from them.")
    encoded = EncodedImages(
        home=str(builder.info.full_name),
        # Its decoder is not that of files, and its description says how a record is decoded.
        ids=tuple(f"{image_id}|{builder.info.full_name}" for ids, _ in read.values() for image_id in ids),
        places=tuple((number, index) for number, split in enumerate(used) for index in range(len(read[split][1]))),
        decode=_decoder([_records(builder, found[split], with_images=True) for split in used]),
        name_of=lambda place: f"{found[used[place[0]]]}[{place[1]}]",
    )
    labels = np.concatenate([one for _, one in read.values()])
    # In TensorFlow Datasets, each state of a dataset has its own version, which this name contains.
    content = str(builder.info.full_name).encode()
    unused = sorted(set(split_names(builder)) - {found[split] for split in used})
    if only_tested:
        dataset = make_tested_dataset(name, encoded, labels, class_names, content=content)
        return replace(dataset, remarks=tuple(f"the images of {split} are not scored" for split in unused))
    ends = np.cumsum([len(one) for _, one in read.values()])
    positions = {split: np.arange(end - len(read[split][1]), end) for split, end in zip(used, ends, strict=True)}
    dataset = make_dataset(
        name,
        encoded,
        labels,
        class_names,
        content=content,
        test=positions.get(TEST, positions.get(VAL)),
        val=positions[VAL] if VAL in positions and TEST in positions else None,
    )
    return replace(dataset, notes=(*dataset.notes, *(f"the split {split} is not used" for split in unused)))


def _labelled_splits(
    builder: Any, found: Mapping[str, str], *, only_tested: bool
) -> dict[str, tuple[list[str], NDArray[np.int64]]]:
    """What `_ids_and_labels` returns for each split whose labels are known; if it is only tested, for the first."""
    read = {}
    for split in TESTED_FIRST if only_tested else SPLITS:
        if split in found:
            ids, labels = _ids_and_labels(builder, found[split])
            if (labels >= 0).all():  # -1 stands for a label that is kept secret
                read[split] = (ids, labels)
                if only_tested:
                    break
    return read


def _ids_and_labels(builder: Any, split: str) -> tuple[list[str], NDArray[np.int64]]:
    """Of each record of a split, the SHA-256 of the encoded image, and the label."""
    ids, labels = [], []
    for record in _records(builder, split, with_images=False):
        ids.append(hashlib.sha256(record["image"]).hexdigest())
        labels.append(int(record["label"]))
    return ids, np.array(labels, np.int64)


def has_tfds(name: str) -> bool:
    """Whether a dataset of TensorFlow Datasets is prepared on this machine; no network is used."""
    try:
        from tensorflow_datasets.core.utils.file_utils import list_data_dirs
    except ImportError:
        return False
    # A name may have a configuration and a version. A builder of a dataset that is not here would ask a host.
    folder = re.split("[/:]", name.partition(":")[2])[0]
    return any(Path(root, folder).is_dir() for root in list_data_dirs()) and bool(split_names(_builder(name)))


def prepare_tfds(name: str) -> None:
    """Download and prepare a dataset into the folder of TensorFlow Datasets.

    Raises:
        DownloadError: It cannot be downloaded.
    """
    try:
        if not can_reach(STORE):  # TensorFlow Datasets would try for minutes
            raise TimeoutError(f"{STORE} does not answer within {TIMEOUT_S:.0f} s")
        _builder(name).download_and_prepare(file_format=FILE_FORMAT)
    except Exception as error:
        raise DownloadError(
            f"The dataset {name} is not on this machine and cannot be downloaded: {error}. Connect to the network and "
            "run 'benchmark fetch'."
        ) from error


def split_names(builder: Any) -> tuple[str, ...]:
    """The splits that are on this machine."""
    return tuple(builder.info.splits)


@silence()  # TensorFlow Datasets imports TensorFlow, and looks for credentials of a cloud
def _builder(name: str) -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            f"{name} needs TensorFlow Datasets, which is not installed: pip install 'backbone-benchmark[tfds]'."
        ) from error
    known = name.partition(":")[2]
    try:
        return tensorflow_datasets.builder(known)
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise UnknownNameError("dataset of TensorFlow Datasets", known, tensorflow_datasets.list_builders()) from error


def _class_names(name: str, builder: Any) -> tuple[str, ...]:
    features = builder.info.features
    has_both = {"image", "label"} <= set(features)
    if not has_both or not hasattr(features["label"], "names"):
        raise DataError(f"{name} is not for classification: it needs one image and one label per record.")
    return tuple(features["label"].names)


def _records(builder: Any, split: str, *, with_images: bool) -> Records:
    """The records of a split; without images, reading is many times faster."""
    import tensorflow_datasets

    decoders = None if with_images else {"image": tensorflow_datasets.decode.SkipDecoding()}
    try:
        records: Records = builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError:  # prepared in a format that is read from beginning to end
        return _read_from_files(builder, split, decoders)
    return records


def _read_from_files(builder: Any, split: str, decoders: Any) -> Records:
    """The records of a split that is stored as TFRecord files, decoded as those of other formats are.

    Raises:
        DataError: It is stored in yet another format.
    """
    from tensorflow_datasets.core.data_sources.base import BaseDataSource

    if builder.info.file_format.value != "tfrecord":
        raise DataError(
            f"{builder.info.full_name} is stored in the format {builder.info.file_format.value}, which cannot be read "
            f"record by record. Delete {builder.data_dir} and fetch it again."
        )
    source: Any = BaseDataSource(builder.info, split=split, decoders=decoders)
    source.data_source = TFRecords([Path(path) for path in builder.info.splits[split].filepaths])
    records: Records = source
    return records


def _decoder(records: Sequence[Records]) -> Callable[[tuple[int, int], View | None], NDArray[np.uint8]]:
    """A function from the numbers of a split and of a record in it to the image of that record, RGB; see `decode`."""
    lock = threading.Lock()  # a source reads for one thread at a time

    def decode(place: tuple[int, int], view: View | None) -> NDArray[np.uint8]:
        split, index = place
        with lock:
            image = np.asarray(records[split][index]["image"], np.uint8)
        rgb = image if image.shape[-1] == RGB else np.repeat(image, RGB, axis=-1)
        return resize(Image.fromarray(rgb), view) if view else rgb

    return decode
