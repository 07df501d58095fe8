"""What the files of a ledger say about each other, checked without running anything.

A figure that was edited by hand contradicts the figures or files that it follows from. A file that was removed is
missed by its row, and a row that was removed by its files.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.features.cache import FEATURE_VERSION
from benchmark.ledger import (
    COLUMNS,
    CONFUSION,
    DONE,
    HISTORY,
    PER_CLASS,
    PREDICTIONS,
    RECIPES,
    RUNS,
    TRUE_LABELS,
    Ledger,
    fold_of,
)
from benchmark.metrics import Labels, score_metrics, wilson_interval
from benchmark.migration import LATER_COLUMNS
from benchmark.plan.cells import key_of_seed
from benchmark.storage import digest_of_text
from benchmark.work.rows import EXTRACT_STAGE, MILLION, class_rows

Row = Mapping[Any, Any]
# Names a row in several ledgers: its folder and `run_id`.
RunKey = tuple[str, str]
# By the names of `KEYS` and by `run_id`, the rows of each run.
Tables = Mapping[str, Mapping[Any, pd.DataFrame]]

# The precision that a number may lose when it is written as text.
ROUNDING = 1e-6
# The share that a score loses when it is kept as float16, and what a score near zero loses.
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


class _Run(NamedTuple):
    """A row and all that its ledger holds of its run; None where it was not kept."""

    row: Row
    tables: Mapping[str, pd.DataFrame | None]
    predictions: tuple[Labels, NDArray[np.float64]] | None
    true_scores: NDArray[np.float64] | None
    truth: tuple[Labels, tuple[str, ...]] | None
    recipe: Path


def find_faults(paths: Iterable[Path], runs: pd.DataFrame) -> dict[RunKey, Fault]:
    """The runs whose row, tables, predictions and recipe contradict each other, or are not all there.

    Args:
        paths: Ledger folders, or folders of them.
        runs: Their rows, as `load_all_runs` returns them.

    Returns:
        By folder and `run_id`, the first contradiction or, without any, what is missing; also of runs that have files
        but no row. The fault of a recipe that no row needs stands under its path instead of a `run_id`.

    Raises:
        LedgerError: A file is damaged.
    """
    found: dict[RunKey, Fault] = {}
    by_folder = dict(iter(runs.groupby("folder")))
    # A ledger may have lost its rows, or the file of them.
    for folder in sorted({str(file.parent) for path in paths for name in COLUMNS for file in path.rglob(name)}):
        ledger, rows = Ledger(Path(folder)), by_folder.get(folder, runs[:0])
        tables = {name: dict(iter(ledger.read_whole_table(name).groupby("run_id"))) for name in KEYS}
        for run_id, faults in (*_of_rows(ledger, rows, tables), *_of_files(ledger, rows, tables)):
            if fault := _worst(faults):
                found.setdefault((folder, run_id), fault)
    return found


def _worst(faults: Iterable[Fault]) -> Fault | None:
    """The first contradiction or, without any, the first fault."""
    missing = None
    for fault in faults:
        if fault.is_contradiction:
            return fault
        missing = missing or fault
    return missing


def _of_rows(ledger: Ledger, rows: pd.DataFrame, tables: Tables) -> Iterator[tuple[str, Iterable[Fault]]]:
    is_repeated = rows.duplicated("run_id", keep=False)
    for row, is_twice in zip(rows.to_dict("records"), is_repeated, strict=True):
        run = _read_run(ledger, row, {name: of_runs.get(row["run_id"]) for name, of_runs in tables.items()})
        check = _of_done if row["status"] == DONE else _of_failed
        yield row["run_id"], itertools.chain([Fault(f"{RUNS} has this run twice")] * int(is_twice), check(run))


def _of_files(ledger: Ledger, rows: pd.DataFrame, tables: Tables) -> Iterator[tuple[str, Iterable[Fault]]]:
    """Of what belongs to no row."""
    predictions = {path.stem for path in (ledger.folder / PREDICTIONS).glob("*.npz")}
    files = {**{name: {*of_runs} for name, of_runs in tables.items()}, PREDICTIONS: predictions}
    for run_id in sorted(set().union(*files.values()) - {*rows["run_id"]}):
        if not run_id.startswith(TRUE_LABELS):
            names = ", ".join(name for name, run_ids in files.items() if run_id in run_ids)
            what = f"{ledger.folder / RUNS} has no row of run {run_id}, of which {names} hold something"
            yield run_id, [Fault(what, is_contradiction=False)]
    needed = {*rows["recipe_sha256"]}
    for path in sorted((ledger.folder / RECIPES).glob("*.toml")):
        if path.stem not in needed:
            yield f"{RECIPES}/{path.name}", _of_recipe(path)


def _read_run(ledger: Ledger, row: Row, tables: Mapping[str, pd.DataFrame | None]) -> _Run:
    predictions = ledger.read_predictions(row["run_id"])
    true_scores = ledger.read_true_scores(row["run_id"])
    truth = ledger.read_true_labels(row["dataset_fingerprint"], fold_of(row))
    return _Run(
        row,
        tables,
        predictions and (predictions[0].astype(np.int64), predictions[1].astype(np.float64)),
        None if true_scores is None else true_scores.astype(np.float64),
        truth and (truth[0].astype(np.int64), truth[1]),
        ledger.recipe_path(row["recipe_sha256"]),
    )


def _of_failed(run: _Run) -> Iterator[Fault]:
    if not run.row["error_type"] or not pd.isna(run.row["accuracy"]):
        yield Fault("it failed without an error, or has an accuracy although it failed")


def _of_done(run: _Run) -> Iterator[Fault]:
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


def _of_keys(run: _Run) -> Iterator[Fault]:
    row = run.row
    if pd.isna(row["feature_version"]):
        return  # of schema 1, which had neither settings' keys nor recipes
    key = key_of_seed(row["setting_key"], int(row["seed"]))
    if row["feature_version"] == FEATURE_VERSION and row["cell_key"] != key:
        yield Fault("cell_key is not that of its setting_key and seed")
    yield from _of_recipe(run.recipe)


def _of_recipe(path: Path) -> Iterator[Fault]:
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


def _of_history(run: _Run) -> Iterator[Fault]:
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


def _of_classes(run: _Run, true: Labels, names: tuple[str, ...]) -> Iterator[Fault]:
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


def _of_predictions(run: _Run, true: Labels, predicted: Labels, names: tuple[str, ...]) -> Iterator[Fault]:
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
