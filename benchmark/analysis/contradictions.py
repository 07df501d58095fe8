"""Checks of a row of a ledger against its own predictions, tables and recipe.

A figure that was edited by hand contradicts the figures or files that it follows from.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.features.cache import FEATURE_VERSION
from benchmark.ledger import COLUMNS, CONFUSION, DONE, HISTORY, PER_CLASS
from benchmark.metrics import Labels, score_metrics, wilson_interval
from benchmark.migration import LATER_COLUMNS
from benchmark.plan.cells import key_of_seed
from benchmark.storage import digest_of_text
from benchmark.work.rows import EXTRACT_STAGE, MILLION, class_rows

Row = Mapping[Any, Any]

# The precision that a number may lose when it is written as text.
ROUNDING = 1e-6
# What rounding to float16 changes a score by: a share of it, and near zero a number.
FLOAT16, FLOAT16_LEAST = 2**-11, 2**-25
# Files that hold several rows of a run, with the columns that tell these apart; the other columns are numbers.
KEYS = {
    HISTORY: ("stage", "epoch", "split", "metric"), PER_CLASS: ("class_name",),
    CONFUSION: ("true_class", "predicted_class"),
}  # fmt: skip
PHASES = ("load_s", "build_s", "extract_s", "train_s", "eval_s")


def _interval(row: Row) -> tuple[float, float]:
    return wilson_interval(round(row["accuracy"] * row["n_test"]), int(row["n_test"]))


# Columns that follow from other columns of their row, with what they follow from.
IDENTITIES: dict[str, tuple[Callable[[Row], float], str]] = {
    "accuracy_low": (lambda row: _interval(row)[0], "accuracy and test images"),
    "accuracy_high": (lambda row: _interval(row)[1], "accuracy and test images"),
    "overfit_gap": (lambda row: row["train_accuracy"] - row["val_accuracy"], "train and validation accuracy"),
    "efficiency": (lambda row: row["accuracy"] / _millions(row), "accuracy and parameters"),
    "efficiency_above_chance": (
        lambda row: (row["accuracy"] - row["chance"]) / _millions(row), "accuracy, chance and parameters",
    ),
    "wall_s": (lambda row: sum(row[phase] for phase in PHASES), "the sum of its parts"),
}  # fmt: skip
# Columns that follow from the true and the predicted classes.
DERIVED = (
    "accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision",
    "weighted_recall", "weighted_f1",
)  # fmt: skip


class Fault(NamedTuple):
    """What is wrong with a run's part of a ledger.

    Attributes:
        text: The fault, as a sentence without its end.
        is_contradiction: Whether something is wrong; otherwise something is missing.
    """

    text: str
    is_contradiction: bool = True


class Run(NamedTuple):
    """A row and all that its ledger holds of its run; None where it was not kept."""

    row: Row
    tables: Mapping[str, pd.DataFrame | None]
    predictions: tuple[Labels, NDArray[np.float64]] | None
    true_scores: NDArray[np.float64] | None
    truth: tuple[Labels, tuple[str, ...]] | None
    recipe: Path


def faults_of(run: Run) -> Iterator[Fault]:
    """Of a run that is done or has failed, all of them."""
    return _of_done(run) if run.row["status"] == DONE else _of_failed(run)


def _of_failed(run: Run) -> Iterator[Fault]:
    if not run.row["error_type"] or not pd.isna(run.row["accuracy"]):
        yield Fault("it failed without an error, or has an accuracy although it failed")


def _of_done(run: Run) -> Iterator[Fault]:
    row = run.row
    if row["error_type"] or row["error_message"]:
        yield Fault("it is done, but names an error")
    yield from _of_keys(run)
    if run.truth is not None:
        yield from _of_classes(run, *run.truth)
    yield from _of_figures(row)
    yield from _of_history(run)
    kept = {"predictions": run.predictions, "true classes": run.truth, **run.tables}
    if missing := [name for name, content in kept.items() if content is None]:
        yield Fault(f"not kept: {', '.join(missing)}", is_contradiction=False)


def _of_keys(run: Run) -> Iterator[Fault]:
    row = run.row
    if pd.isna(row["feature_version"]):
        return  # of schema 1, which had neither settings' keys nor recipes
    key = key_of_seed(row["setting_key"], int(row["seed"]))
    if row["feature_version"] == FEATURE_VERSION and row["cell_key"] != key:
        yield Fault("cell_key is not that of its setting_key and seed")
    yield from recipe_faults(run.recipe)


def recipe_faults(path: Path) -> Iterator[Fault]:
    """Of the file of a recipe, whose name is its SHA-256."""
    if not path.exists():
        yield Fault(f"{path} is missing", is_contradiction=False)
    elif digest_of_text(path.read_text(encoding="utf-8")) != path.stem:
        yield Fault(f"{path} was changed: its name is not its SHA-256")


def _of_figures(row: Row) -> Iterator[Fault]:
    if pd.isna(row["accuracy"]) or not row["n_test"] > 0:
        yield Fault("it is done without an accuracy or test images")
        return
    for column, (derive, source) in IDENTITIES.items():
        yield from _other_figure(row, column, derive(row), source)


def _of_history(run: Run) -> Iterator[Fault]:
    """A stage has every metric for each of its epochs, once; the epochs of all stages are those of the row."""
    history = run.tables[HISTORY]
    if history is None:
        return
    names = numbers_by_key(history, HISTORY)
    if len(names) < len(history) or history["epoch"].isna().any():
        yield Fault(f"{HISTORY} has an epoch twice, or without its number")
    metrics: dict[str, dict[float, set[str]]] = {}
    for stage, epoch, split, metric in names:
        if epoch > 0 or stage == EXTRACT_STAGE:  # epoch 0 of other stages holds choices, each under its own name
            metrics.setdefault(stage, {}).setdefault(epoch, set()).add(f"{split} {metric}")
    for stage, of_epochs in metrics.items():
        first = 0 if stage == EXTRACT_STAGE else 1
        is_whole = sorted(of_epochs) == [*range(first, first + len(of_epochs))]
        if not is_whole or any(one != of_epochs[first] for one in of_epochs.values()):
            yield Fault(f"{HISTORY} lacks an epoch or a metric in stage {stage}")
    n_epochs = sum(len(of_epochs) for stage, of_epochs in metrics.items() if stage != EXTRACT_STAGE)
    if n_epochs != (0 if pd.isna(run.row["epochs"]) else run.row["epochs"]):
        yield Fault(f"epochs is {run.row['epochs']:g}, {HISTORY} has {n_epochs}")


def _of_classes(run: Run, true: Labels, names: tuple[str, ...]) -> Iterator[Fault]:
    row = run.row
    for column, number in (("n_test", len(true)), ("n_classes", len(names))):
        if row[column] != number:
            yield Fault(f"{column} is {row[column]:g}, of true classes and their names there are {number}")
    if run.predictions is None:
        return
    predicted, confidence = run.predictions
    if len(predicted) != len(true):
        yield Fault(f"{len(true)} test images, {len(predicted)} predictions")
    elif predicted.min() < 0 or predicted.max() >= len(names):
        yield Fault(f"a prediction is none of the {len(names)} classes")
    else:
        yield from _of_predictions(run, true, predicted, names)
        if run.true_scores is not None:
            yield from _of_true_scores(run.row, run.true_scores, confidence, is_right=true == predicted)
    # A row has a log loss if its scores are probabilities; the greatest of k is at least 1 / k.
    least = 0.99 / len(names)
    if not pd.isna(row["log_loss"]) and not ((confidence >= least) & (confidence <= 1)).all():
        yield Fault("a confidence is no greatest probability")


def _of_true_scores(
    row: Row, scores: NDArray[np.float64], confidence: NDArray[np.float64], *, is_right: NDArray[np.bool_]
) -> Iterator[Fault]:
    are_probabilities = not pd.isna(row["log_loss"])
    is_too_high = (scores > confidence) | (are_probabilities & ~is_right & (scores + confidence > 1 + FLOAT16))
    if (scores != confidence)[is_right].any() or is_too_high.any() or (are_probabilities and scores.min() < 0):
        yield Fault("the score of a true class contradicts that of the predicted class")
    elif are_probabilities:
        # They were rounded, those near zero to a fixed number of digits.
        rounding = scores * FLOAT16 + FLOAT16_LEAST
        with np.errstate(divide="ignore"):
            low, high = (-np.log(np.maximum(some, 0)).mean() for some in (scores + rounding, scores - rounding))
        if not low - ROUNDING <= row["log_loss"] <= high + ROUNDING:
            yield Fault(f"log_loss is {row['log_loss']:.4f}, by the scores of the true classes {low:.4f} to {high:.4f}")


def _of_predictions(run: Run, true: Labels, predicted: Labels, names: tuple[str, ...]) -> Iterator[Fault]:
    scores = np.eye(len(names), dtype=np.float32)[predicted]
    derived = score_metrics(true, scores, are_probabilities=False)
    for column in DERIVED:
        if column in LATER_COLUMNS and run.row["feature_version"] != FEATURE_VERSION and pd.isna(run.row[column]):
            continue  # the version that wrote the row did not have the column
        yield from _other_figure(run.row, column, derived[column], "its predictions")
    if run.row["top5_accuracy"] < run.row["accuracy"]:
        yield Fault("top5_accuracy is below accuracy")
    for name, expected in class_rows(run.row["run_id"], true, scores, names).items():
        table = run.tables[name]
        if table is not None and not _are_alike(table, pd.DataFrame(expected), name):
            yield Fault(f"{name} has other numbers than follow from its predictions")


def _millions(row: Row) -> float:
    # Without parameters, or with training images kept in their place, there is no efficiency.
    keeps_images = not row["params_trainable"] and row["n_train"]
    return float(np.nan if keeps_images else row["params_total"] / MILLION) or np.nan


def _other_figure(row: Row, column: str, derived: float | None, source: str) -> Iterator[Fault]:
    if not is_near(row[column], derived, ROUNDING, ROUNDING):
        yield Fault(f"{column} is {row[column]:.4f}, by {source} it is {derived:.4f}")


def is_near(one: Any, other: Any, relative: float, absolute: float) -> bool:
    """Whether two numbers are equal up to these shares of the second and of one; two missing numbers are."""
    return bool(np.isclose(one, other, relative, absolute, equal_nan=True))


def numbers_by_key(table: pd.DataFrame, name: str) -> dict[tuple[Any, ...], tuple[float, ...]]:
    """The numbers of a run's rows in a file that is one of `KEYS`, in the order of the file."""
    keys = KEYS[name]
    numbers = [column for column in COLUMNS[name] if column not in ("run_id", *keys)]
    rows = table[[*keys, *numbers]].itertuples(index=False, name=None)
    return {row[: len(keys)]: row[len(keys) :] for row in rows}


def _are_alike(table: pd.DataFrame, expected: pd.DataFrame, name: str) -> bool:
    """Whether two tables hold the same numbers under the same keys, in any order."""
    one, other = numbers_by_key(table, name), numbers_by_key(expected, name)
    return (
        len(table) == len(expected)
        and one.keys() == other.keys()
        and bool(np.allclose([one[key] for key in other], [*other.values()], rtol=0, atol=ROUNDING))
    )
