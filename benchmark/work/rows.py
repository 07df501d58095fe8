"""The row of a run: what the recipe asked for, the results and the costs."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Dataset, Split
from benchmark.errors import BenchmarkError, is_out_of_memory
from benchmark.features.cache import BuildFacts
from benchmark.features.engine import Extraction
from benchmark.ledger import CONFUSION, DONE, FAILED, PER_CLASS, SCHEMA
from benchmark.metrics import confusion_counts, per_class_metrics, score_metrics
from benchmark.plan.planned import PlannedCell
from benchmark.provenance import environment
from benchmark.storage import OUT_OF_SPACE
from benchmark.strategies.outcome import Outcome

MILLION = 1e6
MANY_CLASSES = 1000
# The columns on which times depend, beside the cell.
CONDITIONS = ("n_jobs", "cpu", "cpu_vectors", "cpu_count", "gpu", "tensorflow_version", "openvino_version")
# The stage in `HISTORY` that holds the passes over the images.
EXTRACT_STAGE = "extract"

Rows = list[dict[str, Any]]


def new_row(
    planned: PlannedCell, started: datetime, *, n_jobs: int = 1, is_deterministic: bool = False
) -> dict[str, Any]:
    """The columns that a worker knows before it runs a cell, with a new `run_id`.

    `n_jobs` jobs run at the same time on the machine; `is_deterministic` is about TensorFlow's operations.
    """
    return {
        "schema": SCHEMA,
        "run_id": secrets.token_hex(8),
        "cell_key": planned.key,
        "setting_key": planned.setting_key,
        **planned.cell.columns,
        **planned.cell.facts,
        **environment(),
        "n_jobs": n_jobs,
        "is_deterministic": int(is_deterministic),
        "started_utc": started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def failure_columns(error: BaseException) -> dict[str, Any]:
    """Status, type and message of a run that failed."""
    return {"status": FAILED, "error_type": error_type(error), "error_message": str(error) or type(error).__name__}


def error_type(error: BaseException) -> str:
    """The ledger's word for a kind of failure."""
    if isinstance(error, BenchmarkError):
        return error.error_type
    if is_out_of_memory(error):
        return "oom"
    if isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
        return "disk_full"
    return "unexpected"


@dataclass(frozen=True)
class Costs:
    """The parts that a run needed before its training, and what each cost when it was made.

    Attributes:
        build: Of the backbone, or of the network with its own classifier.
        params_backbone: Parameters of the backbone without a head; None if not known.
        load_s: Seconds to load the dataset.
        extractions: Passes over the images.
        feature_dim: Width of the features; None where a network has its classifier inside.
        were_cached: Whether all passes were found in the cache; None without any.
        made: The conditions under which each pass was made, by the columns of `CONDITIONS`.
    """

    build: BuildFacts
    params_backbone: int | None
    load_s: float
    extractions: tuple[Extraction, ...]
    feature_dim: int | None
    were_cached: bool | None
    made: tuple[Mapping[str, Any], ...] = ()


