"""`tfds:NAME`, with the library's own mocking: random records with the features of the real dataset."""

import builtins
import struct
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from toys import count_classes

from benchmark.datasets import known_shape, load_dataset, split_dataset, tfds
from benchmark.datasets.dataset import TEST_FRACTION
from benchmark.datasets.tfrecords import TFRecords
from benchmark.errors import DataError, DownloadError, UnknownNameError

pytestmark = pytest.mark.slow

N_EXAMPLES = 1500


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch):
    """Records without files; the library then does not know which splits there are."""
    import tensorflow_datasets

    monkeypatch.setattr(tfds, "split_names", lambda _: ("train", "test"))
    # Random corners of a box may lie the wrong way round, which a real box's never do.
    a_box = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    monkeypatch.setattr(tensorflow_datasets.features.BBoxFeature, "encode_example", lambda *_: a_box)
    with tensorflow_datasets.testing.mock_data(num_examples=N_EXAMPLES):
        yield


def test_stanford_dogs_has_120_classes_and_the_test_split_of_its_authors(mocked):
    dataset = load_dataset("tfds:stanford_dogs")

    assert len(dataset) == 2 * N_EXAMPLES
    assert len(dataset.class_names) == 120
    assert sum(count_classes(dataset).values()) == 2 * N_EXAMPLES
    np.testing.assert_array_equal(dataset.test, np.arange(N_EXAMPLES, 2 * N_EXAMPLES))
    assert known_shape("tfds:stanford_dogs") == (3, len(dataset.class_names))


def test_images_are_decoded_when_asked_for(mocked):
    images = load_dataset("tfds:stanford_dogs").images

    (image,) = images.read([7])
    assert image.dtype == np.uint8
    assert image.shape[-1] == 3


def test_a_subset_keeps_its_images(mocked):
    whole = load_dataset("tfds:stanford_dogs")

    subset = load_dataset("tfds:stanford_dogs", limit=1200)

    first_of_train = subset.images.places[0][1]
    assert len(subset) == 1200
    assert subset.labels[0] == whole.labels[first_of_train]
    np.testing.assert_array_equal(subset.images.read([0])[0], whole.images.read([first_of_train])[0])
    assert set(np.unique(subset.labels)) == set(range(120))


def test_a_record_is_not_taken_for_a_file_with_the_same_bytes(mocked):
    """Other code decodes it."""
    images = load_dataset("tfds:stanford_dogs").images

    as_files = replace(images, ids=tuple(image_id.partition("|")[0] for image_id in images.ids))

    assert not set(as_files.identities) & set(images.identities)
    assert as_files.contents.tolist() == images.contents.tolist()


def test_images_are_called_by_their_split_and_their_number_in_it(mocked):
    dataset = load_dataset("tfds:mnist")

    assert dataset.images.name(7) == "train[7]"
    assert dataset.images.take(dataset.test).name(3) == "test[3]"


def test_grey_records_become_rgb(mocked):
    dataset = load_dataset("tfds:mnist")

    assert dataset.images.read([0])[0].shape == (28, 28, 3)


def test_the_fingerprint_is_of_name_version_and_labels(mocked):
    one, same, other = (load_dataset(name) for name in ("tfds:mnist", "tfds:mnist", "tfds:kmnist"))

    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_a_dataset_with_train_only_gets_a_test_split(mocked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tfds, "split_names", lambda _: ("train",))

    dataset = load_dataset("tfds:mnist")

    assert len(dataset.test) == pytest.approx(TEST_FRACTION * N_EXAMPLES, abs=1)


def test_a_validation_split_is_used_where_there_is_a_test_split_too(mocked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tfds, "split_names", lambda _: ("train", "validation", "test"))

    split = split_dataset(load_dataset("tfds:mnist"), seed=0, val_fraction=0.1)

    np.testing.assert_array_equal(split.val, np.arange(N_EXAMPLES, 2 * N_EXAMPLES))


def test_a_dataset_without_labels_is_refused(mocked):
    with pytest.raises(DataError, match="tfds:coco is not for classification"):
        load_dataset("tfds:coco")


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match=r"The nearest of [\d,]+ known ones: stanford_dogs"):
        load_dataset("tfds:stanfrd_dogs")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    real_import = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "tensorflow_datasets":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "tensorflow_datasets", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(DataError, match=r"pip install 'backbone-benchmark\[tfds\]'"):
        load_dataset("tfds:stanford_dogs")


def test_a_host_that_does_not_answer_ends_the_download_at_once(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tfds, "STORE", "host.invalid")

    with pytest.raises(DownloadError, match=r"tfds:stanford_dogs is not on this machine .* host\.invalid does not"):
        tfds.prepare_tfds("tfds:stanford_dogs")


def test_data_that_is_not_here_is_known_without_a_network(tmp_path, monkeypatch: pytest.MonkeyPatch):
    from tensorflow_datasets.core.utils import file_utils

    def refuse(_: str) -> None:
        raise AssertionError("a builder asks a host")

    monkeypatch.setattr(file_utils, "list_data_dirs", lambda: [tmp_path])
    monkeypatch.setattr(tfds, "_builder", refuse)

    assert not tfds.has_tfds("tfds:stanford_dogs/a:1.0.0")
    (tmp_path / "stanford_dogs").mkdir()
    with pytest.raises(AssertionError, match="a builder asks a host"):
        tfds.has_tfds("tfds:stanford_dogs")


