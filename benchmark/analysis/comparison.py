"""Two rows of each cell compared: which figures changed, and whether by more than noise.

`compare_ledgers` compares two ledgers, `verify_rows` compares rows with the same cells run again. Both share pairing,
marks and tests.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.significance import ALPHA, adjust_by_holm, paired_p_value
from benchmark.ledger import CELL_COLUMNS, DONE, cell_names
from benchmark.origins import DEFINITION, INPUTS, MACHINE, VERSIONS, what_changed

# The changes between two ledgers.
WORSE, BETTER, FIXED, WITHIN_NOISE, SAME = "worse", "better", "fixed", "within noise", "same"
FAILED_TWICE, NEW, GONE = "failed", "new", "gone"
# Those of rows run again.
CHANGED, CLOSE, REPRODUCED = "changed", "close", "reproduced"
# Those of both.
BROKEN, INCOMPARABLE = "broken", "not comparable"

# In the order of a table, in which what needs attention comes first.
MARKS = {
    BROKEN: "!", WORSE: "-", CHANGED: "-", BETTER: "+", FIXED: "+", WITHIN_NOISE: "~", CLOSE: "~", SAME: "=",
    REPRODUCED: "=", INCOMPARABLE: "?", FAILED_TWICE: "x", NEW: ">", GONE: "<",
}  # fmt: skip
REGRESSIONS = frozenset({BROKEN, WORSE, CHANGED})
_UNCOMPARED = frozenset({NEW, GONE, FAILED_TWICE, INCOMPARABLE})

# Another processor or version may change the accuracy by this much.
TOLERANCE = 0.01
# Counts, which are the same everywhere.
EXACT = (
    "params_total", "params_backbone", "params_trainable", "feature_dim", "n_train", "n_val", "n_test", "n_classes",
)  # fmt: skip
# Figures that are the same on the same type of machine, up to rounding. Predictions do not determine all of them.
FIGURES = (
    "chance", "flops_g", "top5_accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1",
    "weighted_f1", "log_loss", "train_accuracy", "val_accuracy",
)  # fmt: skip
ROUNDING = 1e-6
# Columns that must agree before any figure can be compared, with the note for those that do not.
PREMISES = {
    "dataset_fingerprint": "the images are not those of the ledger",
    "weights_sha256": "the weights are not those of the ledger",
    "split_version": "the splits are not drawn as those of the ledger",
}
# Failures of this machine or its network, not of the figures.
OF_THIS_MACHINE = frozenset({"download", "disk_full", "oom", "timeout"})

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Pair:
    """One cell in two ledgers, or in a ledger and run again; None where it has no row.

    Attributes:
        before: The earlier row.
        after: The later row.
        n_predictions_changed: How many predictions differ; NaN where they were not kept.
        p_value: Of the difference in accuracy; NaN if it cannot be tested.
    """

    before: Row | None
    after: Row | None
    n_predictions_changed: float = np.nan
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


def compare_ledgers(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Every cell of either ledger, those that got worse first.

    Args:
        before: What `load_runs` returns for the earlier ledgers.
        after: The same for the later ones.

    Returns:
        One row per cell: `mark` and `change` (a pair of `MARKS`), the columns of `CELL_COLUMNS`, `accuracy_before`,
        `accuracy_after`, `difference`, `p_value` (Holm-adjusted over the cells; McNemar's exact test where the
        predictions were kept, else Fisher's exact test), `n_predictions_changed`, `wall_ratio` (seconds after over
        seconds before; machines differ, so it is only a hint) and `note`: what else differs. Rows on different images
        are not compared.
    """
    pairs = _tested(pair_runs(before, after), before, after, test_unpaired=True)
    table = _table(pairs, _judge_change).sort_values("difference", kind="stable")
    return table.sort_values(
        "change", key=lambda change: change.map(list(MARKS).index), kind="stable", ignore_index=True
    )


