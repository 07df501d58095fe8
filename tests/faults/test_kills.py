"""A sweep whose process is killed again and again, at any moment, ends as one that was left alone."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from benchmark.features.cache import list_cache
from benchmark.ledger import DONE, IDENTITY, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")]

BUILDERS = """
def tiny(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images))
"""
REGISTRY = """
[{name}]
builder = "killed_backbones:tiny"
mode = "tf"
input_size_px = 16
feature_dim = 8
weights = "random"
"""
RECIPE = """
name = "toy"
datasets = ["digits"]
limit = 300
modes = ["native", "unit"]
heads = ["ridge", "dense"]
seeds = [0, 1, 2]
[[grid]]
backbones = ["One", "Two"]
[[grid]]
networks = ["lenet5"]
modes = ["native"]
stages = [{ epochs = 8, batch_size = 32 }]
"""
SEED = 0
# An undisturbed run takes about this long; a kill comes at a random moment of it.
LONGEST_LIFE_S = 12.0
# The columns that depend on the clock, on what else the machine does, or on chance.
INCIDENTAL = {
    "run_id", "load_s", "build_s", "extract_s", "train_s", "eval_s", "wall_s", "elapsed_s", "features_cached",
    "images_per_s", "peak_rss_mib", "started_utc",
}  # fmt: skip


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    (tmp_path / "killed_backbones.py").write_text(BUILDERS)
    (tmp_path / "toy.toml").write_text(RECIPE)
    (tmp_path / "both.toml").write_text(REGISTRY.format(name="One") + REGISTRY.format(name="Two"))
    return tmp_path


def start(workplace: Path, results: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(workplace), *sys.path]),
        "BENCHMARK_CACHE": str(workplace / f"cache-{results}"),
    }
    arguments = ("run", "toy.toml", "--registry", "both.toml", "--results", results)
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", *arguments], cwd=workplace, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


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


def comparable(ledger: Ledger) -> pd.DataFrame:
    runs = ledger.read_runs().sort_values(list(IDENTITY), ignore_index=True)
    return runs.drop(columns=list(INCIDENTAL))


def test_a_sweep_killed_at_random_moments_ends_as_an_undisturbed_one(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    draw = random.Random(SEED)
    assert start(workplace, "calm").wait(300) == 0
    workers = []

    for _ in range(request.config.getoption("--kills")):
        workers += kill_after(start(workplace, "killed"), draw.uniform(0, LONGEST_LIFE_S))
    assert start(workplace, "killed").wait(300) == 0

    calm, killed = Ledger(workplace / "calm" / "toy"), Ledger(workplace / "killed" / "toy")
    runs = killed.read_runs()
    assert set(runs["status"]) == {DONE}
    assert not runs.duplicated(list(IDENTITY)).any()
    pd.testing.assert_frame_equal(comparable(killed), comparable(calm))
    assert_files_are_whole(killed)
    monkeypatch.setenv("BENCHMARK_CACHE", str(workplace / "cache-killed"))
    assert len(list_cache()) == 2 * 2
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


def assert_files_are_whole(ledger: Ledger) -> None:
    runs, history = ledger.read_runs(), ledger.read_history()
    of_network = history[history["run_id"].isin(runs.loc[runs["network"] == "lenet5", "run_id"])]
    losses = of_network[(of_network["metric"] == "loss") & (of_network["split"] == "val")]
    assert losses.groupby("run_id")["epoch"].apply(list).tolist() == [list(range(1, 9))] * 3
    for run_id in runs["run_id"]:
        assert ledger.read_predictions(run_id) is not None
    assert (ledger.read_confusion().groupby("run_id")["count"].sum() == runs["n_test"].iloc[0]).all()


def test_two_sweeps_at_once_end_as_one_after_the_other(workplace: Path):
    assert start(workplace, "alone").wait(300) == 0
    shutil.rmtree(workplace / "cache-alone")

    pair = [start(workplace, "shared") for _ in range(2)]

    assert [process.wait(300) for process in pair] == [0, 0]
    alone, shared = Ledger(workplace / "alone" / "toy"), Ledger(workplace / "shared" / "toy")
    pd.testing.assert_frame_equal(comparable(shared), comparable(alone))
    assert_files_are_whole(shared)
