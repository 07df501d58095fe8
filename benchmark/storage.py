"""The cache folder, and files that are either complete or absent."""

import errno
import functools
import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import platformdirs

from benchmark.errors import BenchmarkError

CACHE_VARIABLE = "BENCHMARK_CACHE"
MIB = 2**20
# The system's errors for a full disk and for a used-up quota.
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
# A partial file that nobody wrote to for this many seconds was left by a dead process.
ABANDONED_S = 600


def expanded(path: str) -> Path:
    """The path with `~` replaced by the home of a user; left as it is if there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser fails if there is no such user


def cache_root() -> Path:
    """The cache folder: `BENCHMARK_CACHE` if set, else the platform's usual folder for caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("backbone-benchmark"))


def check_cache() -> None:
    """Refuse a cache folder that cannot be written; partial files that killed processes left there are removed.

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
    with suppress(FileNotFoundError):  # a folder was renamed while we looked
        for partial in folder.rglob("*.partial"):
            with suppress(OSError):  # another process was faster, or this is a folder, which `caching` removes
                if time.time() - partial.stat().st_mtime > ABANDONED_S:
                    partial.unlink()


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which gets the name `path` only when it is complete and on disk.

    A missing folder is created. After an exception `path` is unchanged, and no partial file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the name of `path`, which may be as long as the file system allows.
    partial = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.partial")
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


def sha256_once(path: Path) -> str:
    """As `sha256_of_file`, but a file is read again only after its size or time changed: every cell of a sweep asks."""
    state = path.stat()
    return _sha256_of_state(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of_state(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001  # they are parts of the key
    return sha256_of_file(path)


def digest_of_text(text: str) -> str:
    """The SHA-256 of a text in UTF-8, 64 hexadecimal digits. It may hold names of files that are not UTF-8."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
