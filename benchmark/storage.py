"""The cache folder, and files that are either complete or absent."""

import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import platformdirs

from benchmark.errors import BenchmarkError

CACHE_VARIABLE = "BENCHMARK_CACHE"
# The system's errors for a full disk and for a used-up quota.
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


def cache_root() -> Path:
    """The cache folder: `BENCHMARK_CACHE` if set, else the platform's usual folder for caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("backbone-benchmark"))


def check_cache() -> None:
    """Refuse a cache folder that cannot be written.

    Raises:
        BenchmarkError: With the system's reason.
    """
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchmarkError(
            f"The cache folder {folder} cannot be written: {error}. Set {CACHE_VARIABLE} to another folder."
        ) from error


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which gets the name `path` only when it is complete and on disk.

    A missing folder is created. After an exception `path` is unchanged, and no partial file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_text(text: str) -> str:
    """The SHA-256 of a text in UTF-8, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
