"""Ledgers as they were in a git revision."""

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import LedgerError


@contextmanager
def ledgers_at(place: str) -> Iterator[Path]:
    """The folder of a path, or of a path in a git revision, written `REVISION:PATH`.

    Raises:
        LedgerError: There is neither.
    """
    if Path(place).exists():
        yield Path(place)
        return
    revision, colon, path = place.partition(":")
    if not colon:
        raise LedgerError(f"There is no {place}: give a folder of results, or REVISION:PATH such as HEAD~1:results.")
    path = os.path.relpath(path or ".")  # the names in the archive are relative to this folder
    with tempfile.TemporaryDirectory() as folder:
        _extract(revision, path, Path(folder))
        yield Path(folder) / path


def _extract(revision: str, path: str, folder: Path) -> None:
    if revision.startswith("-"):
        raise LedgerError(f"{revision} is no revision: give a folder of results, or REVISION:PATH.")
    command = ["git", "--literal-pathspecs", "archive", "--format=tar", revision, "--", path]
    try:
        archive = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise LedgerError(f"{revision}:{path} needs git, which is not installed.") from error
    except subprocess.CalledProcessError as error:
        raise LedgerError(
            f"git has no {path} at {revision}: {error.stderr.decode(errors='replace').strip()}. Name a folder that "
            "is committed there, as seen from this folder."
        ) from error
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            members.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise LedgerError(f"{path} at {revision} cannot be unpacked: {error}.") from error
