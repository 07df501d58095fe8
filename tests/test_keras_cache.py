"""The datasets of Keras, from files of their true formats, against what Keras itself reads.

The CIFAR archives were pickled by Python 2. Python 3 cannot write such pickles (text keys as `SHORT_BINSTRING`,
raw bytes as `BINSTRING`), so they are written here opcode by opcode.
"""

import gzip
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sampling import sampled
from toys import count_classes

from benchmark.datasets import idx, keras_cache, load_dataset
from benchmark.datasets.images import LabelledArrays
from benchmark.datasets.keras_cache import (
    DIGIT_NAMES,
    KERAS_DATASETS,
    has_keras_dataset,
    read_keras_dataset,
)
from benchmark.errors import DataError, DownloadError
from benchmark.storage import cache_root

FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
CIFAR_FOLDERS = {
    "cifar10": "cifar-10-batches-py-target/cifar-10-batches-py",
    "cifar100": "cifar-100-python-target/cifar-100-python",
}


@pytest.fixture
def keras_datasets() -> Path:
    folder = Path(os.environ["KERAS_HOME"]) / "datasets"
    folder.mkdir(parents=True)
    return folder


# Python 2's pickle protocol 2, as far as a CIFAR batch needs it.


def text_2(value: str) -> bytes:
    content = value.encode()
    return b"U" + bytes([len(content)]) + content


