"""Splits and subsets that are drawn by content: images stay where they are when others come and go."""

import hashlib
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_images import write_classes, write_image

from benchmark.datasets import load_dataset, split_dataset
from benchmark.datasets.dataset import Dataset, make_dataset, take_subset
from benchmark.datasets.drawing import FOLDS, SUBSET, TEST, places, shuffled
from benchmark.datasets.images import ArrayImages, EncodedImages

N_CLASSES = 3
# Of each class, the names of its images; two images of one name are copies.
Classes = list[list[str]]

# Enough for every class to have an image in each split.
classes = st.lists(
    st.lists(st.integers(0, 10**6).map(str), min_size=12, max_size=60, unique=True), min_size=2, max_size=N_CLASSES
)
draws = st.sampled_from([TEST, SUBSET, FOLDS, 0, 1, 2**32 - 1])


def dataset_of(images: Classes, *, n_test: int = 0) -> Dataset:
    """A dataset with the hashes of classes and names as contents; the last `n_test` of the first class are of test."""
    names = [f"{label} {name}" for label, some in enumerate(images) for name in some]
    ids = tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)
    labels = np.repeat(np.arange(len(images)), [len(some) for some in images])
    encoded = EncodedImages("here", ids, tuple(names), lambda *_: np.zeros((1, 1, 3), np.uint8))
    first_class = np.arange(len(images[0]))
    test = first_class[-n_test:] if n_test else None
    return make_dataset("toy", encoded, labels, tuple("abc"[: len(images)]), content="".join(ids).encode(), test=test)


def names_at(dataset: Dataset, positions: np.ndarray) -> set[str]:
    assert isinstance(dataset.images, EncodedImages)
    return {dataset.images.places[position] for position in positions}


def moved(before: set[str], after: set[str], old: Dataset) -> set[str]:
    """The images of the old dataset that are in one of two sets only."""
    return (before ^ after) & names_at(old, np.arange(len(old)))


def test_a_draw_is_that_of_splitmix64():
    """Its published first two numbers from the state 0."""
    assert [int(shuffled(np.zeros(1, np.uint64), draw)[0]) for draw in (1, 2)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
    ]


@settings(deadline=None)
@given(numbers=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1), draw=draws)
def test_the_contents_of_a_group_are_evenly_placed_in_the_order_of_the_draw(numbers, draw):
    contents = np.array([content for content, _ in numbers], np.uint64)
    groups = np.array([group for _, group in numbers])

    found = places(contents, groups, draw)

    members = defaultdict(list)
    for content, group in {content: group for content, group in reversed(numbers)}.items():
        members[group].append(content)
    expected = {}
    for some in members.values():
        ordered = sorted(some, key=lambda content: int(shuffled(np.array([content], np.uint64), draw)[0]))
        expected |= {content: (number + 0.5) / len(some) for number, content in enumerate(ordered)}
    assert found.tolist() == [expected[content] for content, _ in numbers]


@settings(deadline=None)
@given(images=classes, label=st.integers(0, 1), name=st.text("xyz", min_size=1))
def test_an_image_more_moves_at_most_one_test_image_and_only_of_its_class(images: Classes, label: int, name: str):
    before = dataset_of(images)
    images[label].append(name)

    after = dataset_of(images)

    changed = moved(names_at(before, before.test), names_at(after, after.test), before)
    assert len(changed) <= 1
    assert all(one.startswith(f"{label} ") for one in changed)


@settings(deadline=None)
@given(images=classes, label=st.integers(0, 1), name=st.text("xyz", min_size=1), seed=st.integers(0, 2**32 - 1))
def test_an_image_more_moves_at_most_one_validation_image(images: Classes, label: int, name: str, seed: int):
    before = dataset_of(images, n_test=3)
    images[label].insert(0, name)

    after = dataset_of(images, n_test=3)

    val = [names_at(one, split_dataset(one, seed=seed, val_fraction=0.2).val) for one in (before, after)]
    assert len(moved(*val, before)) <= 1


@settings(deadline=None)
@given(images=classes, label=st.integers(0, 1), name=st.text("xyz", min_size=1), limit=st.integers(20, 60))
def test_an_image_more_moves_at_most_two_images_of_a_subset(images: Classes, label: int, name: str, limit: int):
    before = dataset_of(images, n_test=6)
    images[label].insert(0, name)

    after = dataset_of(images, n_test=6)

    kept = [names_at(one, np.arange(len(one))) for one in (take_subset(before, limit), take_subset(after, limit))]
    assert len(moved(*kept, before)) <= 2


@settings(deadline=None)
@given(images=classes, limit=st.integers(20, 50), more=st.integers(0, 20))
def test_a_subset_contains_every_smaller_one(images: Classes, limit: int, more: int):
    dataset = dataset_of(images, n_test=6)

    small, large = take_subset(dataset, limit), take_subset(dataset, limit + more)

    assert names_at(small, np.arange(len(small))) <= names_at(large, np.arange(len(large)))
    assert len(small) == min(limit, len(dataset))


