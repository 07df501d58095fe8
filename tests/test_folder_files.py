"""Every file of a folder is an image of the dataset, or is left out for a reason that is said."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_images import write_classes, write_grey, write_image, write_wide_png
from toys import count_classes

from benchmark.datasets import load_dataset, scan
from benchmark.datasets.files import readable_suffixes
from benchmark.errors import DataError

NOT_UTF_8 = os.fsdecode(b"caf\xe9")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pets", {"cat": 10, "dog": 10})


def load(root: Path, **options):
    return load_dataset(f"folder:{root}", **options)


# --- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tif", "TIFF", "jfif", "jpe", "jp2", "ppm", "pgm", "ico", "tga", "avif"])
def test_images_of_every_format_that_pillow_reads_are_used(pets: Path, suffix: str):
    if f".{suffix.lower()}" not in readable_suffixes():
        pytest.skip("this Pillow does not read them")
    for number in range(90):
        options = {"sizes": [(4, 3)]} if suffix == "ico" else {}
        write_image(pets / "cat" / f"x{number}.{suffix}", seed=number, **options)

    dataset = load(pets)

    assert count_classes(dataset) == {"cat": 100, "dog": 10}
    assert dataset.n_left_out == 0
    assert dataset.images.read([50])[0].shape == (3, 4, 3)


@pytest.mark.parametrize("name", ["photo", "photo.jpg.1", "photo.part-2", "0.unknown"])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_without_a_telling_suffix_is_known_by_its_content(pets: Path, name: str, format_name: str):
    write_image(pets / "cat" / name, format=format_name)

    assert count_classes(load(pets))["cat"] == 11


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".cr2", ".nef", ".dng", ".svg", ".jxl"])
def test_images_that_cannot_be_read_are_counted_by_their_suffix(pets: Path, suffix: str):
    for number in range(3):
        (pets / "cat" / f"{number}{suffix}").write_bytes(b"something")

    dataset = load(pets)

    assert dataset.notes == (
        f"left out, images of a format that Pillow cannot read: 3 ({suffix.lower()} 3)",
    )  # fmt: skip
    assert dataset.n_left_out == 3


@pytest.mark.parametrize(
    "name", ["notes.txt", "a.json", "labels.csv", "README", "a.xml", "data.h5", "doc.pdf", "v.mpg"]
)
@pytest.mark.parametrize("content", [b"", b"P3 is not an image", b"BMW is a car", bytes(range(256)) * 9])
def test_a_file_that_is_no_image_is_remarked_and_not_a_bad_image(pets: Path, name: str, content: bytes):
    (pets / "cat" / name).write_bytes(content)

    dataset = load(pets)

    assert len(dataset) == 20
    assert (dataset.notes, dataset.n_left_out) == ((), 0)
    assert dataset.remarks == (
        f"left out, files that are no images: 1 ({Path(name).suffix or name} 1)",
    )  # fmt: skip


def test_a_file_that_is_no_image_is_not_opened_again(pets: Path, monkeypatch: pytest.MonkeyPatch):
    (pets / "cat" / "notes.txt").write_text("no image")
    load(pets)

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(scan, "_scan_file", refuse)

    assert len(load(pets)) == 20


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", [".thumbnails/a.png", "cat/.git/a.png", "cat/@eaDir/a.png", "cat/.a.png", "cat/deep/__MACOSX/a.png"]
)
def test_hidden_images_are_neither_classes_nor_images_and_are_counted(pets: Path, place: str):
    write_image(pets / place)

    dataset = load(pets)

    assert count_classes(dataset) == {"cat": 10, "dog": 10}
    assert dataset.notes == (f"left out, hidden images: 1 ({place})",)
    assert dataset.n_left_out == 1


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._0.png", "desktop.ini"])
def test_files_of_the_system_are_only_remarked(pets: Path, name: str):
    (pets / "cat" / name).write_bytes(b"\0\1\2")

    dataset = load(pets)

    assert (len(dataset), dataset.notes, dataset.n_left_out) == (20, (), 0)
    assert len(dataset.remarks) == 1


def test_images_outside_any_class_are_counted(pets: Path):
    for number in range(5):
        write_image(pets / f"{number}.png")

    dataset = load(pets)

    assert len(dataset) == 20
    assert dataset.notes == ("left out, images outside any class folder: 5 (0.png, 1.png, 2.png, …)",)
    assert dataset.n_left_out == 5


# --- links -----------------------------------------------------------------------------------------------------------


def test_a_linked_folder_is_followed_and_a_loop_ends(pets: Path, tmp_path: Path):
    elsewhere = write_classes(tmp_path / "elsewhere", {"kittens": 4, "more": 1})
    (pets / "cat" / "young").symlink_to(elsewhere / "kittens")
    (elsewhere / "kittens" / "back").symlink_to(pets / "cat")
    (pets / "cat" / "up").symlink_to("..")

    dataset = load(pets)

    assert count_classes(dataset) == {"cat": 14, "dog": 10}
    assert pets / "cat" / "young" / "3.png" in dataset.images.places


def test_a_file_is_taken_once_per_class_however_many_links_lead_to_it(pets: Path):
    (pets / "cat" / "a").mkdir()
    for name in ("a/link.png", "b.png", "zz.png"):
        (pets / "cat" / name).symlink_to(pets / "cat" / "0.png")
    (pets / "cat" / "all").symlink_to(pets / "cat" / "a")

    dataset = load(pets)

    assert count_classes(dataset)["cat"] == 10
    assert pets / "cat" / "0.png" in dataset.images.places
    assert dataset.remarks == (
        "left out, links to files that are in their class already: 4 (cat/a/link.png, cat/all, cat/b.png, …)",
    )


def test_folders_that_link_to_each_other_end(pets: Path):
    for one in range(8):
        (pets / "cat" / f"d{one}").mkdir()
        write_image(pets / "cat" / f"d{one}" / "x.png", seed=100 + one)
        for other in range(8):
            (pets / "cat" / f"d{one}" / f"to{other}").symlink_to(pets / "cat" / f"d{other}")

    assert count_classes(load(pets))["cat"] == 18


def test_links_to_nothing_and_special_files_are_said(pets: Path):
    (pets / "cat" / "gone.png").symlink_to(pets / "nowhere.png")
    (pets / "cat" / "self.png").symlink_to(pets / "cat" / "self.png")
    os.mkfifo(pets / "cat" / "pipe.png")

    dataset = load(pets)

    assert len(dataset) == 20
    assert dataset.notes == (
        "left out, no ordinary files, or links to nothing: 3 (cat/gone.png, cat/pipe.png, cat/self.png)",
    )
    assert dataset.n_left_out == 3


# --- what the system refuses, and names ------------------------------------------------------------------------------


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    iterdir = Path.iterdir

    def refuse(path: Path):
        if path.name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)


@pytest.mark.parametrize("name", ["pets", "cat", "deep"])
def test_a_folder_that_cannot_be_read_is_an_error_with_the_reason(pets: Path, monkeypatch, name: str):
    write_image(pets / "cat" / "deep" / "a.png")
    refuse_to_list(monkeypatch, name)

    with pytest.raises(DataError, match=rf"{name} cannot be read: Permission denied\. Make it readable"):
        load(pets)


def test_a_hidden_folder_that_cannot_be_read_does_not_matter(pets: Path, monkeypatch):
    (pets / "lost+found").mkdir()
    refuse_to_list(monkeypatch, "lost+found")

    assert len(load(pets)) == 20


def test_a_file_that_cannot_be_read_is_an_error_and_is_not_remembered(pets: Path, monkeypatch):
    usual_open = Path.open

    def refuse(path: Path, *arguments, **options):
        if path.name == "3.png":
            raise PermissionError(13, "Permission denied", str(path))
        return usual_open(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(DataError, match=r"3\.png cannot be read: Permission denied"):
            load(pets, max_bad_images=5)

    assert len(load(pets)) == 20


def test_a_class_whose_name_is_not_utf_8_is_refused(pets: Path):
    (pets / "cat").rename(pets / NOT_UTF_8)

    with pytest.raises(DataError, match=r"name of the class caf\\udce9 is not UTF-8: rename") as caught:
        load(pets)

    str(caught.value).encode()


def test_a_dataset_whose_name_is_not_utf_8_is_refused(pets: Path):
    renamed = pets.rename(pets.parent / NOT_UTF_8)

    with pytest.raises(DataError, match=r"name of the dataset folder:.*caf\\udce9 is not UTF-8"):
        load(renamed)


def test_images_whose_names_are_not_utf_8_are_used(pets: Path, monkeypatch):
    for number in range(3):
        (pets / "cat" / f"{number}.png").rename(pets / "cat" / f"{NOT_UTF_8}{number}.png")
    (pets / "cat" / f"{NOT_UTF_8}.heic").write_bytes(b"")
    (pets / "cat" / f"{NOT_UTF_8}.png").write_bytes(b"broken")

    dataset = load(pets, max_bad_images=1)

    assert count_classes(dataset)["cat"] == 10
    assert len(dataset.images.read(range(20))) == 20
    assert dataset.notes[0] == r"left out, undecodable images: 1 (cat/caf\udce9.png)"
    monkeypatch.setattr(scan, "_scan_file", None)
    assert load(pets, max_bad_images=1).fingerprint == dataset.fingerprint, "they were not remembered"
    with pytest.raises(DataError) as caught:
        load(pets)
    str(caught.value).encode()


# --- deep pixels -----------------------------------------------------------------------------------------------------


def add_grey(pets: Path, values: list[int]) -> None:
    for number, value in enumerate(values):
        write_grey(pets / "cat" / f"grey{number}.png", [0, value])


@pytest.mark.parametrize(
    ("top", "divisor", "brightest"), [(200, 1, 200), (255, 1, 255), (4000, 16, 250), (4096, 256, 16), (65535, 256, 255)]
)
def test_the_range_of_16_bit_grey_is_that_of_the_whole_folder(pets: Path, top: int, divisor: int, brightest: int):
    add_grey(pets, [top, 16])

    dataset = load(pets)

    (first, second) = dataset.images.read([10, 11])
    assert first.tolist() == [[[0] * 3, [brightest] * 3]]
    assert second.tolist() == [[[0] * 3, [16 // divisor] * 3]]
    assert dataset.notes == (f"16-bit grey images: 2, values up to {top:,}, divided by {divisor} to 8 bits",)


def test_how_grey_is_scaled_is_part_of_the_fingerprint_and_is_remembered(pets: Path):
    add_grey(pets, [4000, 16])
    as_12_bit = load(pets)
    again = load(pets)
    write_grey(pets / "dog" / "bright.png", [0, 60000])
    bright = load(pets)
    (pets / "dog" / "bright.png").unlink()

    assert again.images.read([10])[0].tolist() == as_12_bit.images.read([10])[0].tolist() == [[[0] * 3, [250] * 3]]
    assert bright.images.read([10])[0].tolist() == [[[0] * 3, [15] * 3]]
    assert as_12_bit.fingerprint == again.fingerprint == load(pets).fingerprint


def test_16_bit_colours_are_said(pets: Path):
    write_wide_png(pets / "cat" / "wide.png", 0x1234)

    dataset = load(pets)

    assert dataset.images.read([10])[0].tolist() == [[[0x12] * 3]]
    assert dataset.notes == ("16-bit colour images: 1, only the upper 8 bits are read",)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.array([[0.0, 1.0]], np.float32), "floating-point numbers"),
        (np.array([[0, 70_000]], np.int32), "its values go from 0 to 70000"),
        (np.array([[-1, 9]], np.int32), "its values go from -1 to 9"),
    ],
)
def test_values_of_an_unknown_range_are_refused(pets: Path, pixels: np.ndarray, reason: str):
    Image.fromarray(pixels).save(pets / "cat" / "deep.tif")

    with pytest.raises(DataError, match=rf"deep\.tif cannot be decoded as an image: .*{reason}"):
        load(pets)
