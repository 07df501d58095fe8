"""A sweep of a few seconds, of a tiny backbone and a network, run by the program in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from benchmark.ledger import CELL_COLUMNS, Ledger

BUILDERS = """
def tiny(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images))
"""
REGISTRY = """
[One]
builder = "toy_backbones:tiny"
mode = "tf"
input_size_px = 16
feature_dim = 8
weights = "random"
"""
RECIPE = """
name = "toy"
datasets = ["digits"]
limit = 300
dense = { epochs = 20, patience = 3 }
[[grid]]
backbones = ["One"]
heads = ["dense", "ridge"]
seeds = [0, 1]
[[grid]]
backbones = ["One"]
modes = ["unit"]
heads = ["ridge"]
seeds = [0, 1]
[[grid]]
backbones = ["lenet5"]
strategies = ["scratch"]
stages = [{ epochs = 8, batch_size = 32 }]
"""
# The program, whose plan builds no networks: that would import TensorFlow in one more process.
UNEXAMINED = """
from benchmark.plan import planning
planning.examine_networks = lambda *_: {}
from benchmark.cli import main
main()
"""
N_MODES = 2
N_ROWS = 2 * 2 + 2 + 1  # of two heads, of one in another mode, and of the network
# The columns that depend on the clock, on what else the machine does, or on chance.
INCIDENTAL = {
    "run_id", "load_s", "build_s", "extract_s", "train_s", "eval_s", "wall_s", "elapsed_s", "features_cached",
    "images_per_s", "latency_ms", "latency_p95_ms", "peak_rss_mib", "started_utc",
}  # fmt: skip


def write_sweep(folder: Path) -> None:
    """The registry, the recipe `toy` and the module with the backbones."""
    (folder / "toy_backbones.py").write_text(BUILDERS)
    (folder / "toy.toml").write_text(RECIPE)
    (folder / "one.toml").write_text(REGISTRY)


def start_sweep(
    folder: Path, results: str, *options: str, program: tuple[str, str] = ("-c", UNEXAMINED)
) -> subprocess.Popen[bytes]:
    """The sweep, begun or gone on with, with a cache for each folder of results."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "BENCHMARK_CACHE": str(folder / f"cache-{results}"),
    }
    arguments = ("run", "toy.toml", "--registry", "one.toml", "--results", results, *options)
    return subprocess.Popen(
        [sys.executable, *program, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def assert_same_rows(one: Ledger, other: Ledger) -> None:
    """Times aside, two ledgers hold the same, whatever the order."""
    pd.testing.assert_frame_equal(_comparable(one), _comparable(other))


def _comparable(ledger: Ledger) -> pd.DataFrame:
    runs = ledger.read_runs().sort_values(list(CELL_COLUMNS), ignore_index=True)
    return runs.drop(columns=list(INCIDENTAL))
