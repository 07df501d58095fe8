"""Two ledgers of the same sweep: which cells moved, by how much, and whether that is beyond noise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.significance import ALPHA, Differences, adjust_by_holm, paired_p_value
from benchmark.ledger import DONE, IDENTITY

WORSE = "worse"
BROKEN = "broken"
BETTER = "better"
MENDED = "mended"
WITHIN_NOISE = "within noise"
SAME = "same"
FAILED_TWICE = "failed"
INCOMPARABLE = "not comparable"
NEW = "new"
GONE = "gone"

# In the order of a table: what wants looking at first.
MARKS = {
    BROKEN: "!", WORSE: "-", BETTER: "+", MENDED: "+", WITHIN_NOISE: "~", SAME: "=", INCOMPARABLE: "?",
    FAILED_TWICE: "x", NEW: ">", GONE: "<",
}  # fmt: skip
REGRESSIONS = frozenset({WORSE, BROKEN})
_UNPAIRED = frozenset({NEW, GONE, FAILED_TWICE, INCOMPARABLE})


Run = Mapping[Any, Any]


@dataclass(frozen=True)
class _Pair:
    """One cell in both ledgers; None where it has no row."""

    before: Run | None
    after: Run | None

    @property
    def done(self) -> tuple[Run, Run] | None:
        """Both runs, if both were finished."""
        if self.before and self.after and self.before["status"] == self.after["status"] == DONE:
            return self.before, self.after
        return None

    @property
    def is_comparable(self) -> bool:
        """Whether both were finished, and tested on the same images."""
        return self.done is not None and len({run["dataset_fingerprint"] for run in self.done}) == 1


def compare_ledgers(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Every cell of either ledger, the ones that got worse first.

    Args:
        before: What `load_runs` gives of the one.
        after: Of the other.

    Returns:
        A row a cell: `mark` and `change` (a pair of `MARKS`), the columns of `IDENTITY`, `accuracy_before`,
        `accuracy_after`, `difference`, `p_value` (Holm-adjusted over the cells; McNemar's exact test where the
        predictions were kept, else Fisher's exact test), `wall_ratio` (seconds after over seconds before; advisory,
        machines differ) and `note`: what besides the accuracy is not the same. Runs on different images are not
        compared.
    """
    rows_before, rows_after = _by_identity(before), _by_identity(after)
    pairs = {
        key: _Pair(rows_before.get(key), rows_after.get(key)) for key in dict.fromkeys([*rows_before, *rows_after])
    }
    correctness = _Correctness(Correctness(before), Correctness(after))
    p_values = adjust_by_holm(np.array([_p_value(pair, correctness) for pair in pairs.values()], float))
    columns = [
        "mark", "change", *IDENTITY, "accuracy_before", "accuracy_after", "difference", "p_value", "wall_ratio", "note",
    ]  # fmt: skip
    rows = [_row(key, pair, p_value) for (key, pair), p_value in zip(pairs.items(), p_values, strict=True)]
    table = pd.DataFrame(rows, columns=columns)
    order = {change: number for number, change in enumerate(MARKS)}
    return table.sort_values(
        ["change", "difference"], key=lambda values: values.map(order) if values.name == "change" else values,
        kind="stable", ignore_index=True,
    )  # fmt: skip


def has_regressed(comparison: pd.DataFrame) -> bool:
    """Whether a cell got significantly worse, or no longer works."""
    return bool(comparison["change"].isin(REGRESSIONS).any())


def is_comparable(comparison: pd.DataFrame) -> bool:
    """Whether any cell was finished in at least one ledger and known, on the same images, to the other."""
    return bool((~comparison["change"].isin(_UNPAIRED)).any())


@dataclass(frozen=True)
class _Correctness:
    before: Correctness
    after: Correctness


def _by_identity(runs: pd.DataFrame) -> dict[tuple[Any, ...], Run]:
    last = runs.drop_duplicates(list(IDENTITY), keep="last")
    keys: Iterable[tuple[Any, ...]] = last[list(IDENTITY)].itertuples(index=False, name=None)
    return dict(zip(keys, last.to_dict("records"), strict=True))


def _p_value(pair: _Pair, correctness: _Correctness) -> float:
    from scipy import stats

    if pair.done is None or not pair.is_comparable:
        return np.nan
    before, after = pair.done
    right_before = correctness.before.of_run(before["folder"], before["run_id"])
    right_after = correctness.after.of_run(after["folder"], after["run_id"])
    if right_before is not None and right_after is not None:
        return paired_p_value(Differences.between(right_after.astype(np.int8), right_before.astype(np.int8), 1))
    n_right = [round(run["accuracy"] * run["n_test"]) for run in pair.done]
    n_wrong = [run["n_test"] - right for run, right in zip(pair.done, n_right, strict=True)]
    return float(stats.fisher_exact([n_right, n_wrong]).pvalue)


def _row(key: tuple[Any, ...], pair: _Pair, p_value: float) -> dict[str, Any]:
    before, after = pair.before or {}, pair.after or {}
    difference = after.get("accuracy", np.nan) - before.get("accuracy", np.nan)
    change = _change(pair, difference, p_value)
    return {
        "mark": MARKS[change],
        "change": change,
        **dict(zip(IDENTITY, key, strict=True)),
        "accuracy_before": before.get("accuracy"),
        "accuracy_after": after.get("accuracy"),
        "difference": difference,
        "p_value": p_value,
        "wall_ratio": after.get("wall_s", np.nan) / before.get("wall_s", np.nan),
        "note": _note(pair),
    }


def _change(pair: _Pair, difference: float, p_value: float) -> str:
    if pair.before is None:
        return NEW
    if pair.after is None:
        return GONE
    if pair.done is None:
        return BROKEN if pair.before["status"] == DONE else MENDED if pair.after["status"] == DONE else FAILED_TWICE
    if not pair.is_comparable:
        return INCOMPARABLE
    if p_value < ALPHA:
        return BETTER if difference > 0 else WORSE
    return SAME if difference == 0 else WITHIN_NOISE


def _note(pair: _Pair) -> str:
    if pair.done is None:
        return str((pair.after or {}).get("error_message") or "")
    before, after = pair.done
    facts = []
    for column, text in (
        ("dataset_fingerprint", "other data"),
        ("weights_sha256", "other weights"),
        ("params_total", "other parameter count"),
        ("keras_version", "Keras {} then {}"),
        ("tensorflow_version", "TensorFlow {} then {}"),
        ("cpu", "processor {} then {}"),
    ):
        values = before[column], after[column]
        if values[0] != values[1] and not all(pd.isna(value) for value in values):
            facts.append(text.format(*values))
    return "; ".join(facts)
