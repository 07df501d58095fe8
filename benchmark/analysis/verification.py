"""Rows of a ledger compared with the same cells run again.

On the same type of machine, in the same versions, all figures, predictions, confidences and learning curves come out
again to the last digit that is written. Elsewhere the last digits of the features differ. Between two types of
processors, predictions of the 36 probes of `demo` differ in at most 2 % of the images, accuracies on validation by
three images, log losses by .016, confidences by .31 and on average by .015. Where the choice of a penalty on validation
fell differently, the log loss differs by .09, the accuracy on training by .04, and confidences on average by .11.
Networks that are trained through many layers amplify rounding in the same way.

A training that ends at another epoch is another training, as of another seed. Between two types of processors, the
accuracies of such trainings of `demo` differ by up to .05, their log losses by a tenth, and neither in one direction.
So they are tested by setting, over all its seeds that were run again.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.curves import Points, other_choices, other_points, points_of
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
from benchmark.analysis.soundness import DERIVED, ROUNDING, Fault, RunKey, is_near
from benchmark.ledger import CELL_COLUMNS, DONE, HISTORY, RUNS, TEXT_COLUMNS, Ledger, fold_of
from benchmark.migration import LATER_COLUMNS
from benchmark.options import CLASSIFY, PROBE
from benchmark.origins import DEFINITION, MACHINE, VERSIONS, what_changed

# Columns that the keys hold, beside versions: a row with the keys of the cell has the values of the cell.
KEYED = (*CELL_COLUMNS, "weights", "dataset_fingerprint", *DEFINITION)
# Columns that are the same wherever a cell is run again.
EXACT = (
    *CELL_COLUMNS, "weights", "warning", "n_train", "n_val", "n_test", "n_left_out", "n_duplicates", "n_classes",
    "chance", "params_total", "params_backbone", "params_trainable", "flops_g", "model_mib", "feature_dim",
)  # fmt: skip
# Figures that do not follow from others. Elsewhere they may differ by `Tolerance.figure`, or by as much as a few of so
# many images change them; in a log loss, an image counts for some nats.
FIGURES = {
    "top5_accuracy": ("n_test", 2.0), "log_loss": ("n_test", 10.0), "train_accuracy": ("n_train", 2.0),
    "val_accuracy": ("n_val", 3.0), "auroc": ("n_test", 2.0), "calibration_error": ("n_test", 2.0),
}  # fmt: skip
# Costs, which are never a fault: one is noted that is `FACTOR` times the other, seconds only from `NOTED_S` on.
COSTS = (
    "load_s", "build_s", "extract_s", "train_s", "eval_s", "wall_s", "images_per_s", "latency_ms", "latency_p95_ms",
    "peak_rss_mib", "peak_device_mib",
)  # fmt: skip
FACTOR, NOTED_S = 3.0, 1.0

# What can change the last digits of features; the processor's cores are divided among jobs.
CIRCUMSTANCES = {**MACHINE, "n_jobs": "jobs at the same time", **DEFINITION, **VERSIONS}
# The last digit of a score as `predictions/` holds it.
SCORE_ROUNDING = 1e-3
# The accuracy may differ elsewhere by this much, or by as much as chance explains.
TOLERANCE = 0.01
# With other weights, more of the predictions differ.
SAME_WEIGHTS = 0.05


class Tolerance(NamedTuple):
    """How far results may be apart that differ in rounding only.

    Attributes:
        figure: One of `FIGURES`.
        loss: A log loss, as a share of it, if that is more.
        score: The confidence in one image.
        mean_score: The confidences, on average.
    """

    figure: float
    loss: float
    score: float
    mean_score: float


ELSEWHERE = Tolerance(TOLERANCE, 0.0, 0.35, 0.02)
# Where a choice on validation or the end of a training fell differently, or a network is trained, not only a head.
ANOTHER_WAY = Tolerance(0.1, 0.15, np.inf, 0.15)
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
    ways = [*_other_epochs(before, after), *other_choices(one.points, other.points)] if is_elsewhere else []
    tolerance = None
    if is_elsewhere:
        is_trained = before["strategy"] not in (PROBE, CLASSIFY)
        tolerance = ANOTHER_WAY if ways or is_trained else ELSEWHERE
    others = [
        *_other_values(before, after),
        *_other_figures(pair, before, after, tolerance),
        *other_points(one.points, other.points, _few(before) if is_elsewhere else None),
        *_other_scores("confidences", one.scores, other.scores, tolerance),
        *_other_scores("scores of true classes", one.true_scores, other.true_scores, tolerance),
    ]
    change = CHANGED if others else _of_predictions(pair, is_elsewhere=is_elsewhere, ways=ways)
    if change == CHANGED and not others and ways and p_of_setting >= ALPHA:
        change = CLOSE
        ways.append(f"all seeds of the setting together: p = {p_of_setting:.2g}")
    where = circumstances or ("" if is_elsewhere or change == REPRODUCED else "on the same machine type and versions")
    return change, "; ".join(filter(None, [*others, *ways, where, *_other_costs(before, after)]))


def _of_predictions(pair: Pair, *, is_elsewhere: bool, ways: list[str]) -> str:
    n_changed = pair.n_predictions_changed
    if (pair.difference if np.isnan(n_changed) else n_changed) == 0 and not ways:
        return REPRODUCED
    is_close = is_elsewhere and (abs(pair.difference) <= TOLERANCE or pair.p_value >= ALPHA)
    return CLOSE if is_close else CHANGED


def _of_other_inputs(pair: Pair, before: Row, after: Row) -> tuple[str, str] | None:
    """The verdict on a row that was made from something else, or says so."""
    others = [column for column in KEYED if not _is_same(before[column], after[column])]
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


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other) or bool(pd.isna(one) and pd.isna(other))


def _other_values(before: Row, after: Row) -> Iterator[str]:
    for column in EXACT:
        one, other = before[column], after[column]
        if _is_of_older(column, before, after):
            continue
        is_text = column in TEXT_COLUMNS[RUNS]
        if not (one == other if is_text else is_near(one, other, 1e-8, 0)):
            yield f"{column} {one!r} then {other!r}" if is_text else f"{column} {one:.9g} then {other:.9g}"


def _other_figures(pair: Pair, before: Row, after: Row, tolerance: Tolerance | None) -> Iterator[str]:
    # What follows from predictions is compared with them, if they were kept.
    derived = DERIVED[1:] if np.isnan(pair.n_predictions_changed) else ()
    for column, (n_images, most) in {**FIGURES, **dict.fromkeys(derived, ("n_test", 2.0))}.items():
        one, other = before[column], after[column]
        if _is_of_older(column, before, after):
            continue
        relative, absolute = ROUNDING, ROUNDING
        if tolerance:
            relative = tolerance.loss if column == "log_loss" else 0.0
            absolute = max(tolerance.figure, _share(most, before[n_images])) + ROUNDING
        if not is_near(one, other, relative, absolute):
            yield f"{column} {one:.9g} then {other:.9g}"
    if not tolerance:
        yield from _other_epochs(before, after)


def _other_epochs(before: Row, after: Row) -> Iterator[str]:
    if not is_near(before["epochs"], after["epochs"], 0, 0):
        yield f"epochs {before['epochs']:g} then {after['epochs']:g}"


def _few(row: Row) -> float:
    """The share that two of the images are whose accuracy a learning curve holds."""
    return max(_share(2, row["n_train"]), _share(2, row["n_val"]))


def _share(number: float, n_images: float) -> float:
    return number / n_images if n_images > 0 else 0.0


def _other_scores(
    what: str, before: NDArray[Any] | None, after: NDArray[Any] | None, tolerance: Tolerance | None
) -> Iterator[str]:
    if before is None or after is None or len(before) != len(after):
        return
    apart = np.abs(before.astype(np.float64) - after)
    if tolerance is None:
        is_other = apart > SCORE_ROUNDING * np.maximum(1, np.abs(after))
    else:
        is_other = (apart > tolerance.score) | (apart.mean() > tolerance.mean_score)
    if is_other.any():
        yield f"{what} by up to {apart.max():.3f} and by {apart.mean():.4f} on average"


def _other_costs(before: Row, after: Row) -> Iterator[str]:
    for column in COSTS:
        one, other = before[column], after[column]
        low, high = sorted((one, other))
        is_far = high > FACTOR * low and (high > NOTED_S or not column.endswith("_s"))
        if is_far or (pd.isna(one) != pd.isna(other) and not _is_of_older(column, before, after)):
            yield f"{column} {one:.3g} then {other:.3g} (costs are advisory)"


def _is_of_older(column: str, before: Row, after: Row) -> bool:
    """Whether the earlier version that wrote a row did not have the column."""
    is_older = bool(before["feature_version"] != after["feature_version"])
    return is_older and column in LATER_COLUMNS and _is_same(before[column], np.nan)
