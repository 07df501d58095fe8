"""Whether settings can be told apart, on other images and with other seeds.

Two settings are compared image by image and seed by seed. For `n` test images and `s` seeds:

    d (n, s) in -1..1     1 where only the first setting names the image correctly, -1 where only the second does
    MS                    mean squares of images, seeds and the residual: two-way random effects without replication
    V / (n s)             variance of the mean of d, with V = MS_images + max(MS_seeds - MS_residual, 0)
    1/df                  (MS_images / V) / (n - 1) + (MS_seeds / V) / (s - 1)

That a difference varies with the images and with the seeds: Dietterich, Approximate statistical tests for comparing
supervised classification learning algorithms, Neural Computation 10, 1998; Bouthillier et al., Accounting for variance
in machine learning benchmarks, MLSys 2021. The degrees of freedom are those of Satterthwaite, An approximate
distribution of estimates of variance components, Biometrics Bulletin 2, 1946, but with the shares of V in place of
their squares, which promise too much whenever MS_seeds is small by chance: of simulated 95 % intervals of three seeds,
they leave as few as 92 % right.

Three seeds say little about their own scatter. On their own, they would show a false difference in a fifth of simulated
tables of twenty equal settings. So settings that are ranked together share it: in each pair MS_seeds is its own or the
typical one of all pairs, whichever is larger, with the degrees of freedom of all unless its own is much larger.

Two images are added to each pair, one that only the first setting names correctly and one that only the second does,
lest few images prove too much (Bonett and Price, Adjusted Wald confidence interval for a difference of binomial
proportions based on paired data, Journal of Educational and Behavioral Statistics 37, 2012).

With one seed, the result holds for these trained models on other images, and the test is McNemar's.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.correctness import Correct

ALPHA = 0.05
N_ADDED = 2  # images
UNLIKE = 0.01  # level of the F-test for pairs whose seeds scatter more than the typical ones

Floats = NDArray[np.float64]
Changes = NDArray[np.int8]  # in -1, 0, 1: right after minus right before


class Sums(NamedTuple):
    """Sums over the differences `d` of pairs of settings; each field has one number per pair.

    Attributes:
        total: Of `d`.
        differing: Of `d ** 2`: how often only one of the two is right.
        images: Of the squares of the sums of each image over the seeds.
        seeds: Of the squares of the sums of each seed over the images.
        n_images: `n`.
        n_seeds: `s`.
    """

    total: Floats
    differing: Floats
    images: Floats
    seeds: Floats
    n_images: Floats
    n_seeds: Floats


class Estimate(NamedTuple):
    """Mean differences with their standard errors and degrees of freedom; each field has one number per pair."""

    mean: Floats
    error: Floats
    df: Floats


class Difference(NamedTuple):
    """The 95 % interval of the first setting's accuracy minus the second's, and the p-value of no difference."""

    low: float
    high: float
    p_value: float


def compare_runs(first: Correct | Changes, second: Correct | Changes) -> Difference:
    """How far apart two settings are on other images and, if there are several, with other seeds.

    Args:
        first: `(s, n)`, whether each seed names each image correctly; or by how much two trainings differ in this, in
            -1..1, which is compared with zeros.
        second: The same of the other setting. Seeds in the same place are paired, which helps if they draw the same
            split, and does no harm otherwise.
    """
    from scipy import stats

    sums = Sums(*np.array(sum_differences(first[np.newaxis], second[np.newaxis]))[:, 0])
    estimated = estimate(sums)
    half = stats.t.isf(ALPHA / 2, estimated.df) * estimated.error
    found = (estimated.mean - half, estimated.mean + half, p_values(sums, estimated))
    return Difference(*(float(of_pair[0]) for of_pair in found))


def sum_differences(first: Correct | Changes, second: Correct | Changes) -> Sums:
    """Of every pair of a setting in `first` `(k, s, n)` and one in `second` `(m, s, n)`; each field is `(k, m)`."""
    _, s, n = first.shape
    totals, others = (side.sum(axis=2, dtype=np.float64) for side in (first, second))  # (k, s) and (m, s)
    total = totals.sum(axis=1)[:, np.newaxis] - others.sum(axis=1)
    return Sums(
        total,
        _squared_distances(*(side.reshape(len(side), -1).astype(np.float32) for side in (first, second))),
        _squared_distances(*(side.sum(axis=1, dtype=np.float32) for side in (first, second))),
        _squared_distances(totals, others),
        np.full_like(total, n),
        np.full_like(total, s),
    )


def _squared_distances(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """`(k, m)`: between the rows of `(k, n)` and of `(m, n)`, by one product of matrices."""
    squares, others = (np.einsum("kn,kn->k", side, side).astype(np.float64) for side in (first, second))
    distances: Floats = squares[:, np.newaxis] + others - 2 * (first @ second.T).astype(np.float64)
    return distances


def estimate(sums: Sums, n_settings: int = 2) -> Estimate:
    """The mean differences of all pairs of some settings, which share the scatter of their seeds.

    Args:
        sums: `(pairs,)` each; NaN for pairs that cannot be compared.
        n_settings: Settings with several seeds.
    """
    from scipy import stats

    n, s = sums.n_images + N_ADDED, sums.n_seeds
    n_other_seeds = np.maximum(s - 1, 1)
    of_mean = sums.total**2 / (n * s)
    of_images = sums.images / s + N_ADDED * s - of_mean
    of_seeds = sums.seeds / n - of_mean  # 0 for one seed
    residual = sums.differing + N_ADDED * s - of_mean - of_images - of_seeds
    ms_images, ms_seeds = of_images / (n - 1), of_seeds / n_other_seeds
    df_seeds = (n_settings - 1) * n_other_seeds
    is_varied = s > 1
    if is_varied.any():
        # The quantile at which a mean square equals its expectation: the mean, but for settings that are unstable.
        most = np.nanmax(n_other_seeds)
        typical = np.quantile(ms_seeds[is_varied], stats.chi2.cdf(most, most))
        is_unlike = ms_seeds > typical * stats.f.isf(UNLIKE, n_other_seeds, df_seeds)
        df_seeds = np.where(is_unlike, n_other_seeds, df_seeds)
        ms_seeds = np.where(is_varied, np.maximum(ms_seeds, typical), 0.0)
    variance, df = crossed_variance(ms_images, ms_seeds, residual / ((n - 1) * n_other_seeds), n - 1, df_seeds)
    return Estimate(sums.total / (n * s), np.sqrt(variance / (n * s)), df)


def crossed_variance(ms_images: Any, ms_trainings: Any, ms_rest: Any, df_images: Any, df_trainings: Any) -> Any:
    """`V` and `df` of the heading: over other images and other trainings (seeds, or cells), which are crossed.

    Args:
        ms_images: Mean square of images.
        ms_trainings: Of trainings.
        ms_rest: Of the residual.
        df_images: Degrees of freedom of images.
        df_trainings: Of trainings.
    """
    variance = ms_images + np.maximum(ms_trainings - ms_rest, 0.0)
    of_df = ms_images / variance / df_images + np.minimum(ms_trainings / variance, 1.0) / df_trainings
    return variance, 1 / of_df


def p_values(sums: Sums, estimated: Estimate) -> Floats:
    """`(pairs,)`: two-sided p-values of no difference, by t-tests of the estimates; of single seeds by McNemar's."""
    from scipy import stats

    found: Floats = 2 * stats.t.sf(np.abs(estimated.mean) / estimated.error, estimated.df)
    is_single = sums.n_seeds == 1
    found[is_single] = _mcnemar(sums.differing[is_single], sums.total[is_single])
    return found


def _mcnemar(n_differing: Floats, total: Floats) -> Floats:
    """Two-sided p-values of McNemar's exact test: each differing image may as well have favoured the other run."""
    from scipy import stats

    n_fewer = (n_differing - np.abs(total)) / 2
    found: Floats = np.minimum(2 * stats.binom.cdf(n_fewer, n_differing, 0.5), 1.0)
    return found


def paired_p_value(differences: NDArray[np.int8]) -> float:
    """Two-sided p-value of McNemar's exact test.

    Args:
        differences: `(n,)`, of two runs: 1 where only the first is right, -1 where only the second is, otherwise 0.
    """
    n_differing, total = np.count_nonzero(differences), differences.sum(dtype=np.int64)
    return float(_mcnemar(np.array([n_differing]), np.array([total]))[0])


def adjust_by_holm(p_values: Floats) -> Floats:
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
