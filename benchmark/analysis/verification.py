"""Rows of a ledger compared with the same cells run again.

A training that ends at another epoch is another training, as of another seed. Between two types of processors, the
accuracies of such trainings of `demo` differ by up to .05, their log losses by a tenth, and neither in one direction.
So they are tested by setting, over all its seeds that were run again.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.contradictions import Fault
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.curves import Points, other_choices, other_points, points_of
from benchmark.analysis.figures import (
    ANOTHER_WAY,
    ELSEWHERE,
    TOLERANCE,
    is_same,
    other_costs,
    other_epochs,
    other_figures,
    other_scores,
    other_values,
    two_images,
)
from benchmark.analysis.pairs import (
    BROKEN,
    CHANGED,
    CLOSE,
    INCOMPARABLE,
    INCOMPLETE,
    REPRODUCED,
    Pair,
    Row,
    pairs_table,
    tested,
)
from benchmark.analysis.significance import ALPHA, adjust_by_holm, compare_runs
from benchmark.analysis.soundness import RunKey
from benchmark.ledger import CELL_COLUMNS, DONE, HISTORY, RUNS, TEXT_COLUMNS, Ledger, fold_of
from benchmark.options import CLASSIFY, PROBE
from benchmark.origins import DEFINITION, MACHINE, VERSIONS, what_changed

# Columns that the keys hold, beside versions: a row with the keys of the cell has the values of the cell.
KEYED = (*CELL_COLUMNS, "weights", "dataset_fingerprint", *DEFINITION)
# What can change the last digits of features; the processor's cores are divided among jobs.
CIRCUMSTANCES = {**MACHINE, "n_jobs": "jobs at the same time", **DEFINITION, **VERSIONS}
# With other weights, more of the predictions differ.
SAME_WEIGHTS = 0.05
# Columns that must agree before any figure can be compared, with the note for those that do not.
PREMISES = {
    "dataset_fingerprint": "the images are not those of the ledger",
    "split_version": "the splits are not drawn as those of the ledger",
}
# Failures of this machine or its network, not of the figures.
OF_THIS_MACHINE = frozenset({"download", "disk_full", "oom", "timeout"})


class _Kept(NamedTuple):
    """What a ledger keeps of a run beside its row."""

    points: Points
    scores: NDArray[np.float64] | None
    true_scores: NDArray[np.float16] | None


def verify_rows(
    runs: pd.DataFrame, again: Mapping[RunKey, Row], faults: Mapping[RunKey, Fault] | None = None
) -> pd.DataFrame:
    """Rows compared with the same cells run again.

    Args:
        runs: All rows of the ledgers, as `load_all_runs` returns them.
        again: The new rows of those that were run again, as `rows_again` returns them.
        faults: What `find_faults` returned.

    Returns:
        The columns of `compare_ledgers`, for every row that was run again or has a fault, and for what has a fault and
        no row. `reproduced`: all counts, predictions and figures are the same. `close`: on another type of machine, in
        other versions or on a GPU, predictions differ, and figures by no more than rounding explains; the accuracy is
        within `TOLERANCE`, or McNemar's exact test, Holm-corrected for all these cells, finds no difference, or, where
        a training ended otherwise, the test of all seeds of the setting finds none. `changed`: neither, or the ledger
        contradicts itself. `incomplete`: files or rows are missing. `not comparable`: other images or weights, or a
        failure caused by this machine or its network. `broken`: any other failure.
    """
    faults = faults or {}
    keys = [*zip(runs["folder"], runs["run_id"], strict=True)]
    is_reported = np.array([key in again or key in faults for key in keys], bool)
    before = runs.assign(dataset_name=runs["dataset"])[is_reported]
    after = pd.DataFrame([*again.values()], columns=[*runs]).assign(dataset_name=lambda table: table["dataset"])
    new_rows = dict(zip(again, after.to_dict("records"), strict=True))
    pairs = [Pair(row, new_rows.get(_key(row))) for row in before.to_dict("records")]
    sides = (Correctness(rows, with_folds=True) for rows in (before, after))
    pairs = tested(pairs, *sides, test_unpaired=False)
    p_of_settings = _p_values_of_settings(pairs)
    pairs += [Pair(_nameless(*key), None) for key in sorted({*faults} - {*keys})]
    histories = functools.cache(
        lambda folder: dict(iter(Ledger(Path(folder)).read_whole_table(HISTORY).groupby("run_id")))
    )

    def kept(row: Row) -> _Kept:
        history = histories(row["folder"]).get(row["run_id"])
        predictions = Ledger(Path(row["folder"])).read_predictions(row["run_id"])
        return _Kept(
            {} if history is None else points_of(history),
            None if predictions is None else predictions[1].astype(np.float64),
            Ledger(Path(row["folder"])).read_true_scores(row["run_id"]),
        )

    def judge(pair: Pair) -> tuple[str, str]:
        assert pair.before is not None
        fault = faults.get(_key(pair.before))
        if pair.after is None or (fault and fault.is_contradiction):
            assert fault is not None
            if fault.is_contradiction:
                return CHANGED, f"the ledger contradicts itself: {fault.text}"
            return INCOMPLETE, fault.text
        p_of_setting = p_of_settings.get(_images_of_setting(pair.before), np.nan)
        change, note = _judge_again(pair, pair.before, pair.after, kept, p_of_setting)
        if fault and change in (REPRODUCED, CLOSE):
            return INCOMPLETE, "; ".join(filter(None, (fault.text, note)))
        return change, note

    return pairs_table(pairs, judge)


def _key(row: Row) -> RunKey:
    return row["folder"], row["run_id"]


def _nameless(folder: str, run_id: str) -> Row:
    """A row for what belongs to none."""
    cell = {column: "" if column in TEXT_COLUMNS[RUNS] else np.nan for column in CELL_COLUMNS}
    return {**cell, "dataset_name": "", "folder": folder, "run_id": run_id}


def _images_of_setting(row: Row) -> tuple[str, ...]:
    """The setting of a row of a ledger, and its test images."""
    return row["folder"], row["setting_key"], row["dataset_fingerprint"], fold_of(row)


def _p_values_of_settings(pairs: Iterable[Pair]) -> dict[tuple[str, ...], float]:
    """Of the settings with several seeds that were run again: Holm-adjusted, over images and seeds."""
    of_seeds: dict[tuple[str, ...], list[NDArray[np.int8]]] = {}
    for pair in pairs:
        if pair.before is not None and pair.changes is not None:
            of_seeds.setdefault(_images_of_setting(pair.before), []).append(pair.changes)
    changes = {name: np.stack(of_setting) for name, of_setting in of_seeds.items() if len(of_setting) > 1}
    found = [compare_runs(of_setting, np.zeros_like(of_setting)).p_value for of_setting in changes.values()]
    return dict(zip(changes, adjust_by_holm(np.array(found, float)).tolist(), strict=True))


def _judge_again(
    pair: Pair, before: Row, after: Row, kept: Callable[[Row], _Kept], p_of_setting: float
) -> tuple[str, str]:
    if after["status"] != DONE:
        kind = after["error_type"]
        return INCOMPARABLE if kind in OF_THIS_MACHINE else BROKEN, f"{kind}: {after['error_message']}"
    if verdict := _of_other_inputs(pair, before, after):
        return verdict
    sides = (before, after)
    circumstances = "; ".join(what_changed(before, after, CIRCUMSTANCES))
    is_elsewhere = bool(circumstances) or any(row["gpu"] and row["is_deterministic"] != 1 for row in sides)
    one, other = map(kept, sides)
    ways = [*other_epochs(before, after), *other_choices(one.points, other.points)] if is_elsewhere else []
    tolerance = None
    if is_elsewhere:
        is_trained = before["strategy"] not in (PROBE, CLASSIFY)
        tolerance = ANOTHER_WAY if ways or is_trained else ELSEWHERE
    others = [
        *other_values(before, after),
        *other_figures(pair, before, after, tolerance),
        *other_points(one.points, other.points, two_images(before) if is_elsewhere else None),
        *other_scores("confidences", one.scores, other.scores, tolerance),
        *other_scores("scores of true classes", one.true_scores, other.true_scores, tolerance),
    ]
    change = CHANGED if others else _of_predictions(pair, is_elsewhere=is_elsewhere, ways=ways)
    if change == CHANGED and not others and ways and p_of_setting >= ALPHA:
        change = CLOSE
        ways.append(f"all seeds of the setting together: p = {p_of_setting:.2g}")
    where = circumstances or ("" if is_elsewhere or change == REPRODUCED else "on the same machine type and versions")
    return change, "; ".join(filter(None, [*others, *ways, where, *other_costs(before, after)]))


def _of_predictions(pair: Pair, *, is_elsewhere: bool, ways: list[str]) -> str:
    n_changed = pair.n_predictions_changed
    if (pair.difference if np.isnan(n_changed) else n_changed) == 0 and not ways:
        return REPRODUCED
    is_close = is_elsewhere and (abs(pair.difference) <= TOLERANCE or pair.p_value >= ALPHA)
    return CLOSE if is_close else CHANGED


def _of_other_inputs(pair: Pair, before: Row, after: Row) -> tuple[str, str] | None:
    """The verdict on a row that was made from something else, or says so."""
    others = [column for column in KEYED if not is_same(before[column], after[column])]
    has_keys = before["cell_key"] == after["cell_key"] and before["setting_key"] == after["setting_key"]
    has_weights = before["weights_sha256"] == after["weights_sha256"]
    if others and has_keys:
        return CHANGED, f"other than the keys of the row say: {', '.join(others)}"
    if notes := [note for column, note in PREMISES.items() if before[column] != after[column]]:
        return INCOMPARABLE, notes[0]
    if not has_weights and pair.n_predictions_changed <= SAME_WEIGHTS * before["n_test"]:
        return CHANGED, "weights_sha256 is another, but the predictions are those of the same weights"
    if not has_weights:
        return INCOMPARABLE, "the weights are not those of the ledger"
    if not others and not has_keys and not pd.isna(before["feature_version"]):
        return CHANGED, "the keys are not those of the cell"
    return None
