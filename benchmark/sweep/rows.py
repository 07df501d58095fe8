"""The row of a run: what a cell asked for, what it gave and what it cost."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Dataset, Partition
from benchmark.errors import BenchmarkError
from benchmark.features.cache import CachedFeatures
from benchmark.ledger import DONE, FAILED, SCHEMA
from benchmark.metrics import confusion_counts, per_class_metrics, score_metrics
from benchmark.provenance import environment
from benchmark.strategies.probe import ProbeResult
from benchmark.strategies.records import FittedHead
from benchmark.sweep.cells import Cell

MILLION = 1e6

Rows = list[dict[str, Any]]


def new_row(cell: Cell, key: str, recipe_sha256: str, started: datetime) -> dict[str, Any]:
    """The columns known before a cell is run, under a new `run_id`."""
    return {
        "schema": SCHEMA,
        "run_id": secrets.token_hex(8),
        "cell_key": key,
        **cell.columns,
        "weights": cell.backbone.weights,
        "recipe_sha256": recipe_sha256,
        **environment(),
        "started_utc": started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def failure_columns(error: BaseException) -> dict[str, Any]:
    """Status, type and message of a run that failed."""
    return {"status": FAILED, "error_type": error_type(error), "error_message": str(error) or type(error).__name__}


def error_type(error: BaseException) -> str:
    """The ledger's word for a kind of failure."""
    if isinstance(error, BenchmarkError):
        return error.error_type
    # TensorFlow's type by name: this module also serves processes that never import it.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "oom"
    return "unexpected"


def result_columns(
    dataset: Dataset, split: Partition, cached: CachedFeatures, result: ProbeResult, load_s: float
) -> dict[str, Any]:
    """The columns that a finished probe fills, `elapsed_s` and `peak_rss_mib` excepted.

    Args:
        dataset: What was classified.
        split: Its train, validation and test images.
        cached: The features and what they cost when they were made.
        result: Of training and testing the head.
        load_s: Seconds to load the dataset.
    """
    labels = dataset.labels[split.test]
    values = score_metrics(labels, result.scores, are_probabilities=result.head.are_probabilities)
    chance = majority_share(dataset, split)
    params = cached.build.params_backbone + result.head.n_params
    test_accuracy = float(values["accuracy"] or 0.0)
    gap = None if result.train_accuracy is None else result.train_accuracy - result.val_accuracy
    phases = {
        "load_s": load_s,
        "build_s": cached.build.build_s,
        "extract_s": cached.extraction.extract_s,
        "train_s": result.train_s,
        "eval_s": result.eval_s,
    }
    return {
        "status": DONE,
        "n_train": len(split.train),
        "n_val": len(split.val),
        "n_test": len(split.test),
        "n_classes": len(dataset.class_names),
        "chance": chance,
        **values,
        "train_accuracy": result.train_accuracy,
        "val_accuracy": result.val_accuracy,
        "overfit_gap": gap,
        "params_total": params,
        "params_backbone": cached.build.params_backbone,
        "params_trainable": result.head.n_params,
        "efficiency": test_accuracy / (params / MILLION) if params else None,
        "efficiency_above_chance": (test_accuracy - chance) / (params / MILLION) if params else None,
        "flops_g": cached.build.flops_g,
        "feature_dim": cached.extraction.feature_dim,
        "epochs": result.head.epochs,
        **phases,
        "wall_s": sum(phases.values()),
        "features_cached": cached.was_cached,
        "images_per_s": cached.extraction.images_per_s,
        "peak_device_mib": cached.extraction.peak_device_mib,
        "weights_sha256": cached.build.weights_sha256,
        "dataset_fingerprint": dataset.fingerprint,
    }


def majority_share(dataset: Dataset, split: Partition) -> float:
    """Accuracy of always naming the training split's most frequent class, on the test split."""
    commonest = np.bincount(dataset.labels[split.train]).argmax()
    return float(np.mean(dataset.labels[split.test] == commonest))


def history_rows(run_id: str, head: FittedHead, cached: CachedFeatures) -> Rows:
    """Learning curves and choices of a run, and how its features were extracted."""
    extraction = {"batch_size": cached.extraction.batch_size, "first_batch_s": cached.extraction.first_batch_s}
    rows: Rows = [
        {"run_id": run_id, "stage": "extract", "epoch": 0, "split": "", "metric": metric, "value": float(value)}
        for metric, value in extraction.items()
    ]
    return rows + [{"run_id": run_id, **asdict(point)} for point in head.history]


def class_rows(
    run_id: str, labels: NDArray[np.int64], scores: NDArray[np.float32], class_names: Sequence[str]
) -> tuple[Rows, Rows]:
    """The rows of a run in `per_class.csv` and `confusion.csv`; pairs of classes that never occur are left out."""
    predicted = scores.argmax(axis=1)
    per_class = [{"run_id": run_id, **asdict(metric)} for metric in per_class_metrics(labels, predicted, class_names)]
    counts = confusion_counts(labels, predicted, len(class_names))
    confusion = [
        {
            "run_id": run_id,
            "true_class": class_names[true],
            "predicted_class": class_names[guess],
            "count": int(counts[true, guess]),
        }
        for true, guess in np.argwhere(counts)
    ]
    return per_class, confusion
