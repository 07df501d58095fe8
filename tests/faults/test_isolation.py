"""What kills, hangs or poisons a worker: each ends its own cell with a typed row, never the sweep."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
from faulty_sweep import Sick, faulty_sweep, write_backbones

from benchmark.ledger import DONE, FAILED, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX")]

# What a fault ends with: type and a part of the message.
DEATHS = {
    "killed": ("crashed", "killed by SIGKILL"),
    "segfaulted": ("crashed", "killed by SIGSEGV"),
    "silent": ("crashed", "exit code 7"),
    "greedy": ("oom", "Unable to allocate"),
    "aborted": ("oom", "want of memory"),
    "full": ("disk_full", "No space left on device"),
    "poisoned": ("nan_features", "are not finite: the weights are damaged"),
}
HANGS = ("sleeping", "hung")
# Longer than TensorFlow takes to start on a busy machine.
TIMEOUT_S = 30.0


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
    assert pd.isna(row["accuracy"])


def test_the_sweep_goes_on_after_every_fault(deaths: Sick):
    assert deaths.plan.counts == {FAILED: len(DEATHS), DONE: 1}


def test_a_retry_of_what_failed_completes_the_sweep(deaths: Sick, tmp_path: Path):
    ledger = Ledger(tmp_path / "faults")
    shutil.copytree(deaths.ledger.folder, ledger.folder)
    again = replace(deaths, ledger=ledger)

    again.run("failed")

    assert again.plan.counts == {DONE: len(DEATHS) + 1}


@pytest.mark.parametrize("fault", HANGS)
def test_a_cell_that_hangs_is_ended_and_the_others_of_its_job_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
):
    monkeypatch.syspath_prepend(tmp_path)
    sick = faulty_sweep(tmp_path, fault, seeds=(0, 1))

    sick.run("missing", TIMEOUT_S)

    runs = sick.ledger.read_runs()
    assert list(zip(runs["seed"], runs["error_type"], strict=True)) == [(0, "timeout"), (1, "")]
    assert "--timeout" in runs["error_message"][0]


# --- who is left when the parent is gone -----------------------------------------------------------------------------


def start_a_sleeper(folder: Path) -> subprocess.Popen[bytes]:
    """The program in its own process, its worker asleep in a cell that never ends."""
    write_backbones(folder, "sleeping")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    arguments = ("run", "--backbones", "sleeping", "--registry", "faulty.toml", "--limit", "200")
    parent = subprocess.Popen([sys.executable, "-m", "benchmark", *arguments], cwd=folder, env=environment)
    wait_until((folder / "sleep_for_ever").exists)
    return parent


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_no_worker_outlives_its_parent(tmp_path: Path, how: signal.Signals):
    parent = start_a_sleeper(tmp_path)
    workers = children_of(parent)
    assert workers

    parent.send_signal(how)
    parent.wait(timeout=30)

    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


def test_the_parent_sleeps_while_a_worker_works(tmp_path: Path):
    """A parent that polls would take a core from the measurement."""
    parent = start_a_sleeper(tmp_path)
    try:
        before = sum(psutil.Process(parent.pid).cpu_times()[:2])
        time.sleep(3)
        used_s = sum(psutil.Process(parent.pid).cpu_times()[:2]) - before
    finally:
        parent.kill()
        parent.wait()

    assert used_s < 0.15