def verify_rows(
    before: pd.DataFrame, after: pd.DataFrame, contradictions: Mapping[tuple[str, str], str] | None = None
) -> pd.DataFrame:
    """Rows compared with the same cells run again.

    Args:
        before: Rows as `load_runs` returns them.
        after: The rows of the same cells, run again.
        contradictions: Of the first rows, as `find_contradictions` returns them.

    Returns:
        The columns of `compare_ledgers`. `reproduced`: all counts and predictions are the same. `close`: other
        predictions, but on another type of machine, in other versions or on a GPU, and the accuracy is within
        `TOLERANCE` or McNemar's exact test, Holm-corrected for all these cells, finds no difference. `changed`:
        neither; or a count of parameters or images differs; or the row contradicts other files of its ledger.
        `not comparable`: other images or weights, or a failure caused by this machine or its network. `broken`: any
        other failure.
    """
    known = contradictions or {}

    def judge(pair: Pair) -> tuple[str, str]:
        assert pair.before is not None
        if contradiction := known.get((pair.before["folder"], pair.before["run_id"])):
            return CHANGED, f"the ledger contradicts itself: {contradiction}"
        return _judge_again(pair)

    pairs = [pair for pair in pair_runs(before, after) if pair.before is not None]
    return _table(_tested(pairs, before, after, test_unpaired=False), judge)


def has_regressed(table: pd.DataFrame) -> bool:
    """Whether a cell got worse, no longer works, or was not reproduced."""
    return bool(table["change"].isin(REGRESSIONS).any())


def is_comparable(table: pd.DataFrame) -> bool:
    """Whether any cell could be compared."""
    return bool((~table["change"].isin(_UNCOMPARED)).any())


def pair_runs(before: pd.DataFrame, after: pd.DataFrame) -> list[Pair]:
    """The cells of either table: rows with the same key are one cell, otherwise those with equal `CELL_COLUMNS`.

    Of several rows with equal `CELL_COLUMNS`, those with the same weights are one cell. Keys differ between versions of
    Keras, names between spellings of a folder.
    """
    (rows_before, names_before), (rows_after, names_after) = (
        (runs.to_dict("records"), cell_names(runs.assign(dataset=runs["dataset_name"]))) for runs in (before, after)
    )
    by_key = {row["cell_key"]: row for row in rows_after if row["cell_key"]}
    by_origin = {(row["weights"], name): row for row, name in zip(rows_after, names_after, strict=True)}
    # One ledger can hold the same name with several weights.
    n_before, n_after = Counter(names_before), Counter(names_after)
    by_name = {name: row for (_, name), row in by_origin.items() if n_before[name] == n_after[name] == 1}
    pairs = [
        Pair(row, by_key.get(row["cell_key"]) or by_origin.get((row["weights"], name)) or by_name.get(name))
        for row, name in zip(rows_before, names_before, strict=True)
    ]
    paired = {id(pair.after) for pair in pairs}
    return pairs + [Pair(None, row) for row in rows_after if id(row) not in paired]


def _tested(
    pairs: Iterable[Pair], runs_before: pd.DataFrame, runs_after: pd.DataFrame, *, test_unpaired: bool
) -> list[Pair]:
    """The pairs of these runs with their predictions compared; p-values are adjusted for all of them.

    Where predictions were not kept, `test_unpaired` compares the accuracies alone, by Fisher's exact test.
    """
    pairs = list(pairs)
    correctness = [Correctness(runs, with_folds=True) for runs in (runs_before, runs_after)]
    p_values, n_changed = np.full((2, len(pairs)), np.nan)
    for number, pair in enumerate(pairs):
        if pair.done is None:
            continue
        sides = list(zip(correctness, pair.done, strict=True))
        before, after = (one.predicted(row["folder"], row["run_id"]) for one, row in sides)
        if before is not None and after is not None and len(before) == len(after):
            n_changed[number] = np.count_nonzero(before != after)
        if len({row["dataset_fingerprint"] for row in pair.done}) == 1:
            was_right, is_right = (one.of_run(row["folder"], row["run_id"]) for one, row in sides)
            if was_right is not None and is_right is not None and len(was_right) == len(is_right):
                p_values[number] = paired_p_value(is_right.astype(np.int8) - was_right.astype(np.int8))
            elif test_unpaired:
                p_values[number] = _unpaired_p_value(pair.done)
    return [
        replace(pair, p_value=float(p_value), n_predictions_changed=float(n))
        for pair, p_value, n in zip(pairs, adjust_by_holm(p_values), n_changed, strict=True)
    ]


