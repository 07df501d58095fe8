"""Which settings a test set can tell apart: McNemar's test on the saved predictions.

Every run of a dataset is tested on the same images, so two settings are compared image by image. With one seed
each, that is McNemar's exact test: of the images that only one of the two names correctly, about half should fall to
either if they were equally good.

Seeds are pooled per image. The outcomes of several seeds on one image are not independent, so an image counts once,
as the cluster of McNemar's test for clustered pairs (Durkalski et al., Analysis of clustered matched-pair data,
Statistics in Medicine 22, 2003): with `d` the difference of the numbers of seeds that are right on an image, the sum
of `d` over the images is compared with what it would be if each `d` had a random sign. What is tested is these trained
models on other images like these; how much further seeds would scatter is what the deviation over seeds shows.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.correctness import Correctness

ALPHA = 0.05
# Up to so many images that differ, all signs are gone through; beyond, the normal limit is as good.
MAX_EXACT = 1000
# P-values by the normal limit that are so many times below or above the level are not looked at again.
CLOSE = 100.0

# What is right on each image.
Counts = NDArray[np.int8]


@dataclass(frozen=True)
class Differences:
    """How the outcomes of two settings differ.

    Attributes:
        n_images: `(2 s + 1,)`: on how many images does one setting have -s, ..., s more right seeds than the other.
    """

    n_images: NDArray[np.int64]

    @classmethod
    def between(cls, a: Counts, b: Counts, n_seeds: int) -> "Differences":
        """Of the numbers of right seeds on each image, `(n,)` int8 in 0..s."""
        return cls(np.bincount((a - b + np.int8(n_seeds)).astype(np.intp), minlength=2 * n_seeds + 1))

    @property
    def n_seeds(self) -> int:
        """S."""
        return len(self.n_images) // 2

    @property
    def _sizes(self) -> NDArray[np.int64]:
        return np.arange(-self.n_seeds, self.n_seeds + 1)

    @property
    def total(self) -> int:
        """Their sum."""
        return int(self._sizes @ self.n_images)

    @property
    def total_square(self) -> int:
        """The sum of their squares."""
        return int(self._sizes**2 @ self.n_images)

    @property
    def n_by_size(self) -> NDArray[np.int64]:
        """`(s,)`: on how many images do the two differ by 1, ..., s seeds."""
        middle = self.n_seeds
        return self.n_images[middle + 1 :] + self.n_images[:middle][::-1]


@dataclass(frozen=True)
class Standing:
    """A setting's place among those that the test set can tell apart.

    Attributes:
        first: The best rank it may have: one more than there are settings significantly better.
        last: The worst: the number of settings that are not significantly worse.
        p_best: Holm-adjusted p-value of being no worse than the best setting; NaN for the best itself and without
            predictions to compare.
        smallest_difference: The least difference in accuracy to the best setting that would be significant at the
            number of images on which the two differ; NaN likewise.
    """

    first: int
    last: int
    p_best: float = np.nan
    smallest_difference: float = np.nan


class SeedRun(NamedTuple):
    """What names a run and its test images, as in the columns of `load_runs`."""

    seed: int
    folder: str
    run_id: str
    dataset_fingerprint: str


class SeedRuns:
    """The runs of one setting, a seed each, and what they got right.

    Args:
        runs: Finished ones, in the order of the ledger: the last of a seed counts.
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
        """`(n,)` int8: how many of these seeds name each image correctly."""
        counts: Counts = np.sum([self._correct[seed] for seed in seeds], axis=0, dtype=np.int8)
        return counts


def compare_settings(a: SeedRuns, b: SeedRuns) -> Differences | None:
    """How two settings differ; None where they were not tested on the same images or predictions were not kept.

    Seeds that both have are compared; where there are none, as many as both have.
    """
    if not a.seeds or not b.seeds or a.fingerprint != b.fingerprint:
        return None
    shared = tuple(seed for seed in a.seeds if seed in b.seeds)
    n_seeds = len(shared) or min(len(a.seeds), len(b.seeds))
    return Differences.between(a.n_right(shared or a.seeds[:n_seeds]), b.n_right(shared or b.seeds[:n_seeds]), n_seeds)


def paired_p_value(differences: Differences) -> float:
    """Two-sided p-value of the sum being this far from zero when every difference has a random sign.

    With one seed this is McNemar's test; exact up to `MAX_EXACT` images that differ.
    """
    from scipy import stats

    if differences.n_by_size.sum() <= MAX_EXACT:
        return _sign_flip_p_value(differences)
    return float(stats.chi2.sf(differences.total**2 / differences.total_square, df=1))


def _sign_flip_p_value(differences: Differences) -> float:
    """P(|sum of the sizes with random signs| >= |their sum|), from the distribution of the sum."""
    # The sum of the sizes whose sign is positive is a sum over the sizes j of j Binomial(n_j, 1/2).
    chances = functools.reduce(np.convolve, _positive_sums(differences), np.ones(1))
    sums = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(sums) >= abs(differences.total)].sum()))


