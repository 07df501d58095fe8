"""Figures and costs of a row compared with those of the same cell run again.

Each function yields a text for each difference that is larger than it should be. Without a tolerance, which is right
for the same type of machine and the same versions, all figures are the same to the last digit that is written.
Elsewhere the last digits of the features differ. Between two types of processors, predictions of the 36 probes of
`demo` differ in at most 2 % of the images, accuracies on validation by three images, log losses by .016, confidences
by .31 and on average by .015. Where the choice of a penalty on validation fell differently, the log loss differs by
.09, the accuracy on training by .04, and confidences on average by .11. Networks that are trained through many layers
amplify rounding in the same way.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.contradictions import DERIVED, ROUNDING, is_near
from benchmark.analysis.pairs import Pair, Row
from benchmark.ledger import CELL_COLUMNS, RUNS, TEXT_COLUMNS
from benchmark.migration import LATER_COLUMNS

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

# The last digit of a score as `predictions/` holds it.
SCORE_ROUNDING = 1e-3
# The accuracy may differ elsewhere by this much, or by as much as chance explains.
TOLERANCE = 0.01


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
# Of networks that are trained beyond a head, and where another penalty was chosen or training stopped at another epoch.
ANOTHER_WAY = Tolerance(0.1, 0.15, np.inf, 0.15)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values of a column are equal, or both missing."""
    return bool(one == other) or bool(pd.isna(one) and pd.isna(other))


def other_values(before: Row, after: Row) -> Iterator[str]:
    """The columns of `EXACT` that differ."""
    for column in EXACT:
        one, other = before[column], after[column]
        if _is_of_older(column, before, after):
            continue
        is_text = column in TEXT_COLUMNS[RUNS]
        if not (one == other if is_text else is_near(one, other, 1e-8, 0)):
            yield f"{column} {one!r} then {other!r}" if is_text else f"{column} {one:.9g} then {other:.9g}"


def other_figures(pair: Pair, before: Row, after: Row, tolerance: Tolerance | None) -> Iterator[str]:
    """The `FIGURES` that differ; of those that follow from predictions, only where predictions are missing."""
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
        yield from other_epochs(before, after)


def other_epochs(before: Row, after: Row) -> Iterator[str]:
    """The epochs at which the trainings ended, if they differ."""
    if not is_near(before["epochs"], after["epochs"], 0, 0):
        yield f"epochs {before['epochs']:g} then {after['epochs']:g}"


def two_images(row: Row) -> float:
    """The share that two of the images are whose accuracy a learning curve holds."""
    return max(_share(2, row["n_train"]), _share(2, row["n_val"]))


def other_scores(
    what: str, before: NDArray[Any] | None, after: NDArray[Any] | None, tolerance: Tolerance | None
) -> Iterator[str]:
    """How far two arrays of scores of the test images are apart, if too far.

    Args:
        what: The scores, for the text.
        before: `(n_test,)` in 0..1, or None if they were not kept.
        after: The same of the cell run again.
        tolerance: None for the same type of machine and versions.
    """
    if before is None or after is None or len(before) != len(after):
        return
    apart = np.abs(before.astype(np.float64) - after)
    if tolerance is None:
        is_other = apart > SCORE_ROUNDING * np.maximum(1, np.abs(after))
    else:
        is_other = (apart > tolerance.score) | (apart.mean() > tolerance.mean_score)
    if is_other.any():
        yield f"{what} by up to {apart.max():.3f} and by {apart.mean():.4f} on average"


def other_costs(before: Row, after: Row) -> Iterator[str]:
    """The `COSTS` that are far apart, which is never a fault."""
    for column in COSTS:
        one, other = before[column], after[column]
        low, high = sorted((one, other))
        is_far = high > FACTOR * low and (high > NOTED_S or not column.endswith("_s"))
        if is_far or (pd.isna(one) != pd.isna(other) and not _is_of_older(column, before, after)):
            yield f"{column} {one:.3g} then {other:.3g} (costs are advisory)"


def _is_of_older(column: str, before: Row, after: Row) -> bool:
    """Whether the earlier version that wrote a row did not have the column."""
    is_older = bool(before["feature_version"] != after["feature_version"])
    return is_older and column in LATER_COLUMNS and is_same(before[column], np.nan)


def _share(number: float, n_images: float) -> float:
    return number / n_images if n_images > 0 else 0.0
