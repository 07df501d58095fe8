"""Folders of any kind against a plain count with `os.walk` and Pillow."""

import os
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from toy_images import write_image

from benchmark.datasets import Dataset, load_dataset
from benchmark.datasets.folder import read_folder

EVERY = 10**6
SPLITS = {"train": 0, "Training": 0, "VAL": 1, "validation": 1, "Test": 2, "testing": 2}
MIN_IMAGES = 6

names = st.text(st.characters(exclude_characters="\0/.", exclude_categories=["Cs"]), min_size=1, max_size=6)
suffixes = st.sampled_from([".png", ".PNG", ".Tif", ".jpeg", ".jfif", ".bmp", "", ".odd"])
places = st.sampled_from(["", "deep", "deep/er", "album.png", ".hidden", "@eaDir", "x/.git"])
contents = st.sampled_from(["image", "image", "image", "damaged", "text", "heic", "link", "folder link", "broken link"])


@st.composite
def trees(draw: st.DrawFn) -> dict[str, list[tuple[str, str, str, str, int]]]:
    """Class folders with their further files: place, name, suffix, content and seed of each."""
    files = st.lists(st.tuples(places, names, suffixes, contents, st.integers(0, 5)), max_size=8)
    classes = draw(st.lists(names.map(lambda name: f"c{name}"), min_size=2, max_size=3, unique_by=str.lower))
    splits = draw(st.sampled_from([[""], ["train", "VAL", "Test"], ["Training", "testing"], ["train", "validation"]]))
    return {f"{split}/{name}".lstrip("/"): draw(files) for split in splits for name in classes}


def build(root: Path, tree: dict[str, list[tuple[str, str, str, str, int]]]) -> None:
    for number, (folder, files) in enumerate(tree.items()):
        for one in range(MIN_IMAGES):
            write_image(root / folder / f"{one}.png", seed=1000 * number + one + 100)
        for place, name, suffix, content, seed in files:
            path = root / folder / place / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(path):
                write(path, content, seed, root / folder)
    write_image(root / "loose.png")
    (root / "README").write_text("no image")


def write(path: Path, content: str, seed: int, class_folder: Path) -> None:
    if content in ("image", "damaged"):
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
        kind = Image.registered_extensions().get(path.suffix.lower(), "PNG")
        with path.open("wb") as file:
            Image.fromarray(pixels).save(file, kind)
        if content == "damaged":
            path.write_bytes(path.read_bytes()[:70])
    elif content in ("text", "heic"):
        path.with_suffix(".heic" if content == "heic" else ".txt").write_bytes(b"nothing")
    else:
        targets = {"link": class_folder / "0.png", "folder link": class_folder, "broken link": Path("nowhere")}
        path.symlink_to(targets[content])


def plain_count(root: Path, depth: int) -> tuple[set[Path], set[Path]]:
    """The images of the classes, which lie at this depth, and all files; links are only in the second."""
    images, files = set(), set()
    for folder, folders, file_names in os.walk(root):
        files |= {Path(folder, name) for name in file_names}
        files |= {Path(folder, name) for name in folders if Path(folder, name).is_symlink()}
    for path in files:
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") or part == "@eaDir" for part in parts)
        if not hidden and len(parts) > depth and not path.is_symlink() and opens(path):
            images.add(path)
    return images, files


def opens(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def load(root: Path) -> Dataset:
    return load_dataset(f"folder:{root}", max_bad_images=EVERY)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # as the program does, which no test can see
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees(), changed=st.integers(0, EVERY))
def test_every_file_is_used_with_its_label_or_left_out(tree: dict, changed: int):
    depth = len(next(iter(tree)).split("/"))
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, BENCHMARK_CACHE=f"{folder}/cache"):
        root = Path(folder, "root")
        build(root, tree)
        images, files = plain_count(root, depth)

        dataset = load(root)
        contents = read_folder(root, classes=None)

        assert set(dataset.images.places) == images
        assert len(dataset) == len(images), "a file is used twice"
        assert images | contents.left_out.keys() == files
        assert not images & contents.left_out.keys()
        for path, label in zip(dataset.images.places, dataset.labels, strict=True):
            assert path.relative_to(root).parts[depth - 1] == dataset.class_names[label]
        check_splits(dataset, root, depth)
        check_fingerprint(dataset, root, changed)


def check_splits(dataset: Dataset, root: Path, depth: int) -> None:
    if depth == 1:
        return
    own = {SPLITS[path.relative_to(root).parts[0]] for path in dataset.images.places}
    for positions, split in ((dataset.val, 1), (dataset.test, 2)):
        if split in own and positions is not None:
            found = [SPLITS[dataset.images.places[place].relative_to(root).parts[0]] for place in positions]
            assert set(found) == {split}


def check_fingerprint(dataset: Dataset, root: Path, changed: int) -> None:
    """It is that of the content: it stays when the folder is renamed, and not when a byte changes."""
    moved = root.rename(root.with_name("elsewhere"))
    assert load(moved).fingerprint == dataset.fingerprint
    path = dataset.images.places[changed % len(dataset)]
    with (moved / path.relative_to(root)).open("ab") as file:
        file.write(b"\0")
    assert load(moved).fingerprint != dataset.fingerprint
