"""ImageNet's 1,000 classes, and datasets of images that a network is only tested on."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import (
    ALL_CLASSES,
    OWN_CLASSES,
    Dataset,
    imagenet_ids,
    imagenet_positions,
    load_dataset,
    load_local_dataset,
    split_dataset,
)
from benchmark.datasets.imagenet import IDS_FILE
from benchmark.errors import DataError

# Of the ids, one a line; the list is that of TensorFlow Datasets and of timm.
SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
TENCH, GOLDFISH, SHARK, BOLETE, TOILET_PAPER = "n01440764", "n01443537", "n01484850", "n13054560", "n15075141"


def write_images(folder: Path, n_by_class: dict[str, int]) -> Path:
    """Small images of one colour each, no two the same."""
    for number, (name, n_images) in enumerate(n_by_class.items()):
        (folder / name).mkdir(parents=True)
        for place in range(n_images):
            colour = (number, place, len(str(folder)) % 256)
            Image.new("RGB", (8, 8), colour).save(folder / name / f"{place}.png")
    return folder


def load(folder: Path, classes: str | None = ALL_CLASSES, **options) -> Dataset:
    return load_dataset(f"folder:{folder}", imagenet_classes=classes, **options)


# --- the ids ---------------------------------------------------------------------------------------------------------


def test_the_ids_are_the_thousand_of_imagenet_in_sorted_order():
    ids = imagenet_ids()

    assert (len(ids), len(set(ids))) == (1000, 1000)
    assert list(ids) == sorted(ids)
    assert all(re.fullmatch(r"n\d{8}", one) for one in ids)
    assert hashlib.sha256("\n".join(ids).encode()).hexdigest() == SHA256
    assert IDS_FILE.read_text() == "".join(f"{one}\n" for one in ids)


def test_the_ids_are_those_of_tensorflow_datasets():
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")

    labels = Path(tensorflow_datasets.__file__).parent / "datasets" / "imagenet2012" / "labels.txt"

    assert tuple(labels.read_text().split()) == imagenet_ids()


def test_classes_are_found_by_their_ids_also_with_words_after_them():
    names = [TENCH, f"{GOLDFISH}-goldfish", f"{SHARK}_great white shark", f"{TOILET_PAPER} toilet tissue"]

    assert imagenet_positions("pets", names).tolist() == [0, 1, 2, 999]


@pytest.mark.parametrize("name", ["tench", "n0144076", "n01440764x", "n00000000", "N01440764", "0"])
def test_a_class_without_an_imagenet_id_is_refused_with_what_is_expected(name: str):
    message = f"pets: 1 of 2 classes are not named by an ImageNet id: {re.escape(name)}. .* expected names such as n01"

    with pytest.raises(DataError, match=message):
        imagenet_positions("pets", [GOLDFISH, name])


def test_two_names_with_one_id_are_refused():
    with pytest.raises(DataError, match=f"pets: classes with the same ImageNet id: {TENCH}, {TENCH}-tench"):
        imagenet_positions("pets", [TENCH, GOLDFISH, f"{TENCH}-tench"])


# --- datasets that are only tested -----------------------------------------------------------------------------------


def test_a_folder_with_one_image_per_class_can_be_tested_but_not_trained_on(tmp_path: Path):
    folder = write_images(tmp_path, {GOLDFISH: 1, TOILET_PAPER: 1, TENCH: 1})

    dataset = load(folder)

    assert len(dataset) == len(dataset.test) == 3
    assert dataset.is_only_tested
    assert dataset.labels.tolist() == [0, 1, 999]
    assert dataset.class_names == imagenet_ids()
    with pytest.raises(DataError, match="cannot be drawn"):
        load(folder, None)


def test_with_its_own_classes_a_dataset_keeps_its_labels_and_names(tmp_path: Path):
    folder = write_images(tmp_path, {f"{GOLDFISH}-goldfish": 2, TOILET_PAPER: 1})

    dataset = load(folder, OWN_CLASSES)

    assert dataset.labels.tolist() == [0, 0, 1]
    assert dataset.class_names == (f"{GOLDFISH}-goldfish", TOILET_PAPER)


def test_each_way_to_use_a_dataset_has_its_own_fingerprint(tmp_path: Path):
    folder = write_images(tmp_path, {GOLDFISH: 5, TOILET_PAPER: 5})

    fingerprints = [load(folder, classes).fingerprint for classes in (None, ALL_CLASSES, OWN_CLASSES)]

    assert len(set(fingerprints)) == 3
    assert load(folder).fingerprint == fingerprints[1]


@pytest.mark.parametrize(
    ("splits", "tested"),
    [(("train", "val", "test"), "test"), (("train", "val"), "val"), (("val",), "val"), (("train",), "train")],
)
def test_the_test_split_is_scored_or_else_the_validation_split(tmp_path: Path, splits: tuple[str, ...], tested: str):
    sizes = {"train": 4, "val": 3, "test": 2}
    for split in splits:
        write_images(tmp_path / split, {TENCH: sizes[split], GOLDFISH: sizes[split]})

    dataset = load(tmp_path)

    names = [dataset.images.name(index) for index in dataset.test]
    assert names == [f"{tested}/{name}/{place}.png" for name in (TENCH, GOLDFISH) for place in range(sizes[tested])]
    assert dataset.remarks == tuple(f"the images of {split} are not scored" for split in splits if split != tested)


def test_images_that_are_not_scored_do_not_change_the_fingerprint(tmp_path: Path):
    write_images(tmp_path / "val", {TENCH: 1, GOLDFISH: 1})
    alone = load(tmp_path)
    write_images(tmp_path / "train", {TENCH: 2, GOLDFISH: 2})

    assert load(tmp_path).fingerprint == alone.fingerprint


def test_nothing_is_trained_or_validated_on_a_dataset_that_is_only_tested(tmp_path: Path):
    dataset = load(write_images(tmp_path, {TENCH: 3, GOLDFISH: 1}))

    split = split_dataset(dataset, seed=3, val_fraction=0.1)

    assert (len(split.train), len(split.val)) == (0, 0)
    np.testing.assert_array_equal(split.test, np.arange(4))


def test_a_subset_may_be_smaller_than_the_number_of_classes(tmp_path: Path):
    folder = write_images(tmp_path, dict.fromkeys(imagenet_ids()[:6], 3))

    subset = load(folder, limit=4)

    assert len(subset) == len(subset.test) == 4
    assert len(np.unique(subset.labels)) == 4, "the images of a subset are spread over the classes"
    assert subset.class_names == imagenet_ids()


def test_an_empty_class_is_noted(tmp_path: Path):
    folder = write_images(tmp_path, {TENCH: 1, GOLDFISH: 1, SHARK: 0})

    assert load(folder).notes == (f"classes without images: 1 ({SHARK})",)


def test_chosen_classes_are_scored_alone(tmp_path: Path):
    folder = write_images(tmp_path, {"cats": 2, TENCH: 1, GOLDFISH: 1})

    dataset = load_local_dataset(f"folder:{folder}", classes=(GOLDFISH, TENCH), imagenet_classes=OWN_CLASSES)

    assert dataset.class_names == (GOLDFISH, TENCH)
    with pytest.raises(DataError, match="1 of 3 classes are not named by an ImageNet id: cats"):
        load(folder)


def test_other_datasets_have_other_classes():
    with pytest.raises(DataError, match="digits: 10 of 10 classes are not named by an ImageNet id: 0, 1, 2, 3, 4 and"):
        load_dataset("digits", imagenet_classes=ALL_CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("splits", "tested"), [(("test",), "test"), (("train", "validation"), "validation"), (("train",), "train")]
)
def test_of_tensorflow_datasets_the_test_split_is_scored_or_else_the_validation_split(
    splits: tuple[str, ...], tested: str, monkeypatch: pytest.MonkeyPatch
):
    import tensorflow_datasets

    from benchmark.datasets import tfds

    monkeypatch.setattr(tfds, "split_names", lambda _: splits)
    with tensorflow_datasets.testing.mock_data(num_examples=20):
        dataset = load_dataset("tfds:imagenet_v2", imagenet_classes=ALL_CLASSES)

    assert (len(dataset), len(dataset.test)) == (20, 20)
    assert dataset.class_names == imagenet_ids()
    assert dataset.images.name(0) == f"{tested}[0]"
    assert dataset.remarks == tuple(f"the images of {split} are not scored" for split in splits if split != tested)
