"""Which folders are classes and which are splits."""

from pathlib import Path

import pytest
from toy_images import write_classes, write_image
from toys import count_classes

from benchmark.datasets import load_dataset, split_dataset
from benchmark.errors import DataError

PETS = {"cat": 6, "dog": 6}


def load(root: Path, **options):
    return load_dataset(f"folder:{root}", **options)


@pytest.mark.parametrize("train", ["train", "training", "Train", "TRAINING"])
@pytest.mark.parametrize("val", ["val", "valid", "Validation", "dev"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_splits_are_known_by_their_usual_names_in_any_case(tmp_path: Path, train: str, val: str, test: str):
    for name in (train, val, test):
        write_classes(tmp_path / name, PETS)

    dataset = load(tmp_path)

    split = split_dataset(dataset, seed=0, val_fraction=0.5)
    places = dataset.images.places
    for positions, name in ((split.train, train), (split.val, val), (split.test, test)):
        assert {places[position].parents[1].name for position in positions} == {name}
        assert len(positions) == 12


@pytest.mark.parametrize(("one", "other"), [("train", "training"), ("train", "Train"), ("val", "validation")])
def test_two_folders_for_one_split_are_refused(tmp_path: Path, one: str, other: str):
    for name in {"train", one, other}:
        write_classes(tmp_path / name, PETS)

    with pytest.raises(
        DataError, match=rf"has two splits for (train|val): ({one}|{other}) and ({one}|{other})\. Merge"
    ):
        load(tmp_path)


def test_splits_without_train_are_refused(tmp_path: Path):
    for name in ("val", "test"):
        write_classes(tmp_path / name, PETS)

    with pytest.raises(DataError, match="has no split named train or training, only test, val: add it"):
        load(tmp_path)


def test_a_class_folder_beside_splits_is_refused(tmp_path: Path):
    for name in ("train", "test"):
        write_classes(tmp_path / name, PETS)
    write_image(tmp_path / "newt" / "0.png")

    with pytest.raises(DataError, match=r"newt holds images, but stands beside test, train, .* move it into a split"):
        load(tmp_path)


def test_a_folder_without_images_beside_splits_is_remarked(tmp_path: Path):
    for name in ("train", "test"):
        write_classes(tmp_path / name, PETS)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "boxes.xml").write_text("<xml/>")

    dataset = load(tmp_path)

    assert len(dataset) == 24
    assert dataset.remarks == ("left out, files that are no images: 1 (.xml 1)",)


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path):
    """CIFAR-100 has a class of trains."""
    write_classes(tmp_path, {"apple": 5, "train": 5, "tulip": 5})

    dataset = load(tmp_path)

    assert count_classes(dataset) == {"apple": 5, "train": 5, "tulip": 5}
    assert dataset.notes == ("the folder train is read as a class, not as a split",)


def test_a_class_in_splits_may_have_the_name_of_a_split(tmp_path: Path):
    for name in ("train", "test"):
        write_classes(tmp_path / name, {"apple": 5, "train": 5})

    dataset = load(tmp_path)

    assert count_classes(dataset) == {"apple": 10, "train": 10}
    assert (len(dataset.test), dataset.notes) == (10, ())


@pytest.mark.parametrize("name", ["test", "val", "Validation"])
@pytest.mark.parametrize(("n_loose", "said"), [(3, ", but with 3 images"), (0, "")])
def test_a_split_without_class_folders_is_refused(tmp_path: Path, name: str, n_loose: int, said: str):
    write_classes(tmp_path / "train", PETS)
    (tmp_path / name).mkdir()
    for number in range(n_loose):
        write_image(tmp_path / name / f"{number}.png")

    with pytest.raises(DataError, match=rf"{name} is a split without class folders{said}: put the images"):
        load(tmp_path)


@pytest.mark.parametrize("content", [None, b"no image"])
def test_a_split_whose_class_folders_have_no_images_is_refused(tmp_path: Path, content: bytes | None):
    write_classes(tmp_path / "train", PETS)
    (tmp_path / "val" / "cat").mkdir(parents=True)
    if content:
        (tmp_path / "val" / "cat" / "0.png").write_bytes(content)

    with pytest.raises(DataError, match=r"no images in the split val.* Add some or remove it"):
        load(tmp_path, max_bad_images=1)


def test_loose_images_in_a_split_are_counted(tmp_path: Path):
    for name in ("train", "test"):
        write_classes(tmp_path / name, PETS)
    write_image(tmp_path / "test" / "0.png", seed=77)

    dataset = load(tmp_path)

    assert dataset.notes == ("left out, images outside any class folder: 1 (test/0.png)",)


def test_a_class_without_test_images_is_noted(tmp_path: Path):
    write_classes(tmp_path / "train", {**PETS, "newt": 4})
    write_classes(tmp_path / "test", PETS)

    dataset = load(tmp_path)

    assert dataset.class_names == ("cat", "dog", "newt")
    assert dataset.notes == ("classes without test images: 1 (newt)",)


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_class_that_train_lacks_is_refused(tmp_path: Path, name: str):
    write_classes(tmp_path / "train", PETS)
    write_classes(tmp_path / name, {**PETS, "newt": 4})

    with pytest.raises(DataError, match="no images to train on in class newt"):
        load(tmp_path)
