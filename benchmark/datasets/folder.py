"""A folder of image files, one folder a class, read as a dataset without holding the images in memory."""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.datasets.decode import IMAGE_SUFFIXES, decode_file
from benchmark.datasets.records import Dataset, FileImages, fingerprint_of, set_test_aside
from benchmark.errors import DataError, UnknownNameError
from benchmark.provenance import usable_cpus
from benchmark.storage import cache_root, digest_of_text, sha256_of_file, write_whole

SPLIT_NAMES = ("train", "val", "test")
TEST_FRACTION = 0.2
MIN_CLASSES = 2
SHOWN_BAD_FILES = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScannedFile:
    """What is known of one image file.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        fault: Why it cannot be decoded; empty where it can.
    """

    path: Path
    sha256: str
    fault: str


def load_folder(
    name: str, root: Path, *, classes: Sequence[str] | None, max_bad_images: int, on_progress: Progress | None = None
) -> Dataset:
    """The dataset of a folder that holds a folder a class, or train, val and test folders of them.

    Every file is hashed and decoded once; the outcome is remembered until the file changes. Without a test
    folder, a stratified fifth of the images, always the same, is set aside for testing.

    Args:
        name: As the ledger writes it.
        root: The folder.
        classes: Keep only these, in this order; all, sorted by name, where it is None.
        max_bad_images: How many undecodable files may be left out.
        on_progress: Called with the number of files looked at, and of all.

    Raises:
        DataError: There is no such folder, fewer than two classes, a class without images, or too many bad files.
        UnknownNameError: A name in `classes` is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: folder: takes a folder that holds one folder a class.")
    splits = _split_folders(root)
    class_names = _class_names(root, splits, classes)
    files = [
        (path, label, split)
        for split, folder in splits.items()
        for label, class_name in enumerate(class_names)
        for path in _image_files(folder / class_name)
    ]
    scanned = _scan(root, [path for path, _, _ in files], on_progress)
    bad = [file for file in scanned if file.fault]
    _check_bad(root, bad, max_bad_images)

    good = [(file, label, split) for file, (_, label, split) in zip(scanned, files, strict=True) if not file.fault]
    labels = np.array([label for _, label, _ in good], np.int64)
    split_of = np.array([split for _, _, split in good])
    is_test, is_val = split_of == "test", split_of == "val"
    _check_classes(root, class_names, labels[~is_test & ~is_val])
    test = np.flatnonzero(is_test) if "test" in splits else set_test_aside(labels, ~is_val, TEST_FRACTION, name)
    val = np.flatnonzero(is_val) if "val" in splits else None
    content = "".join(file.sha256 for file, _, _ in good).encode()
    return Dataset(
        name=name,
        images=FileImages(tuple(file.path for file, _, _ in good)),
        labels=labels,
        class_names=class_names,
        test=test,
        val=val,
        fingerprint=fingerprint_of(content, labels, class_names, test, *([] if val is None else [val])),
        bad_files=tuple(str(file.path.relative_to(root)) for file in bad),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders that hold the class folders, by split; `{"": root}` where the dataset is not divided."""
    present = {split: root / split for split in SPLIT_NAMES if (root / split).is_dir()}
    return present if "train" in present else {"": root}


def _class_names(root: Path, splits: dict[str, Path], classes: Sequence[str] | None) -> tuple[str, ...]:
    found = {
        path.name
        for folder in splits.values()
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    for name in classes or ():
        if name not in found:
            raise UnknownNameError("class", name, found)
    repeated = sorted({name for name in classes or () if list(classes or ()).count(name) > 1})
    if repeated:
        raise DataError(f"{root}: class {', '.join(repeated)} is asked for more than once; name each class once.")
    names = tuple(classes) if classes else tuple(sorted(found))
    if len(names) < MIN_CLASSES:
        raise DataError(
            f"{root} has {len(names)} class ({', '.join(names) or 'no folders in it'}): "
            f"telling images apart needs at least {MIN_CLASSES} folders, one a class."
        )
    return names


def _image_files(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _check_bad(root: Path, bad: list[ScannedFile], max_bad_images: int) -> None:
    if len(bad) > max_bad_images:
        shown = "\n".join(f"  {file.fault}" for file in bad[:SHOWN_BAD_FILES])
        more = f"\n  and {len(bad) - SHOWN_BAD_FILES} more" if len(bad) > SHOWN_BAD_FILES else ""
        raise DataError(
            f"{root}: {len(bad)} files cannot be decoded, at most {max_bad_images} may be left out:\n{shown}{more}\n"
            f"Mend or remove them, or accept the loss with --max-bad-images {len(bad)}."
        )


def _check_classes(root: Path, class_names: tuple[str, ...], labels: np.ndarray) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"{root}: no images to train on in class {', '.join(empty)}. "
            f"Expected {', '.join(sorted(IMAGE_SUFFIXES))} files; add some or remove the folder."
        )


def _scan(root: Path, paths: list[Path], on_progress: Progress | None) -> list[ScannedFile]:
    """Each file hashed and decoded, or remembered from an earlier scan where size and time are unchanged."""
    memory_path = cache_root() / "scans" / f"{digest_of_text(str(root.resolve()))[:16]}.json"
    memory = _read_memory(memory_path)
    found: dict[str, list[str]] = {}
    scanned = []
    with ThreadPoolExecutor(usable_cpus()) as pool:
        results = pool.map(lambda path: _scan_file(root, path, memory), paths)
        for n_done, (key, file) in enumerate(results, start=1):
            found[key] = [file.sha256, file.fault]
            scanned.append(file)
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


def _scan_file(root: Path, path: Path, memory: dict[str, list[str]]) -> tuple[str, ScannedFile]:
    state = path.stat()
    key = f"{path.relative_to(root)}|{state.st_size}|{state.st_mtime_ns}"
    if key in memory:
        return key, ScannedFile(path, *memory[key])
    try:
        decode_file(path)
        return key, ScannedFile(path, sha256_of_file(path), fault="")
    except (DataError, OSError) as error:
        return key, ScannedFile(path, sha256="", fault=str(error))
