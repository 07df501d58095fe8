"""What a command writes where its user said: a file that is replaced whole, or a device that is written through."""

import os
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.storage import write_whole


def check_output(path: Path) -> None:
    """Refuse a place where output cannot or must not go.

    Raises:
        BenchmarkError: It is a folder, lies below a file, or belongs to a ledger.
    """
    from benchmark.ledger import LEDGER_FILES, RUNS

    if path.is_dir():
        raise BenchmarkError(f"{path} is a folder: give --out the name of a file.")
    check_folder(path.parent)
    target = Path(os.path.realpath(path))
    for folder in target.parents:
        if (folder / RUNS).exists() and target.relative_to(folder).parts[0].lower() in LEDGER_FILES:
            raise BenchmarkError(f"{path} belongs to the ledger {folder}, and output would destroy it: choose another.")


def check_folder(path: Path) -> None:
    """Refuse a folder of output that cannot be one.

    Raises:
        BenchmarkError: It, or what it lies in, is something else.
    """
    existing = next(place for place in (path, *path.parents) if place.exists() or place == Path(path.anchor))
    if not existing.is_dir():
        raise BenchmarkError(f"{path} cannot be a folder, because {existing} is a file: choose another.")


def write_output(path: Path, content: bytes) -> None:
    """Write to where the user said. Of a link, the file that it leads to is replaced; the link stays.

    Raises:
        BenchmarkError: See `check_output`.
        OSError: It cannot be written.
    """
    check_output(path)
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open("wb") as stream:
            stream.write(content)
    else:
        with write_whole(Path(os.path.realpath(path))) as file:
            file.write(content)
