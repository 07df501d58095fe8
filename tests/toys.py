"""Ledgers with known numbers, for the tests of what is made from ledgers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from toy_ledgers import SETTING, keys_of

from benchmark.datasets import Dataset
from benchmark.ledger import CONFUSION, DONE, HISTORY, PER_CLASS, RUN_COLUMNS, RUNS, SCHEMA, Ledger
from benchmark.metrics import wilson_interval
from benchmark.tidycsv import append_rows

MODES = ("native", "unit", "raw", "tf", "caffe", "torch", "double", "bgr")
N_TEST = 1000

RUN = {
    **SETTING, "schema": SCHEMA, "status": DONE, "dataset": "toys", "n_jobs": 1, "is_deterministic": 0,
    "n_test": N_TEST, "chance": 0.1, "accuracy": 0.5, "params_total": 2e6, "load_s": 1.0, "build_s": 2.0,
    "extract_s": 30.0, "train_s": 4.0, "eval_s": 0.5, "wall_s": 37.5, "peak_rss_mib": 500.0, "log_loss": 0.7,
    "costs_from": "", "dataset_fingerprint": "f" * 64,
}  # fmt: skip

Row = dict[str, Any]


def a_run(number: int = 0, **columns: Any) -> Row:
    """A finished run, its efficiencies and interval as its accuracy and parameters have it."""
    row = {**RUN, "run_id": f"run{number}", **columns}
    row = {**keys_of(row), **row}
    millions = row["params_total"] / 1e6
    low, high = wilson_interval(round(row["accuracy"] * N_TEST), N_TEST)
    return {
        "efficiency": row["accuracy"] / millions,
        "efficiency_above_chance": (row["accuracy"] - row["chance"]) / millions,
        "accuracy_low": low,
        "accuracy_high": high,
        **row,
    }


def number_runs(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    return [a_run(number, **row) for number, row in enumerate(rows)]


def runs_table(rows: Iterable[Row], folder: Path = Path("nowhere")) -> pd.DataFrame:
    """What `load_runs` gives."""
    table = pd.DataFrame(list(rows)).reindex(columns=RUN_COLUMNS)
    return table.assign(sweep=folder.name, folder=str(folder), dataset_name=table["dataset"], variant="", machine="")


def write_ledger(
    folder: Path,
    rows: Sequence[Row],
    *,
    history: Sequence[Row] = (),
    per_class: Sequence[Row] = (),
    confusion: Sequence[Row] = (),
) -> Ledger:
    """All rows at once: appending them one by one waits for the disk each time."""
    from benchmark.ledger import COLUMNS

    folder.mkdir(parents=True)
    for name, table in ((HISTORY, history), (PER_CLASS, per_class), (CONFUSION, confusion), (RUNS, rows)):
        append_rows(folder / name, COLUMNS[name], table)
    return Ledger(folder)


def four_settings(**columns: Any) -> list[Row]:
    return [
        {"backbone": backbone, "params_total": params, "mode": mode, "head": head, "accuracy": accuracy, **columns}
        for backbone, params, mode, head, accuracy in (
            ("NetA", 1e6, "native", "linear", 0.8),
            ("NetA", 1e6, "unit", "linear", 0.5),
            ("NetB", 24e6, "native", "linear", 0.9),
            ("NetB", 24e6, "native", "dense", 0.6),
        )
    ]


def many_settings(n_backbones: int, *, tail: str = "", n_seeds: int = 1, **columns: Any) -> list[Row]:
    """Backbones of all sizes in all modes: the first mode is best, and each further one a little worse."""
    return [
        {
            "backbone": f"Backbone{number}{tail}",
            "mode": mode,
            "seed": seed,
            "params_total": 1e6 * 1.15**number,
            "accuracy": 0.95 - 0.3 * (number * 7 % n_backbones) / n_backbones - place * (0.04 + 0.0007 * seed),
            **columns,
        }
        for number in range(n_backbones)
        for place, mode in enumerate(MODES)
        for seed in range(n_seeds)
    ]


def curve(run_id: str, stage: str, values: Mapping[tuple[str, str], Sequence[float]]) -> list[Row]:
    """Rows of `history.csv`: the values of the epochs from 1 on, by split and metric."""
    return [
        {"run_id": run_id, "stage": stage, "epoch": epoch, "split": split, "metric": metric, "value": value}
        for (split, metric), numbers in values.items()
        for epoch, value in enumerate(numbers, start=1)
    ]


def class_rows(
    run_id: str, true: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> tuple[list[Row], list[Row]]:
    """Rows of `per_class.csv` and `confusion.csv`; precision and F1 are not looked at."""
    counts = np.zeros((len(class_names), len(class_names)), int)
    np.add.at(counts, (true, predicted), 1)
    support = counts.sum(axis=1)
    per_class = [
        {
            "run_id": run_id, "class_name": name, "precision": 0.5, "f1": 0.5, "support": int(support[index]),
            "recall": counts[index, index] / max(support[index], 1),
        }
        for index, name in enumerate(class_names)
    ]  # fmt: skip
    confusion = [
        {"run_id": run_id, "true_class": class_names[a], "predicted_class": class_names[b], "count": int(counts[a, b])}
        for a, b in np.argwhere(counts)
    ]
    return per_class, confusion


def count_classes(dataset: Dataset) -> dict[str, int]:
    """Number of images per class, over all splits."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    return dict(zip(dataset.class_names, counts.tolist(), strict=True))
