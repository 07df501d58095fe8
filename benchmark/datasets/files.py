"""Every file below a folder, links followed, and which of them can be images by their names."""

import functools
import os
import stat
from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from benchmark.errors import DataError
from benchmark.escaping import in_utf8

# Formats that Pillow names but does not decode by itself: data, videos and drawings.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
# Suffixes of images, whether or not the installed Pillow reads them: compressed, drawn, medical, raw from cameras.
_KNOWN_SUFFIXES = frozenset(
    ".ai .arw .avif .cr2 .cr3 .dcm .dng .emf .eps .exr .hdr .heic .heif .hif .jp2 .jxl .jxr .nef .orf .pef .raf .raw "
    ".rw2 .srw .svg .svgz .webp .wmf .xcf".split()
)
# What systems and cloud services put beside files.
_SYSTEM_NAMES = {
    "#recycle", "$recycle.bin", "@eadir", "__macosx", "desktop.ini", "ehthumbs.db", "lost+found",
    "system volume information", "thumbs.db",
}  # fmt: skip


class Reason(StrEnum):
    """Why a file is not an image of the dataset."""

    UNDECODABLE = "undecodable images"
    FORMAT = "images of a format that Pillow cannot read"
    HIDDEN = "hidden images"
    OUTSIDE = "images outside any class folder"
    NO_FILE = "no ordinary files, or links to nothing"
    COPY = "copies of images"
    # A file that nobody can have meant as a further image.
    NO_IMAGE = "files that are no images"
    SAME_FILE = "links to files that are in their class already"


class FoundFile(NamedTuple):
    """A file, by the path under which it was found.

    Attributes:
        path: Below the folder.
        state: Its size and time, which change with its content.
        reason: Why its name or place rule it out as an image; None if it may be one.
    """

    path: Path
    state: str
    reason: Reason | None


def path_text(path: Path | str) -> str:
    """The path as text that can be stored and, in messages, printed."""
    return in_utf8(str(path))


def check_text(name: str, what: str) -> None:
    """Refuse a name that no table could hold.

    Raises:
        DataError: It is not UTF-8.
    """
    if path_text(name) != name:
        raise DataError(f"The name of the {what} {path_text(name)} is not UTF-8: rename the folder.")


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """The suffixes of the images that the installed Pillow reads, in lower case."""
    Image.init()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in Image.OPEN and name not in _NOT_DECODED)


def is_named_as_image(path: Path) -> bool:
    """Whether the suffix is one of images, readable or not."""
    suffix = path.suffix.lower()
    # macOS puts `._photo.jpg` beside `photo.jpg` on foreign disks.
    return suffix in readable_suffixes() | _KNOWN_SUFFIXES and not path.name.startswith("._")


def is_hidden(path: Path) -> bool:
    """Whether this is a hidden file or folder, or one that belongs to the system."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_NAMES


def list_folder(folder: Path) -> list[Path]:
    """What is in a folder, sorted.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """The error of a file or folder that the system does not let us read."""
    return DataError(
        f"{path_text(path)} cannot be read: {error.strerror or error}. Make it readable, or move it out of the dataset."
    )


def walk_files(top: Path, *, hidden: bool = False) -> list[FoundFile]:
    """Every file below a folder, sorted by path; of a file, only itself. With `hidden`, all of them count as hidden.

    Links are followed last: what they lead to is taken unless it was found before, or is a folder that holds `top`.

    Raises:
        DataError: A folder that is not hidden cannot be read.
    """
    # Files and folders by device and number, which links share with what they lead to.
    seen = {(state.st_dev, state.st_ino) for state in map(os.stat, Path(os.path.realpath(top)).parents)}
    waiting, links = [(top, hidden, False)], deque[tuple[Path, bool, bool]]()
    found = []
    while waiting or links:
        path, hidden, is_linked = waiting.pop() if waiting else links.popleft()
        try:
            state = path.stat()
        except OSError as error:
            if not hidden and not path.is_symlink():
                raise unreadable(path, error) from error
            found.append(_found(path, None, hidden=hidden, is_repeated=False))
            continue
        identity = (state.st_dev, state.st_ino)
        is_repeated = is_linked and identity in seen
        seen.add(identity)
        if is_repeated or not stat.S_ISDIR(state.st_mode):
            found.append(_found(path, state, hidden=hidden, is_repeated=is_repeated))
            continue
        for child in _children(path, hidden=hidden):
            (links if child.is_symlink() else waiting).append(
                (child, hidden or is_hidden(child), is_linked or child.is_symlink())
            )
    return sorted(found, key=lambda file: file.path)


def _children(folder: Path, *, hidden: bool) -> list[Path]:
    try:
        return list_folder(folder)
    except DataError:
        if hidden:  # such as lost+found, which belongs to the administrator
            return []
        raise


def _found(path: Path, state: os.stat_result | None, *, hidden: bool, is_repeated: bool) -> FoundFile:
    """A file with its reason; `state` is None if there is nothing at the path."""
    text = f"{state.st_size}|{state.st_mtime_ns}" if state else ""
    return FoundFile(path, text, _reason(path, state, hidden=hidden, is_repeated=is_repeated))


def _reason(path: Path, state: os.stat_result | None, *, hidden: bool, is_repeated: bool) -> Reason | None:
    if hidden:
        return Reason.HIDDEN if is_named_as_image(path) else Reason.NO_IMAGE
    if is_repeated:
        return Reason.SAME_FILE
    if state is None or not stat.S_ISREG(state.st_mode):
        return Reason.NO_FILE
    is_unreadable = path.suffix.lower() in _KNOWN_SUFFIXES - readable_suffixes()
    return Reason.FORMAT if is_unreadable else None
