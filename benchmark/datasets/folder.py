"""A dataset from a folder of image files, one folder per class; the images are not held in memory."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.datasets.copies import copy_notes, group_copies, superfluous
from benchmark.datasets.dataset import MIN_CLASSES, Dataset, make_dataset, make_tested_dataset
from benchmark.datasets.decoding import USUAL_SHIFT, decode_file
from benchmark.datasets.files import Reason, check_text, path_text, walk_files
from benchmark.datasets.images import EncodedImages
from benchmark.datasets.layout import TEST, TESTED_FIRST, TRAIN, UNSPLIT, VAL, Layout, find_layout
from benchmark.datasets.notes import QUIET, depth_notes, left_out_notes
from benchmark.datasets.pixels import OnProgress
from benchmark.datasets.scan import Scan, home_of, scan_files
from benchmark.errors import DataError, check_known
from benchmark.preprocessing import View

SHOWN_FAULTS = 5
# The largest values of 16-bit grey that are taken for 8-bit and 12-bit ones, and the bits that these have too many.
SHIFTS = {255: 0, 4095: 4}


class Image(NamedTuple):
    """An image file of the dataset."""

    path: Path
    split: str
    label: int
    scan: Scan


class FolderFiles(NamedTuple):
    """Every file of a folder: an image of the dataset, or left out for a reason.

    Attributes:
        class_names: In the order of the labels.
        splits: Those that have folders; `UNSPLIT` if none has.
        images: By split, class and path.
        left_out: The other files.
        faults: Why images cannot be decoded.
        notes: What was assumed of the folders.
        untested: The splits that are not looked at.
    """

    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    images: list[Image]
    left_out: dict[Path, Reason]
    faults: list[str]
    notes: tuple[str, ...]
    untested: tuple[str, ...] = ()


def load_folder(
    name: str,
    root: Path,
    *,
    classes: Sequence[str] | None,
    max_bad_images: int,
    drop_duplicates: bool = False,
    only_tested: bool = False,
    views: Collection[View] = (),
    on_progress: OnProgress | None = None,
) -> Dataset:
    """The dataset of a folder that holds one folder per class, or folders of the splits that hold them.

    Every file is hashed and decoded, once for each view; the result is remembered until the file changes. Without a
    test folder, a fifth of each class is set aside for testing, drawn by content.

    Args:
        name: Only shown.
        root: The folder.
        classes: Keep only these, in this order; None keeps all, sorted by name.
        max_bad_images: Number of files that may be left out because they cannot be decoded.
        drop_duplicates: Leave out images that are copies; see `copies.superfluous`.
        only_tested: Nothing is trained: read one split only, see `TESTED_FIRST`, all of whose images are tested.
        views: The images that are read now are kept for these; see `scan_files`.
        on_progress: Called after each file.

    Raises:
        DataError: The folder does not exist or cannot be read, it has fewer than two classes, a class has no images,
            too many files are bad, or it is not clear what is a split and what is a class.
        UnknownNameError: A name in `classes` is not a folder.
    """
    contents = read_folder(root, classes=classes, only_tested=only_tested, views=views, on_progress=on_progress)
    _check_faults(root, contents.faults, max_bad_images)
    if drop_duplicates:
        contents = _without_copies(contents)
    _check_images(root, contents, needs_all_classes=not only_tested)
    scans = [image.scan for image in contents.images]
    shift = _shift(scans)
    dataset = _make(name, root, contents, shift, only_tested=only_tested)

    # The split of each image, also where the test images were drawn.
    splits = np.zeros(len(dataset), np.int64)
    for number, positions in enumerate((dataset.test, dataset.val), start=1):
        splits[[] if positions is None else positions] = number
    copies, n_duplicates = copy_notes(
        group_copies([scan.sha256 for scan in scans]),
        dataset.labels.tolist(),
        splits.tolist(),
        lambda position: _name_in(root, contents.images[position].path),
    )
    left_out = left_out_notes(root, contents.left_out, quiet=False)
    return replace(
        dataset,
        notes=(*contents.notes, *dataset.notes, *left_out, *copies, *depth_notes(scans, shift)),
        remarks=(
            *left_out_notes(root, contents.left_out, quiet=True),
            *(f"the images of {split} are not scored" for split in contents.untested),
        ),
        n_left_out=sum(reason not in QUIET for reason in contents.left_out.values()),
        n_duplicates=n_duplicates,
        grey_shift=shift,
    )


def read_folder(
    root: Path,
    *,
    classes: Sequence[str] | None,
    only_tested: bool = False,
    views: Collection[View] = (),
    on_progress: OnProgress | None = None,
) -> FolderFiles:
    """What is in a folder; see `load_folder` for its arguments and errors."""
    layout = find_layout(root, needs_train=not only_tested)
    found = dict.fromkeys(split for split, _ in layout.class_folders)
    if only_tested:
        tested = next((split for split in TESTED_FIRST if split in found), UNSPLIT)
        layout = layout._replace(class_folders=[one for one in layout.class_folders if one[0] == tested])
    class_names = _class_names(root, layout, classes)
    left_out = {file.path: file.reason for file in layout.others if file.reason}
    splits = tuple(dict.fromkeys(split for split, _ in layout.class_folders))
    folders = {(split, folder.name): folder for split, folder in layout.class_folders}
    files = [
        (file, split, label)
        for split in splits
        for label, class_name in enumerate(class_names)
        if (split, class_name) in folders
        for file in walk_files(folders[split, class_name])
    ]
    left_out |= {file.path: file.reason for file, _, _ in files if file.reason}
    files = [member for member in files if not member[0].reason]
    images, faults = [], []
    scans = scan_files(root, [file for file, _, _ in files], on_progress, views)
    for (file, split, label), scan in zip(files, scans, strict=True):
        if not scan.sha256:
            left_out[file.path] = Reason.NO_IMAGE
        elif scan.fault:
            left_out[file.path] = Reason.UNDECODABLE
            faults.append(scan.fault)
        else:
            images.append(Image(file.path, split, label, scan))
    untested = tuple(split for split in found if split not in splits)
    return FolderFiles(class_names, splits, images, left_out, faults, layout.notes, untested)


def _class_names(root: Path, layout: Layout, classes: Sequence[str] | None) -> tuple[str, ...]:
    found = {folder.name: folder for _, folder in layout.class_folders}
    for name, count in Counter(classes).items():
        check_known("class", name, found)
        if count > 1:
            raise DataError(f"{path_text(root)}: class {name} is given more than once; name each class once.")
    names = tuple(classes) if classes else tuple(sorted(found))
    for name in names:
        check_text(name, "class")
    if len(names) < MIN_CLASSES:
        raise DataError(
            f"{path_text(root)} has {len(names)} class ({', '.join(names) or 'no folders in it'}): "
            f"classification needs at least {MIN_CLASSES} folders, one per class."
        )
    return names


def _check_faults(root: Path, faults: list[str], max_bad_images: int) -> None:
    if len(faults) > max_bad_images:
        shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN_FAULTS])
        more = f"\n  and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise DataError(
            f"{path_text(root)}: {len(faults)} files cannot be decoded, at most {max_bad_images} may be left out:\n"
            f"{shown}{more}\nFix or remove them, or leave them out with --max-bad-images {len(faults)}."
        )


def _without_copies(contents: FolderFiles) -> FolderFiles:
    images = contents.images
    dropped = superfluous(
        group_copies([image.scan.sha256 for image in images]),
        [image.label for image in images],
        [image.split for image in images],
    )
    return contents._replace(
        images=[image for position, image in enumerate(images) if position not in dropped],
        left_out=contents.left_out | {images[position].path: Reason.COPY for position in dropped},
    )


def _check_images(root: Path, contents: FolderFiles, *, needs_all_classes: bool) -> None:
    """Refuse splits without images and, if all classes are needed, classes without images to train on."""
    found = {image.split for image in contents.images}
    trained = {image.label for image in contents.images if image.split in (UNSPLIT, TRAIN)}
    empty = [split for split in contents.splits if split and split not in found]
    lacking = [name for label, name in enumerate(contents.class_names) if label not in trained]
    left_out = left_out_notes(root, contents.left_out, quiet=False)
    why = f" ({'; '.join(left_out)})" if left_out else ""
    if empty:
        raise DataError(f"{path_text(root)}: no images in the split {', '.join(empty)}{why}. Add some or remove it.")
    if needs_all_classes and lacking:
        raise DataError(
            f"{path_text(root)}: no images to train on in class {', '.join(lacking)}{why}. Add images, such as .jpg or "
            ".png files, or remove the folder."
        )


def _shift(scans: Sequence[Scan]) -> int:
    """The number of bits that 16-bit grey loses: as few as the largest value of the whole folder allows."""
    tops = [scan.grey_top for scan in scans if scan.grey_top is not None]
    return next((shift for top, shift in SHIFTS.items() if tops and max(tops) <= top), USUAL_SHIFT)


def _make(name: str, root: Path, contents: FolderFiles, shift: int, *, only_tested: bool) -> Dataset:
    """The dataset; a `shift` that is not the usual one is part of its fingerprint."""
    images = contents.images
    positions = {split: np.flatnonzero([image.split == split for image in images]) for split in contents.splits}
    mark = "" if shift == USUAL_SHIFT else f"|{shift}"
    encoded = EncodedImages(
        home=home_of(root),
        ids=tuple(image.scan.sha256 + ("" if image.scan.grey_top is None else mark) for image in images),
        places=tuple(image.path for image in images),
        decode=partial(decode_file, shift=shift),
        name_of=partial(_name_in, root),
    )
    labels = np.array([image.label for image in images], np.int64)
    content = ("".join(image.scan.sha256 for image in images) + mark).encode()
    if only_tested:
        return make_tested_dataset(name, encoded, labels, contents.class_names, content=content)
    test, val = positions.get(TEST), positions.get(VAL)
    return make_dataset(name, encoded, labels, contents.class_names, content=content, test=test, val=val)


def _name_in(root: Path, path: Path) -> str:
    return path_text(path.relative_to(root))
