"""Two rows of each cell: what the comparison of two ledgers and the verification of one have in common."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.significance import adjust_by_holm, paired_p_value
from benchmark.ledger import CELL_COLUMNS, DONE

# The changes between two ledgers.
WORSE, BETTER, FIXED, WITHIN_NOISE, SAME = "worse", "better", "fixed", "within noise", "same"
FAILED_TWICE, NEW, GONE = "failed", "new", "gone"
# Those of rows run again.
CHANGED, INCOMPLETE, CLOSE, REPRODUCED = "changed", "incomplete", "close", "reproduced"
# Those of both.
BROKEN, INCOMPARABLE = "broken", "not comparable"

# In the order of a table, in which what needs attention comes first.
MARKS = {
    BROKEN: "!", WORSE: "-", CHANGED: "-", INCOMPLETE: "?", BETTER: "+", FIXED: "+", WITHIN_NOISE: "~", CLOSE: "~",
    SAME: "=", REPRODUCED: "=", INCOMPARABLE: "?", FAILED_TWICE: "x", NEW: ">", GONE: "<",
}  # fmt: skip
REGRESSIONS = frozenset({BROKEN, WORSE, CHANGED, INCOMPLETE})
_UNCOMPARED = frozenset({NEW, GONE, FAILED_TWICE, INCOMPARABLE})

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Pair:
    """One cell in two ledgers, or in a ledger and run again; None where it has no row.

    Attributes:
        before: The earlier row.
        after: The later row.
        n_predictions_changed: How many predictions differ; NaN where they were not kept.
        changes: `(n_test,)` in -1, 0, 1: of each image, right after minus right before; None if not known.
        p_value: Of the difference in accuracy; NaN if it cannot be tested.
    """

    before: Row | None
    after: Row | None
    n_predictions_changed: float = np.nan
    changes: NDArray[np.int8] | None = field(default=None, compare=False)
    p_value: float = np.nan

    @property
    def done(self) -> tuple[Row, Row] | None:
        """Both rows, if both are finished."""
        if self.before and self.after and self.before["status"] == self.after["status"] == DONE:
            return self.before, self.after
        return None

    @property
    def difference(self) -> float:
        """The later accuracy minus the earlier one; NaN if one of them is not known."""
        before, after = ((row or {}).get("accuracy", np.nan) for row in (self.before, self.after))
        return float(after - before)


# From a pair to the change of the cell (a key of `MARKS`) and a note that explains it.
Judge = Callable[[Pair], tuple[str, str]]


def has_regressed(table: pd.DataFrame) -> bool:
    """Whether a cell got worse, no longer works, or was not reproduced as a whole."""
    return bool(table["change"].isin(REGRESSIONS).any())


def is_comparable(table: pd.DataFrame) -> bool:
    """Whether any cell could be compared."""
    return bool((~table["change"].isin(_UNCOMPARED)).any())


def tested(
    pairs: Iterable[Pair], correct_before: Correctness, correct_after: Correctness, *, test_unpaired: bool
) -> list[Pair]:
    """The pairs with their predictions compared; p-values are adjusted for all of them.

    Where predictions were not kept, `test_unpaired` compares the accuracies alone, by Fisher's exact test.
    """
    pairs = [_with_predictions(pair, correct_before, correct_after) for pair in pairs]
    p_values = np.full(len(pairs), np.nan)
    for number, pair in enumerate(pairs):
        if pair.changes is not None:
            p_values[number] = paired_p_value(pair.changes)
        elif test_unpaired and pair.done and len({row["dataset_fingerprint"] for row in pair.done}) == 1:
            p_values[number] = _unpaired_p_value(pair.done)
    adjusted = adjust_by_holm(p_values)
    return [replace(pair, p_value=float(p_value)) for pair, p_value in zip(pairs, adjusted, strict=True)]


def _with_predictions(pair: Pair, correct_before: Correctness, correct_after: Correctness) -> Pair:
    if pair.done is None:
        return pair
    sides = list(zip((correct_before, correct_after), pair.done, strict=True))
    before, after = (one.predicted(row["folder"], row["run_id"]) for one, row in sides)
    if before is None or after is None or len(before) != len(after):
        return pair
    pair = replace(pair, n_predictions_changed=float(np.count_nonzero(before != after)))
    if len({row["dataset_fingerprint"] for row in pair.done or ()}) > 1:
        return pair
    was_right, is_right = (one.of_run(row["folder"], row["run_id"]) for one, row in sides)
    if was_right is None or is_right is None:
        return pair
    return replace(pair, changes=is_right.astype(np.int8) - was_right.astype(np.int8))


def _unpaired_p_value(rows: Sequence[Row]) -> float:
    from scipy import stats

    if any(pd.isna(row["accuracy"]) or pd.isna(row["n_test"]) for row in rows):
        return np.nan
    n_right = [round(row["accuracy"] * row["n_test"]) for row in rows]
    n_wrong = [row["n_test"] - right for row, right in zip(rows, n_right, strict=True)]
    return float(stats.fisher_exact([n_right, n_wrong]).pvalue)


def pairs_table(pairs: Iterable[Pair], judge: Judge) -> pd.DataFrame:
    """One row per pair: the columns that `compare_ledgers` names."""
    rows = []
    for pair in pairs:
        before, after = pair.before or {}, pair.after or {}
        change, note = judge(pair)
        named = after or before
        rows.append(
            {
                "mark": MARKS[change],
                "change": change,
                **{column: named[column] for column in CELL_COLUMNS},
                "dataset": named["dataset_name"],
                "run_id_before": before.get("run_id"),
                "run_id_after": after.get("run_id"),
                "accuracy_before": before.get("accuracy"),
                "accuracy_after": after.get("accuracy"),
                "difference": pair.difference,
                "p_value": pair.p_value,
                "n_predictions_changed": pair.n_predictions_changed,
                "wall_ratio": after.get("wall_s", np.nan) / (before.get("wall_s") or np.nan),
                "note": note,
            }
        )
    runs = ["run_id_before", "run_id_after"]
    columns = ["accuracy_before", "accuracy_after", "difference", "p_value", "n_predictions_changed", "wall_ratio"]
    return pd.DataFrame(rows, columns=["mark", "change", *CELL_COLUMNS, *runs, *columns, "note"])
