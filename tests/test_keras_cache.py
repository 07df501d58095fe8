"""The datasets of Keras, read from files of their true formats, against Keras's own readers.

The CIFAR archives were pickled by Python 2. Python 3 cannot write such pickles (text keys as `SHORT_BINSTRING`,
raw bytes as `BINSTRING`), so they are written here opcode by opcode.
"""

import gzip
import io
import os
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.datasets import idx, keras_cache, load_dataset
from benchmark.datasets.keras_cache import read_keras_dataset
from benchmark.errors import DataError, DownloadError

FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
CIFAR_FOLDERS = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py"),
    "cifar100": ("cifar-100-python", "cifar-100-python-target/cifar-100-python"),
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


def assert_equals_keras(ours: tuple, keras_arrays: tuple) -> None:
    images, labels, n_train = ours
    (train_images, train_labels), (test_images, test_labels) = keras_arrays
    assert n_train == len(train_labels)
    reference = np.concatenate([train_images, test_images])
    assert np.array_equal(images, reference.reshape(images.shape))
    assert images.dtype == np.uint8
    assert np.array_equal(labels, np.concatenate([train_labels, test_labels]).ravel())


def use_local_files(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
    """Let Keras's reader take the files of a folder without the checksum of the true ones."""

    def get_file(fname: str, cache_subdir: str = "datasets", **_: object) -> str:
        return str(folder / Path(cache_subdir).relative_to("datasets") / fname)

    monkeypatch.setattr(f"keras.src.datasets.{name}.get_file", get_file)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write"), [("mnist", write_mnist), ("fashion_mnist", write_fashion_mnist)])
def test_grey_images_equal_what_keras_reads(name, write, keras_datasets, rng, monkeypatch):
    import keras

    write(keras_datasets, rng)
    use_local_files(monkeypatch, name, keras_datasets)

    ours, _ = read_keras_dataset(name)

    assert ours[0].shape == (70, 28, 28, 1)
    assert_equals_keras(ours, getattr(keras.datasets, name).load_data())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_images_equal_what_keras_reads(name, keras_datasets, rng, monkeypatch):
    """Keras takes 10,000 images a file of CIFAR-10 for granted, and any number a file of CIFAR-100."""
    import keras

    batch_size = 10_000 if name == "cifar10" else 200
    write_cifar(name, keras_datasets / CIFAR_FOLDERS[name][1], rng, batch_size=batch_size)
    use_local_files(monkeypatch, name, keras_datasets)

    ours, _ = read_keras_dataset(name)

    assert len(ours[1]) == batch_size * (6 if name == "cifar10" else 2)
    assert_equals_keras(ours, getattr(keras.datasets, name).load_data())


@pytest.mark.parametrize("layout", [0, 1], ids=["old", "new"])
@pytest.mark.parametrize("name", CIFAR_FOLDERS)
def test_cifar_is_found_in_both_layouts_of_keras(name, layout, keras_datasets, rng):
    write_cifar(name, keras_datasets / CIFAR_FOLDERS[name][layout], rng)

    (images, labels, n_train), class_names = read_keras_dataset(name)

    n = 120 if name == "cifar10" else 40
    assert images.shape == (n, 32, 32, 3)
    assert (len(labels), n_train) == (n, n - 20)
    assert class_names == tuple(f"thing {label}" for label in range(10 if name == "cifar10" else 100))


def test_cifar_pixels_are_stored_channel_by_channel(keras_datasets):
    red, green, blue = (np.arange(1024) // 4 + shift for shift in (0, 1, 2))
    pixels = np.concatenate([red, green, blue]).astype(np.uint8)[np.newaxis]
    folder = keras_datasets / "cifar-100-python"
    folder.mkdir()
    for file, label in (("train", 7), ("test", 42)):
        (folder / file).write_bytes(cifar_batch(pixels, fine_labels=[label], coarse_labels=[0]))

    (images, labels, n_train), _ = read_keras_dataset("cifar100")

    assert images[0, 0, :8].tolist() == [[0, 1, 2]] * 4 + [[1, 2, 3]] * 4
    assert images[1, 31, 0].tolist() == [248, 249, 250]
    assert (labels.tolist(), n_train) == ([7, 42], 1)


@pytest.mark.parametrize(("name", "meta", "n"), [("cifar10", "batches.meta", 10), ("cifar100", "meta", 100)])
def test_classes_of_cifar_without_its_meta_file_are_numbers(name, meta, n, keras_datasets, rng):
    folder = keras_datasets / CIFAR_FOLDERS[name][1]
    write_cifar(name, folder, rng)
    (folder / meta).unlink()

    _, class_names = read_keras_dataset(name)

    assert class_names == tuple(str(label) for label in range(n))


def test_a_batch_pickled_again_by_python_3_is_read(keras_datasets, rng):
    folder = keras_datasets / "cifar-100-python"
    folder.mkdir()
    pixels = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
    for file in ("train", "test"):
        batch = {b"data": pixels, b"fine_labels": [0, 1, 2, 3]}
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))

    (images, labels, n_train), _ = read_keras_dataset("cifar100")

    assert images.shape == (8, 32, 32, 3)
    assert (labels.tolist(), n_train) == ([0, 1, 2, 3] * 2, 4)


