"""The files and columns of a ledger, and what names a cell or a fold in them."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmark.tidycsv import Limits

SCHEMA = 2

RUNS = "runs.csv"
HISTORY = "history.csv"
PER_CLASS = "per_class.csv"
CONFUSION = "confusion.csv"
PREDICTIONS = "predictions"
WEIGHTS = "weights"
RECIPES = "recipes"
# How the files in `predictions/` begin that hold true classes; the others are called by their run.
TRUE_LABELS = "true-"
LOCK = ".lock"

# What belongs to a ledger in its folder; the last two are the log of its workers and the recipe of schema 1.
LEDGER_FILES = frozenset(
    {RUNS, HISTORY, PER_CLASS, CONFUSION, PREDICTIONS, WEIGHTS, RECIPES, LOCK, "worker.log", "recipe.toml"}
)

DONE = "done"
FAILED = "failed"

# The columns that a recipe determines. A later row of a ledger that agrees in all of them replaces an earlier one,
# unless it says only that the dataset was not available.
CELL_COLUMNS = (
    "backbone", "dataset", "classes", "limit", "part", "drop_duplicates", "restrict_classes", "mode", "strategy",
    "stages", "folds", "shots", "head", "head_options", "input_size_px", "resize", "crop", "augment", "engine",
    "precision",
    "batch_size", "val_fraction", "seed",
)  # fmt: skip
RUN_COLUMNS = (
    "schema", "run_id", "cell_key", "setting_key", "status", "error_type", "error_message", "warning", "weights",
    *CELL_COLUMNS,
    *"""
    n_train n_val n_test n_left_out n_duplicates n_classes chance accuracy accuracy_low accuracy_high top5_accuracy
    balanced_accuracy macro_precision macro_recall macro_f1 weighted_precision weighted_recall weighted_f1 auroc
    log_loss calibration_error train_accuracy val_accuracy overfit_gap
    params_total params_backbone params_trainable efficiency efficiency_above_chance flops_g model_mib feature_dim
    epochs load_s build_s extract_s train_s eval_s wall_s elapsed_s features_cached images_per_s latency_ms
    latency_p95_ms peak_rss_mib peak_device_mib
    pooling weights_sha256 network_sha256 registry_sha256 dataset_fingerprint feature_version split_version
    recipe_sha256 harness_version git_commit is_dirty keras_version tensorflow_version openvino_version
    keras_hub_version pillow_version python_version platform cpu cpu_vectors cpu_count gpu n_jobs costs_from
    is_deterministic started_utc
    """.split(),
)  # fmt: skip
COLUMNS: dict[str, tuple[str, ...]] = {
    RUNS: RUN_COLUMNS,
    HISTORY: ("run_id", "stage", "epoch", "split", "metric", "value"),
    PER_CLASS: ("run_id", "class_name", "precision", "recall", "f1", "support"),
    CONFUSION: ("run_id", "true_class", "predicted_class", "count"),
}
TEXT_COLUMNS = {
    RUNS: frozenset(
        """
        run_id cell_key setting_key status error_type error_message warning backbone weights dataset classes part
        mode strategy stages head head_options resize crop augment engine precision weights_sha256 network_sha256
        registry_sha256 dataset_fingerprint recipe_sha256 harness_version git_commit keras_version tensorflow_version
        openvino_version keras_hub_version pillow_version python_version platform cpu cpu_vectors gpu costs_from
        started_utc pooling
        """.split()
    ),
    HISTORY: frozenset({"run_id", "stage", "split", "metric"}),
    PER_CLASS: frozenset({"run_id", "class_name"}),
    CONFUSION: frozenset({"run_id", "true_class", "predicted_class"}),
}
SHARE, COUNT, MEASURE = Limits(0, 1), Limits(0, 2**53, are_whole=True), Limits(0, math.inf)
# What the columns of numbers can hold. All others count something or are 0 or 1.
LIMITS: dict[str, Limits | None] = {
    **dict.fromkeys(
        """
        val_fraction chance accuracy accuracy_low accuracy_high top5_accuracy balanced_accuracy macro_precision
        macro_recall macro_f1 weighted_precision weighted_recall weighted_f1 auroc calibration_error train_accuracy
        val_accuracy precision recall f1
        """.split(),
        SHARE,
    ),
    **dict.fromkeys(
        """
        log_loss efficiency flops_g model_mib load_s build_s extract_s train_s eval_s wall_s elapsed_s images_per_s
        latency_ms latency_p95_ms peak_rss_mib peak_device_mib
        """.split(),
        MEASURE,
    ),
    **dict.fromkeys(("overfit_gap", "efficiency_above_chance", "value"), None),  # can be negative
    "input_size_px": Limits(1, 2**16, are_whole=True),
}
# Columns of numbers that every row of `runs.csv` has, and columns that name its files.
REQUIRED = ("seed", "input_size_px")
IN_FILE_NAMES = {"run_id": r"[\w.-]{1,80}", "dataset_fingerprint": r"[\w.-]{0,80}", "recipe_sha256": r"[\w.-]{0,80}"}
# Messages are stored on one line.
MESSAGES = ("error_message", "warning")


def cell_names(runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The values of each row in `CELL_COLUMNS`, which name its cell; None where a value is missing."""
    named = runs[list(CELL_COLUMNS)].astype(object)
    return list(named.where(named.notna(), None).itertuples(index=False, name=None))


def fold_of(row: Mapping[Any, Any] | pd.Series) -> str:
    """The fold of a run, such as `0-of-4`, which decides its test images; empty without folds."""
    return "" if pd.isna(row["folds"]) else f"{row['seed']:.0f}-of-{row['folds']:.0f}"


def true_labels_name(fingerprint: str, fold: str = "") -> str:
    """The file in `predictions/` that holds the true test labels of a dataset, or of a fold of it."""
    return f"{TRUE_LABELS}{'-'.join(filter(None, (fingerprint[:16], fold)))}.npz"
