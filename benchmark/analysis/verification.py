"""Rows of a ledger beside the same cells done again: which figures came out again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmark.ledger import DONE, IDENTITY, Ledger
from benchmark.provenance import DETERMINISTIC, minor_version

REPRODUCED = "reproduced"
CLOSE = "close"
CHANGED = "changed"
BROKEN = "failed"
INCOMPARABLE = "not comparable"

MARKS = {BROKEN: "!", CHANGED: "-", CLOSE: "~", REPRODUCED: "=", INCOMPARABLE: "?"}
REGRESSIONS = frozenset({BROKEN, CHANGED})

# What the arithmetic of another processor or version may move the accuracy by.
TOLERANCE = 0.01
EXACT = (
    "params_total",
    "params_backbone",
    "params_trainable",
    "feature_dim",
    "n_train",
    "n_val",
    "n_test",
    "n_classes",
)
# Columns that must agree before any figure can be compared, with what to say where they do not.
PREMISES = {
    "dataset_fingerprint": "the images are not those of the ledger",
    "weights_sha256": "the weights are not those of the ledger",
}
MACHINE = ("platform", "cpu", "cpu_count", "gpu")

Row = Mapping[Any, Any]


def verify_rows(before: pd.DataFrame, after: pd.DataFrame, *, is_strict: bool = False) -> pd.DataFrame:
    """Every row of `after` beside the row of the same cell in `before`.

    Args:
        before: What `load_runs` gives of the ledger.
        after: Of the same cells, done again.
        is_strict: On the same machine and versions, count predictions that are not the same as changed.

    Returns:
        A row a cell: `mark` and `result` (a pair of `MARKS`), the columns of `IDENTITY`, `accuracy_before`,
        `accuracy_after`, `n_predictions_changed` (empty where predictions were not kept), `wall_ratio` (seconds now
        over seconds then; advisory) and `note`. `reproduced`: all counts and predictions are the same. `close`: the
        accuracy is within `TOLERANCE`. `changed`: it is not, or a count of parameters or images is another one.
    """
    known = {tuple(row[column] for column in IDENTITY): row for row in before.to_dict("records")}
    rows = []
    for row in after.to_dict("records"):
        identity = {column: row[column] for column in IDENTITY}
        rows.append({**identity, **_verify(known[tuple(identity.values())], row, is_strict=is_strict)})
    columns = [
        "mark", "result", *IDENTITY, "accuracy_before", "accuracy_after", "n_predictions_changed", "wall_ratio", "note",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def has_regressed(verification: pd.DataFrame) -> bool:
    """Whether a figure did not come out again."""
    return bool(verification["result"].isin(REGRESSIONS).any())


def is_comparable(verification: pd.DataFrame) -> bool:
    """Whether any figure could be compared."""
    return bool((verification["result"] != INCOMPARABLE).any())


def _verify(before: Row, after: Row, *, is_strict: bool) -> dict[str, Any]:
    n_changed = _n_predictions_changed(before, after)
    result, note = _judge(before, after, n_changed, is_strict=is_strict)
    return {
        "mark": MARKS[result],
        "result": result,
        "accuracy_before": before["accuracy"],
        "accuracy_after": after["accuracy"],
        "n_predictions_changed": n_changed,
        "wall_ratio": after["wall_s"] / before["wall_s"],
        "note": note,
    }


def _judge(before: Row, after: Row, n_changed: float, *, is_strict: bool) -> tuple[str, str]:
    """The result and what explains it."""
    if after["status"] != DONE:
        return BROKEN, f"{after['error_type']}: {after['error_message']}"
    for column, text in PREMISES.items():
        if before[column] != after[column]:
            return INCOMPARABLE, text
    wrong = [column for column in EXACT if not _are_same(before[column], after[column])]
    if wrong:
        return CHANGED, ", ".join(f"{column} {before[column]:.0f} then {after[column]:.0f}" for column in wrong)
    environment = _environment_changes(before, after)
    difference = abs(after["accuracy"] - before["accuracy"])
    is_exact = n_changed == 0 or (np.isnan(n_changed) and difference == 0)
    if difference > TOLERANCE or (is_strict and not is_exact and not environment):
        return CHANGED, environment or "on the same machine type and versions"
    return REPRODUCED if is_exact else CLOSE, environment


def _are_same(before: Any, after: Any) -> bool:
    return bool(before == after) or (pd.isna(before) and pd.isna(after))


def _environment_changes(before: Row, after: Row) -> str:
    """What may move a figure by itself: another machine, other minor versions."""
    changes = [
        f"{column} {_machine(before, column)!r} then {_machine(after, column)!r}"
        for column in MACHINE
        if not _are_same(_machine(before, column), _machine(after, column))
    ]
    for column in ("keras_version", "tensorflow_version", "python_version"):
        if minor_version(str(before[column])) != minor_version(str(after[column])):
            changes.append(f"{column.removesuffix('_version')} {before[column]} then {after[column]}")
    return "; ".join(changes)


def _machine(row: Row, column: str) -> Any:
    """What a row says of its machine; determinism is no other machine, and predictions show whether it matters."""
    value = row[column]
    return value.removesuffix(DETERMINISTIC) if isinstance(value, str) else value


def _n_predictions_changed(before: Row, after: Row) -> float:
    from pathlib import Path

    found = [Ledger(Path(row["folder"])).read_predictions(row["run_id"]) for row in (before, after)]
    if found[0] is None or found[1] is None or len(found[0][0]) != len(found[1][0]):
        return np.nan
    return float(np.count_nonzero(found[0][0] != found[1][0]))
