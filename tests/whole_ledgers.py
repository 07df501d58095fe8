"""Ledgers with everything that belongs to a row, made without training anything.

The rows of all heads and strategies are made from random scores by the project's own functions.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets import Dataset, Split, split_dataset
from benchmark.features.cache import BuildFacts
from benchmark.features.engine import Extraction
from benchmark.ledger import DONE, HISTORY, Ledger
from benchmark.metrics import score_metrics
from benchmark.options import PROBE, Stage
from benchmark.plan.cells import Cell
from benchmark.plan.grid import expanded
from benchmark.plan.planned import PlannedCell
from benchmark.plan.planning import make_plan
from benchmark.recipes import Grid, Sweep, recipe_text
from benchmark.registry import load_registry
from benchmark.strategies.outcome import HistoryPoint, Outcome, history_points
from benchmark.work.rows import Costs, class_rows, history_rows, new_row, result_columns

DEMO = Path(__file__).parents[1] / "results" / "demo"
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
N_EPOCHS = 4
EPOCHS = range(1, N_EPOCHS + 1)
# What heads tried and chose on validation.
TRIED = {
    "linear": {
        "accuracy at C=0.1": 0.8, "loss at C=0.1": 0.5, "accuracy at C=1": 0.9, "loss at C=1": 0.3,
        "accuracy at C=10": 0.7, "loss at C=10": 0.4, "chosen C": 1.0,
    },
    "ridge": {
        "accuracy at penalty=0.1n": 0.9, "accuracy at penalty=1n": 0.8, "accuracy at penalty=2n": 0.7,
        "chosen penalty": 0.1,
    },
}  # fmt: skip
SMALL = {"limit": 300, "input_size_px": 32, "engine": "tensorflow"}
STAGES = (Stage(unfreeze=0, epochs=N_EPOCHS), Stage(unfreeze=20, epochs=N_EPOCHS, learning_rate=1e-5))
GRIDS = (
    Grid(heads=("linear", "dense", "ridge", "knn"), **SMALL),
    Grid(strategies=("finetune",), stages=STAGES, **SMALL),
    Grid(backbones=("lenet5",), strategies=("scratch",), limit=300, stages=(Stage(unfreeze="all", epochs=N_EPOCHS),)),
)
# They need not be installed here.
EXTRAS = {"openvino_version": "2025.3.0", "keras_hub_version": "0.32.0"}


def make_ledger(folder: Path) -> Ledger:
    """A ledger of six rows: the heads linear, dense, ridge and knn, finetune and scratch."""
    ledger, rng = Ledger(folder), np.random.default_rng(0)
    registry = load_registry()
    sweep = expanded(Sweep(name="made", grid=GRIDS), registry)
    sha256 = ledger.keep_recipe(recipe_text(sweep))
    for planned in make_plan(sweep, registry, Ledger(folder / "none")).cells:
        _add_made_row(ledger, planned, sha256, rng)
    return ledger


def _save_scores(ledger: Ledger, run_id: str, predicted: np.ndarray, confidence: np.ndarray, n_classes: int) -> None:
    ledger.save_predictions(run_id, np.eye(n_classes, dtype=np.float32)[predicted] * confidence[:, np.newaxis])


def _add_made_row(ledger: Ledger, planned: PlannedCell, sha256: str, rng: np.random.Generator) -> None:
    dataset = planned.cell.dataset.load()
    split = split_dataset(dataset, seed=planned.cell.seed, val_fraction=planned.cell.val_fraction)
    costs, outcome = _costs(planned.cell), _outcome(planned.cell, dataset, split, rng)
    labels = dataset.labels[split.test]
    row = {**new_row(planned, STARTED), **result_columns(dataset, split, costs, outcome), "recipe_sha256": sha256}
    row |= {"elapsed_s": 6.0, "peak_rss_mib": 800.0, "cpu": "A", "cpu_vectors": "AVX-512", "warning": "", **EXTRAS}
    tables = {
        **class_rows(row["run_id"], labels, outcome.scores, dataset.class_names),
        HISTORY: history_rows(row["run_id"], outcome, costs),
    }
    ledger.save_true_labels(dataset.fingerprint, labels, dataset.class_names)
    ledger.save_predictions(row["run_id"], outcome.scores, labels)
    ledger.append_run(row, tables)


def _costs(cell: Cell) -> Costs:
    one_pass = Extraction(300, 1280, "0" * 64, 2.5, 0.5, 120.0, 16, 700.0, None)
    is_probe = cell.strategy == PROBE
    build = BuildFacts(1.5, 2_257_984, 0.05, "a" * 64, 8.62, *((9.1, 11.2) if is_probe else ()))
    passes = () if cell.strategy == "scratch" else (one_pass,)
    return Costs(build, build.params_backbone, 0.1, passes, 1280 if passes else None, False if passes else None)


def _outcome(cell: Cell, dataset: Dataset, split: Split, rng: np.random.Generator) -> Outcome:
    labels, n_classes = dataset.labels[split.test], len(dataset.class_names)
    scores = (4 * np.eye(n_classes)[labels] + rng.normal(size=(len(labels), n_classes))).astype(np.float32)
    if cell.head == "ridge":
        scores /= 4
    elif cell.head == "knn":
        scores = np.round(20 * np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).astype(np.float32) / 20
    else:
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    is_dense = cell.strategy == PROBE and cell.head == "dense"
    n_params = 0 if cell.head == "knn" else 12_810
    return Outcome(
        scores=scores,
        are_probabilities=cell.head not in ("ridge", "knn"),
        train_accuracy=None if cell.head == "knn" else round(0.95 * len(split.train)) / len(split.train),
        val_accuracy=round(0.9 * len(split.val)) / len(split.val),
        params_total=2_257_984 + n_params,
        params_trainable=n_params,
        epochs=N_EPOCHS * (1 if is_dense else len(cell.stages)) or None,
        history=tuple(_history(cell)),
        train_s=2.0,
        eval_s=0.2,
    )


def _history(cell: Cell) -> list[HistoryPoint]:
    if cell.strategy == PROBE and cell.head in TRIED:
        return [HistoryPoint("head", 0, "val", *one) for one in TRIED[cell.head].items()]
    if cell.strategy == PROBE and cell.head == "dense":
        return [point for epoch in EPOCHS for point in history_points("head", epoch, _logs(epoch))]
    return [
        point
        for number, stage in enumerate(cell.stages, 1)
        for epoch in EPOCHS
        for point in history_points(
            f"stage {number}", epoch, {**_logs(epoch), "learning_rate": stage.learning_rate, "seconds": 2.0}
        )
    ]


def _logs(epoch: int) -> dict[str, float]:
    return {
        "accuracy": 1 - 0.3 / epoch, "loss": 0.8 / epoch, "val_accuracy": 1 - 0.4 / epoch, "val_loss": 1.1 / epoch,
    }  # fmt: skip


# What another type of processor and other versions look like in a row.
OTHER_MACHINE = {
    "cpu": "Other", "cpu_vectors": "AVX2", "keras_version": "3.99.0", "tensorflow_version": "2.99.0",
    "python_version": "3.99.0",
}  # fmt: skip


def elsewhere(ledger: Ledger, folder: Path) -> Ledger:
    """The same cells as another processor gives them: in one of a hundred images another class, and other digits."""
    made, rng = Ledger(folder), np.random.default_rng(1)
    history = ledger.read_table(HISTORY)
    for row in ledger.read_runs().to_dict("records"):
        true, names = ledger.read_true_labels(row["dataset_fingerprint"])
        predicted, confidence = ledger.read_predictions(row["run_id"])
        others = rng.choice(len(true), max(1, len(true) // 100), replace=False)
        predicted[others] = (predicted[others] + 1) % len(names)
        most = max(1, confidence.max())  # scores of ridge can be above 1
        confidence = np.clip(confidence + rng.normal(scale=0.005, size=len(true)), 0.2, most).astype(np.float16)
        points = history[history["run_id"] == row["run_id"]].copy()
        is_loss = points["metric"] == "loss"
        points.loc[is_loss, "value"] *= 1 + rng.normal(scale=0.01, size=is_loss.sum())
        labels, scores = true.astype(np.int64), np.eye(len(names), dtype=np.float32)[predicted]
        _save_scores(made, row["run_id"], predicted, confidence, len(names))
        made.save_true_labels(row["dataset_fingerprint"], labels, names)
        tables = {**class_rows(row["run_id"], labels, scores, names), HISTORY: points.to_dict("records")}
        made.append_run({**row, **_other_figures(row, labels, scores), **OTHER_MACHINE}, tables)
    return made


def _other_figures(row: dict[str, Any], labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    figures = score_metrics(labels, scores, are_probabilities=False)
    for name in ("top5_accuracy", "log_loss", "calibration_error"):  # confidences, or other scores, decide these
        del figures[name]
    assert row["status"] == DONE
    return {**figures, "log_loss": row["log_loss"] + 0.002, "val_accuracy": row["val_accuracy"] - 1 / row["n_val"]}
