"""Rows of a ledger beside the same cells done again: which figures came out again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Correct, Correctness
from benchmark.analysis.significance import ALPHA, Differences, adjust_by_holm, paired_p_value
from benchmark.ledger import DONE, IDENTITY, Ledger
from benchmark.processes.repeating import was_deterministic
from benchmark.provenance import DETERMINISTIC

REPRODUCED = "reproduced"
CLOSE = "close"
CHANGED = "changed"
BROKEN = "failed"
INCOMPARABLE = "not comparable"

MARKS = {BROKEN: "!", CHANGED: "-", CLOSE: "~", REPRODUCED: "=", INCOMPARABLE: "?"}
REGRESSIONS = frozenset({BROKEN, CHANGED})

# What the arithmetic of another processor or version may move the accuracy by.
TOLERANCE = 0.01
# Counts, the same everywhere.
EXACT = (
    "params_total", "params_backbone", "params_trainable", "feature_dim", "n_train", "n_val", "n_test", "n_classes",
)  # fmt: skip
# The same on the same type of machine, but for their last digits as text; predictions alone do not give all of them.
FIGURES = (
    "chance", "flops_g", "top5_accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1",
    "weighted_f1", "log_loss", "train_accuracy", "val_accuracy",
)  # fmt: skip
ROUNDING = 1e-6
# Columns that must agree before any figure can be compared, with what to say where they do not.
PREMISES = {
    "dataset_fingerprint": "the images are not those of the ledger",
    "weights_sha256": "the weights are not those of the ledger",
}
MACHINE = ("platform", "cpu", "cpu_count", "gpu")
VERSIONS = ("keras_version", "tensorflow_version", "python_version")
# Failures that are of this machine or its network, not of the figures.
OF_THIS_MACHINE = frozenset({"download", "disk_full", "oom", "timeout"})

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

    @property
    def may_differ(self) -> bool:
        """Whether the same seed may give another number on the same machine: on a GPU, unless it was told not to."""
        return any(row["gpu"] and not was_deterministic(row["platform"]) for row in (self.before, self.after))


def verify_rows(
    parts: Iterable[tuple[pd.DataFrame, pd.DataFrame]], contradictions: Mapping[tuple[str, str], str] | None = None
) -> pd.DataFrame:
    """Rows beside the same cells done again.

    Args:
        parts: Of a ledger, rows that `load_runs` gives and those of the same cells, done again; cells are known by the
            columns of `IDENTITY`.
        contradictions: What is wrong with the first rows by themselves, as `find_contradictions` says it.

    Returns:
        A row a cell: `mark` and `result` (a pair of `MARKS`), the columns of `IDENTITY`, `accuracy_before`,
        `accuracy_after`, `n_predictions_changed` (empty where predictions were not kept), `wall_ratio` (seconds now
        over seconds then; advisory) and `note`. `reproduced`: all counts and predictions are the same. `close`: other
        predictions, but on another type of machine, in other versions or on a GPU, and the accuracy is within
        `TOLERANCE` or McNemar's exact test, Holm-corrected for all these cells, finds no difference. `changed`:
        neither; or a count of parameters or images is another one; or the row contradicts what stands beside it.
        `not comparable`: other images or weights, or a failure that this machine or its network is to blame for.
    """
    pairs = [pair for before, after in parts for pair in _pairs(before, after, contradictions or {})]
    p_values = adjust_by_holm(np.array([pair.p_value for pair in pairs]))
    rows = [_verified(pair, p_value) for pair, p_value in zip(pairs, p_values, strict=True)]
    columns = [
        "mark", "result", *IDENTITY, "accuracy_before", "accuracy_after", "n_predictions_changed", "wall_ratio", "note",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _pairs(before: pd.DataFrame, after: pd.DataFrame, contradictions: Mapping[tuple[str, str], str]) -> Iterator[_Pair]:
    again = {tuple(row[column] for column in IDENTITY): row for row in after.to_dict("records")}
    correct_before, correct_after = Correctness(before), Correctness(after)
    for old in before.to_dict("records"):
        new = again[tuple(old[column] for column in IDENTITY)]
        yield _Pair(
            old,
            new,
            contradictions.get((old["folder"], old["run_id"]), ""),
            _n_predictions_changed(old, new),
            _p_value(
                correct_before.of_run(old["folder"], old["run_id"]), correct_after.of_run(new["folder"], new["run_id"])
            ),
        )


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
    if known := _without_comparison(pair):
        return known
    if wrong := [column for column in EXACT if not _are_same(before[column], after[column])]:
        return CHANGED, ", ".join(f"{column} {before[column]:.0f} then {after[column]:.0f}" for column in wrong)
    environment = _environment_changes(before, after)
    others = [] if environment else _other_figures(before, after)
    if pair.is_exact and not others:
        return REPRODUCED, "; ".join(filter(None, (environment, _what_is_missing(pair))))
    if environment or pair.may_differ:
        is_close = abs(after["accuracy"] - before["accuracy"]) <= TOLERANCE or p_value >= ALPHA
        return CLOSE if is_close else CHANGED, environment
    return CHANGED, "; ".join([*others, "on the same machine type and versions of Keras, TensorFlow and Python"])


def _without_comparison(pair: _Pair) -> tuple[str, str] | None:
    """The result and its reason where the figures need not or cannot be compared."""
    if pair.contradiction:
        return CHANGED, f"the ledger contradicts itself: {pair.contradiction}"
    if pair.after["status"] != DONE:
        kind = pair.after["error_type"]
        return INCOMPARABLE if kind in OF_THIS_MACHINE else BROKEN, f"{kind}: {pair.after['error_message']}"
    others = [text for column, text in PREMISES.items() if pair.before[column] != pair.after[column]]
    return (INCOMPARABLE, others[0]) if others else None


def _other_figures(before: Row, after: Row) -> list[str]:
    return [
        f"{column} {before[column]:.6g} then {after[column]:.6g}"
        for column in FIGURES
        if not _are_alike(before[column], after[column])
    ]


def _what_is_missing(pair: _Pair) -> str:
    if np.isnan(pair.n_changed):
        return "predictions were not kept, accuracies are the same"
    return "true classes were not kept" if np.isnan(pair.p_value) else ""


def _are_alike(before: float, after: float) -> bool:
    """Whether two numbers are the same as far as text tells, or both are missing."""
    return abs(before - after) <= ROUNDING * max(1.0, abs(before)) or (np.isnan(before) and np.isnan(after))


def _are_same(before: Any, after: Any) -> bool:
    return bool(before == after) or (pd.isna(before) and pd.isna(after))


def _environment_changes(before: Row, after: Row) -> str:
    """What may move a figure by itself: another machine, other versions."""
    changes = [
        f"{column} {_machine(before, column)!r} then {_machine(after, column)!r}"
        for column in MACHINE
        if not _are_same(_machine(before, column), _machine(after, column))
    ]
    if before["cell_key"] != after["cell_key"]:
        changes.append("the registry entry, the recipe's options or the weights file changed")
    changes += [
        f"{column.removesuffix('_version')} {before[column]} then {after[column]}"
        for column in VERSIONS
        if not _are_same(before[column], after[column])
    ]
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