def test_data_is_here_once_it_has_splits(tmp_path, mocked, monkeypatch: pytest.MonkeyPatch):
    from tensorflow_datasets.core.utils import file_utils

    monkeypatch.setattr(file_utils, "list_data_dirs", lambda: [tmp_path])
    (tmp_path / "stanford_dogs").mkdir()

    assert tfds.has_tfds("tfds:stanford_dogs")
    monkeypatch.setattr(tfds, "split_names", lambda _: ())
    assert not tfds.has_tfds("tfds:stanford_dogs")


# --- TFRecord files --------------------------------------------------------------------------------------------------


def tfrecord_bytes(records: list[bytes]) -> bytes:
    """The records in TFRecord format; the checksums are left zero."""
    return b"".join(struct.pack("<Q4x", len(record)) + record + bytes(4) for record in records)


def test_records_of_several_files_follow_each_other(tmp_path: Path):
    contents = [[b"a", b"", b"ccc"], [], [b"d" * 1000]]
    paths = [tmp_path / str(number) for number in range(3)]
    for path, records in zip(paths, contents, strict=True):
        path.write_bytes(tfrecord_bytes(records))

    records = TFRecords(paths)

    assert [records[index] for index in range(len(records))] == [b"a", b"", b"ccc", b"d" * 1000]


@pytest.mark.parametrize("n_bytes", [3, 14, 20, -1])
def test_a_cut_off_record_file_is_refused(tmp_path: Path, n_bytes: int):
    path = tmp_path / "cut"
    path.write_bytes(tfrecord_bytes([b"abcdef"])[:n_bytes])

    with pytest.raises(DataError, match=r"cut (is cut off|cannot be read).*fetch it again"):
        TFRecords([path])


@pytest.fixture
def prepare_toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Prepares `tfds:toys` in a format: splits of these labels, where an image of class `i` has only the value `i`."""
    import tensorflow_datasets as library

    def prepare(splits: dict[str, list[int]], file_format: str) -> None:
        class Toys(library.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = library.core.Version("1.0.0")

            def _info(self):
                image = library.features.Image(shape=(3, 4, 3), encoding_format="png")
                label = library.features.ClassLabel(names=["a", "b", "c"])
                return library.core.DatasetInfo(
                    builder=self, features=library.features.FeaturesDict({"image": image, "label": label})
                )

            def _split_generators(self, _):
                return {name: self._generate_examples(name) for name in splits}

            def _generate_examples(self, name):
                for index, label in enumerate(splits[name]):
                    yield index, {"image": np.full((3, 4, 3), max(label, 0), np.uint8), "label": label}

        Toys(data_dir=tmp_path, file_format=file_format).download_and_prepare()
        monkeypatch.setattr(library, "builder", lambda _: Toys(data_dir=tmp_path))

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_records_are_read_in_both_formats(prepare_toys, file_format: str):
    prepare_toys({"train": [0, 1, 2] * 6, "val": [0, 1, 2], "test": [2, 1, 0]}, file_format)

    dataset = load_dataset("tfds:toys")

    assert count_classes(dataset) == {"a": 8, "b": 8, "c": 8}
    assert dataset.val.tolist() == [18, 19, 20]
    assert dataset.test.tolist() == [21, 22, 23]
    for position, label in enumerate(dataset.labels):
        (image,) = dataset.images.read([position])
        assert np.unique(image).tolist() == [label]


@pytest.mark.slow
def test_a_test_split_with_secret_labels_is_not_used(prepare_toys):
    prepare_toys({"train": [0, 1, 2] * 6, "validation": [2, 1, 0], "test": [-1, -1]}, "array_record")

    dataset = load_dataset("tfds:toys")

    assert (len(dataset), dataset.test.tolist(), dataset.val) == (21, [18, 19, 20], None)
    assert dataset.notes == ("the split test is not used",)


def test_a_dataset_of_another_format_says_what_to_do():
    info = SimpleNamespace(full_name="toys/1.0.0", file_format=SimpleNamespace(value="riegeli"))
    builder = mock.Mock(info=info, data_dir="toys", as_data_source=mock.Mock(side_effect=NotImplementedError))

    with pytest.raises(DataError, match=r"stored in the format riegeli, .* Delete toys and fetch it again"):
        tfds._records(builder, "train", with_images=False)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["val", "test"], "has no split named train or training, only val, test"),
        (["train", "val", "dev"], "two splits"),
    ],
)
def test_splits_that_are_not_clear_are_refused(mocked, monkeypatch: pytest.MonkeyPatch, names: list[str], said: str):
    monkeypatch.setattr(tfds, "split_names", lambda _: tuple(names))

    with pytest.raises(DataError, match=said):
        load_dataset("tfds:mnist")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_a_validation_split_is_known_by_its_usual_names(mocked, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(tfds, "split_names", lambda _: ("test", "train", name, "unlabelled"))

    dataset = load_dataset("tfds:mnist")

    assert dataset.val.tolist() == list(range(N_EXAMPLES, 2 * N_EXAMPLES))
    assert dataset.test.tolist() == list(range(2 * N_EXAMPLES, 3 * N_EXAMPLES))
    assert dataset.notes == ("the split unlabelled is not used",)
