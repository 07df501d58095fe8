"""The row of a run: what was asked, what came out, and what it cost."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.datasets import ArrayImages, Dataset, Split
from benchmark.errors import DataError, DownloadError, FeaturesError, LedgerError, UnknownNameError, WeightsError
from benchmark.features.cache import BuildFacts
from benchmark.features.engine import Extraction
from benchmark.ledger import DONE, FAILED, RUN_COLUMNS, SCHEMA
from benchmark.options import DenseOptions
from benchmark.plan.cells import Cell, DatasetRequest
from benchmark.plan.planned import MISSING, PlannedCell
from benchmark.registry import Backbone
from benchmark.strategies.outcome import HistoryPoint, Outcome
from benchmark.work.rows import (
    Costs,
    class_rows,
    error_type,
    failure_columns,
    history_rows,
    majority_share,
    new_row,
    result_columns,
)

CELL = Cell(
    backbone=Backbone(name="Net", folder=Path(), application="ResNet50", mode="caffe", input_size_px=64),
    dataset=DatasetRequest("digits", 300), mode="unit", strategy="probe", head="linear", seed=3, input_size_px=64,
    resize="bilinear", crop="squash", engine="tensorflow", precision="float32", val_fraction=0.1, dense=DenseOptions(),
)  # fmt: skip
PLANNED = PlannedCell(CELL, "key", MISSING, setting_key="setting")
STARTED = datetime(2024, 5, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))

# Three classes; 4 train, 2 val and 4 test images.
LABELS = np.array([1, 1, 1, 2, 0, 1, 0, 1, 1, 2])
DATASET = Dataset(
    name="toy",
    images=ArrayImages(np.zeros((10, 4, 4, 1), np.uint8)),
    labels=LABELS,
    class_names=("cat", "dog", "emu"),
    test=np.arange(6, 10),
    fingerprint="f" * 64,
    n_left_out=4,
    n_duplicates=2,
)
SPLIT = Split(np.arange(4), np.arange(4, 6), np.arange(6, 10))
# Predicted: 0, 1, 2, 2 against 0, 1, 1, 2: three of four are right.
SCORES = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6], [0.1, 0.1, 0.8]], np.float32)
EXTRACTION = Extraction(
    n_images=10, feature_dim=7, sha256="e" * 64, extract_s=4.0, first_batch_s=1.5, images_per_s=12.0, batch_size=8,
    peak_rss_mib=500.0, peak_device_mib=None,
)  # fmt: skip
BUILD = BuildFacts(build_s=2.0, params_backbone=1_500_000, flops_g=0.25, weights_sha256="w" * 64, model_mib=6.0)


def an_outcome(**facts: Any) -> Outcome:
    usual: dict[str, Any] = {
        "scores": SCORES, "are_probabilities": True, "train_accuracy": 0.875, "val_accuracy": 0.5,
        "params_total": 2_000_000, "params_trainable": 500_000, "epochs": None, "history": (), "train_s": 0.5,
        "eval_s": 0.25,
    }  # fmt: skip
    return Outcome(**{**usual, **facts})


def some_costs(*extractions: Extraction, were_cached: bool | None = False) -> Costs:
    return Costs(
        BUILD, BUILD.params_backbone, 1.0, extractions or (EXTRACTION,), feature_dim=7, were_cached=were_cached
    )


def results_of(outcome: Outcome, *, were_cached: bool = False) -> dict[str, Any]:
    return result_columns(DATASET, SPLIT, some_costs(were_cached=were_cached), outcome)


def test_a_new_row_names_its_cell_and_where_it_runs():
    row = new_row(PLANNED, STARTED)

    assert row["schema"] == SCHEMA
    assert (row["cell_key"], row["setting_key"]) == ("key", "setting")
    assert (row["backbone"], row["weights"], row["dataset"], row["limit"], row["mode"], row["seed"]) == (
        "Net", "imagenet", "digits", 300, "unit", 3,
    )  # fmt: skip
    assert row["keras_version"].startswith("3.")
    assert row["cpu_count"] >= 1


def test_the_start_is_written_in_utc():
    assert new_row(PLANNED, STARTED)["started_utc"] == "2024-05-01T10:30:00Z"
    assert new_row(PLANNED, STARTED.astimezone(UTC))["started_utc"] == "2024-05-01T10:30:00Z"


def test_two_rows_of_one_cell_have_their_own_run_ids():
    ids = {new_row(PLANNED, STARTED)["run_id"] for _ in range(50)}

    assert len(ids) == 50


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("x"), "bad_data"),
        (DownloadError("x"), "download"),
        (WeightsError("x"), "weights"),
        (FeaturesError("x"), "nan_features"),
        (LedgerError("x"), "ledger"),
        (UnknownNameError("mode", "x", ["y"]), "unknown_name"),
        (MemoryError(), "oom"),
        (type("ResourceExhaustedError", (Exception,), {})("x"), "oom"),
        (ValueError("x"), "unexpected"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_kind_of_failure_has_its_word(error: Exception, kind: str):
    assert error_type(error) == kind


def test_a_failure_without_a_message_gets_the_name_of_its_type():
    assert failure_columns(MemoryError()) == {
        "status": FAILED,
        "error_type": "oom",
        "error_message": "MemoryError",
    }


def test_a_finished_run_fills_the_columns_of_a_probe():
    row = results_of(an_outcome(epochs=3))

    expected = {
        "status": DONE, "n_train": 4, "n_val": 2, "n_test": 4, "n_classes": 3, "n_left_out": 4,
        "n_duplicates": 2, "accuracy": 0.75, "val_accuracy": 0.5,
        "train_accuracy": 0.875, "overfit_gap": 0.375, "params_total": 2_000_000, "params_backbone": 1_500_000,
        "params_trainable": 500_000, "efficiency": 0.375, "flops_g": 0.25, "feature_dim": 7, "epochs": 3,
        "features_cached": False, "images_per_s": 12.0, "weights_sha256": "w" * 64, "dataset_fingerprint": "f" * 64,
    }  # fmt: skip
    assert {column: row[column] for column in expected} == expected
    assert row["top5_accuracy"] is None, "three classes have no top five"


def test_every_column_filled_is_a_column_of_the_ledger():
    columns = {**new_row(PLANNED, STARTED), **results_of(an_outcome()), **failure_columns(ValueError("x"))}

    assert set(columns) <= set(RUN_COLUMNS)
    assert set(RUN_COLUMNS) - set(columns) == {"elapsed_s", "peak_rss_mib", "costs_from", "recipe_sha256"}


@pytest.mark.parametrize("were_cached", [False, True])
def test_wall_time_counts_a_pass_that_the_cache_saved(were_cached: bool):
    row = results_of(an_outcome(), were_cached=were_cached)

    assert row["features_cached"] is were_cached
    assert [row[column] for column in ("load_s", "build_s", "extract_s", "train_s", "eval_s")] == [1, 2, 4, 0.5, 0.25]
    assert row["wall_s"] == 7.75


def test_efficiency_above_chance_leaves_out_what_guessing_gives():
    # The commonest class of training is "dog"; two of the four test images are dogs.
    row = results_of(an_outcome())

    assert row["chance"] == 0.5
    assert row["efficiency_above_chance"] == (0.75 - 0.5) / 2.0


def test_chance_looks_at_the_training_labels_only():
    # Training has three dogs, the test images alone would name "cat" the commonest.
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    dataset = Dataset("toy", DATASET.images, labels, ("cat", "dog"), np.arange(4, 8), "f")

    share = majority_share(dataset, Split(np.arange(4), np.arange(0), np.arange(4, 8)))

    assert share == 0.25


def test_chance_of_shots_looks_at_all_labels_that_are_not_tested():
    # One shot of each class; of the other images that are not tested, most are dogs.
    labels = np.array([0, 1, 1, 1, 1, 0, 0, 1])
    dataset = Dataset("toy", DATASET.images, labels, ("cat", "dog"), np.arange(5, 8), "f")

    share = majority_share(dataset, Split(np.array([0, 1]), np.array([2]), np.arange(5, 8)))

    assert share == pytest.approx(1 / 3)


def test_a_head_that_remembers_its_images_has_no_training_accuracy_and_no_gap():
    row = results_of(an_outcome(params_trainable=0, are_probabilities=False, train_accuracy=None))

    assert row["train_accuracy"] is None
    assert row["overfit_gap"] is None
    assert row["log_loss"] is None


def test_the_history_of_a_run_is_its_extraction_and_its_curves():
    outcome = an_outcome(history=(HistoryPoint("head", 1, "val", "loss", 0.5),))

    rows = history_rows("a", outcome, some_costs())

    assert rows == [
        {"run_id": "a", "stage": "extract", "epoch": 0, "split": "", "metric": "batch_size", "value": 8.0},
        {"run_id": "a", "stage": "extract", "epoch": 0, "split": "", "metric": "first_batch_s", "value": 1.5},
        {"run_id": "a", "stage": "head", "epoch": 1, "split": "val", "metric": "loss", "value": 0.5},
    ]


def test_a_training_of_two_passes_counts_both():
    row = result_columns(DATASET, SPLIT, some_costs(EXTRACTION, EXTRACTION), an_outcome())

    assert row["extract_s"] == 8.0


def test_a_training_without_a_pass_has_no_rate_and_says_nothing_of_a_cache():
    costs = Costs(BUILD, BUILD.params_backbone, 1.0, (), feature_dim=None, were_cached=None)

    row = result_columns(DATASET, SPLIT, costs, an_outcome())

    assert (row["extract_s"], row["images_per_s"], row["features_cached"], row["feature_dim"]) == (0, None, None, None)


def test_the_rows_a_class_count_hits_and_misses():
    per_class, confusion = class_rows("a", LABELS[6:], SCORES, DATASET.class_names).values()

    assert [(row["class_name"], row["precision"], row["recall"], row["support"]) for row in per_class] == [
        ("cat", 1.0, 1.0, 1), ("dog", 1.0, 0.5, 2), ("emu", 0.5, 1.0, 1),
    ]  # fmt: skip
    assert [(row["true_class"], row["predicted_class"], row["count"]) for row in confusion] == [
        ("cat", "cat", 1), ("dog", "dog", 1), ("dog", "emu", 1), ("emu", "emu", 1),
    ]  # fmt: skip
    assert {row["run_id"] for row in per_class + confusion} == {"a"}
