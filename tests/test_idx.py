"""MNIST-format files, against files that are written here byte by byte."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from toys import count_classes

from benchmark.datasets import load_dataset
from benchmark.datasets.idx import DEBIAN_FASHION_MNIST, has_idx_files, read_idx_file, read_idx_folder
from benchmark.errors import DataError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array: np.ndarray) -> bytes:
    """The array in IDX format, written from its description."""
    dimensions = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + dimensions + array.astype(np.uint8).tobytes()


def write_idx_folder(folder: Path, arrays: list[np.ndarray], *, suffix: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in zip(FILES, arrays, strict=True):
        content = idx_bytes(array)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


@pytest.fixture
def arrays(rng) -> list[np.ndarray]:
    """Images and labels of a train split of 12 and a test split of 6, three classes, 4x5 pixels."""
    train_images, test_images = (rng.integers(0, 256, (n, 4, 5), dtype=np.uint8) for n in (12, 6))
    return [train_images, np.arange(12) % 3, test_images, np.arange(6) % 3]


@pytest.mark.parametrize("suffix", ["", ".gz"], ids=["plain", "gzip"])
def test_a_folder_is_read_train_images_first(tmp_path, arrays, suffix):
    folder = write_idx_folder(tmp_path, arrays, suffix=suffix)

    images, labels, n_train, _ = read_idx_folder(folder)

    assert has_idx_files(folder)
    assert n_train == 12
    assert images.dtype == np.uint8
    assert np.array_equal(images, np.concatenate([arrays[0], arrays[2]])[..., np.newaxis])
    assert labels.tolist() == [*arrays[1], *arrays[3]]


def test_an_idx_dataset_keeps_the_files_test_split_and_names_classes_by_number(tmp_path, arrays):
    write_idx_folder(tmp_path, arrays)

    dataset = load_dataset(f"idx:{tmp_path}")

    assert count_classes(dataset) == {"0": 6, "1": 6, "2": 6}
    assert dataset.test.tolist() == list(range(12, 18))
    assert dataset.val is None


def test_the_fingerprint_depends_on_the_pixels_and_not_on_the_place_or_compression(tmp_path, arrays):
    one = load_dataset(f"idx:{write_idx_folder(tmp_path / 'one', arrays)}")
    same = load_dataset(f"idx:{write_idx_folder(tmp_path / 'two', arrays, suffix='.gz')}")
    arrays[2][5, 3, 4] ^= 1
    other = load_dataset(f"idx:{write_idx_folder(tmp_path / 'three', arrays)}")

    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != other.fingerprint


def test_the_fingerprint_depends_on_the_shape_of_the_images(tmp_path, arrays):
    one = load_dataset(f"idx:{write_idx_folder(tmp_path / 'one', arrays)}")
    arrays[0], arrays[2] = arrays[0].reshape(12, 5, 4), arrays[2].reshape(6, 5, 4)
    other = load_dataset(f"idx:{write_idx_folder(tmp_path / 'two', arrays)}")

    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path, arrays, name):
    folder = write_idx_folder(tmp_path, arrays)
    (folder / name).unlink()

    assert not has_idx_files(folder)
    with pytest.raises(DataError, match=rf"has neither {name} nor {name}\.gz: expected the four files"):
        read_idx_folder(folder)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(DataError, match="absent has neither train-images-idx3-ubyte"):
        load_dataset(f"idx:{tmp_path / 'absent'}")


def test_a_folder_that_cannot_be_read_is_refused_with_the_reason(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)

    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        load_dataset(f"idx:{tmp_path}")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"\0\0\x08\x01" + bytes(12),
        b"\0\0\x0d\x03" + bytes(12),
        b"\x08\0\0\x03" + bytes(12),
        b"not an idx",
    ],
    ids=["empty", "short", "one dimension", "floats", "swapped", "text"],
)
def test_a_wrong_magic_number_is_refused(tmp_path, content):
    path = tmp_path / "images"
    path.write_bytes(content)

    with pytest.raises(DataError, match="images is not an IDX file of 3 dimensions of bytes: it starts b"):
        read_idx_file(path, n_dimensions=3)


@pytest.mark.parametrize("length", [4, 9, 16, 17, -1])
def test_a_cut_off_file_is_refused_with_what_its_header_says(tmp_path, arrays, length):
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(arrays[0])[:length])

    with pytest.raises(DataError, match=r"images holds \d+ values, its header says \(.*\)\."):
        read_idx_file(path, n_dimensions=3)


def test_bytes_beyond_what_the_header_says_are_refused(tmp_path, arrays):
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(arrays[1]) + b"\0")

    with pytest.raises(DataError, match=r"labels holds more than 12 values, its header says \(12,\)"):
        read_idx_file(path, n_dimensions=1)


def test_a_cut_off_gzip_file_is_refused(tmp_path, arrays):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(arrays[0]))[:-20])

    with pytest.raises(DataError, match=r"images\.gz cannot be read: "):
        read_idx_file(path, n_dimensions=3)


def test_a_file_named_gz_that_is_not_gzip_is_refused(tmp_path, arrays):
    path = tmp_path / "images.gz"
    path.write_bytes(idx_bytes(arrays[0]))

    with pytest.raises(DataError, match=r"images\.gz cannot be read: Not a gzipped file"):
        read_idx_file(path, n_dimensions=3)


def test_a_gzip_file_with_damaged_bytes_is_refused(tmp_path, arrays):
    content = bytearray(gzip.compress(idx_bytes(arrays[0])))
    content[10:20] = b"\xff" * 10
    path = tmp_path / "images.gz"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"images\.gz cannot be read: "):
        read_idx_file(path, n_dimensions=3)


def test_more_images_than_labels_are_refused(tmp_path, arrays):
    arrays[3] = arrays[3][:-1]
    write_idx_folder(tmp_path, arrays)

    with pytest.raises(DataError, match="6 t10k images, but 5 labels"):
        read_idx_folder(tmp_path)


def test_train_and_test_images_of_different_sizes_are_refused(tmp_path, arrays):
    arrays[2] = arrays[2][:, :, :4]
    write_idx_folder(tmp_path, arrays)

    with pytest.raises(DataError, match=r"\(?4, 5\)?.*\(?4, 4\)?"):
        load_dataset(f"idx:{tmp_path}")


@pytest.mark.parametrize("promised", [(10, 4, 5), (2**32 - 1,) * 3])
def test_no_more_is_read_than_promised_and_possible(tmp_path, promised):
    """A thousand zeros can be one byte of gzip."""
    path = tmp_path / "images.gz"
    with gzip.open(path, "wb") as file:
        file.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", *promised))
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()

    with pytest.raises(DataError, match=r"images\.gz holds (more than 200|67108864) values, its header says"):
        read_idx_file(path, n_dimensions=3)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21 if promised == (10, 4, 5) else peak < 2**28


def test_a_number_that_never_occurs_is_no_class(tmp_path, arrays):
    """EMNIST's letters are numbered from 1."""
    arrays[1], arrays[3] = 3 + 2 * arrays[1], 3 + 2 * arrays[3]

    dataset = load_dataset(f"idx:{write_idx_folder(tmp_path, arrays)}")

    assert count_classes(dataset) == {"3": 6, "5": 6, "7": 6}
    assert dataset.notes == ()


