"""Seconds and memory of the commands that read ledgers: of many rows with predictions, and of very many done cells."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Figures, Target, markdown_table, run_script, say, script_options

from benchmark.ledger import COLUMNS, DONE, RUNS, SCHEMA, Ledger
from benchmark.plan.planning import make_plan
from benchmark.recipes import read_recipe
from benchmark.registry import load_registry
from benchmark.tidycsv import append_rows

MODES = ("native", "unit", "raw", "tf")
N_SEEDS = 5
N_CLASSES = 10
FINGERPRINT = "f" * 64
MOST_S = 5.0
KIB_A_MIB = 1024
MOST_MIB = 500.0
MANY = """
name = "many"
datasets = ["digits"]
backbones = ["ResNet*", "EfficientNet*", "VGG*", "MobileNet*"]
modes = ["*"]
heads = ["*"]
seeds = {seeds}
"""
COMMANDS = (
    ("leaderboard", ".", "--format", "csv"),
    ("ablation", ".", "--format", "csv"),
    ("compare", ".", ".", "--format", "csv"),
)


@dataclass(frozen=True)
class Reading:
    """What a command took: the clock of its whole process, and its highest resident memory."""

    command: str
    seconds: float
    peak_rss_mib: float


def write_ledger(folder: Path, n_rows: int, n_test: int) -> None:
    """A ledger of drawn predictions: backbones from good to bad, harder and easier images.

    Args:
        folder: Where.
        n_rows: A multiple of modes times seeds.
        n_test: Test images.
    """
    rng = np.random.default_rng(0)
    ledger = Ledger(folder)
    hardness = rng.random(n_test)
    labels = rng.integers(N_CLASSES, size=n_test)
    rows = []
    for number in range(n_rows):
        rest, seed = divmod(number, N_SEEDS)
        backbone, mode = divmod(rest, len(MODES))
        right = 0.7 * hardness + 0.3 * rng.random(n_test) < 0.9 - 0.003 * backbone - 0.02 * mode
        scores = np.full((n_test, N_CLASSES), 0.05, np.float32)
        scores[np.arange(n_test), np.where(right, labels, (labels + 1) % N_CLASSES)] = 0.55
        ledger.save_predictions(f"run{number}", scores)
        rows.append(
            {
                "schema": SCHEMA, "run_id": f"run{number}", "cell_key": f"key{number}", "status": DONE,
                "backbone": f"Net{backbone}", "dataset": "drawn", "mode": MODES[mode], "strategy": "probe",
                "head": "linear", "input_size_px": 224, "resize": "bilinear", "crop": "squash", "precision": "float32",
                "seed": seed, "n_test": n_test, "accuracy": right.mean(), "params_total": 1_000_000 * (1 + backbone),
                "wall_s": 60.0 + backbone, "peak_rss_mib": 1000.0, "dataset_fingerprint": FINGERPRINT,
            }
        )  # fmt: skip
    ledger.save_true_labels(FINGERPRINT, labels, [f"class {number}" for number in range(N_CLASSES)])
    append_rows(folder / RUNS, COLUMNS[RUNS], rows)


def write_done_sweep(folder: Path, n_cells: int) -> int:
    """The recipe `many.toml` and a ledger in which all its cells are done; the number of cells, at least `n_cells`."""
    recipe = folder / "many.toml"
    ledger = Ledger(folder / "results" / "many")
    n_of_a_seed = _write_recipe(recipe, ledger, 1)
    n_seeds = -(-n_cells // n_of_a_seed)
    _write_recipe(recipe, ledger, n_seeds)
    plan = make_plan(read_recipe(recipe), load_registry(), ledger)
    rows = [
        {
            "schema": SCHEMA, "run_id": f"many{number}", "cell_key": planned.key, "status": DONE,
            **planned.cell.columns, "n_test": 359, "accuracy": 0.9, "params_total": 1e6, "wall_s": 1.0,
            "dataset_fingerprint": planned.dataset_fingerprint,
        }
        for number, planned in enumerate(plan.cells)
    ]  # fmt: skip
    with ledger.writing():  # makes the folder
        append_rows(ledger.folder / RUNS, COLUMNS[RUNS], rows)
    return len(rows)


def _write_recipe(path: Path, ledger: Ledger, n_seeds: int) -> int:
    path.write_text(MANY.format(seeds=list(range(n_seeds))))
    return len(make_plan(read_recipe(path), load_registry(), ledger).cells)


def read(command: tuple[str, ...], folder: Path) -> Reading:
    """What a command takes in this folder."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "benchmark", *command], cwd=folder, stdout=subprocess.DEVNULL) as one:
        _, status, usage = os.wait4(one.pid, 0)
        one.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if one.returncode:
        raise RuntimeError(f"benchmark {' '.join(command)} ended with {one.returncode}")
    return Reading(command[0], seconds, usage.ru_maxrss / KIB_A_MIB)


def measure(options: argparse.Namespace) -> Figures:
    """Every command on the same ledger."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"writing {options.rows:,} rows of {options.test_images:,} test images")
        write_ledger(folder / "results" / "drawn", options.rows, options.test_images)
        readings = []
        for command in COMMANDS:
            say(f"benchmark {command[0]}")
            readings.append(read(command, folder / "results" / "drawn"))
        n_cells = write_done_sweep(folder, options.cells)
        for command in (("status", "many.toml", "--json"), ("run", "many.toml", "--json")):
            say(f"benchmark {command[0]}, {n_cells:,} cells done")
            readings.append(read(command, folder))
    targets = tuple(
        Target(f"seconds of benchmark {reading.command}", reading.seconds, at_most=MOST_S) for reading in readings
    ) + tuple(
        Target(f"MiB of benchmark {reading.command}", reading.peak_rss_mib, at_most=MOST_MIB)
        for reading in readings[len(COMMANDS) :]
    )
    numbers: dict[str, Any] = {
        "n_rows": options.rows,
        "n_test": options.test_images,
        "n_cells": n_cells,
        "readings": [asdict(reading) for reading in readings],
    }
    rows = [[reading.command, f"{reading.seconds:.2f}", f"{reading.peak_rss_mib:,.0f}"] for reading in readings]
    text = (
        f"{markdown_table(['command', 's', 'peak, MiB'], rows)}\n\n"
        f"The first three on a ledger of {options.rows:,} rows with the predictions of {options.test_images:,} test "
        f"images each; `status` and `run`, which finds nothing to do, on a sweep of {n_cells:,} done cells."
    )
    return Figures("reading", "Reading a ledger", text, numbers, targets)


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--rows", type=int, help="of the ledger; 1000 if absent")
    parser.add_argument("--cells", type=int, help="of the sweep that is done; 20000 if absent")
    parser.add_argument("--test-images", type=int, help="of its dataset; 10000 if absent")
    options = parser.parse_args()
    options.rows = options.rows or (40 if options.quick else 1000)
    options.cells = options.cells or (500 if options.quick else 20_000)
    options.test_images = options.test_images or (500 if options.quick else 10_000)
    return run_script(measure, options)


if __name__ == "__main__":
    sys.exit(main())
