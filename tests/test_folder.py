"""Folders of image files as datasets."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_images import write_classes, write_image
from toys import count_classes

from benchmark.datasets import load_dataset, scan, split_dataset
from benchmark.errors import DataError, UnknownNameError


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that the scan decodes, as it goes."""
    names = []
    decode = scan.decode

    def count(file, path, view):
        names.append(path.name)
        return decode(file, path, view)

    monkeypatch.setattr(scan, "decode", count)
    return names


def test_every_class_folder_is_a_class(image_folder):
    dataset = load_dataset(f"folder:{image_folder}")

    assert count_classes(dataset) == {"cat": 10, "dog": 10}
    for path, label in zip(dataset.images.places, dataset.labels, strict=True):
        assert path.parent.name == dataset.class_names[label]
    assert (dataset.notes, dataset.remarks, dataset.n_left_out, dataset.n_duplicates) == ((), (), 0, 0)


def test_an_image_is_decoded_with_its_own_size(image_folder):
    dataset = load_dataset(f"folder:{image_folder}")
    index = dataset.images.places.index(image_folder / "dog" / "3.png")

    (pixels,) = dataset.images.read([index])

    assert pixels.shape == (23, 27, 3)
    assert pixels.min() >= 150, "the fixture's dogs are bright"


def test_a_fifth_of_every_class_is_set_aside_for_testing(image_folder):
    dataset = load_dataset(f"folder:{image_folder}")

    assert np.bincount(dataset.labels[dataset.test]).tolist() == [2, 2]
    assert dataset.val is None


def test_train_val_and_test_folders_are_the_splits(tmp_path):
    for split, n in (("train", 4), ("val", 2), ("test", 3)):
        write_classes(tmp_path / split, {"cat": n, "dog": n})

    dataset = load_dataset(f"folder:{tmp_path}")

    split = split_dataset(dataset, seed=0, val_fraction=0.5)
    for positions, name, n in ((split.train, "train", 4), (split.val, "val", 2), (split.test, "test", 3)):
        assert {dataset.images.places[index].parents[1].name for index in positions} == {name}
        assert np.bincount(dataset.labels[positions]).tolist() == [n, n]


def test_train_and_test_folders_leave_validation_to_the_seed(tmp_path):
    for split, n in (("train", 10), ("test", 3)):
        write_classes(tmp_path / split, {"cat": n, "dog": n})

    dataset = load_dataset(f"folder:{tmp_path}")

    split = split_dataset(dataset, seed=0, val_fraction=0.2)
    assert (len(split.train), len(split.val), len(split.test)) == (16, 4, 6)
    assert {dataset.images.places[index].parents[1].name for index in split.val} == {"train"}


def test_train_and_val_folders_without_test_never_test_on_validation_images(tmp_path):
    for split, n in (("train", 10), ("val", 5)):
        write_classes(tmp_path / split, {"cat": n, "dog": n})

    dataset = load_dataset(f"folder:{tmp_path}")

    split = split_dataset(dataset, seed=0, val_fraction=0.2)
    assert sorted([*split.train, *split.val, *split.test]) == list(range(30)), "the splits overlap"
    assert np.bincount(dataset.labels[split.test]).min() > 0


def test_a_class_without_training_images_is_refused(tmp_path):
    write_classes(tmp_path / "train", {"cat": 4, "dog": 4})
    write_classes(tmp_path / "test", {"cat": 2, "dog": 2, "newt": 2})

    with pytest.raises(DataError, match="newt"):
        load_dataset(f"folder:{tmp_path}")


def test_images_may_lie_deeper_and_have_any_known_suffix(tmp_path):
    write_classes(tmp_path, {"cat": 2, "dog": 6})
    for name in ("a.jpg", "b.JPEG", "deeper/c.gif", "deeper/still/d.bmp", "e.webp"):
        write_image(tmp_path / "cat" / name)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / "._0.png").write_bytes(b"a hidden file that some systems leave")
    (tmp_path / ".git").mkdir()

    dataset = load_dataset(f"folder:{tmp_path}", max_bad_images=0)

    assert count_classes(dataset) == {"cat": 7, "dog": 6}


def test_a_folder_named_like_an_image_is_not_taken_for_one(tmp_path):
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    write_image(tmp_path / "cat" / "album.png" / "inside.png")

    dataset = load_dataset(f"folder:{tmp_path}")

    assert count_classes(dataset) == {"cat": 6, "dog": 5}


def test_chosen_classes_come_in_the_order_asked_for(tmp_path):
    write_classes(tmp_path, {"cat": 5, "dog": 6, "newt": 7})

    dataset = load_dataset(f"folder:{tmp_path}", classes=["newt", "cat"])

    assert list(count_classes(dataset).items()) == [("newt", 7), ("cat", 5)]
    assert {path.parent.name for path in dataset.images.places} == {"newt", "cat"}


def test_all_classes_come_in_the_order_of_their_names(tmp_path):
    write_classes(tmp_path, {"newt": 5, "cat": 5, "dog": 5})

    assert load_dataset(f"folder:{tmp_path}").class_names == ("cat", "dog", "newt")