@settings(deadline=None)
@given(images=classes, seed=st.integers(0, 2**32 - 1), copies=st.data())
def test_copies_are_in_one_split(images: Classes, seed: int, copies: st.DataObject):
    """They may be of one class or of several: a class of its own would place them elsewhere."""
    ids = [f"{label:08b}{int(name):056b}" for label, some in enumerate(images) for name in some]
    labels = np.repeat(np.arange(len(images)), [len(some) for some in images])
    copied = copies.draw(st.lists(st.sampled_from(range(len(ids))), max_size=30))
    of_class = copies.draw(st.lists(st.integers(0, len(images) - 1), min_size=len(copied), max_size=len(copied)))
    encoded = EncodedImages(
        "here",
        tuple(hashlib.sha256(one.encode()).hexdigest() for one in [*ids, *(ids[place] for place in copied)]),
        tuple(range(len(ids) + len(copied))),
        lambda *_: np.zeros((1, 1, 3), np.uint8),
    )
    dataset = make_dataset("toy", encoded, np.array([*labels, *of_class]), tuple("abc"[: len(images)]), content=b"")

    split = split_dataset(dataset, seed=seed, val_fraction=0.2)

    contents = [set(encoded.contents[part].tolist()) for part in (split.train, split.val, split.test)]
    assert sum(map(len, contents)) == len(set.union(*contents))


@settings(deadline=None, max_examples=30)
@given(images=classes, label=st.integers(0, 1), name=st.text("xyz", min_size=1), folds=st.integers(2, 10))
def test_an_image_more_moves_at_most_one_image_at_each_border_of_folds(
    images: Classes, label: int, name: str, folds: int
):
    before = dataset_of(images)
    images[label].insert(0, name)

    after = dataset_of(images)

    tested = [
        [names_at(one, split_dataset(one, seed=fold, val_fraction=0.4, folds=folds).test) for fold in range(folds)]
        for one in (before, after)
    ]
    assert sum(len(earlier - later) for earlier, later in zip(*tested, strict=True)) <= folds - 1


@settings(deadline=None, max_examples=30)
@given(images=classes, label=st.integers(0, 1), name=st.text("xyz", min_size=1), seed=st.integers(0, 2**32 - 1))
def test_an_image_more_takes_the_place_of_at_most_one_shot(images: Classes, label: int, name: str, seed: int):
    before = dataset_of(images, n_test=3)
    images[label].insert(0, name)

    after = dataset_of(images, n_test=3)

    splits = [split_dataset(one, seed=seed, val_fraction=0.4, shots=3) for one in (before, after)]
    for part in ("train", "val"):
        drawn = [names_at(one, getattr(split, part)) for one, split in zip((before, after), splits, strict=True)]
        assert len(drawn[0] - drawn[1]) <= 1


def test_renamed_files_stay_in_their_splits(tmp_path: Path):
    root = write_classes(tmp_path / "pets", {"cat": 20, "dog": 20})
    before = load_dataset(f"folder:{root}")
    for path in list((root / "cat").iterdir()):
        path.rename(path.with_stem(path.stem[::-1] + "b"))

    after = load_dataset(f"folder:{root}")

    splits = [split_dataset(dataset, seed=3, val_fraction=0.2) for dataset in (before, after)]
    for part in ("val", "test"):
        ids = [
            {dataset.images.ids[place] for place in getattr(split, part)}
            for dataset, split in zip((before, after), splits, strict=True)
        ]
        assert ids[0] == ids[1]


def test_files_that_come_and_go_leave_the_test_images_alone(tmp_path: Path):
    root = write_classes(tmp_path / "pets", {"cat": 50, "dog": 50})
    before = load_dataset(f"folder:{root}")
    write_image(root / "cat" / "0-first.png", seed=1)
    (root / "dog" / "7.png").unlink()
    shutil.copy(root / "dog" / "8.png", root / "dog" / "8-copy.png")

    after = load_dataset(f"folder:{root}")

    tested = [{dataset.images.ids[place] for place in dataset.test} for dataset in (before, after)]
    still = set(before.images.ids) & set(after.images.ids)
    assert len((tested[0] ^ tested[1]) & still) <= 2
    assert np.bincount(after.labels[after.test]).tolist() == [10, 10]


def test_equal_arrays_have_equal_contents_and_others_do_not(rng):
    pixels = rng.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    pixels[7] = pixels[3]

    contents = ArrayImages(pixels).contents

    assert contents.dtype == np.uint64
    assert contents[7] == contents[3]
    assert len(np.unique(contents)) == 19


@pytest.mark.parametrize("n_channels", [1, 3])
def test_the_content_of_an_array_is_the_hash_of_its_pixels(n_channels: int, rng):
    pixels = rng.integers(0, 256, (2, 4, 4, n_channels), dtype=np.uint8)

    contents = ArrayImages(pixels).contents

    assert [f"{int(one):016x}" for one in contents] == [
        hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in pixels
    ]