def test_a_dataset_has_kerass_split_and_class_names(keras_datasets, rng, monkeypatch):
    monkeypatch.setattr(keras_cache, "DEBIAN_FASHION_MNIST", keras_datasets / "absent")
    write_mnist(keras_datasets, rng)
    write_fashion_mnist(keras_datasets, rng)

    mnist, fashion = load_dataset("mnist"), load_dataset("fashion_mnist")

    assert mnist.test.tolist() == fashion.test.tolist() == list(range(50, 70))
    assert mnist.class_counts == {str(digit): 7 for digit in range(10)}
    assert fashion.class_names[9] == "Ankle boot"
    assert mnist.fingerprint != fashion.fingerprint


def test_kerass_own_files_go_before_debians(keras_datasets, rng, tmp_path, monkeypatch):
    write_fashion_mnist(keras_datasets, rng)
    (tmp_path / "debian").mkdir()
    write_fashion_mnist(tmp_path / "debian", rng)
    monkeypatch.setattr(keras_cache, "DEBIAN_FASHION_MNIST", tmp_path / "debian" / "fashion-mnist")

    (images, _, _), _ = read_keras_dataset("fashion_mnist")

    assert np.array_equal(images, idx.read_idx_folder(keras_datasets / "fashion-mnist")[0])


