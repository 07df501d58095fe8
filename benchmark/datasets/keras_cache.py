"""The datasets of `keras.datasets`, loaded once by Keras in a child process and kept in our own cache.

Reading our cache does not import Keras. A dataset is loaded again when Keras's own files have changed.
"""

import os
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock

from benchmark.datasets.idx import DEBIAN_FASHION_MNIST, has_idx_files, read_idx_folder
from benchmark.datasets.images import LabelledArrays
from benchmark.downloads import fast_failing_downloads
from benchmark.errors import DataError, DownloadError
from benchmark.isolation import call_silently_in_child
from benchmark.storage import cache_root, write_whole

DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# In Keras's folder of datasets: the downloads, and the files and keys of class names.
KERAS_DATASETS = {
    "mnist": "mnist.npz",
    "fashion_mnist": "fashion-mnist",
    "cifar10": "cifar-10-batches-py-target_archive",
    "cifar100": "cifar-100-python-target_archive",
}
CIFAR_NAMES = {
    "cifar10": ("cifar-10-batches-py-target/cifar-10-batches-py/batches.meta", b"label_names"),
    "cifar100": ("cifar-100-python-target/cifar-100-python/meta", b"fine_label_names"),
}


def has_keras_dataset(name: str) -> bool:
    """Whether a dataset of Keras is on this machine."""
    return _kept_path(name).exists() or bool(_downloaded_state(name)) or _idx_folder(name) is not None


def read_keras_dataset(name: str) -> LabelledArrays:
    """A dataset of Keras, from Keras's own cache or downloaded by Keras.

    Raises:
        DownloadError: The files are not there and cannot be downloaded.
        DataError: They are damaged.
    """
    idx_folder = _idx_folder(name)
    if idx_folder is not None:
        return read_idx_folder(idx_folder, FASHION_NAMES)
    path = _kept_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        kept = _read_kept(name)
        if kept is None:
            call_silently_in_child(keep_keras_dataset, name)
            kept = _read_kept(name)
            assert kept is not None, f"{path} was written but cannot be read"
    return kept


def keep_keras_dataset(name: str) -> None:
    """Let Keras load one of its datasets, downloading it if necessary, and keep its arrays in our cache.

    Raises:
        DownloadError: It cannot be downloaded.
        DataError: Keras's files are damaged.
    """
    import keras

    before = _downloaded_state(name)
    try:
        with fast_failing_downloads(f"The dataset {name} is", _instead(name)):
            (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
        images, labels = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test]).ravel()
        class_names = _class_names(name)
    except DownloadError as error:
        if before:  # Keras downloads a file with a wrong checksum again
            raise DownloadError(f"{_keras_folder() / KERAS_DATASETS[name]} was damaged. {error}") from error
        raise
    except Exception as error:  # damaged pickles and archives raise nearly anything
        raise DataError(
            f"{name}: the files in {_keras_folder()} are damaged ({error}). Delete them and fetch again."
        ) from error
    with write_whole(_kept_path(name)) as file:
        np.savez(
            file,
            images=images[..., np.newaxis] if images.ndim == 3 else images,
            labels=labels.astype(np.int64),
            n_train=len(y_train),
            class_names=np.array(class_names),
            source=_downloaded_state(name),
        )


def _instead(name: str) -> str:
    package = "install the Debian package dataset-fashion-mnist, or " if name == "fashion_mnist" else ""
    return f"{package}take the dataset digits, which is part of scikit-learn"


def _read_kept(name: str) -> LabelledArrays | None:
    """A dataset in our cache; None if it is absent, damaged, or older than Keras's files."""
    try:
        with _kept_path(name).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if _downloaded_state(name) not in ("", str(kept["source"])):
                return None
            class_names = tuple(kept["class_names"].tolist())
            return LabelledArrays(kept["images"], kept["labels"], int(kept["n_train"]), class_names)
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile):
        return None


def _kept_path(name: str) -> Path:
    return cache_root() / "datasets" / f"{name}.npz"


def _keras_folder() -> Path:
    """Keras's folder of datasets, below `KERAS_HOME` if that is set, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"


def _downloaded_state(name: str) -> str:
    """Size and time of the file that Keras downloaded; empty if it is not there."""
    path = _keras_folder() / KERAS_DATASETS[name]
    if not path.is_file():
        return ""
    state = path.stat()
    return f"{state.st_size}|{state.st_mtime_ns}"


def _idx_folder(name: str) -> Path | None:
    """The folder of Fashion-MNIST's files, if they are on this machine: Keras and Debian store them as they are."""
    folders = (_keras_folder() / KERAS_DATASETS[name], DEBIAN_FASHION_MNIST)
    return next((folder for folder in folders if name == "fashion_mnist" and has_idx_files(folder)), None)


def _class_names(name: str) -> tuple[str, ...]:
    if name not in CIFAR_NAMES:
        return FASHION_NAMES if name == "fashion_mnist" else DIGIT_NAMES
    place, key = CIFAR_NAMES[name]
    # From the archive whose checksum Keras has just verified.
    names = pickle.loads((_keras_folder() / place).read_bytes(), encoding="bytes")[key]
    return tuple(name.decode() for name in names)
