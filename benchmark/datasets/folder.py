"""A dataset from a folder of image files, one folder per class; the images are not held in memory."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmark.datasets.dataset import Dataset, make_dataset
from benchmark.datasets.images import IMAGE_SUFFIXES, EncodedImages, decode_file
from benchmark.errors import DataError, check_known
from benchmark.provenance import usable_cpus
from benchmark.storage import cache_root, digest_of_text, sha256_of_file, write_whole

SPLIT_NAMES = ("train", "val", "test")
MIN_CLASSES = 2
SHOWN_FAULTS = 5

# Called with `n_done` of `n_total`.
OnProgress = Callable[[int, int], None]


def load_folder(
    name: str, root: Path, *, classes: Sequence[str] | None, max_bad_images: int, on_progress: OnProgress | None = None
) -> Dataset:
    """The dataset of a folder that holds one folder per class, or train, val and test folders of them.

    Every file is hashed and decoded once; the result is remembered until the file changes. Without a test
    folder, a stratified fifth of the images, always the same, is set aside for testing.

    Args:
        name: Only shown.
        root: The folder.
        classes: Keep only these, in this order; None keeps all, sorted by name.
        max_bad_images: Number of files that may be left out because they cannot be decoded.
        on_progress: Called after each file.

    Raises:
        DataError: The folder does not exist, it has fewer than two classes, a class has no images, or too many files
            are bad.
        UnknownNameError: A name in `classes` is not a folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: folder: takes a folder that holds one folder per class.")
    splits = _split_folders(root)
    class_names = _class_names(root, splits, classes)
    files = [
        (path, label, split)
        for split, folder in splits.items()
        for label, class_name in enumerate(class_names)
        for path in _image_files(folder / class_name)
    ]
    scanned = _scan(root, [path for path, _, _ in files], on_progress)
    faults = {path: fault for path, (_, fault) in scanned.items() if fault}
    _check_faults(root, list(faults.values()), max_bad_images)

    good = [file for file in files if file[0] not in faults]
    labels = np.array([label for _, label, _ in good], np.int64)
    is_test, is_val = (np.array([split == name for *_, split in good], bool) for name in ("test", "val"))
    _check_classes(root, class_names, labels[~is_test & ~is_val])
    return make_dataset(
        name,
        EncodedImages(tuple(path for path, _, _ in good), decode_file),
        labels,
        class_names,
        content="".join(scanned[path][0] for path, _, _ in good).encode(),
        test=np.flatnonzero(is_test) if "test" in splits else None,
        val=np.flatnonzero(is_val) if "val" in splits else None,
        bad_files=tuple(str(path.relative_to(root)) for path in faults),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders that hold the class folders, by split; `{"": root}` if the dataset is not split."""
    present = {split: root / split for split in SPLIT_NAMES if (root / split).is_dir()}
    return present if "train" in present else {"": root}


def _class_names(root: Path, splits: dict[str, Path], classes: Sequence[str] | None) -> tuple[str, ...]:
    found = {
        path.name
        for folder in splits.values()
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    for name, count in Counter(classes).items():
        check_known("class", name, found)
        if count > 1:
            raise DataError(f"{root}: class {name} is given more than once; name each class once.")
    names = tuple(classes) if classes else tuple(sorted(found))
    if len(names) < MIN_CLASSES:
        raise DataError(
            f"{root} has {len(names)} class ({', '.join(names) or 'no folders in it'}): "
            f"classification needs at least {MIN_CLASSES} folders, one per class."
        )
    return names


def _image_files(folder: Path) -> list[Path]:
    """The images of a class in one split; none if the split does not have the class."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _check_faults(root: Path, faults: list[str], max_bad_images: int) -> None:
    if len(faults) > max_bad_images:
        shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN_FAULTS])
        more = f"\n  and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise DataError(
            f"{root}: {len(faults)} files cannot be decoded, at most {max_bad_images} may be left out:\n{shown}{more}\n"
            f"Fix or remove them, or leave them out with --max-bad-images {len(faults)}."
        )


def _check_classes(root: Path, class_names: tuple[str, ...], labels: np.ndarray) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(
            f"{root}: no images to train on in class {', '.join(empty)}. Add {suffixes} files or remove the folder."
        )


def _scan(root: Path, paths: list[Path], on_progress: OnProgress | None) -> dict[Path, tuple[str, str]]:
    """SHA-256 of each file, and why it cannot be decoded; empty if it can.

    Files whose size and time are unchanged since an earlier scan are not read again.
    """
    memory_path = cache_root() / "scans" / f"{digest_of_text(str(root.resolve()))[:16]}.json"
    memory = _read_memory(memory_path)
    found: dict[str, tuple[str, str]] = {}
    scanned = {}
    with ThreadPoolExecutor(usable_cpus()) as pool:
        results = pool.map(lambda path: _scan_file(root, path, memory), paths)
        for n_done, (path, (key, result)) in enumerate(zip(paths, results, strict=True), start=1):
            found[key] = scanned[path] = result
            if on_progress:
                on_progress(n_done, len(paths))
    if found.keys() - memory.keys():
        with write_whole(memory_path) as output:
            output.write(json.dumps({**memory, **found}).encode())
    return scanned


def _read_memory(path: Path) -> dict[str, list[str]]:
    try:
        memory = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _scan_file(root: Path, path: Path, memory: dict[str, list[str]]) -> tuple[str, tuple[str, str]]:
    state = path.stat()
    key = f"{path.relative_to(root)}|{state.st_size}|{state.st_mtime_ns}"
    if key in memory:
        sha256, fault = memory[key]
        return key, (sha256, fault)
    try:
        decode_file(path)
        return key, (sha256_of_file(path), "")
    except (DataError, OSError) as error:
        return key, ("", str(error))
