"""Dataset names and what they load."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tensorflow_datasets.core.utils import file_utils
from toys import count_classes

from benchmark.datasets import DATASETS, keras_cache, load_dataset, load_local_dataset, split_dataset, tfds
from benchmark.datasets.catalog import check_dataset_name
from benchmark.errors import BenchmarkError, DataError, UnknownNameError


def test_digits_are_scikit_learns_images_scaled_to_bytes():
    dataset = load_dataset("digits")

    bunch = load_digits()
    pixels = dataset.images.pixels
    assert pixels.shape == (1797, 8, 8, 1)
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.abs(pixels[..., 0] / 255 - bunch.images / 16).max() <= 0.5 / 255
    assert dataset.labels.tolist() == bunch.target.tolist()
    assert dataset.class_names == tuple("0123456789")


def test_digits_have_a_fixed_stratified_fifth_for_testing():
    dataset = load_dataset("digits")

    shares = np.bincount(dataset.labels[dataset.test]) / np.bincount(dataset.labels)
    assert len(dataset.test) == round(0.2 * 1797)
    assert np.abs(shares - 0.2).max() < 0.01
    assert dataset.test.tolist() == load_dataset("digits").test.tolist()


def test_a_limit_takes_a_subset_of_the_dataset():
    dataset = load_dataset("digits", limit=200)

    assert len(dataset) == 200
    assert dataset.name == "digits@200"
    assert min(count_classes(dataset).values()) >= 19
    split = split_dataset(dataset, seed=0, val_fraction=0.2)
    assert set(dataset.labels[split.train]) == set(dataset.labels[split.test]) == set(range(10))


def test_a_limit_too_small_for_ten_classes_is_refused():
    with pytest.raises(DataError, match="--limit 12 of digits cannot be drawn"):
        load_dataset("digits", limit=12)


def test_every_name_has_a_description():
    names = {"digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "idx:FOLDER", "folder:PATH", "tfds:NAME"}

    assert set(DATASETS) == names
    assert all(DATASETS.values())


def test_a_folder_without_its_prefix_is_answered_with_the_name_that_reads_it(tmp_path: Path):
    with pytest.raises(DataError, match=f"write folder:{tmp_path}"):
        check_dataset_name(str(tmp_path))


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(
        UnknownNameError, match=r"Unknown dataset 'cifar_10'\. Did you mean 'cifar10'\? Known: cifar10,"
    ):
        load_dataset("cifar_10")


@pytest.mark.parametrize("name", ["", "folder:", "idx:", "folder", "directory:x"])
def test_a_name_without_a_place_is_unknown(name):
    with pytest.raises(UnknownNameError, match=f"Unknown dataset '{name}'"):
        check_dataset_name(name)


@pytest.mark.parametrize("name", ["digits", "cifar100", "idx:some/folder", "folder:C:/pictures"])
def test_known_names_and_places_pass(name):
    check_dataset_name(name)


@pytest.mark.parametrize("name", ["digits", "idx:somewhere"])
def test_classes_can_be_chosen_of_folders_only(name):
    with pytest.raises(BenchmarkError, match=f"classes can be chosen for folder: datasets only, not for {name}"):
        load_dataset(name, classes=["1", "2"])


@pytest.mark.parametrize("kind", ["folder", "idx"])
def test_the_home_of_an_unknown_user_does_not_exist(kind):
    with pytest.raises(DataError, match=r"~no-such-user/pets (is not a folder|has neither)"):
        load_dataset(f"{kind}:~no-such-user/pets")


def test_the_home_of_an_unknown_user_is_no_dataset():
    with pytest.raises(UnknownNameError, match=r"Unknown dataset '~no-such-user/pets'"):
        load_dataset("~no-such-user/pets")


@pytest.mark.parametrize("name", ["idx:FOLDER", "folder:PATH"])
def test_a_placeholder_of_the_list_is_a_folder_that_does_not_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError, match=name.partition(":")[2]):
        load_dataset(name)


# --- datasets on this machine ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {}),
        ("digits", {"limit": 200}),
        ("folder:{}", {}),
        ("folder:{}", {"classes": ["dog", "cat"]}),
        ("folder:{}", {"classes": ["cat", "dog"], "limit": 10}),
    ],
)
def test_a_dataset_on_this_machine_is_loaded_as_ever(image_folder: Path, name: str, options: dict[str, Any]):
    name = name.format(image_folder)

    local = load_local_dataset(name, **options)

    dataset = load_dataset(name, **options)
    assert local.fingerprint == dataset.fingerprint
    assert local.class_names == dataset.class_names
    assert len(local) == len(dataset)


def test_files_that_were_left_out_before_are_left_out_again(image_folder: Path):
    (image_folder / "cat" / "0.png").write_bytes(b"nothing")

    dataset = load_local_dataset(f"folder:{image_folder}")

    assert dataset.fingerprint == load_dataset(f"folder:{image_folder}", max_bad_images=1).fingerprint


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "tfds:stanford_dogs"])
def test_what_is_not_on_this_machine_is_not_downloaded(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def refuse(*_: Any) -> None:
        raise AssertionError("this would download")

    for module in (keras_cache, tfds):
        monkeypatch.setattr(module, "call_silently_in_child", refuse)
    monkeypatch.setattr(file_utils, "list_data_dirs", lambda: [tmp_path])

    with pytest.raises(DataError, match=r"is not on this machine: download it with 'benchmark fetch --datasets"):
        load_local_dataset(name)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="gone is not a folder"):
        load_local_dataset(f"folder:{tmp_path / 'gone'}", classes=["cat", "dog"])


def test_an_unknown_name_is_refused_without_loading():
    with pytest.raises(UnknownNameError, match=r"'digit'\. Did you mean 'digits'\?"):
        load_local_dataset("digit", limit=100)
