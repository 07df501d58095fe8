"""Which settings a test set can tell apart: McNemar's test on the saved predictions.

Every run of a dataset is tested on the same images, so two settings are compared image by image. With one seed
each, that is McNemar's exact test: two equally good settings would each be right on about half of the images that only
one of them classifies correctly.

Seeds are pooled per image. The outcomes of several seeds on one image are not independent, so an image counts once,
as the cluster of McNemar's test for clustered pairs (Durkalski et al., Analysis of clustered matched-pair data,
Statistics in Medicine 22, 2003). For `n` images and `s` seeds:

    d (n,) in -s..s       number of seeds right in one setting, minus that of the other
    T = sum of d          compared with its distribution if each d had a random sign
    T^2 / sum of d^2      chi-squared with one degree of freedom for many images

The result holds for these trained models on other images like these. The deviation over seeds shows how much other
seeds would scatter.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.correctness import Correctness

ALPHA = 0.05
# Up to this number of images that differ, the distribution of the sum is exact; beyond, its normal limit is as good.
MAX_EXACT = 1000
# P-values by the normal limit that are this many times below or above the level are not computed again.
CLOSE = 100.0

# `(n,)`: a number of seeds for each image.
Counts = NDArray[np.int8]
PValues = NDArray[np.float64]


class Standing(NamedTuple):
    """The range of ranks of a setting.

    Attributes:
        first: The best possible rank: one more than the number of settings that are significantly better.
        last: The worst possible rank: the number of settings that are not significantly worse.
        p_best: Holm-adjusted p-value of being as good as the best setting; NaN for the best itself and without
            predictions to compare.
        smallest_difference: The smallest difference in accuracy to the best setting that would be significant at the
            number of images on which the two differ; NaN where `p_best` is.
    """

    first: int
    last: int
    p_best: float
    smallest_difference: float


class SeedRun(NamedTuple):
    """A run and its test images, as the columns of `load_runs` identify them."""

    seed: int
    folder: str
    run_id: str
    dataset_fingerprint: str


class SeedRuns:
    """The runs of one setting, one per seed, and the images that they classify correctly.

    Args:
        runs: Finished runs in the order of the ledger: the last one of a seed counts.
        correctness: Of these runs.
    """

    def __init__(self, runs: Sequence[SeedRun], correctness: Correctness) -> None:
        self.fingerprint = runs[-1].dataset_fingerprint
        last = {run.seed: run for run in runs if run.dataset_fingerprint == self.fingerprint}
        correct = {seed: correctness.of_run(last[seed].folder, last[seed].run_id) for seed in sorted(last)}
        self._correct = {seed: images for seed, images in correct.items() if images is not None}
        self.seeds = tuple(self._correct)
        self.n_right = functools.cache(self._count_right)

    def _count_right(self, seeds: tuple[int, ...]) -> Counts:
        """`(n,)` in 0..s: how many of these seeds classify each image correctly."""
        counts: Counts = np.sum([self._correct[seed] for seed in seeds], axis=0, dtype=np.int8)
        return counts


class Pair(NamedTuple):
    """Two settings on the same images.

    Attributes:
        differences: `(n,)` in -s..s: number of seeds right in the first setting, minus that of the second.
        n_seeds: s.
    """

    differences: Counts
    n_seeds: int


def compare_settings(a: SeedRuns, b: SeedRuns) -> Pair | None:
    """How two settings differ; None if they were tested on different images or predictions were not kept.

    The seeds that both have are compared; without any, the same number of seeds of each.
    """
    if not a.seeds or not b.seeds or a.fingerprint != b.fingerprint:
        return None
    shared = tuple(seed for seed in a.seeds if seed in b.seeds)
    n_seeds = len(shared) or min(len(a.seeds), len(b.seeds))
    return Pair(a.n_right(shared or a.seeds[:n_seeds]) - b.n_right(shared or b.seeds[:n_seeds]), n_seeds)


def paired_p_value(differences: Counts) -> float:
    """Two-sided p-value of the sum being this far from zero if every difference had a random sign.

    With one seed this is McNemar's test; exact up to `MAX_EXACT` images that differ.
    """
    from scipy import stats

    n_by_size = np.bincount(np.abs(differences))[1:]  # (s,): images that differ by 1, ..., s seeds
    total = differences.sum(dtype=np.int64)
    if n_by_size.sum() > MAX_EXACT:
        return float(stats.chi2.sf(total**2 / _sum_of_squares(differences), df=1))
    # The sum of the positive differences is a sum over the sizes j of j Binomial(n_j, 1/2).
    chances = np.ones(1)
    for size, count in enumerate(n_by_size, 1):
        of_size = np.zeros(size * count + 1)
        of_size[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, of_size)
    totals = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(totals) >= abs(total)].sum()))


def _sum_of_squares(differences: Counts) -> int:
    return int(np.square(differences, dtype=np.int64).sum())


def smallest_difference(pair: Pair, n_pairs: int) -> float:
    """The smallest significant difference in accuracy of two settings, at the first step of Holm's method."""
    from scipy import stats

    quantile = stats.norm.isf(ALPHA / n_pairs / 2)
    return float(quantile * np.sqrt(_sum_of_squares(pair.differences)) / (pair.n_seeds * len(pair.differences)))


