"""How worker processes start."""

import json
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sampling import sampled

from benchmark.isolation import start_server, start_worker, starting

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is a new process")


def write_facts(channel: Connection, path: str) -> None:
    facts = {
        "cache": os.environ["BENCHMARK_CACHE"],
        "modules": [name for name in ("tensorflow", "keras", "sklearn") if name in sys.modules],
        "is_deaf": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "paths": sys.path,
        "folder": str(Path.cwd()),
        "parent": os.getppid(),
    }
    Path(path).write_text(json.dumps(facts))


def facts_of_worker(folder: Path) -> dict:
    """What a worker that is started now finds."""
    worker, _ = start_worker(write_facts, (str(folder / "facts.json"),), folder / "log")
    worker.join(60)
    assert worker.exitcode == 0
    return json.loads((folder / "facts.json").read_text())


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "environment", lambda: {"gpu": ""})
    monkeypatch.setattr(starting, "_SERVER", {})  # another test of this process may have made its server unusable


@pytest.mark.slow
def test_workers_are_forks_of_one_server_that_has_imported_what_takes_long(tmp_path: Path):
    first, second = facts_of_worker(tmp_path), facts_of_worker(tmp_path)

    assert first["modules"] == ["tensorflow", "keras", "sklearn"]
    assert first["parent"] == second["parent"] != os.getpid()
    assert first["is_deaf"]


@pytest.mark.slow
def test_a_fork_has_the_environment_and_the_paths_that_its_parent_has_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    start_server(tmp_path / "log")
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "later"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.chdir(tmp_path)

    facts = facts_of_worker(tmp_path)

    assert facts["parent"] != os.getpid()
    assert facts["cache"] == str(tmp_path / "later")
    assert str(tmp_path / "modules") in facts["paths"]
    assert facts["folder"] == str(tmp_path)


def assert_is_new(facts: dict) -> None:
    assert facts["modules"] == []
    assert facts["parent"] == os.getpid()
    assert facts["is_deaf"]


def test_a_variable_that_is_read_once_makes_a_worker_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    start_server(tmp_path / "log")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")

    assert_is_new(facts_of_worker(tmp_path))


def test_beside_a_gpu_a_worker_is_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(starting, "environment", lambda: {"gpu": "A GPU"})
    monkeypatch.setattr(starting, "_SERVER", {})

    assert_is_new(facts_of_worker(tmp_path))


def test_without_room_for_a_server_workers_are_new_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """As where the path of the folder for temporary files is longer than a socket's may be."""

    def refuse() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(starting, "_SERVER", {})
    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", refuse)

    assert_is_new(facts_of_worker(tmp_path))
    assert "they cannot be forked from a server: AF_UNIX path too long" in caplog.text


SERVER_TEST = """
import os, psutil, signal, sys, time
from pathlib import Path
from benchmark.isolation import starting
from test_starting import assert_is_new, facts_of_worker
starting.environment = lambda: {{"gpu": ""}}
folder = Path({folder!r})
assert starting.start_server(folder / "log")
found = []
while not found:  # on a busy machine it takes a moment until it is the other program
    found = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
    time.sleep(0.01)
(server,) = found
"""


def run_program(text: str, folder: Path) -> None:
    """In a process of its own: there is one server for all tests of this one."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    program = SERVER_TEST.format(folder=str(folder)) + text
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=120, check=True)


@pytest.mark.slow
def test_a_server_that_hangs_is_followed_by_new_processes(tmp_path: Path):
    program = """
server.send_signal(signal.SIGSTOP)
starting.PATIENCE_S = 1.0
assert_is_new(facts_of_worker(folder))
server.kill()
server.wait(10)
assert_is_new(facts_of_worker(folder))
"""
    run_program(program, tmp_path)


@pytest.mark.slow
def test_a_server_that_dies_before_it_answers_is_followed_by_new_processes(tmp_path: Path):
    program = """
import threading
server.send_signal(signal.SIGSTOP)
threading.Timer(1.0, server.kill).start()
assert_is_new(facts_of_worker(folder))
"""
    run_program(program, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("moment", sampled(["while it imports", "when it is ready"], ["while it imports"]))
def test_a_server_that_died_is_replaced_by_one_with_the_same_settings(tmp_path: Path, moment: str):
    program = f"""
if {moment!r} == "when it is ready":
    facts_of_worker(folder)
server.kill()
os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)  # all its threads have ended, its exit code is not taken
facts = facts_of_worker(folder)
assert facts["modules"] == ["tensorflow", "keras", "sklearn"]
assert facts["is_deaf"]
"""
    run_program(program, tmp_path)


def test_starting_leaves_environment_outputs_and_ctrl_c_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    started = []
    monkeypatch.setattr(starting, "_SERVER", {})
    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", lambda: started.append(os.write(2, b"within")))
    before = dict(os.environ), signal.getsignal(signal.SIGINT)

    start_server(tmp_path / "log")
    os.write(2, b"after")

    assert started
    assert (dict(os.environ), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr().err == "after"
    assert (tmp_path / "log").read_text() == "within"
