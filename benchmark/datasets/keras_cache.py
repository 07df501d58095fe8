"""The datasets of `keras.datasets`, read from Keras's own cache without importing Keras.

Only a missing file makes a child process import Keras, which downloads it.
"""

import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.idx import DEBIAN_FASHION_MNIST, has_idx_files, read_idx_folder
from benchmark.downloads import fast_failing_downloads
from benchmark.errors import DataError
from benchmark.isolation import call_silently_in_child

# What damage shows itself as; the pickle module documents that a bad pickle may raise nearly any of these.
UNREADABLE = (
    OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, ImportError, zlib.error,
    pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], int]

DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class KerasDataset:
    """One dataset of `keras.datasets`.

    Attributes:
        find: Where its files lie, or None where they are not there.
        read: Images, labels and number of training images from that place.
        class_names: Given the place.
    """

    find: Callable[[], Path | None]
    read: Callable[[Path], Arrays]
    class_names: Callable[[Path], tuple[str, ...]]


def keras_home() -> Path:
    """Keras's folder of downloads: `KERAS_HOME` if set, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()


def read_keras_dataset(name: str) -> tuple[Arrays, tuple[str, ...]]:
    """Images, labels, number of training images (they come first), and class names.

    Raises:
        DownloadError: The files are not there and cannot be downloaded.
        DataError: They are damaged.
    """
    dataset = KERAS_DATASETS[name]
    place = dataset.find()
    if place is None:
        call_silently_in_child(download_dataset, name)
        place = dataset.find()
        if place is None:
            raise DataError(f"Keras fetched {name}, but not into {keras_home()}: is KERAS_HOME writable?")
    try:
        return dataset.read(place), dataset.class_names(place)
    except UNREADABLE as error:
        raise DataError(f"{name}: the files in {place} are damaged ({error}). Delete them and fetch again.") from error


def download_dataset(name: str) -> None:
    """Let Keras bring one of its datasets into its cache.

    Raises:
        DownloadError: It cannot be brought.
    """
    import keras

    with fast_failing_downloads(f"The dataset {name}"):
        getattr(keras.datasets, name).load_data()


def _first_existing(*candidates: Path) -> Path | None:
    return next((path for path in candidates if path.exists()), None)


def _find_mnist() -> Path | None:
    return _first_existing(keras_home() / "datasets" / "mnist.npz")


def _find_fashion_mnist() -> Path | None:
    folders = (keras_home() / "datasets" / "fashion-mnist", DEBIAN_FASHION_MNIST)
    return next((folder for folder in folders if has_idx_files(folder)), None)


def _find_cifar(folder: str) -> Callable[[], Path | None]:
    def find() -> Path | None:
        # Keras 3.6 and later unpack into a folder named after the archive.
        base = keras_home() / "datasets"
        return _first_existing(base / f"{folder}-target" / folder, base / folder)

    return find


def _read_mnist(path: Path) -> Arrays:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64)
        return _matched(images[..., np.newaxis], labels), labels, len(arrays["y_train"])


def _read_cifar10(folder: Path) -> Arrays:
    names = [f"data_batch_{number}" for number in range(1, 6)]
    return _read_cifar_batches(folder, names, "test_batch", b"labels")


def _read_cifar100(folder: Path) -> Arrays:
    return _read_cifar_batches(folder, ["train"], "test", b"fine_labels")


def _read_cifar_batches(folder: Path, train: list[str], test: str, label_key: bytes) -> Arrays:
    batches = [_unpickle(folder / name) for name in (*train, test)]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = np.concatenate([np.asarray(batch[label_key], np.int64) for batch in batches])
    images = _matched(np.ascontiguousarray(images, np.uint8), labels)
    return images, labels, len(labels) - len(batches[-1][label_key])


def _matched(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images, but {len(labels)} labels")
    return images


def _cifar10_names(folder: Path) -> tuple[str, ...]:
    return _cifar_names(folder / "batches.meta", b"label_names", 10)


def _cifar100_names(folder: Path) -> tuple[str, ...]:
    return _cifar_names(folder / "meta", b"fine_label_names", 100)


def _cifar_names(path: Path, key: bytes, n_classes: int) -> tuple[str, ...]:
    if not path.exists():
        return tuple(str(label) for label in range(n_classes))
    return tuple(name.decode() for name in _unpickle(path)[key])


class _PlainUnpickler(pickle.Unpickler):
    """Reads the arrays and lists of a CIFAR batch and refuses anything that could run code."""

    _ALLOWED = frozenset(
        {("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode")}
        | {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which no CIFAR batch does")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path: Path) -> dict[bytes, Any]:
    with path.open("rb") as file:
        content: dict[bytes, Any] = _PlainUnpickler(file, encoding="bytes").load()
    return content


KERAS_DATASETS = {
    "mnist": KerasDataset(_find_mnist, _read_mnist, lambda _: DIGIT_NAMES),
    "fashion_mnist": KerasDataset(_find_fashion_mnist, read_idx_folder, lambda _: FASHION_NAMES),
    "cifar10": KerasDataset(_find_cifar("cifar-10-batches-py"), _read_cifar10, _cifar10_names),
    "cifar100": KerasDataset(_find_cifar("cifar-100-python"), _read_cifar100, _cifar100_names),
}