def test_a_test_class_that_train_lacks_is_refused(tmp_path, arrays):
    arrays[3][0] = 5

    with pytest.raises(DataError, match="no images to train on in class 5, which the test split has"):
        load_dataset(f"idx:{write_idx_folder(tmp_path, arrays)}")


@pytest.mark.parametrize("n", [(0, 6), (12, 0), (0, 0)])
def test_files_without_images_are_refused(tmp_path, arrays, n):
    arrays[:2] = (array[: n[0]] for array in arrays[:2])
    arrays[2:] = (array[: n[1]] for array in arrays[2:])

    with pytest.raises(DataError, match=rf"train and t10k hold {n[0]} and {n[1]} images"):
        load_dataset(f"idx:{write_idx_folder(tmp_path, arrays)}")


@pytest.mark.skipif(not has_idx_files(DEBIAN_FASHION_MNIST), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_found_where_debians_package_puts_it():
    dataset = load_dataset("fashion_mnist")

    assert dataset.images.pixels.shape == (70_000, 28, 28, 1)
    assert dataset.test.tolist() == list(range(60_000, 70_000))
    assert set(count_classes(dataset).values()) == {7_000}
    assert dataset.class_names[0] == "T-shirt/top"
    assert dataset.class_names[9] == "Ankle boot"