def _positive_sums(differences: Differences) -> list[NDArray[np.float64]]:
    from scipy import stats

    distributions = []
    for size, count in enumerate(differences.n_by_size, 1):
        chances = np.zeros(size * count + 1)
        chances[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        distributions.append(chances)
    return distributions


def smallest_difference(differences: Differences, n_pairs: int) -> float:
    """The least difference in accuracy that would tell two settings apart.

    Args:
        differences: Of the two: on how many images they differ.
        n_pairs: Of settings; the level is that of the first step of Holm's method.
    """
    from scipy import stats

    quantile = stats.norm.isf(ALPHA / n_pairs / 2)
    n_outcomes = differences.n_seeds * differences.n_images.sum()
    return float(quantile * np.sqrt(differences.total_square) / n_outcomes)


def rank_with_ties(settings: Sequence[SeedRuns]) -> list[Standing]:
    """The range of ranks of each setting: from one more than are significantly better to all but the worse ones.

    All pairs are tested and corrected for by Holm's method, so the chance of any false difference stays below
    `ALPHA`; testing against the best alone would forget that the best of many equal ones is partly lucky. Settings
    whose ranges overlap may still be told apart, if both are close to others but not to each other. A setting
    without predictions keeps its place among the others.

    Args:
        settings: The most accurate first.
    """
    n = len(settings)
    p_values = _all_p_values(settings)
    better, worse = np.triu_indices(n, 1)
    n_pairs = int(np.count_nonzero(~np.isnan(p_values)))
    adjusted = adjust_by_holm(p_values)
    are_tied = np.zeros((n, n), bool)
    are_tied[better, worse] = adjusted >= ALPHA
    firsts = np.arange(n) - are_tied.sum(axis=0)  # of those before it, the ones that are better
    lasts = np.arange(n) + are_tied.sum(axis=1)
    return [
        Standing(int(first) + 1, int(last) + 1, *_against_best(settings, place, adjusted, n_pairs))
        for place, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    ]


def _against_best(
    settings: Sequence[SeedRuns], place: int, adjusted: NDArray[np.float64], n_pairs: int
) -> tuple[float, float]:
    """Adjusted p-value and smallest difference of one setting and the first."""
    pair = compare_settings(settings[0], settings[place]) if place else None
    if pair is None:
        return np.nan, np.nan
    return float(adjusted[place - 1]), smallest_difference(pair, n_pairs)  # the first row of the pairs


def _all_p_values(settings: Sequence[SeedRuns]) -> NDArray[np.float64]:
    """`(n (n - 1) / 2,)`: of all pairs, row by row; NaN where two cannot be compared.

    Most pairs are so clear that the normal limit decides them, which is one product of matrices for all; the others,
    and those with the first setting, are tested one by one.
    """
    better, worse = np.triu_indices(len(settings), 1)
    p_values = _normal_p_values(settings)[better, worse]
    threshold = _threshold_of_holm(p_values)
    is_close = (p_values > threshold / CLOSE) & (p_values < threshold * CLOSE)
    have_predictions = np.array([bool(setting.seeds) for setting in settings], bool)
    is_possible = have_predictions[better] & have_predictions[worse]
    for number in np.flatnonzero(is_possible & (is_close | np.isnan(p_values) | (better == 0))):
        pair = compare_settings(settings[better[number]], settings[worse[number]])
        p_values[number] = paired_p_value(pair) if pair else np.nan
    return p_values


def _normal_p_values(settings: Sequence[SeedRuns]) -> NDArray[np.float64]:
    """`(n, n)`: by the normal limit, of settings with the same seeds on the same images; NaN for other pairs."""
    from scipy import stats

    found = np.full((len(settings), len(settings)), np.nan)
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for place, setting in enumerate(settings):
        if setting.seeds:
            groups.setdefault((setting.fingerprint, setting.seeds), []).append(place)
    for (_, seeds), places in groups.items():
        right = np.stack([settings[place].n_right(seeds) for place in places]).astype(np.float32)
        products = (right @ right.T).astype(np.float64)
        squares, totals = np.diag(products), right.sum(axis=1, dtype=np.float64)
        total_square = squares[:, np.newaxis] + squares - 2 * products
        total = totals[:, np.newaxis] - totals
        with np.errstate(divide="ignore", invalid="ignore"):
            p_values = stats.chi2.sf(np.where(total_square > 0, total**2 / total_square, 0.0), df=1)
        found[np.ix_(places, places)] = p_values
    return found


def _threshold_of_holm(p_values: NDArray[np.float64]) -> float:
    """The level at which Holm's method stops to reject."""
    tested = np.sort(p_values[~np.isnan(p_values)])
    levels = ALPHA / np.arange(len(tested), 0, -1)
    kept = np.flatnonzero(tested >= levels)
    return float(levels[kept[0]]) if len(kept) else ALPHA


def adjust_by_holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values adjusted for their number by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).

    The same as statsmodels' `multipletests`, which collects garbage on every call: 0.1 s each.

    Args:
        p_values: NaN is no test and stays.
    """
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # NaN sorts last
    adjusted = p_values.copy()
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