def int_2(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def list_2(items: list[bytes]) -> bytes:
    return b"](" + b"".join(items) + b"e"


def array_2(array: np.ndarray) -> bytes:
    """A uint8 matrix, as NumPy pickled it under Python 2."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + int_2(0) + b"\x85" + text_2("b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text_2("u1") + int_2(0) + int_2(1) + b"\x87R"
    dtype += b"(" + int_2(3) + text_2("|") + b"NNN" + int_2(-1) + int_2(-1) + int_2(0) + b"tb"
    raw = array.tobytes()
    state = b"(" + int_2(1) + b"".join(int_2(n) for n in array.shape) + b"\x86" + dtype + b"\x89"
    return empty + state + b"T" + struct.pack("<i", len(raw)) + raw + b"tb"


def pickle_2(entries: dict[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text_2(key) + value for key, value in entries.items()) + b"u."


def cifar_batch(pixels: np.ndarray, **labels: list[int]) -> bytes:
    entries = {key: list_2([int_2(label) for label in values]) for key, values in labels.items()}
    filenames = list_2([text_2(f"{number}.png") for number in range(len(pixels))])
    return pickle_2({"batch_label": text_2("a batch"), **entries, "data": array_2(pixels), "filenames": filenames})


def write_cifar(name: str, folder: Path, rng: np.random.Generator, *, batch_size: int = 20) -> None:
    """All files of the archive, random pixels and labels, `batch_size` images a file."""
    folder.mkdir(parents=True)

    def pixels() -> np.ndarray:
        return rng.integers(0, 256, (batch_size, 3 * 32 * 32), dtype=np.uint8)

    if name == "cifar10":
        for file in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            labels = rng.integers(0, 10, batch_size).tolist()
            (folder / file).write_bytes(cifar_batch(pixels(), labels=labels))
        names = list_2([text_2(f"thing {label}") for label in range(10)])
        meta = {"num_cases_per_batch": int_2(batch_size), "label_names": names, "num_vis": int_2(3072)}
        (folder / "batches.meta").write_bytes(pickle_2(meta))
        return
    for file in ("train", "test"):
        fine = rng.permutation(np.arange(batch_size) % 100).tolist()
        coarse = [label // 5 for label in fine]
        (folder / file).write_bytes(cifar_batch(pixels(), coarse_labels=coarse, fine_labels=fine))
    fine_names = list_2([text_2(f"thing {label}") for label in range(100)])
    coarse_names = list_2([text_2(f"kind {label}") for label in range(20)])
    (folder / "meta").write_bytes(pickle_2({"fine_label_names": fine_names, "coarse_label_names": coarse_names}))


def write_mnist(folder: Path, rng: np.random.Generator) -> None:
    train_labels, test_labels = np.arange(50) % 10, np.arange(20) % 10
    np.savez_compressed(
        folder / "mnist.npz",
        x_train=rng.integers(0, 256, (50, 28, 28), dtype=np.uint8),
        y_train=train_labels.astype(np.uint8),
        x_test=rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        y_test=test_labels.astype(np.uint8),
    )


def write_fashion_mnist(folder: Path, rng: np.random.Generator) -> None:
    target = folder / "fashion-mnist"
    target.mkdir()
    for images_name, labels_name, n in ((*FASHION_FILES[:2], 50), (*FASHION_FILES[2:], 20)):
        pixels = rng.integers(0, 256, n * 28 * 28, dtype=np.uint8)
        images = struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + pixels.tobytes()
        labels = struct.pack(">4BI", 0, 0, 8, 1, n) + bytes(number % 10 for number in range(n))
        (target / images_name).write_bytes(gzip.compress(images))
        (target / labels_name).write_bytes(gzip.compress(labels))


@pytest.fixture
def keras_reads(monkeypatch: pytest.MonkeyPatch, keras_datasets: Path) -> list[str]:
    """Names of the datasets that Keras loads, as it goes: in this process, and without checksums of its files."""
    import keras  # noqa: F401  # so that its functions can be replaced

    asked = []

    def get_file(fname: str, cache_subdir: str = "datasets", **_: object) -> str:
        return str(keras_datasets / Path(cache_subdir).relative_to("datasets") / fname)

    def call(function: Callable[[str], None], name: str) -> None:
        asked.append(name)
        function(name)

    for name in KERAS_DATASETS:
        monkeypatch.setattr(f"keras.src.datasets.{name}.get_file", get_file)
    monkeypatch.setattr(keras_cache, "call_silently_in_child", call)
    monkeypatch.setattr(keras_cache, "DEBIAN_FASHION_MNIST", keras_datasets / "absent")
    return asked


def assert_equals_keras(ours: LabelledArrays, keras_arrays: tuple) -> None:
    (train_images, train_labels), (test_images, test_labels) = keras_arrays
    assert ours.n_train == len(train_labels)
    reference = np.concatenate([train_images, test_images])
    assert np.array_equal(ours.images, reference.reshape(ours.images.shape))
    assert ours.images.dtype == np.uint8
    assert ours.labels.dtype == np.int64
    assert np.array_equal(ours.labels, np.concatenate([train_labels, test_labels]).ravel())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write"), [("mnist", write_mnist), ("fashion_mnist", write_fashion_mnist)])
def test_grey_images_equal_what_keras_reads(name, write, keras_datasets, keras_reads, rng):
    import keras

    write(keras_datasets, rng)

    ours = read_keras_dataset(name)

    assert ours.images.shape == (70, 28, 28, 1)
    assert_equals_keras(ours, getattr(keras.datasets, name).load_data())


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", sampled([10, 100], [100]))
def test_cifar_images_equal_what_keras_reads(n_classes, keras_datasets, keras_reads, rng):
    """Keras requires 10,000 images per file of CIFAR-10, and takes any number per file of CIFAR-100."""
    import keras

    name = f"cifar{n_classes}"
    batch_size = 10_000 if name == "cifar10" else 200
    write_cifar(name, keras_datasets / CIFAR_FOLDERS[name], rng, batch_size=batch_size)

    ours = read_keras_dataset(name)

    assert len(ours.labels) == batch_size * (6 if name == "cifar10" else 2)
    assert ours.class_names == tuple(f"thing {label}" for label in range(n_classes))
    assert_equals_keras(ours, getattr(keras.datasets, name).load_data())


@pytest.mark.slow
def test_keras_loads_a_dataset_once(keras_datasets, keras_reads, rng):
    write_mnist(keras_datasets, rng)

    first, second = (read_keras_dataset("mnist") for _ in range(2))

    assert keras_reads == ["mnist"]
    assert np.array_equal(first.images, second.images)
    assert (first.n_train, first.class_names) == (second.n_train, second.class_names) == (50, DIGIT_NAMES)


@pytest.mark.slow
def test_a_dataset_is_loaded_again_when_the_file_of_keras_has_changed(keras_datasets, keras_reads, rng):
    write_mnist(keras_datasets, rng)
    first = read_keras_dataset("mnist")
    write_mnist(keras_datasets, rng)

    second = read_keras_dataset("mnist")

    assert keras_reads == ["mnist", "mnist"]
    assert not np.array_equal(first.images, second.images)


@pytest.mark.slow
def test_what_is_kept_outlives_the_file_of_keras(keras_datasets, keras_reads, rng):
    write_mnist(keras_datasets, rng)
    first = read_keras_dataset("mnist")
    (keras_datasets / "mnist.npz").unlink()

    assert has_keras_dataset("mnist")
    assert np.array_equal(read_keras_dataset("mnist").images, first.images)
    assert keras_reads == ["mnist"]


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"nothing", None], ids=["empty", "text", "cut off"])
def test_a_damaged_file_of_our_own_is_made_again(content, keras_datasets, keras_reads, rng):
    write_mnist(keras_datasets, rng)
    first = read_keras_dataset("mnist")
    (kept,) = (cache_root() / "datasets").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:3000] if content is None else content)

    second = read_keras_dataset("mnist")

    assert np.array_equal(first.images, second.images)
    assert keras_reads == ["mnist", "mnist"]


@pytest.mark.slow
def test_a_dataset_has_kerass_split_and_class_names(keras_datasets, keras_reads, rng):
    write_mnist(keras_datasets, rng)
    write_fashion_mnist(keras_datasets, rng)

    mnist, fashion = load_dataset("mnist"), load_dataset("fashion_mnist")

    assert mnist.test.tolist() == fashion.test.tolist() == list(range(50, 70))
    assert count_classes(mnist) == {str(digit): 7 for digit in range(10)}
    assert fashion.class_names[9] == "Ankle boot"
    assert mnist.fingerprint != fashion.fingerprint


def test_kerass_own_files_go_before_debians(keras_datasets, rng, tmp_path, monkeypatch):
    write_fashion_mnist(keras_datasets, rng)
    (tmp_path / "debian").mkdir()
    write_fashion_mnist(tmp_path / "debian", rng)
    monkeypatch.setattr(keras_cache, "DEBIAN_FASHION_MNIST", tmp_path / "debian" / "fashion-mnist")

    images = read_keras_dataset("fashion_mnist").images

    assert np.array_equal(images, idx.read_idx_folder(keras_datasets / "fashion-mnist")[0])


def cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def with_other_content(path: Path) -> None:
    path.write_bytes(pickle.dumps([1, 2], protocol=2))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut_off, with_other_content, Path.unlink])
@pytest.mark.parametrize("file", ["train", "meta"])
def test_a_damaged_file_of_cifar_is_reported(file, damage, keras_datasets, keras_reads, rng):
    folder = keras_datasets / CIFAR_FOLDERS["cifar100"]
    write_cifar("cifar100", folder, rng)
    damage(folder / file)

    with pytest.raises(DataError, match=r"cifar100: the files in .* are damaged .* Delete them and fetch again"):
        read_keras_dataset("cifar100")


@pytest.mark.slow
def test_a_file_of_mnist_without_labels_is_reported(keras_datasets, keras_reads):
    np.savez(keras_datasets / "mnist.npz", x_train=np.zeros((2, 28, 28), np.uint8))

    with pytest.raises(DataError, match=r"mnist: the files in .* are damaged .*y_train.* Delete them and fetch again"):
        read_keras_dataset("mnist")


def test_a_damaged_fashion_mnist_file_is_named(keras_datasets, rng):
    write_fashion_mnist(keras_datasets, rng)
    path = keras_datasets / "fashion-mnist" / FASHION_FILES[2]
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=f"{FASHION_FILES[2]} cannot be read"):
        read_keras_dataset("fashion_mnist")


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses every connection is a network that is down, on any machine."""
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("_no_network")
def test_a_missing_dataset_without_a_network_fails_within_seconds():
    started = time.monotonic()

    with pytest.raises(
        DownloadError,
        match=r"mnist is not in Keras's cache .* 'benchmark fetch'.* take the dataset digits",
    ):
        read_keras_dataset("mnist")

    assert time.monotonic() - started < 60, "seconds; idle it takes 8, most of them to import Keras"


@pytest.mark.slow
@pytest.mark.usefixtures("_no_network")
def test_a_file_with_a_wrong_checksum_is_named_where_keras_cannot_download_it_again(keras_datasets, rng):
    write_mnist(keras_datasets, rng)

    with pytest.raises(DownloadError, match=r"mnist\.npz was damaged\. The dataset mnist is not in Keras's cache"):
        read_keras_dataset("mnist")
