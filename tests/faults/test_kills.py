"""A sweep whose process is killed again and again, at any moment, ends as one that was left alone."""

import itertools
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from toy_sweep import N_MODES, N_ROWS, assert_same_rows, start_sweep, write_sweep

from benchmark.caching import list_cache
from benchmark.ledger import CELL_COLUMNS, CONFUSION, DONE, HISTORY, RUNS, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")]

SEED = 0


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep is."""
    folder = tmp_path_factory.mktemp("kills")
    write_sweep(folder)
    return folder


@pytest.fixture(scope="module")
def calm_s(workplace: Path) -> float:
    """Seconds that the sweep takes undisturbed; it is done into `calm`."""
    started = time.monotonic()
    assert start_sweep(workplace, "calm").wait(300) == 0
    return time.monotonic() - started


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> list[psutil.Process] | None:
    """Kill a process after some seconds: the processes it had started; None if it had ended by then."""
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return workers
    return None


def test_a_sweep_killed_at_random_moments_ends_as_an_undisturbed_one(
    workplace: Path, calm_s: float, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    draw = random.Random(SEED)
    n_left = request.config.getoption("--kills")
    workers: list[psutil.Process] = []
    whole_s = calm_s

    for number in itertools.count():  # a sweep that comes to its end is followed by another one
        results, begun, n_before = f"killed-{number}", time.monotonic(), n_left
        while n_left and (started := kill_after(start_sweep(workplace, results), draw.uniform(0, whole_s))) is not None:
            workers += started
            n_left -= 1
        if n_left == n_before:  # the machine has less else to do by now
            whole_s = time.monotonic() - begun
        assert start_sweep(workplace, results).wait(300) == 0
        assert_as_undisturbed(workplace, results, monkeypatch)
        if not n_left:
            break

    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


def assert_as_undisturbed(workplace: Path, results: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calm, killed = Ledger(workplace / "calm" / "toy"), Ledger(workplace / results / "toy")
    runs = killed.read_runs()
    assert set(runs["status"]) == {DONE}
    assert not runs.duplicated(list(CELL_COLUMNS)).any()
    assert_same_rows(killed, calm)
    assert_files_are_whole(killed)
    with monkeypatch.context() as context:
        context.setenv("BENCHMARK_CACHE", str(workplace / f"cache-{results}"))
        assert len(list_cache()) == N_MODES


def assert_files_are_whole(ledger: Ledger) -> None:
    runs, history = ledger.read_runs(), ledger.read_table(HISTORY)
    of_network = history[history["run_id"].isin(runs.loc[runs["backbone"] == "lenet5", "run_id"])]
    losses = of_network[(of_network["metric"] == "loss") & (of_network["split"] == "val")]
    assert losses.groupby("run_id")["epoch"].apply(list).tolist() == [list(range(1, 9))]
    for run_id in runs["run_id"]:
        assert ledger.read_predictions(run_id) is not None
    assert (ledger.read_table(CONFUSION).groupby("run_id")["count"].sum() == runs["n_test"].iloc[0]).all()


@pytest.mark.usefixtures("calm_s")
def test_two_sweeps_at_once_on_one_ledger_end_as_one_with_each_cell_once(workplace: Path):
    pair = [start_sweep(workplace, "shared") for _ in range(2)]

    assert [process.wait(300) for process in pair] == [0, 0]
    calm, shared = Ledger(workplace / "calm" / "toy"), Ledger(workplace / "shared" / "toy")
    assert (shared.folder / RUNS).read_bytes().count(b"\n") == 1 + N_ROWS
    assert_same_rows(shared, calm)
    assert_files_are_whole(shared)


def test_the_check_of_networks_ends_soon_after_the_program_that_was_killed(workplace: Path):
    program = start_sweep(workplace, "checked", program=("-m", "benchmark"))
    checks: list[psutil.Process] = []
    while not checks:
        assert program.poll() is None
        time.sleep(0.05)
        checks = psutil.Process(program.pid).children(recursive=True)

    program.send_signal(signal.SIGKILL)
    program.wait()

    _, alive = psutil.wait_procs(checks, timeout=30)
    # One whose parent is gone may stay as a zombie, where nobody asks how it ended.
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
