"""What kills, hangs or poisons a worker: each ends its own cell with a typed row, never the sweep."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from faulty_sweep import Sick, faulty_sweep, write_backbones
from sampling import sampled
from toy_sweep import UNEXAMINED

from benchmark.ledger import DONE, FAILED, Ledger
from benchmark.plan.planned import group_into_jobs
from benchmark.processes import executors, worker
from benchmark.processes.conditions import Conditions
from benchmark.processes.executors import JobProcess, LocalExecutor, divide_cores, wait_for_any
from benchmark.work.running import checkpoint_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX"),
    pytest.mark.usefixtures("unexamined"),
]

# What a fault ends with: type and a part of the message.
DEATHS = {
    "killed": ("crashed", "killed by SIGKILL"),
    "segfaulted": ("crashed", "killed by SIGSEGV"),
    "silent": ("crashed", "exit code 7"),
    "greedy": ("oom", "Unable to allocate"),
    "aborted": ("oom", "ran out of memory"),
    "full": ("disk_full", "No space left on device"),
    "poisoned": ("nan_features", "are not finite: the weights are damaged"),
}
# What Linux keeps of what was written into a pipe and not read yet.
PIPE_BYTES = 65_536
HANGS = ("sleeping", "hung")
# Longer than a cell of the tiny network takes on a busy machine, where the worker need not import TensorFlow first.
TIMEOUT_S = 12.0 if sys.platform == "linux" else 30.0


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sick]:
    """All deaths in one sweep."""
    folder = tmp_path_factory.mktemp("deaths")
    with pytest.MonkeyPatch.context() as context:
        context.setenv("BENCHMARK_CACHE", str(folder / "cache"))
        context.syspath_prepend(folder)
        sick = faulty_sweep(folder, *DEATHS, "tiny")
        sick.run("missing")
        yield sick


@pytest.mark.parametrize("fault", DEATHS)
def test_a_fault_ends_its_cell_with_its_type(deaths: Sick, fault: str):
    runs = deaths.ledger.read_runs()

    (row,) = runs[runs["backbone"] == fault].to_dict("records")

    error_type, message = DEATHS[fault]
    assert (row["status"], row["error_type"]) == (FAILED, error_type)
    assert message in row["error_message"]
    assert row["is_deterministic"] == 1, "the worker told it before it died"
    assert pd.isna(row["accuracy"])


def test_the_sweep_goes_on_after_every_fault(deaths: Sick):
    assert deaths.plan.counts == {FAILED: len(DEATHS), DONE: 1}


@pytest.mark.exhaustive
def test_a_retry_of_what_failed_completes_the_sweep(deaths: Sick, tmp_path: Path):
    ledger = Ledger(tmp_path / "faults")
    shutil.copytree(deaths.ledger.folder, ledger.folder)
    again = replace(deaths, ledger=ledger)

    again.run("failed")

    assert again.plan.counts == {DONE: len(DEATHS) + 1}


@pytest.mark.parametrize("fault", sampled(HANGS, HANGS[1:]))
def test_a_cell_that_hangs_is_ended_and_the_others_of_its_job_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
):
    monkeypatch.syspath_prepend(tmp_path)
    sick = faulty_sweep(tmp_path, fault, seeds=(0, 1))

    sick.run("missing", TIMEOUT_S)

    runs = sick.ledger.read_runs()
    assert list(zip(runs["seed"], runs["error_type"], strict=True)) == [(0, "timeout"), (1, "")]
    assert "--timeout" in runs["error_message"][0]


def test_a_worker_that_dies_while_it_starts_ends_its_cell_however_large_its_job_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A large job would not fit into the pipe of a process that never reads it."""
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sick = faulty_sweep(tmp_path, "tiny", seeds=tuple(range(1500)))
    (job,) = group_into_jobs(sick.plan.cells)
    assert len(pickle.dumps(job)) > 2 * PIPE_BYTES

    process = JobProcess(job, Conditions(tmp_path / "log"), divide_cores(1)[0])

    assert wait_for_any([process]) == [process]
    ended = process.next_event()
    process.end()
    assert (ended.planned, ended.row["error_type"]) == (job[0], "crashed")
    assert process.is_over
    assert process.rest == job[1:]


def test_a_job_waits_for_the_memory_that_those_before_it_have_not_taken_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(executors, "available_mib", lambda: 4000.0)
    (job,) = group_into_jobs(faulty_sweep(tmp_path, "tiny").plan.cells)
    execute = LocalExecutor(Conditions(tmp_path / "log", n_jobs=4), memory_mib=lambda _: 3000.0)

    def running(rss_mib: float) -> SimpleNamespace:
        return SimpleNamespace(rest=job, rss_mib=rss_mib)

    assert execute._fits(job, [])
    assert not execute._fits(job, [running(0.0)])
    assert execute._fits(job, [running(2500.0)])
    assert not execute._fits(job, [running(2500.0), running(2000.0)])


@pytest.mark.parametrize("again", [False, True])
def test_the_checkpoint_of_a_training_is_used_unless_it_is_to_start_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
):
    (planned,) = faulty_sweep(tmp_path, "tiny").plan.cells
    left = checkpoint_path(planned.key)
    left.parent.mkdir(parents=True)
    left.touch()
    monkeypatch.setattr(worker, "CellRunner", lambda *_, **__: SimpleNamespace(run=lambda *_: 1 / 0))

    worker.run_job([planned], lambda _: None, Conditions(tmp_path / "log", again=again))

    assert left.exists() != again


# --- who is left when the parent is gone -----------------------------------------------------------------------------


def start_a_sleeper(folder: Path, fault: str = "sleeping") -> subprocess.Popen[bytes]:
    """The program in its own process, its worker in a cell that never ends."""
    write_backbones(folder, fault)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    arguments = ("run", "--backbones", fault, "--registry", "faulty.toml", "--limit", "200")
    parent = subprocess.Popen([sys.executable, "-c", UNEXAMINED, *arguments], cwd=folder, env=environment)
    wait_until(lambda: any((folder / scar).exists() for scar in ("sleep_for_ever", "spin_with_the_interpreter_locked")))
    return parent


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_until(condition: Callable[[], bool], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", HANGS)
def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path, fault: str):
    if fault == "hung" and sys.platform != "linux":
        pytest.skip("needs signals of pipes")
    parent = start_a_sleeper(tmp_path, fault)

    assert_all_end(parent, signal.SIGKILL)


def assert_all_end(parent: subprocess.Popen[bytes], how: signal.Signals) -> None:
    workers = children_of(parent)
    assert workers

    parent.send_signal(how)
    parent.wait(timeout=30)

    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


def test_the_parent_sleeps_while_a_worker_works_and_no_worker_outlives_one_that_is_ended(tmp_path: Path):
    """A parent that polls would take a core from the measurement."""
    parent = start_a_sleeper(tmp_path)

    before = sum(psutil.Process(parent.pid).cpu_times()[:2])
    time.sleep(3)
    used_s = sum(psutil.Process(parent.pid).cpu_times()[:2]) - before

    assert_all_end(parent, signal.SIGTERM)
    assert used_s < 0.15
