"""Differences between two settings that were cross-validated in the same folds."""

import numpy as np
from numpy.typing import ArrayLike


def corrected_interval(differences: ArrayLike, test_over_train: float, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the mean difference between two settings over folds; NaN for a single fold.

    Folds share training images, so their differences are not independent, and Student's interval is too narrow. The
    variance of the mean of `k` differences is therefore taken as `(1 / k + n_test / n_train) s^2`, where `s^2` is their
    sample variance: Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003.

    Args:
        differences: `(k,)`: of each fold, a figure of one setting minus that of the other.
        test_over_train: `n_test / n_train` of a fold.
        confidence: Of the interval, between 0 and 1.
    """
    from scipy import stats

    values = np.asarray(differences, np.float64)
    k = len(values)
    if k == 1:
        return np.nan, np.nan
    reach = stats.t.ppf((1 + confidence) / 2, k - 1) * np.sqrt((1 / k + test_over_train) * values.var(ddof=1))
    return float(values.mean() - reach), float(values.mean() + reach)
