"""Byte copies of images in several splits and classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_images import write_classes
from toys import count_classes

from benchmark.datasets import load_dataset
from benchmark.datasets.copies import copy_notes, group_copies, superfluous
from benchmark.errors import BenchmarkError


def load(root: Path, **options):
    return load_dataset(f"folder:{root}", **options)


@pytest.fixture
def split_pets(tmp_path: Path) -> Path:
    for name, n in (("train", 8), ("val", 3), ("test", 4)):
        write_classes(tmp_path / "pets" / name, {"cat": n, "dog": n})
    return tmp_path / "pets"


def test_test_images_that_are_in_train_are_counted_and_named(split_pets: Path):
    shutil.rmtree(split_pets / "test")
    shutil.copytree(split_pets / "train", split_pets / "test")

    dataset = load(split_pets)

    assert dataset.n_duplicates == 32
    assert dataset.notes == (
        "copies of images in several splits: 32 (train/cat/0.png = test/cat/0.png, train/cat/1.png = test/cat/1.png, "
        "train/cat/2.png = test/cat/2.png, …)",
    )


def test_an_image_in_two_classes_is_counted_and_named(split_pets: Path):
    shutil.copy(split_pets / "train" / "cat" / "0.png", split_pets / "train" / "dog" / "x.png")

    dataset = load(split_pets)

    assert dataset.n_duplicates == 2
    assert dataset.notes == ("copies of images in several classes: 2 (train/cat/0.png = train/dog/x.png)",)


def test_copies_in_one_class_and_split_are_only_noted(split_pets: Path):
    shutil.copy(split_pets / "train" / "cat" / "0.png", split_pets / "train" / "cat" / "x.png")

    dataset = load(split_pets)

    assert dataset.n_duplicates == 0
    assert dataset.notes == ("copies of images in one class and split: 2 (train/cat/0.png = train/cat/x.png)",)


def test_copies_are_on_one_side_of_a_drawn_test_split(tmp_path: Path):
    root = write_classes(tmp_path / "pets", {"cat": 20, "dog": 20})
    for number, path in enumerate(sorted((root / "cat").iterdir())):
        shutil.copy(path, root / ("dog" if number < 5 else "cat") / f"copy-{path.name}")

    dataset = load(root)

    tested = {path.read_bytes() for path in np.array(dataset.images.places)[dataset.test]}
    trained = {path.read_bytes() for path in np.delete(np.array(dataset.images.places), dataset.test)}
    assert not tested & trained
    assert dataset.n_duplicates == 10, "those in two classes"


def test_dropping_copies_moves_no_image_between_test_and_the_rest(tmp_path: Path):
    root = write_classes(tmp_path / "pets", {"cat": 20, "dog": 20})
    for path in list((root / "cat").iterdir())[::2]:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))

    whole, once = (load(root, drop_duplicates=drop) for drop in (False, True))

    tested, tested_once = ({one.images.ids[position] for position in one.test} for one in (whole, once))
    assert tested == tested_once


def test_dropping_keeps_test_images_and_drops_images_of_unclear_class(split_pets: Path):
    shutil.copy(split_pets / "test" / "cat" / "0.png", split_pets / "train" / "cat" / "of-test.png")
    shutil.copy(split_pets / "test" / "cat" / "1.png", split_pets / "val" / "cat" / "of-test.png")
    shutil.copy(split_pets / "val" / "dog" / "0.png", split_pets / "train" / "dog" / "of-val.png")
    shutil.copy(split_pets / "test" / "dog" / "0.png", split_pets / "train" / "cat" / "unclear.png")
    plain = load(split_pets)

    dataset = load(split_pets, drop_duplicates=True)

    gone = {path.relative_to(split_pets).as_posix() for path in set(plain.images.places) - set(dataset.images.places)}
    assert gone == {
        "train/cat/of-test.png", "val/cat/of-test.png", "train/dog/of-val.png", "test/dog/0.png",
        "train/cat/unclear.png",
    }  # fmt: skip
    assert (plain.n_duplicates, plain.n_left_out) == (8, 0)
    assert (dataset.n_duplicates, dataset.n_left_out) == (0, 5)
    assert dataset.notes[0].startswith("left out, copies of images: 5 (")
    assert count_classes(dataset) == {"cat": 15, "dog": 14}
    assert dataset.fingerprint != plain.fingerprint


def test_dropping_changes_nothing_where_there_are_no_copies(split_pets: Path):
    assert load(split_pets, drop_duplicates=True).fingerprint == load(split_pets).fingerprint


def test_copies_can_be_dropped_from_folders_only():
    with pytest.raises(BenchmarkError, match="duplicates can be dropped from folder: datasets only, not from digits"):
        load_dataset("digits", drop_duplicates=True)


images = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2), st.sampled_from(["train", "val", "test"])))


@given(images)
def test_the_count_is_that_of_images_with_a_copy_in_another_class_or_split(some: list[tuple[str, int, str]]):
    digests, labels, splits = ([image[place] for image in some] for place in range(3))

    _, n_duplicates = copy_notes(group_copies(digests), labels, splits, str)

    assert n_duplicates == sum(any(one[0] == other[0] and one != other for other in some) for one in some)


@given(images)
def test_after_dropping_each_content_is_there_once_in_the_latest_split(some: list[tuple[str, int, str]]):
    digests, labels, splits = ([image[place] for image in some] for place in range(3))

    dropped = superfluous(group_copies(digests), labels, splits)

    kept = [image for position, image in enumerate(some) if position not in dropped]
    clear = {content for content in digests if len({image[1] for image in some if image[0] == content}) == 1}
    assert sorted(image[0] for image in kept) == sorted(clear)
    for content, _, split in kept:
        assert ["train", "val", "test"].index(split) == max(
            ["train", "val", "test"].index(image[2]) for image in some if image[0] == content
        )


def test_positions_of_copies_are_grouped():
    assert group_copies(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]
    assert np.concatenate([[], *group_copies(["a", "b"])]).size == 0