def _unpaired_p_value(rows: Sequence[Row]) -> float:
    from scipy import stats

    if any(pd.isna(row["accuracy"]) or pd.isna(row["n_test"]) for row in rows):
        return np.nan
    n_right = [round(row["accuracy"] * row["n_test"]) for row in rows]
    n_wrong = [row["n_test"] - right for row, right in zip(rows, n_right, strict=True)]
    return float(stats.fisher_exact([n_right, n_wrong]).pvalue)


def _table(pairs: Iterable[Pair], judge: Judge) -> pd.DataFrame:
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
                "accuracy_before": before.get("accuracy"),
                "accuracy_after": after.get("accuracy"),
                "difference": pair.difference,
                "p_value": pair.p_value,
                "n_predictions_changed": pair.n_predictions_changed,
                "wall_ratio": after.get("wall_s", np.nan) / (before.get("wall_s") or np.nan),
                "note": note,
            }
        )
    columns = ["accuracy_before", "accuracy_after", "difference", "p_value", "n_predictions_changed", "wall_ratio"]
    return pd.DataFrame(rows, columns=["mark", "change", *CELL_COLUMNS, *columns, "note"])


# --- two ledgers -----------------------------------------------------------------------------------------------------


def _judge_change(pair: Pair) -> tuple[str, str]:
    if pair.before is None or pair.after is None:
        return (NEW if pair.before is None else GONE), str((pair.after or {}).get("error_message") or "")
    if pair.done is None:
        was_done, is_done = (row["status"] == DONE for row in (pair.before, pair.after))
        change = BROKEN if was_done else FIXED if is_done else FAILED_TWICE
        return change, str(pair.after["error_message"] or "")
    columns = {**INPUTS, "params_total": "parameters", **DEFINITION, **VERSIONS, **MACHINE}
    note = "; ".join(what_changed(*pair.done, columns))
    if pair.before["dataset_fingerprint"] != pair.after["dataset_fingerprint"]:
        return INCOMPARABLE, note
    if pair.p_value < ALPHA:
        return (BETTER if pair.difference > 0 else WORSE), note
    return (SAME if pair.difference == 0 else WITHIN_NOISE), note


# --- run again -------------------------------------------------------------------------------------------------------


def _judge_again(pair: Pair) -> tuple[str, str]:
    before, after = pair.before, pair.after
    assert before is not None
    assert after is not None
    if after["status"] != DONE:
        kind = after["error_type"]
        return INCOMPARABLE if kind in OF_THIS_MACHINE else BROKEN, f"{kind}: {after['error_message']}"
    if others := [text for column, text in PREMISES.items() if before[column] != after[column]]:
        return INCOMPARABLE, others[0]
    if others := _other_figures(before, after, EXACT, rounding=0):
        return CHANGED, ", ".join(others)
    circumstances = _circumstances(before, after)
    others = [] if circumstances else _other_figures(before, after, FIGURES, ROUNDING)
    n_changed = pair.n_predictions_changed
    if (pair.difference if np.isnan(n_changed) else n_changed) == 0 and not others:
        return REPRODUCED, "; ".join(filter(None, (circumstances, _what_is_missing(pair))))
    if circumstances or any(row["gpu"] and row["is_deterministic"] != 1 for row in (before, after)):
        is_close = abs(pair.difference) <= TOLERANCE or pair.p_value >= ALPHA
        return CLOSE if is_close else CHANGED, circumstances
    return CHANGED, "; ".join([*others, "on the same machine type and versions of Keras, TensorFlow and Python"])


def _circumstances(before: Row, after: Row) -> str:
    """What can change a figure by itself: another machine, other versions, another definition of the cell."""
    changes = what_changed(before, after, {**MACHINE, **DEFINITION, **VERSIONS})
    if before["setting_key"] not in ("", after["setting_key"]) and not changes:
        changes = ["the recipe's options or the weights file changed"]
    return "; ".join(changes)


def _other_figures(before: Row, after: Row, columns: Iterable[str], rounding: float) -> list[str]:
    """The columns whose numbers differ by more than rounding; two missing numbers are equal."""
    return [
        f"{column} {before[column]:.9g} then {after[column]:.9g}"
        for column in columns
        if not np.isclose(before[column], after[column], rounding, rounding, equal_nan=True)
    ]


def _what_is_missing(pair: Pair) -> str:
    if np.isnan(pair.n_predictions_changed):
        return "predictions were not kept, accuracies are the same"
    return "true classes were not kept" if np.isnan(pair.p_value) else ""