def test_the_order_of_the_classes_changes_the_fingerprint(tmp_path):
    write_classes(tmp_path, {"cat": 5, "dog": 5})

    one = load_dataset(f"folder:{tmp_path}", classes=["cat", "dog"])
    other = load_dataset(f"folder:{tmp_path}", classes=["dog", "cat"])

    assert one.fingerprint != other.fingerprint


def test_an_unknown_class_is_answered_with_the_nearest_one(image_folder):
    with pytest.raises(UnknownNameError, match=r"Unknown class 'dgo'\. Did you mean 'dog'\? Known: cat, dog\."):
        load_dataset(f"folder:{image_folder}", classes=["cat", "dgo"])


def test_a_class_asked_for_twice_is_refused(image_folder):
    with pytest.raises(DataError, match="cat"):
        load_dataset(f"folder:{image_folder}", classes=["cat", "dog", "cat"])


def test_an_empty_class_folder_is_refused_by_name(image_folder):
    (image_folder / "newt").mkdir()

    with pytest.raises(DataError, match=r"no images to train on in class newt\. Add images, such as \.jpg"):
        load_dataset(f"folder:{image_folder}")


def test_a_folder_with_one_class_is_refused(image_folder):
    shutil.rmtree(image_folder / "dog")

    with pytest.raises(DataError, match=r"has 1 class \(cat\): .* at least 2 folders"):
        load_dataset(f"folder:{image_folder}")


def test_one_chosen_class_is_refused(image_folder):
    with pytest.raises(DataError, match=r"has 1 class \(dog\)"):
        load_dataset(f"folder:{image_folder}", classes=["dog"])


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has 0 class \(no folders in it\)"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("is_file", [False, True], ids=["absent", "a file"])
def test_a_place_that_is_no_folder_is_refused(tmp_path, is_file):
    place = tmp_path / "place"
    if is_file:
        place.write_text("a file")

    with pytest.raises(DataError, match="place is not a folder: folder: takes"):
        load_dataset(f"folder:{place}")


def test_a_class_of_one_image_is_too_small_for_a_test_split(tmp_path):
    write_classes(tmp_path, {"cat": 9, "dog": 1})

    with pytest.raises(DataError, match=r"the test split of folder:.* The smallest has 1"):
        load_dataset(f"folder:{tmp_path}")


def test_a_corrupt_image_is_refused_by_name(image_folder):
    (image_folder / "cat" / "3.png").write_bytes(b"no image")

    with pytest.raises(DataError, match=r"(?s)1 files cannot be decoded, at most 0 .*cat.3\.png.*--max-bad-images 1"):
        load_dataset(f"folder:{image_folder}")


def test_an_accepted_corrupt_image_is_left_out_and_named(image_folder):
    (image_folder / "cat" / "3.png").write_bytes(b"no image")

    dataset = load_dataset(f"folder:{image_folder}", max_bad_images=1)

    assert count_classes(dataset) == {"cat": 9, "dog": 10}
    assert dataset.notes == ("left out, undecodable images: 1 (cat/3.png)",)
    assert dataset.n_left_out == 1
    assert image_folder / "cat" / "3.png" not in dataset.images.places
    for path, label in zip(dataset.images.places, dataset.labels, strict=True):
        assert path.parent.name == dataset.class_names[label]


def test_of_many_corrupt_images_five_are_shown_and_the_rest_counted(image_folder):
    for number in range(7):
        (image_folder / "cat" / f"{number}.png").write_bytes(b"no image")

    with pytest.raises(DataError, match=r"(?s)7 files .* at most 2 .*cat.4\.png.*and 2 more.*--max-bad-images 7"):
        load_dataset(f"folder:{image_folder}", max_bad_images=2)


def test_a_class_whose_every_image_is_corrupt_has_no_images(image_folder):
    for path in (image_folder / "cat").iterdir():
        path.write_bytes(b"no image")

    with pytest.raises(DataError, match="no images to train on in class cat"):
        load_dataset(f"folder:{image_folder}", max_bad_images=10)


def test_class_names_may_be_of_any_script(tmp_path):
    names = ["chat noir", "köter", "犬", "кот"]
    write_classes(tmp_path / "Ω pictures", dict.fromkeys(names, 5))

    dataset = load_dataset(f"folder:{tmp_path / 'Ω pictures'}")

    assert count_classes(dataset) == dict.fromkeys(names, 5)


def test_a_second_load_decodes_nothing(image_folder, decoded):
    first = load_dataset(f"folder:{image_folder}")
    n_first = len(decoded)

    second = load_dataset(f"folder:{image_folder}")

    assert n_first == 20
    assert len(decoded) == n_first
    assert second.fingerprint == first.fingerprint
    assert second.images == first.images


