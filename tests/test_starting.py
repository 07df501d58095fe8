"""How worker processes begin."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from benchmark.sweep import starting
from benchmark.sweep.starting import start_server, start_worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is a new process")


def write_facts(path: str) -> None:
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
    worker = start_worker(write_facts, (str(folder / "facts.json"),), folder / "log")
    worker.join(60)
    assert worker.exitcode == 0
    return json.loads((folder / "facts.json").read_text())


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "environment", lambda: {"gpu": ""})


@pytest.mark.slow
@pytest.mark.usefixtures("without_gpu")
def test_workers_are_forks_of_one_server_that_has_imported_what_takes_long(tmp_path: Path):
    first, second = facts_of_worker(tmp_path), facts_of_worker(tmp_path)

    assert first["modules"] == ["tensorflow", "keras", "sklearn"]
    assert first["parent"] == second["parent"] != os.getpid()
    assert first["is_deaf"]


@pytest.mark.slow
@pytest.mark.usefixtures("without_gpu")
def test_a_fork_has_the_environment_and_the_paths_that_its_parent_has_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    start_server(tmp_path / "log")
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "later"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.chdir(tmp_path)

    facts = facts_of_worker(tmp_path)

    assert facts["cache"] == str(tmp_path / "later")
    assert str(tmp_path / "modules") in facts["paths"]
    assert facts["folder"] == str(tmp_path)


@pytest.mark.parametrize(("variable", "gpu"), [("TF_NUM_INTRAOP_THREADS", ""), ("UNREAD", "A GPU")])
def test_a_worker_is_a_new_process_where_a_fork_would_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, gpu: str
):
    monkeypatch.setattr(starting, "environment", lambda: {"gpu": gpu})
    starting._variables_of_server()
    monkeypatch.setenv(variable, "1")

    facts = facts_of_worker(tmp_path)

    assert facts["modules"] == []
    assert facts["parent"] == os.getpid()
    assert facts["is_deaf"]


def test_starting_leaves_environment_outputs_and_ctrl_c_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(starting, "environment", lambda: {"gpu": ""})
    before = dict(os.environ), signal.getsignal(signal.SIGINT)

    start_server(tmp_path / "log")
    os.write(2, b"after")

    assert (dict(os.environ), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr().err == "after"
