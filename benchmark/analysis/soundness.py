"""Finds rows that contradict their own predictions and tables, for example because they were edited by hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.ledger import CONFUSION, PER_CLASS, Ledger, fold_of
from benchmark.metrics import Labels, score_metrics
from benchmark.work.rows import MILLION, class_rows

# The columns that can be computed from true and predicted classes.
DERIVED = (
    "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1",
    "weighted_f1",
)  # fmt: skip
# The two tables of a run that hold more than one class, with their keys; their other columns are numbers.
KEYS = {PER_CLASS: ("class_name",), CONFUSION: ("true_class", "predicted_class")}
# The precision that a number may lose when it is written as text.
ROUNDING = 1e-6

Row = Mapping[Any, Any]
# Of one run, by the keys of `KEYS`; None where a table was not kept.
Tables = Mapping[str, pd.DataFrame | None]


def find_contradictions(runs: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The finished rows that disagree with their predictions, confusion matrix, per-class table or own figures.

    Files that were not kept are not checked.

    Args:
        runs: What `load_runs` returns.

    Returns:
        By folder and `run_id`, the contradiction as the end of a sentence; sound rows are left out.

    Raises:
        LedgerError: A file is damaged.
    """
    found = {}
    for folder, rows in runs.groupby("folder", sort=False):
        ledger = Ledger(Path(str(folder)))
        tables = {name: dict(iter(ledger.read_table(name).groupby("run_id"))) for name in KEYS}
        for row in rows.to_dict("records"):
            own = {name: of_runs.get(row["run_id"]) for name, of_runs in tables.items()}
            if what := next(_contradictions(row, ledger, own), ""):
                found[str(folder), row["run_id"]] = what
    return found


def _contradictions(row: Row, ledger: Ledger, tables: Tables) -> Iterator[str]:
    predictions = ledger.read_predictions(row["run_id"])
    true = ledger.read_true_labels(row["dataset_fingerprint"], fold_of(row))
    if predictions is not None and true is not None:
        labels, names = true
        yield from _other_predictions(row, labels.astype(np.int64), predictions[0].astype(np.int64), names, tables)
    if row["params_total"] > 0:
        efficiency = row["accuracy"] / (row["params_total"] / MILLION)
        yield from _other_figure(row, "efficiency", efficiency, "accuracy and parameters")


def _other_predictions(
    row: Row, true: Labels, predicted: Labels, names: tuple[str, ...], tables: Tables
) -> Iterator[str]:
    if len(predicted) != len(true):
        yield f"{len(true)} test images, {len(predicted)} predictions"
    elif predicted.min() < 0 or predicted.max() >= len(names):
        yield f"a prediction is none of the {len(names)} classes"
    else:
        scores = np.eye(len(names), dtype=np.float32)[predicted]
        derived = score_metrics(true, scores, are_probabilities=False)
        for column in DERIVED:
            yield from _other_figure(row, column, derived[column], "its predictions")
        for name, expected in class_rows(row["run_id"], true, scores, names).items():
            table = tables[name]
            if table is not None and not _are_alike(table, pd.DataFrame(expected), list(KEYS[name])):
                yield f"{name} has other numbers than follow from its predictions"


def _other_figure(row: Row, column: str, derived: float | None, source: str) -> Iterator[str]:
    written = row[column]
    if derived is not None and not (pd.isna(written) or np.isclose(written, derived, ROUNDING, ROUNDING)):
        yield f"{column} is {written:.4f}, by {source} it is {derived:.4f}"


def _are_alike(table: pd.DataFrame, expected: pd.DataFrame, keys: list[str]) -> bool:
    """Whether two tables hold the same numbers under the same keys, in any order."""
    one, other = (side.assign(**side[keys].astype(str)).set_index(keys).sort_index() for side in (table, expected))
    numbers = [column for column in expected if column not in (*keys, "run_id")]
    return one.index.equals(other.index) and bool(
        np.allclose(one[numbers].astype(float), other[numbers].astype(float), rtol=0, atol=ROUNDING)
    )