def test_a_changed_file_is_read_again(image_folder, decoded):
    first = load_dataset(f"folder:{image_folder}")
    decoded.clear()
    write_image(image_folder / "cat" / "3.png", seed=99)

    second = load_dataset(f"folder:{image_folder}")

    assert decoded == ["3.png"]
    assert second.fingerprint != first.fingerprint


def test_a_file_of_the_same_size_and_a_new_time_is_read_again(image_folder, decoded):
    load_dataset(f"folder:{image_folder}")
    decoded.clear()
    os.utime(image_folder / "cat" / "3.png", (1, 1))

    load_dataset(f"folder:{image_folder}")

    assert decoded == ["3.png"]


def test_a_new_file_is_read_and_the_others_remembered(image_folder, decoded):
    load_dataset(f"folder:{image_folder}")
    decoded.clear()
    write_image(image_folder / "dog" / "new.png")

    dataset = load_dataset(f"folder:{image_folder}")

    assert decoded == ["new.png"]
    assert count_classes(dataset)["dog"] == 11


def test_another_version_of_pillow_looks_again(image_folder, decoded, monkeypatch):
    load_dataset(f"folder:{image_folder}")
    n_before = len(decoded)
    monkeypatch.setattr("PIL.__version__", "99.0")

    load_dataset(f"folder:{image_folder}")

    assert len(decoded) == 2 * n_before


def test_a_corrupt_image_is_remembered_as_corrupt(image_folder, decoded):
    (image_folder / "cat" / "3.png").write_bytes(b"no image")
    load_dataset(f"folder:{image_folder}", max_bad_images=1)
    decoded.clear()

    with pytest.raises(DataError, match="1 files cannot be decoded"):
        load_dataset(f"folder:{image_folder}")

    assert decoded == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"3", b'{"cat/3.png|1|1": 3}', b'{"cat/3.png|1|1": ["' + b"0" * 64 + b'", ""]}, b"\xff\xfe"',
        b'{"cat/3.png|1|1": ["no hash", "", null, false]}', b"[" * 100_000, b'{"a": {}}',
    ],
)  # fmt: skip
def test_a_damaged_memory_of_the_scan_is_made_anew(image_folder, tmp_path, monkeypatch, decoded, content):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    first = load_dataset(f"folder:{image_folder}")
    (memory,) = (tmp_path / "cache" / "scans").iterdir()
    memory.write_bytes(content)

    again = load_dataset(f"folder:{image_folder}")

    assert again.fingerprint == first.fingerprint
    assert len(decoded) == 40
    load_dataset(f"folder:{image_folder}")
    assert len(decoded) == 40, "it was not written again"


def test_two_folders_do_not_share_a_memory(tmp_path):
    write_classes(tmp_path / "one", {"cat": 5, "dog": 5})
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    write_image(tmp_path / "two" / "cat" / "0.png", seed=99)
    for root in ("one", "two"):
        os.utime(tmp_path / root / "cat" / "0.png", (1, 1))

    one, two = (load_dataset(f"folder:{tmp_path / root}") for root in ("one", "two"))

    assert one.fingerprint != two.fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(image_folder, tmp_path):
    first = load_dataset(f"folder:{image_folder}")
    elsewhere = tmp_path / "else" / "where"
    shutil.copytree(image_folder, elsewhere)

    second = load_dataset(f"folder:{elsewhere}")

    assert second.fingerprint == first.fingerprint


def test_moving_an_image_to_another_split_changes_the_fingerprint(tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / split, {"cat": 5, "dog": 5})
    write_image(tmp_path / "train" / "cat" / "zz.png", seed=77)
    first = load_dataset(f"folder:{tmp_path}")
    shutil.move(tmp_path / "train" / "cat" / "zz.png", tmp_path / "test" / "cat" / "zz.png")

    second = load_dataset(f"folder:{tmp_path}")

    assert second.fingerprint != first.fingerprint


def test_a_folder_has_one_fingerprint_and_one_scan_by_all_its_spellings(image_folder, decoded, monkeypatch):
    (image_folder.parent / "other").mkdir()
    monkeypatch.setenv("HOME", str(image_folder.parent))
    datasets = []

    for place, here in (
        ("../pets", image_folder.parent / "other"),
        ("pets/", image_folder.parent),
        ("./pets", image_folder.parent),
        (str(image_folder), Path("/")),
        ("~/pets", Path("/")),
    ):
        monkeypatch.chdir(here)
        datasets.append(load_dataset(f"folder:{place}"))

    assert len({dataset.fingerprint for dataset in datasets}) == 1
    assert len({tuple(dataset.test) for dataset in datasets}) == 1
    assert len(decoded) == 20


def test_the_progress_counts_every_file(image_folder):
    calls = []

    load_dataset(f"folder:{image_folder}", on_progress=lambda n_done, n: calls.append((n_done, n)))

    assert calls == [(n_done, 20) for n_done in range(1, 21)]


def test_loading_holds_no_pixels(image_folder):
    dataset = load_dataset(f"folder:{image_folder}", limit=10)

    assert dataset.name == f"folder:{image_folder}@10"
    assert len(dataset.images.places) == 10
