"""Which folders are classes, and of which split."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmark.datasets.files import (
    FoundFile,
    Reason,
    is_hidden,
    is_named_as_image,
    list_folder,
    path_text,
    unreadable,
    walk_files,
)
from benchmark.errors import DataError

UNSPLIT, *SPLITS = "", "train", "val", "test"
TRAIN, VAL, TEST = SPLITS
# The names that people give to the splits.
SPLIT_WORDS = {
    "train": TRAIN, "training": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "dev": VAL, "test": TEST,
    "testing": TEST,
}  # fmt: skip

# Where nothing is trained, the first of these is tested that a dataset has: a network may have learned from the others.
TESTED_FIRST = (TEST, VAL, TRAIN, UNSPLIT)

_T = TypeVar("_T")


class Layout(NamedTuple):
    """The folders of classes, and the files that are in none.

    Attributes:
        class_folders: The split and the folder of each class; `UNSPLIT` if the dataset is not split.
        others: The files outside them.
        notes: What was assumed.
    """

    class_folders: list[tuple[str, Path]]
    others: list[FoundFile]
    notes: tuple[str, ...]


def find_layout(root: Path, *, needs_train: bool = True) -> Layout:
    """The class folders of a dataset.

    If `root` has folders named like splits, in any case, and these hold folders, those are the classes. Else the
    folders of `root` are.

    Args:
        root: The folder.
        needs_train: See `split_words`.

    Raises:
        DataError: `root` is no folder or cannot be read, or it is not clear what is a split and what is a class.
    """
    try:
        is_folder = root.is_dir()
    except OSError as error:
        raise unreadable(root, error) from error
    if not is_folder:
        raise DataError(f"{path_text(root)} is not a folder: folder: takes a folder that holds one folder per class.")
    folders, others = _divided(root)
    inner = {folder: _divided(folder) for folder in folders if folder.name.lower() in SPLIT_WORDS}
    if not inner or (len(inner) < len(folders) and not any(inside for inside, _ in inner.values())):
        notes = tuple(f"the folder {folder.name} is read as a class, not as a split" for folder in inner)
        return Layout([(UNSPLIT, folder) for folder in folders], _outside(others), notes)
    for folder in folders:
        if folder not in inner:
            _check_no_images(folder, inner)
            others.append(folder)
    class_folders = []
    for split, folder in split_words(
        {path.name: path for path in inner}, path_text(root), needs_train=needs_train
    ).items():
        classes, loose = inner[folder]
        if not classes:
            raise DataError(
                f"{path_text(folder)} is a split without class folders{_but_images(loose)}: put the images of each "
                "class into a folder of its name, or remove the split."
            )
        class_folders += [(split, one) for one in classes]
        others += loose
    return Layout(class_folders, _outside(others), ())


def split_words(named: dict[str, _T], where: str, *, needs_train: bool = True) -> dict[str, _T]:
    """What has the name of a split, in any usual spelling, by the split: train first, then val and test.

    Args:
        named: By the names that were found.
        where: The dataset, for messages.
        needs_train: Whether a train split must be there.

    Raises:
        DataError: There is no train split, or no split at all, or a split is there twice.
    """
    found: dict[str, tuple[str, _T]] = {}
    for name, value in named.items():
        split = SPLIT_WORDS.get(name.lower())
        if split in found:
            raise DataError(f"{where} has two splits for {split}: {found[split][0]} and {name}. Merge or rename them.")
        if split:
            found[split] = (name, value)
    if not found or (needs_train and TRAIN not in found):
        raise DataError(
            f"{where} has no split named train or training, only {', '.join(named) or 'none'}: add it, or rename the "
            "one that is meant."
        )
    return {split: found[split][1] for split in SPLITS if split in found}


def _divided(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders in a folder that are not hidden, and everything else in it."""
    folders: list[Path] = []
    others: list[Path] = []
    for path in list_folder(folder):
        try:
            is_folder = path.is_dir() and not is_hidden(path)
        except OSError as error:
            raise unreadable(path, error) from error
        (folders if is_folder else others).append(path)
    return folders, others


def _outside(paths: list[Path]) -> list[FoundFile]:
    """The files at these places, which are in no class folder."""
    files = [file for path in paths for file in walk_files(path, hidden=is_hidden(path))]
    return [
        file._replace(
            reason=file.reason or (Reason.OUTSIDE if is_named_as_image(file.path) else Reason.NO_IMAGE),
        )
        for file in files
    ]


def _check_no_images(folder: Path, splits: Iterable[Path]) -> None:
    if any(file.reason is Reason.OUTSIDE for file in _outside([folder])):
        names = ", ".join(path.name for path in splits)
        raise DataError(
            f"{path_text(folder)} holds images, but stands beside {names}, whose folders are read as the classes of a "
            f"split: move it into a split or out of the dataset, or rename {names}."
        )


def _but_images(paths: list[Path]) -> str:
    n_images = sum(map(is_named_as_image, paths))
    return f", but with {n_images:,} images" if n_images else ""
