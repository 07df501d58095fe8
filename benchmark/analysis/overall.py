"""The mean difference of all cells of two ledgers together, which shows what is too small to be seen in one of them.

All cells of a dataset are tested on the same images, so images are crossed with cells, and the differences of cells are
not independent of each other. The variance is that of `significance`, with cells in the place of seeds:

    x (n, c) in -1, 0, 1             right after, minus right before, of n images and c cells
    V / (n c)                        variance of the mean, over other images and over other trainings of the cells

A dataset counts by its number of cells; of several, the variances are added, and the degrees of freedom by their shares
in the sum. Where few images changed, sums are not normal: as in the continuity correction of McNemar's test, the mean
is moved towards zero, here by the share of the image that changed most. In simulations without a difference, at most
one comparison in twenty shows one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benchmark.analysis.significance import Changes, crossed_variance
from benchmark.metrics import CONFIDENCE_LEVEL

# With fewer cells, the variance between cells cannot be told from that of images.
MIN_CELLS = 5


class Overall(NamedTuple):
    """The mean difference in accuracy over cells.

    Attributes:
        n_cells: Number of cells; without any, all else is NaN.
        difference: Later minus earlier accuracy, mean over the cells.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Two-sided, of no difference.
    """

    n_cells: int
    difference: float
    low: float
    high: float
    p_value: float


def overall_difference(changes: Iterable[Changes]) -> Overall:
    """The mean difference over all cells of all datasets, `(n, c)` each, that have at least `MIN_CELLS`."""
    from scipy import stats

    datasets = [one for one in changes if one.shape[1] >= MIN_CELLS]
    n_cells = sum(one.shape[1] for one in datasets)
    if not n_cells:
        return Overall(0, *[np.nan] * 4)
    weighted = [(one.shape[1] / n_cells, one) for one in datasets]
    mean = sum(share * float(one.mean()) for share, one in weighted)
    # How much the image that changed in most cells moves the mean.
    step = max(share * float(np.abs(one.sum(axis=1, dtype=np.int64)).max() / one.size) for share, one in weighted)
    parts = [(share**2 * of_mean, df) for share, one in weighted for of_mean, df in [_variance(one)] if of_mean > 0]
    variance = sum(part for part, _ in parts)
    if not parts:
        return Overall(n_cells, mean, mean, mean, 1.0 if mean == 0 else 0.0)
    freedom = variance / sum(part / df for part, df in parts)
    error = float(np.sqrt(variance))
    reach = stats.t.isf((1 - CONFIDENCE_LEVEL) / 2, freedom) * error + step
    p_value = 2 * stats.t.sf(max(abs(mean) - step, 0) / error, freedom)
    return Overall(n_cells, mean, mean - reach, mean + reach, float(p_value))


def _variance(changes: Changes) -> tuple[float, float]:
    """The variance of a dataset's mean, and its degrees of freedom."""
    (n, c), mean = changes.shape, float(changes.mean())
    squares_images = c * float(np.square(changes.mean(axis=1) - mean).sum())
    squares_cells = n * float(np.square(changes.mean(axis=0) - mean).sum())
    squares_rest = np.count_nonzero(changes) - changes.size * mean**2 - squares_images - squares_cells
    of_rest = squares_rest / ((n - 1) * (c - 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # without any variance there are no degrees of freedom
        variance, df = crossed_variance(squares_images / (n - 1), squares_cells / (c - 1), of_rest, n - 1, c - 1)
    return variance / changes.size, df
