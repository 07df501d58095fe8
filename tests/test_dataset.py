"""A dataset's splits, subsets and fingerprint."""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.datasets.dataset import Dataset, make_dataset, take_subset
from benchmark.datasets.images import ArrayImages, EncodedImages
from benchmark.datasets.splits import check_splits, split_dataset
from benchmark.errors import DataError
from benchmark.preprocessing import View


def toy_dataset(
    train_counts: list[int], test_counts: list[int], val_counts: list[int] | None = None, *, seed: int = 0
) -> Dataset:
    """A shuffled dataset of these numbers per class and split; the only pixel pair of image `i` spells `i`."""
    split_counts = [train_counts, test_counts, *([val_counts] if val_counts else [])]
    pairs = [
        (split, label) for split, counts in enumerate(split_counts) for label, n in enumerate(counts) for _ in range(n)
    ]
    split, labels = np.random.default_rng(seed).permutation(np.array(pairs, np.int64)).T
    indices = np.arange(len(labels))
    pixels = np.stack([indices // 256, indices % 256], axis=1).astype(np.uint8).reshape(-1, 1, 2, 1)
    class_names = tuple(f"class {label}" for label in range(len(train_counts)))
    test = np.flatnonzero(split == 1)
    val = np.flatnonzero(split == 2) if val_counts else None
    return make_dataset("toy", ArrayImages(pixels), labels, class_names, content=pixels.tobytes(), test=test, val=val)


def original_indices(dataset: Dataset) -> np.ndarray:
    """Which images of `toy_dataset` these are, read from their pixels."""
    assert isinstance(dataset.images, ArrayImages)
    high, low = dataset.images.pixels.reshape(-1, 2).astype(np.int64).T
    return high * 256 + low


class_counts = st.lists(st.integers(6, 30), min_size=2, max_size=4)


@settings(deadline=None, max_examples=50)
@given(
    counts=class_counts,
    test_counts=class_counts,
    seed=st.integers(0, 1000),
    val_fraction=st.sampled_from([0.2, 0.25, 0.5]),
)
def test_every_image_is_in_exactly_one_split(counts, test_counts, seed, val_fraction):
    n_classes = min(len(counts), len(test_counts))
    dataset = toy_dataset(counts[:n_classes], test_counts[:n_classes])

    split = split_dataset(dataset, seed=seed, val_fraction=val_fraction)

    positions = np.concatenate([split.train, split.val, split.test])
    assert sorted(positions.tolist()) == list(range(len(dataset)))
    assert split.test.tolist() == dataset.test.tolist()


@settings(deadline=None, max_examples=50)
@given(counts=class_counts, seed=st.integers(0, 1000), val_fraction=st.sampled_from([0.2, 0.25, 0.5]))
def test_validation_has_its_share_of_every_class(counts, seed, val_fraction):
    dataset = toy_dataset(counts, [3] * len(counts))

    split = split_dataset(dataset, seed=seed, val_fraction=val_fraction)

    assert np.bincount(dataset.labels[split.val]).tolist() == [
        math.floor(Fraction(val_fraction).limit_denominator() * n + Fraction(1, 2)) for n in counts
    ]


def test_the_seed_moves_images_between_train_and_val_only():
    dataset = toy_dataset([40, 40], [10, 10])

    one, other = (split_dataset(dataset, seed=seed, val_fraction=0.25) for seed in (1, 2))

    assert one.val.tolist() != other.val.tolist()
    assert one.test.tolist() == other.test.tolist()
    assert sorted([*one.train, *one.val]) == sorted([*other.train, *other.val])


def test_the_same_seed_gives_the_same_partition_in_ascending_order():
    dataset = toy_dataset([40, 40], [10, 10])

    one, again = (split_dataset(dataset, seed=5, val_fraction=0.25) for _ in range(2))

    assert one.val.tolist() == again.val.tolist() == sorted(again.val)
    assert one.train.tolist() == again.train.tolist() == sorted(again.train)


def test_a_dataset_that_brings_its_own_validation_split_keeps_it():
    dataset = toy_dataset([20, 20], [5, 5], [7, 3])

    splits = [split_dataset(dataset, seed=seed, val_fraction=0.5) for seed in (1, 2)]

    for split in splits:
        assert split.val.tolist() == dataset.val.tolist()
        assert np.bincount(dataset.labels[split.train]).tolist() == [20, 20]


def test_a_class_with_one_training_image_cannot_be_divided():
    dataset = toy_dataset([20, 1], [5, 5])

    with pytest.raises(
        DataError, match=r"validation split of toy cannot be drawn: .* The smallest has 1: add images, or"
    ):
        split_dataset(dataset, seed=0, val_fraction=0.2)


@pytest.mark.parametrize(("n_classes", "n", "fraction"), [(8, 5, 0.1), (8, 3, 0.17), (3, 2, 0.25)])
def test_a_validation_split_that_cannot_be_drawn_names_a_cure_that_works(n_classes, n, fraction):
    dataset = toy_dataset([n] * n_classes, [1] * n_classes)

    with pytest.raises(DataError, match=rf"raise val_fraction \(--val-fraction\) to {fraction} or more, add images"):
        split_dataset(dataset, seed=0, val_fraction=0.01)

    split = split_dataset(dataset, seed=0, val_fraction=fraction)
    assert set(dataset.labels[split.val]) == set(dataset.labels[split.train]) == set(range(n_classes))


def test_the_cure_counts_copies_once():
    contents = np.tile([0, 1, 2, 3], 10)  # of two classes, with two contents and 20 images each
    pixels = contents.astype(np.uint8).reshape(-1, 1, 1, 1)
    test = np.arange(4)
    dataset = make_dataset("toy", ArrayImages(pixels), contents // 2, ("a", "b"), content=b"", test=test)

    with pytest.raises(DataError, match=r"raise val_fraction \(--val-fraction\) to 0\.25 or more, add images"):
        split_dataset(dataset, seed=0, val_fraction=0.1)

    split = split_dataset(dataset, seed=0, val_fraction=0.25)
    assert set(dataset.labels[split.val]) == set(dataset.labels[split.train]) == {0, 1}


def test_a_validation_split_that_would_take_everything_is_to_be_lowered():
    dataset = toy_dataset([6, 6], [1, 1])

    with pytest.raises(DataError, match=r"lower val_fraction, add images"):
        split_dataset(dataset, seed=0, val_fraction=0.95)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_train_lacks_is_refused(split: str):
    counts = {"train_counts": [9, 9, 0], "test_counts": [3, 3, 0], f"{split}_counts": [3, 3, 3]}

    with pytest.raises(DataError, match=r"toy: no images to train on in class .*, which the .* split has"):
        toy_dataset(**counts)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_images_is_refused(split: str):
    empty = {split[:3] if split == "validation" else split: np.arange(0)}

    images = ArrayImages(np.zeros((4, 1, 1, 1), np.uint8))

    with pytest.raises(DataError, match=f"the {split} split has no images"):
        make_dataset("toy", images, np.array([0, 1, 0, 1]), ("a", "b"), content=b"", **empty)


def test_classes_that_are_missing_are_noted():
    dataset = toy_dataset([9, 9, 0, 9], [3, 0, 0, 3], [3, 3, 0, 0])

    names = dataset.class_names
    assert dataset.notes == (
        f"classes without images: 1 ({names[2]})",
        f"classes without validation images: 1 ({names[3]})",
        f"classes without test images: 1 ({names[1]})",
    )


def test_a_dataset_of_one_class_is_refused():
    with pytest.raises(DataError, match="toy has images of 1 class: classification needs at least 2"):
        toy_dataset([9, 0], [3, 0])


def test_a_class_without_images_is_no_obstacle_to_folds():
    dataset = toy_dataset([9, 0, 9], [3, 0, 3])

    split = split_dataset(dataset, seed=0, val_fraction=0.2, folds=3)

    assert np.bincount(dataset.labels[split.test]).tolist() == [4, 0, 4]


def test_a_class_too_small_to_reach_validation_is_refused():
    dataset = toy_dataset([200, 2], [5, 5])

    with pytest.raises(DataError, match="the validation split of toy"):
        split_dataset(dataset, seed=0, val_fraction=0.1)


def test_the_test_split_of_a_dataset_without_one_is_stratified_and_always_the_same():
    labels = np.repeat([0, 1, 2], [50, 30, 20])

    test, other = (unsplit_dataset(name, labels).test for name in ("toy", "other"))

    assert np.bincount(labels[test]).tolist() == [10, 6, 4]
    assert test.tolist() == other.tolist()


def unsplit_dataset(name: str, labels: np.ndarray) -> Dataset:
    images = ArrayImages(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1))
    return make_dataset(name, images, labels, ("a", "b", "c"), content=b"")


def test_the_name_is_not_part_of_the_fingerprint():
    labels = np.repeat([0, 1, 2], 10)

    assert unsplit_dataset("toy", labels).fingerprint == unsplit_dataset("other", labels).fingerprint


def test_a_subset_keeps_the_shares_of_classes_and_splits():
    dataset = toy_dataset([400, 200], [100, 60], [40, 20])

    subset = take_subset(dataset, 82)

    rest = np.setdiff1d(np.arange(82), np.concatenate([subset.test, subset.val]))
    assert len(subset) == len(subset.images) == 82
    for positions, exact in ((rest, [40, 20]), (subset.test, [10, 6]), (subset.val, [4, 2])):
        assert np.bincount(subset.labels[positions]).tolist() == exact


def test_a_subset_keeps_each_image_with_its_label_and_split():
    dataset = toy_dataset([50, 50], [20, 20], [10, 10])

    subset = take_subset(dataset, 64)

    kept = original_indices(subset)
    assert len(set(kept)) == 64
    assert subset.labels.tolist() == dataset.labels[kept].tolist()
    assert set(kept[subset.test]) <= set(dataset.test)
    assert set(kept[subset.val]) <= set(dataset.val)
    assert not set(np.delete(kept, [*subset.test, *subset.val])) & {*dataset.test, *dataset.val}


def test_a_subset_has_a_name_and_a_fingerprint_of_its_own():
    dataset = toy_dataset([50, 50], [20, 20])

    small, smaller = take_subset(dataset, 70), take_subset(dataset, 35)

    assert (small.name, smaller.name) == ("toy@70", "toy@35")
    assert small.class_names == dataset.class_names
    assert len({dataset.fingerprint, small.fingerprint, smaller.fingerprint}) == 3
    assert take_subset(dataset, 70).fingerprint == small.fingerprint


@pytest.mark.parametrize("limit", [140, 1000])
def test_a_limit_that_reaches_every_image_changes_nothing(limit):
    dataset = toy_dataset([50, 50], [20, 20])

    assert take_subset(dataset, limit) is dataset


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_below_one_image_a_class_and_split_is_refused(limit):
    dataset = toy_dataset([50, 50], [20, 20])

    with pytest.raises(DataError, match=rf"--limit {limit} of toy cannot be drawn: with {limit} of 140 images"):
        take_subset(dataset, limit)


def test_a_limit_that_would_lose_a_small_class_is_refused():
    dataset = toy_dataset([200, 8], [50, 2])

    with pytest.raises(DataError, match="--limit 26 of toy"):
        take_subset(dataset, 26)


def test_a_dataset_has_the_length_of_all_its_splits():
    assert len(toy_dataset([3, 0, 1], [2, 0, 1])) == 7


def test_file_images_are_taken_in_the_order_asked_for():
    images = EncodedImages("here", ("1", "2", "3"), (Path("a"), Path("b"), Path("c")), decode_nothing)

    taken = images.take(np.array([2, 0]))

    assert (taken.ids, taken.places) == (("3", "1"), (Path("c"), Path("a")))
    assert len(taken) == 2


def decode_nothing(path: Path, _: View | None) -> np.ndarray:
    raise AssertionError(f"{path} was decoded")


def fingerprint_of(
    content: bytes = b"abc",
    labels: Sequence[int] = (0, 1, 0, 1, 0),
    class_names: Sequence[str] = ("x", "y"),
    **splits: list,
) -> str:
    positions = {name: np.array(split) for name, split in {"test": [4], **splits}.items()}
    images = ArrayImages(np.zeros((len(labels), 1, 1, 1), np.uint8))
    dataset = make_dataset("toy", images, np.array(labels), tuple(class_names), content=content, **positions)
    return dataset.fingerprint


def test_the_fingerprint_is_always_the_same():
    assert fingerprint_of() == "aa54400d2b9b6636752c80f8a38c6d9788f8379c4436328d13cc615eda6070f3"


@pytest.mark.parametrize(
    "changed",
    [
        {"content": b"abd"},
        {"labels": [0, 1, 0, 1, 1]},
        {"class_names": ("x", "z")},
        {"class_names": ("y", "x")},
        {"test": [3]},
        {"test": [3, 4]},
        {"val": [3]},
    ],
    ids="-".join,
)
def test_the_fingerprint_changes_with(changed):
    assert fingerprint_of(**changed) != fingerprint_of()


@settings(deadline=None, max_examples=100)
@given(
    names=st.lists(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"])), min_size=2, max_size=3),
    others=st.lists(
        st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"])), min_size=2, max_size=3
    ),
)
def test_two_lists_of_class_names_share_a_fingerprint_only_if_equal(names, others):
    same = fingerprint_of(class_names=names) == fingerprint_of(class_names=others)

    assert same == (names == others)


# --- folds -----------------------------------------------------------------------------------------------------------


def a_dataset_of(labels: np.ndarray, n_test: int) -> Dataset:
    pixels = np.arange(len(labels), dtype=np.uint8).repeat(4).reshape(-1, 2, 2, 1)
    names = tuple("abc"[: labels.max() + 1])
    return Dataset("toy", ArrayImages(pixels), labels, names, np.arange(len(labels) - n_test, len(labels)), "f")


@settings(deadline=None)
@given(n=st.integers(20, 80), folds=st.integers(2, 5))
def test_every_image_is_tested_in_one_fold(n: int, folds: int):
    dataset = a_dataset_of(np.arange(n) % 2, n_test=6)

    parts = [split_dataset(dataset, seed=number, val_fraction=0.5, folds=folds) for number in range(folds)]

    assert sorted(np.concatenate([part.test for part in parts])) == list(range(n))
    for part in parts:
        assert sorted([*part.train, *part.val, *part.test]) == list(range(n))


def test_folds_take_in_the_splits_of_a_dataset():
    dataset = toy_dataset([20, 20], [5, 5], [7, 3])

    parts = [split_dataset(dataset, seed=number, val_fraction=0.2, folds=5) for number in range(5)]

    assert sorted(np.concatenate([part.test for part in parts])) == list(range(len(dataset)))
    for part in parts:
        assert set(dataset.labels[part.val]) == set(dataset.labels[part.train]) == {0, 1}


@pytest.mark.parametrize("folds", [2, 3, 4, 7])
def test_folds_have_their_share_of_every_class(folds: int):
    counts = np.array([40, 21])
    dataset = a_dataset_of(np.repeat([0, 1], counts), n_test=0)

    for number in range(folds):
        split = split_dataset(dataset, seed=number, val_fraction=0.2, folds=folds)
        n_test, n_val = (np.bincount(dataset.labels[part]) for part in (split.test, split.val))
        assert (np.abs(n_test - counts / folds) < 1).all()
        assert (np.abs(n_val - 0.2 * (counts - n_test)) <= 0.5).all()


def test_more_folds_than_the_smallest_class_has_images_are_refused():
    dataset = a_dataset_of(np.array([0] * 10 + [1] * 3), n_test=0)

    with pytest.raises(DataError, match="folds = 4: class 'b' of toy has only 3 different images"):
        split_dataset(dataset, seed=0, val_fraction=0.1, folds=4)


def test_folds_ignore_a_class_without_images():
    dataset = a_dataset_of(np.array([1] * 8 + [2] * 8), n_test=0)

    assert len(dataset.class_names) == 3

    assert len(split_dataset(dataset, seed=0, val_fraction=0.1, folds=4).test) == 4


def test_splits_are_checked_for_all_runs_and_the_cures_are_named():
    dataset = toy_dataset([6] * 8, [2] * 8)  # a twentieth of a class is less than half an image

    with pytest.raises(DataError, match=r"raise val_fraction \(--val-fraction\) to 0\.09 or more, add images"):
        check_splits(dataset, [(0, 0.5, None, None), (1, 0.05, None, None)])

    check_splits(dataset, [(seed, 0.5, None, None) for seed in range(3)])
    check_splits(dataset, [(fold, 0.1, 8, None) for fold in range(8)])


def test_every_fold_is_checked():
    # Of 6 images of a class, folds of 4 test 1 or 2; a tenth of 5 others is rounded to an image, a tenth of 4 is not.
    dataset = a_dataset_of(np.arange(12) % 2, n_test=4)
    drawn = []

    for fold in range(4):
        try:
            check_splits(dataset, [(fold, 0.1, 4, None)])
        except DataError:
            continue
        drawn.append(fold)

    assert 0 < len(drawn) < 4
    with pytest.raises(DataError, match="the validation split of toy cannot be drawn"):
        check_splits(dataset, [(fold, 0.1, 4, None) for fold in range(4)])


def test_a_limit_that_is_too_small_names_a_larger_one_as_the_cure():
    with pytest.raises(DataError, match="take a larger --limit, or leave that class out"):
        take_subset(toy_dataset([50, 50], [20, 20]), 3)


# --- shots -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(counts=class_counts, shots=st.integers(1, 6), seed=st.integers(0, 1000), folds=st.sampled_from([None, 3]))
def test_shots_are_drawn_of_each_class_for_train_and_validation_and_all_test_images_stay(counts, shots, seed, folds):
    dataset = toy_dataset([3 * n for n in counts], [9] * len(counts))
    options = {"seed": seed % 3, "val_fraction": 0.2, "folds": folds}
    whole = split_dataset(dataset, **options)

    few = split_dataset(dataset, **options, shots=shots)

    n_val = np.bincount(dataset.labels[whole.val])
    assert np.bincount(dataset.labels[few.train]).tolist() == [shots] * len(counts)
    assert np.bincount(dataset.labels[few.val]).tolist() == np.minimum(n_val, shots).tolist()
    assert few.test.tolist() == whole.test.tolist()
    assert set(few.train) <= set(whole.train)
    assert set(few.val) <= set(whole.val)
    assert few.train.tolist() == sorted(few.train)


@settings(deadline=None, max_examples=50)
@given(few=st.integers(1, 10), more=st.integers(0, 10), seed=st.integers(0, 1000), has_val=st.booleans())
def test_the_many_shots_of_a_seed_contain_its_few(few: int, more: int, seed: int, has_val: bool):
    dataset = toy_dataset([40, 30], [5, 5], [12, 8] if has_val else None)

    small, large = (split_dataset(dataset, seed=seed, val_fraction=0.3, shots=n) for n in (few, few + more))

    assert set(small.train) <= set(large.train)
    assert set(small.val) <= set(large.val)


@pytest.mark.parametrize("val_counts", [None, [9, 9]], ids=["drawn validation", "own validation"])
def test_each_seed_draws_other_shots(val_counts: list[int] | None):
    dataset = toy_dataset([40, 40], [5, 5], val_counts)

    drawn = {tuple(split_dataset(dataset, seed=seed, val_fraction=0.2, shots=3).train.tolist()) for seed in range(20)}

    assert len(drawn) == 20


def test_a_class_with_fewer_training_images_than_shots_is_named():
    dataset = toy_dataset([40, 12], [5, 5])

    message = "shots = 10: class 'class 1' of toy has only 9 different training images. Take fewer shots or more"
    with pytest.raises(DataError, match=re.escape(message)):
        check_splits(dataset, [(0, 0.25, None, 9), (0, 0.25, None, 10)])

    check_splits(dataset, [(0, 0.25, None, 9)])


def test_shots_ignore_a_class_without_images():
    dataset = a_dataset_of(np.array([1] * 8 + [2] * 8), n_test=0)

    split = split_dataset(dataset, seed=0, val_fraction=0.25, shots=2)

    assert np.bincount(dataset.labels[split.train]).tolist() == [0, 2, 2]


def test_copies_are_one_shot():
    pixels = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6, 7], np.uint8).reshape(-1, 1, 1, 1)
    labels = np.array([0] * 6 + [1] * 4)
    dataset = Dataset("toy", ArrayImages(pixels), labels, ("a", "b"), np.array([], np.int64), "f")

    split = split_dataset(dataset, seed=0, val_fraction=0.25, shots=3)

    assert len(set(pixels[split.train].ravel())) == len(split.train) == 6