class Malicious:
    """Unpickling one writes a file."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_malicious_pickle_is_refused_and_runs_nothing(keras_datasets, rng, tmp_path):
    folder = keras_datasets / "cifar-100-python"
    write_cifar("cifar100", folder, rng)
    trace = tmp_path / "trace"
    content = pickle.dumps({b"data": Malicious(f"touch {trace}"), b"fine_labels": [0]}, protocol=2)
    (folder / "train").write_bytes(content)

    with pytest.raises(DataError, match=r"cifar100: the files in .* are damaged \(it holds posix\.system, which no"):
        read_keras_dataset("cifar100")

    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists(), "the pickle is harmless, so the test proves nothing"


@pytest.mark.parametrize(
    "call",
    [b"c__builtin__\neval\n", b"cbuiltins\ngetattr\n", b"cnumpy\nload\n", b"cnumpy.core.multiarray\nfromfile\n"],
)
def test_a_name_that_no_batch_needs_is_refused(call, keras_datasets, rng):
    folder = keras_datasets / "cifar-100-python"
    write_cifar("cifar100", folder, rng)
    (folder / "meta").write_bytes(b"\x80\x02" + call + b"(U\x011tR.")

    with pytest.raises(DataError, match=r"it holds [\w.]+, which no CIFAR batch does"):
        read_keras_dataset("cifar100")


def test_a_batch_cut_off_anywhere_is_reported_as_damaged(keras_datasets):
    folder = keras_datasets / "cifar-100-python"
    folder.mkdir()
    batch = cifar_batch(np.zeros((1, 3072), np.uint8), fine_labels=[0], coarse_labels=[0])
    (folder / "test").write_bytes(batch)
    lengths = [*range(0, 400, 7), *range(400, len(batch), 331), *range(len(batch) - 40, len(batch))]

    for length in lengths:
        (folder / "train").write_bytes(batch[:length])

        with pytest.raises(DataError, match=r"cifar100: the files in .* are damaged .* Delete them and fetch again"):
            read_keras_dataset("cifar100")


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1, 2], protocol=2),
        pickle.dumps({b"data": 1, b"fine_labels": [0]}, protocol=2),
        pickle.dumps({b"data": [[1, 2, 3]], b"fine_labels": [0]}, protocol=2),
        pickle.dumps({b"fine_labels": [0]}, protocol=2),
        pickle_2({"data": array_2(np.zeros((2, 3072), np.uint8)), "fine_labels": list_2([int_2(0)])}),
        b"not a pickle",
    ],
    ids=["list", "number", "short", "no data", "more images than labels", "text"],
)
def test_a_batch_with_other_content_is_reported_as_damaged(content, keras_datasets, rng):
    folder = keras_datasets / "cifar-100-python"
    write_cifar("cifar100", folder, rng)
    (folder / "train").write_bytes(content)

    with pytest.raises(DataError, match=r"cifar100: the files in .* are damaged"):
        read_keras_dataset("cifar100")


def test_a_missing_batch_is_reported_as_damage(keras_datasets, rng):
    folder = keras_datasets / "cifar-10-batches-py"
    write_cifar("cifar10", folder, rng)
    (folder / "data_batch_3").unlink()

    with pytest.raises(DataError, match=r"cifar10: the files in .*data_batch_3.*Delete them and fetch again"):
        read_keras_dataset("cifar10")


def mnist_with_damaged_bytes(rng: np.random.Generator, folder: Path) -> bytes:
    write_mnist(folder, rng)
    content = bytearray((folder / "mnist.npz").read_bytes())
    content[5000:5200] = b"\xff" * 200
    return bytes(content)


def mnist_without_labels(rng: np.random.Generator, folder: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x_train=np.zeros((2, 28, 28), np.uint8))
    return buffer.getvalue()


def mnist_of_objects(rng: np.random.Generator, folder: Path) -> bytes:
    buffer = io.BytesIO()
    arrays = dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), np.array([{}], object))
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def mnist_cut_off(rng: np.random.Generator, folder: Path) -> bytes:
    write_mnist(folder, rng)
    return (folder / "mnist.npz").read_bytes()[:3000]


@pytest.mark.parametrize(
    "damage", [mnist_with_damaged_bytes, mnist_without_labels, mnist_of_objects, mnist_cut_off, lambda *_: b""]
)
def test_a_damaged_mnist_file_is_reported_as_damaged(damage, keras_datasets, rng):
    content = damage(rng, keras_datasets)
    (keras_datasets / "mnist.npz").write_bytes(content)

    with pytest.raises(DataError, match=r"mnist: the files in .*mnist\.npz are damaged .* Delete them and fetch again"):
        read_keras_dataset("mnist")


def test_a_damaged_fashion_mnist_file_is_named(keras_datasets, rng):
    write_fashion_mnist(keras_datasets, rng)
    path = keras_datasets / "fashion-mnist" / FASHION_FILES[2]
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=f"{FASHION_FILES[2]} cannot be read"):
        read_keras_dataset("fashion_mnist")


@pytest.mark.slow
def test_a_missing_dataset_without_a_network_fails_within_seconds(monkeypatch):
    """A proxy that refuses every connection is a network that is down, on any machine."""
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    started = time.monotonic()

    with pytest.raises(DownloadError, match=r"The dataset mnist is neither in Keras's cache nor .* 'benchmark fetch'"):
        read_keras_dataset("mnist")

    assert time.monotonic() - started < 60, "seconds; idle it takes 8, most of them to import Keras"
