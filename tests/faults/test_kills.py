"""A sweep whose process is killed again and again, at any moment, ends as one that was left alone."""

import os
import random
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from toy_sweep import N_MODES, N_SEEDS, assert_same_rows, start_sweep, write_sweep

from benchmark.features.cache import list_cache
from benchmark.ledger import DONE, IDENTITY, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")]

SEED = 0
# An undisturbed run takes about this long; a kill comes at a random moment of it.
LONGEST_LIFE_S = 10.0


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, done once undisturbed into `calm`."""
    folder = tmp_path_factory.mktemp("kills")
    write_sweep(folder)
    assert start_sweep(folder, "calm").wait(300) == 0
    return folder


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> list[psutil.Process]:
    """Kill a process after some seconds, if it still runs then; the processes it had started."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return workers
    return []


def test_a_sweep_killed_at_random_moments_ends_as_an_undisturbed_one(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    draw = random.Random(SEED)
    workers = []

    for _ in range(request.config.getoption("--kills")):
        workers += kill_after(start_sweep(workplace, "killed"), draw.uniform(0, LONGEST_LIFE_S))
    assert start_sweep(workplace, "killed").wait(300) == 0

    calm, killed = Ledger(workplace / "calm" / "toy"), Ledger(workplace / "killed" / "toy")
    runs = killed.read_runs()
    assert set(runs["status"]) == {DONE}
    assert not runs.duplicated(list(IDENTITY)).any()
    assert_same_rows(killed, calm)
    assert_files_are_whole(killed)
    monkeypatch.setenv("BENCHMARK_CACHE", str(workplace / "cache-killed"))
    assert len(list_cache()) == N_MODES
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


def assert_files_are_whole(ledger: Ledger) -> None:
    runs, history = ledger.read_runs(), ledger.read_history()
    of_network = history[history["run_id"].isin(runs.loc[runs["network"] == "lenet5", "run_id"])]
    losses = of_network[(of_network["metric"] == "loss") & (of_network["split"] == "val")]
    assert losses.groupby("run_id")["epoch"].apply(list).tolist() == [list(range(1, 9))] * N_SEEDS
    for run_id in runs["run_id"]:
        assert ledger.read_predictions(run_id) is not None
    assert (ledger.read_confusion().groupby("run_id")["count"].sum() == runs["n_test"].iloc[0]).all()


def test_two_sweeps_at_once_end_as_one_after_the_other(workplace: Path):
    pair = [start_sweep(workplace, "shared") for _ in range(2)]

    assert [process.wait(300) for process in pair] == [0, 0]
    calm, shared = Ledger(workplace / "calm" / "toy"), Ledger(workplace / "shared" / "toy")
    assert_same_rows(shared, calm)
    assert_files_are_whole(shared)
