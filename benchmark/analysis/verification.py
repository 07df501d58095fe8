"""Rows of a ledger beside the same cells done again: which figures came out again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Correct, Correctness
from benchmark.analysis.significance import ALPHA, Differences, adjust_by_holm, paired_p_value
from benchmark.analysis.soundness import Soundness
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


@dataclass(frozen=True)
class _Pair:
    """A row and the same cell done again.

    Attributes:
        before: The row.
        after: The one of the cell done again.
        contradiction: What is wrong with the first in itself.
        n_changed: How many predictions are other ones; NaN where they were not kept.
        p_value: Of McNemar's test between the two; NaN likewise.
    """

    before: Row
    after: Row
    contradiction: str
    n_changed: float
    p_value: float

    @property
    def is_exact(self) -> bool:
        """Whether it came out again to the last prediction."""
        if np.isnan(self.n_changed):
            return bool(self.before["accuracy"] == self.after["accuracy"])
        return self.n_changed == 0


def verify_rows(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Every row of `after` beside the row of the same cell in `before`.

    Args:
        before: What `load_runs` gives of the ledger.
        after: Of the same cells, done again.

    Returns:
        A row a cell: `mark` and `result` (a pair of `MARKS`), the columns of `IDENTITY`, `accuracy_before`,
        `accuracy_after`, `n_predictions_changed` (empty where predictions were not kept), `wall_ratio` (seconds now
        over seconds then; advisory) and `note`. `reproduced`: all counts and predictions are the same. `close`: other
        predictions, but on another type of machine or other versions, and the accuracy is within `TOLERANCE` or
        McNemar's exact test, Holm-corrected for these cells, finds no difference. `changed`: neither; or a count of
        parameters or images is another one; or the row contradicts its own predictions.
    """
    known = {tuple(row[column] for column in IDENTITY): row for row in before.to_dict("records")}
    soundness, correct_before, correct_after = Soundness(), Correctness(before), Correctness(after)

    def pair(row: Row) -> _Pair:
        old = known[tuple(row[column] for column in IDENTITY)]
        were, are = (
            correctness.of_run(one["folder"], one["run_id"])
            for correctness, one in ((correct_before, old), (correct_after, row))
        )
        return _Pair(old, row, soundness.contradiction(old), _n_predictions_changed(old, row), _p_value(were, are))

    pairs = [pair(row) for row in after.to_dict("records")]
    p_values = adjust_by_holm(np.array([pair.p_value for pair in pairs]))
    rows = [_verified(pair, p_value) for pair, p_value in zip(pairs, p_values, strict=True)]
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


def _verified(pair: _Pair, p_value: float) -> dict[str, Any]:
    result, note = _judge(pair, p_value)
    return {
        "mark": MARKS[result],
        "result": result,
        **{column: pair.after[column] for column in IDENTITY},
        "accuracy_before": pair.before["accuracy"],
        "accuracy_after": pair.after["accuracy"],
        "n_predictions_changed": pair.n_changed,
        "wall_ratio": pair.after["wall_s"] / pair.before["wall_s"],
        "note": note,
    }


def _judge(pair: _Pair, p_value: float) -> tuple[str, str]:
    """The result and what explains it."""
    before, after = pair.before, pair.after
    if obstacle := _obstacle(pair):
        return obstacle
    if wrong := [column for column in EXACT if not _are_same(before[column], after[column])]:
        return CHANGED, ", ".join(f"{column} {before[column]:.0f} then {after[column]:.0f}" for column in wrong)
    environment = _environment_changes(before, after)
    if pair.is_exact:
        return REPRODUCED, environment
    if not environment:
        return CHANGED, "on the same machine type and versions"
    is_close = abs(after["accuracy"] - before["accuracy"]) <= TOLERANCE or p_value >= ALPHA
    return CLOSE if is_close else CHANGED, environment


def _obstacle(pair: _Pair) -> tuple[str, str] | None:
    """The result and its reason where there are no two figures to compare."""
    if pair.contradiction:
        return CHANGED, f"the ledger contradicts itself: {pair.contradiction}"
    if pair.after["status"] != DONE:
        return BROKEN, f"{pair.after['error_type']}: {pair.after['error_message']}"
    others = [text for column, text in PREMISES.items() if pair.before[column] != pair.after[column]]
    return (INCOMPARABLE, others[0]) if others else None


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
    found = [Ledger(Path(row["folder"])).read_predictions(row["run_id"]) for row in (before, after)]
    if found[0] is None or found[1] is None or len(found[0][0]) != len(found[1][0]):
        return np.nan
    return float(np.count_nonzero(found[0][0] != found[1][0]))


def _p_value(before: Correct | None, after: Correct | None) -> float:
    """Of McNemar's exact test."""
    if before is None or after is None or len(before) != len(after):
        return np.nan
    return paired_p_value(Differences.between(before.astype(np.int8), after.astype(np.int8), n_seeds=1))