def conditions_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the times of a row depend on, beside what it computes."""
    return {column: row[column] for column in CONDITIONS}


def costs_from(row: Mapping[str, Any], made: Iterable[Mapping[str, Any]]) -> str:
    """The conditions of passes over the images that were not those of this row, such as `n_jobs=2`; empty if none."""
    others = [f"{name}={one[name]}" for one in made for name in one if one[name] != row[name]]
    return "; ".join(dict.fromkeys(others))


def result_columns(dataset: Dataset, split: Split, costs: Costs, result: Outcome) -> dict[str, Any]:
    """The columns that a finished run fills, except `elapsed_s` and `peak_rss_mib`."""
    labels = dataset.labels[split.test]
    values = score_metrics(labels, result.scores, are_probabilities=result.are_probabilities)
    chance = majority_share(dataset, split)
    # A head that trains nothing keeps its training images, which are no parameters.
    keeps_images = not result.params_trainable and len(split.train)
    params_millions = 0.0 if keeps_images else result.params_total / MILLION
    test_accuracy = float(values["accuracy"] or 0.0)
    gap = None
    if result.train_accuracy is not None and result.val_accuracy is not None:
        gap = result.train_accuracy - result.val_accuracy
    phases = {
        "load_s": costs.load_s,
        "build_s": costs.build.build_s,
        "extract_s": sum(extraction.extract_s for extraction in costs.extractions),
        "train_s": result.train_s,
        "eval_s": result.eval_s,
    }
    return {
        "status": DONE,
        "warning": result.warning,
        "n_train": len(split.train),
        "n_val": len(split.val),
        "n_test": len(split.test),
        "n_left_out": dataset.n_left_out,
        "n_duplicates": dataset.n_duplicates,
        "n_classes": len(dataset.class_names),
        "chance": chance,
        **values,
        "train_accuracy": result.train_accuracy,
        "val_accuracy": result.val_accuracy,
        "overfit_gap": gap,
        "params_total": result.params_total,
        "params_backbone": costs.params_backbone,
        "params_trainable": result.params_trainable,
        "efficiency": test_accuracy / params_millions if params_millions else None,
        "efficiency_above_chance": (test_accuracy - chance) / params_millions if params_millions else None,
        "flops_g": costs.build.flops_g,
        "model_mib": costs.build.model_mib,
        "feature_dim": costs.feature_dim,
        "epochs": result.epochs,
        **phases,
        "wall_s": sum(phases.values()),
        "features_cached": costs.were_cached,
        "images_per_s": costs.extractions[0].images_per_s if costs.extractions else None,
        "latency_ms": costs.build.latency_ms,
        "latency_p95_ms": costs.build.latency_p95_ms,
        "peak_device_mib": max((one.peak_device_mib or 0.0 for one in costs.extractions), default=0.0) or None,
        "weights_sha256": costs.build.weights_sha256,
        "dataset_fingerprint": dataset.fingerprint,
    }


def majority_share(dataset: Dataset, split: Split) -> float:
    """Accuracy on the test split of always predicting the most frequent class of the training split.

    Shots have all classes equally often: then it is the most frequent class of all images that are not tested. Where
    nothing is trained, it is the most frequent class of the test split.
    """
    has_shots = sum(map(len, (split.train, split.val, split.test))) < len(dataset)
    trained = np.delete(dataset.labels, split.test) if has_shots else dataset.labels[split.train]
    commonest = np.bincount(trained if len(trained) else dataset.labels[split.test]).argmax()
    return float(np.mean(dataset.labels[split.test] == commonest))


def history_rows(run_id: str, result: Outcome, costs: Costs) -> Rows:
    """Learning curves and choices of a run, and of its extractions: one epoch per pass over the images."""
    rows: Rows = [
        {
            "run_id": run_id,
            "stage": EXTRACT_STAGE,
            "epoch": number,
            "split": "",
            "metric": metric,
            "value": float(value),
        }
        for number, extraction in enumerate(costs.extractions)
        for metric, value in (("batch_size", extraction.batch_size), ("first_batch_s", extraction.first_batch_s))
    ]
    return rows + [{"run_id": run_id, **asdict(point)} for point in result.history]


def class_rows(
    run_id: str, labels: NDArray[np.int64], scores: NDArray[np.float32], class_names: Sequence[str]
) -> dict[str, Rows]:
    """The rows of a run in `PER_CLASS` and `CONFUSION`; pairs of classes that never occur are left out.

    With `MANY_CLASSES` or more, classes that neither occur nor are predicted are left out of `PER_CLASS`.
    """
    predicted = scores.argmax(axis=1)
    seen = {class_names[label] for label in np.union1d(labels, predicted)}
    per_class = [
        {"run_id": run_id, **metric}
        for metric in per_class_metrics(labels, predicted, class_names)
        if len(class_names) < MANY_CLASSES or metric["class_name"] in seen
    ]
    counts = confusion_counts(labels, predicted, len(class_names))
    columns = ("run_id", "true_class", "predicted_class", "count")
    confusion = [
        dict(zip(columns, (run_id, class_names[true], class_names[guess], int(counts[true, guess])), strict=True))
        for true, guess in np.argwhere(counts)
    ]
    return {PER_CLASS: per_class, CONFUSION: confusion}