def rank_with_ties(settings: Sequence[SeedRuns]) -> list[Standing]:
    """The range of ranks of each setting: after those that are significantly better, before those that are worse.

    All pairs are tested and corrected by Holm's method, so the chance of any false difference stays below `ALPHA`;
    testing against the best alone would ignore that the best of many equal settings is partly lucky. Two settings whose
    ranges overlap may still differ significantly, if both are close to others but not to each other. A setting without
    predictions keeps its place among the others.

    Args:
        settings: The most accurate first.
    """
    n = len(settings)
    p_values = _all_p_values(settings)
    adjusted = adjust_by_holm(p_values)
    n_pairs = int(np.count_nonzero(~np.isnan(p_values)))
    are_tied = np.zeros((n, n), bool)
    are_tied[np.triu_indices(n, 1)] = adjusted >= ALPHA
    firsts = 1 + np.arange(n) - are_tied.sum(axis=0)  # its own place, minus the ties with settings before it
    lasts = 1 + np.arange(n) + are_tied.sum(axis=1)
    with_best = [None, *(compare_settings(settings[0], setting) for setting in settings[1:])]
    return [
        Standing(int(first), int(last), float(p_best), smallest_difference(pair, n_pairs) if pair else np.nan)
        # The pairs with the best come first.
        for first, last, p_best, pair in zip(firsts, lasts, [np.nan, *adjusted[: n - 1]], with_best, strict=True)
    ]


def _all_p_values(settings: Sequence[SeedRuns]) -> PValues:
    """`(n (n - 1) / 2,)`: of all pairs, row by row; NaN where two settings cannot be compared.

    The normal limit decides most pairs clearly, and one product of matrices computes it for all of them; the other
    pairs, and those with the first setting, are tested one by one.
    """
    better, worse = np.triu_indices(len(settings), 1)
    p_values = _normal_p_values(settings)[better, worse]
    tested = np.sort(p_values[~np.isnan(p_values)])
    levels = ALPHA / np.arange(len(tested), 0, -1)
    threshold = next(iter(levels[tested >= levels]), ALPHA)  # where Holm's method stops rejecting
    is_clear = (p_values <= threshold / CLOSE) | (p_values >= threshold * CLOSE)  # never so for NaN
    have_predictions = np.array([bool(setting.seeds) for setting in settings], bool)
    is_possible = have_predictions[better] & have_predictions[worse]
    for number in np.flatnonzero(is_possible & (~is_clear | (better == 0))):
        pair = compare_settings(settings[better[number]], settings[worse[number]])
        p_values[number] = paired_p_value(pair.differences) if pair else np.nan
    return p_values


def _normal_p_values(settings: Sequence[SeedRuns]) -> PValues:
    """`(n, n)`: by the normal limit, of settings with the same seeds on the same images; NaN for other pairs."""
    from scipy import stats

    found = np.full((len(settings), len(settings)), np.nan)
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for place, setting in enumerate(settings):
        if setting.seeds:
            groups.setdefault((setting.fingerprint, setting.seeds), []).append(place)
    for (_, seeds), places in groups.items():
        right = np.stack([settings[place].n_right(seeds) for place in places]).astype(np.float32)  # (k, n)
        products = (right @ right.T).astype(np.float64)
        squares, totals = np.diag(products), right.sum(axis=1, dtype=np.float64)
        sum_of_squares = squares[:, np.newaxis] + squares - 2 * products
        total = totals[:, np.newaxis] - totals
        # Where no image differs, the total is 0 too.
        found[np.ix_(places, places)] = stats.chi2.sf(total**2 / np.maximum(sum_of_squares, 1), df=1)
    return found


def adjust_by_holm(p_values: PValues) -> PValues:
    """P-values adjusted for their number by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).

    The same as statsmodels' `multipletests`, which collects garbage on every call: 0.1 s each.

    Args:
        p_values: NaN for pairs that are not tested, also in the result.
    """
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # NaN sorts last
    adjusted = p_values.copy()
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
