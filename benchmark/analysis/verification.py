"""Rows of a ledger compared with the same cells run again."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from benchmark.analysis.comparison import pair_runs
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.pairs import (
    BROKEN,
    CHANGED,
    CLOSE,
    INCOMPARABLE,
    REPRODUCED,
    Pair,
    Row,
    pairs_table,
    tested,
)  # fmt: skip
from benchmark.analysis.significance import ALPHA
from benchmark.ledger import DONE
from benchmark.origins import DEFINITION, MACHINE, VERSIONS, what_changed

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
}
# Failures of this machine or its network, not of the figures.
OF_THIS_MACHINE = frozenset({"download", "disk_full", "oom", "timeout"})


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
    return pairs_table(tested(pairs, Correctness(before), Correctness(after), test_unpaired=False), judge)


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
