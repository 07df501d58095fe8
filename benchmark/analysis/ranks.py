"""The range of ranks of each setting: those that `significance` cannot tell apart share them."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmark.analysis.correctness import Correct, Marks
from benchmark.analysis.significance import ALPHA, Sums, adjust_by_holm, estimate, p_values, sum_differences


class Standing(NamedTuple):
    """The range of ranks of a setting.

    Attributes:
        first: The best possible rank: one more than the number of settings that are significantly better.
        last: The worst possible rank: the number of settings that are not significantly worse.
        p_best: Holm-adjusted p-value of being as good as the best setting; NaN for the best itself and without
            predictions to compare.
        smallest_difference: The smallest difference in accuracy to the best setting that would be significant, as far
            as the two vary over images and seeds; NaN where `p_best` is.
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

    def __init__(self, runs: Sequence[SeedRun], correctness: Marks) -> None:
        self.fingerprint = runs[-1].dataset_fingerprint
        last = {run.seed: run for run in runs if run.dataset_fingerprint == self.fingerprint}
        correct = {seed: correctness.of_run(last[seed].folder, last[seed].run_id) for seed in sorted(last)}
        self._correct = {seed: images for seed, images in correct.items() if images is not None}
        self.seeds = tuple(self._correct)

    def right(self, seeds: Sequence[int]) -> Correct:
        """`(s, n)`: whether each of these seeds names each image correctly."""
        return np.stack([self._correct[seed] for seed in seeds])


def rank_with_ties(settings: Sequence[SeedRuns]) -> list[Standing]:
    """The range of ranks of each setting: after those that are significantly better, before those that are worse.

    All pairs are tested and corrected by Holm's method, so the chance of any false difference stays below `ALPHA`;
    testing against the best alone would ignore that the best of many equal settings is partly lucky. Two settings whose
    ranges overlap may still differ significantly, if both are close to others but not to each other. A setting without
    predictions keeps its place among the others.

    Args:
        settings: The most accurate first.
    """
    from scipy import stats

    n = len(settings)
    sums = _all_pairs(settings)
    n_varied = sum(len(setting.seeds) > 1 for setting in settings)
    estimated = estimate(sums, max(n_varied, 2))
    adjusted = adjust_by_holm(p_values(sums, estimated))
    are_tied = np.zeros((n, n), bool)
    are_tied[np.triu_indices(n, 1)] = adjusted >= ALPHA
    firsts = 1 + np.arange(n) - are_tied.sum(axis=0)  # its own place, minus the ties with settings before it
    lasts = 1 + np.arange(n) + are_tied.sum(axis=1)
    # At the first step of Holm's method. The pairs with the best come first.
    n_pairs = max(int(np.count_nonzero(~np.isnan(adjusted))), 1)
    least = (stats.t.isf(ALPHA / n_pairs / 2, estimated.df) * estimated.error)[: n - 1]
    found = zip(firsts, lasts, [np.nan, *adjusted[: n - 1]], [np.nan, *least], strict=True)
    return [Standing(int(first), int(last), float(p_best), float(smallest)) for first, last, p_best, smallest in found]


def _all_pairs(settings: Sequence[SeedRuns]) -> Sums:
    """Of all pairs, row by row: `(n (n - 1) / 2,)` each; NaN where two settings cannot be compared."""
    found = np.full((len(Sums._fields), len(settings), len(settings)), np.nan)
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for place, setting in enumerate(settings):
        if setting.seeds:
            groups.setdefault((setting.fingerprint, setting.seeds), []).append(place)
    for ((images, seeds), places), ((other_images, other_seeds), others) in itertools.product(groups.items(), repeat=2):
        if images == other_images:
            mine, theirs = pair_seeds(seeds, other_seeds)
            first = np.stack([settings[place].right(mine) for place in places])
            second = np.stack([settings[place].right(theirs) for place in others])
            for field, sums in zip(found, sum_differences(first, second), strict=True):
                field[np.ix_(places, others)] = sums
    better, worse = np.triu_indices(len(settings), 1)
    return Sums(*found[:, better, worse])


def pair_seeds(seeds: Sequence[int], others: Sequence[int]) -> tuple[list[int], list[int]]:
    """As many seeds of one setting as of the other: first those of both, because they draw the same split."""
    shared = [seed for seed in seeds if seed in others]
    rest = [[seed for seed in side if seed not in shared] for side in (seeds, others)]
    n_rest = min(map(len, rest))
    return shared + rest[0][:n_rest], shared + rest[1][:n_rest]
