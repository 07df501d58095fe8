"""Intervals over folds, which share training images."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.analysis.folds import corrected_interval


def test_the_interval_is_that_of_nadeau_and_bengio_by_hand():
    # Mean 3, sample variance (4 + 1 + 0 + 1 + 4) / 4 = 2.5; five folds: n_test / n_train = 1 / 4.
    # Variance of the mean: (1 / 5 + 1 / 4) 2.5 = 1.125; the 97.5 % quantile of Student's t with 4 degrees is 2.776445.
    reach = 2.7764451 * math.sqrt(1.125)

    low, high = corrected_interval([1.0, 2.0, 3.0, 4.0, 5.0], 1 / 4)

    assert (low, high) == pytest.approx((3 - reach, 3 + reach), rel=1e-6)


def test_without_shared_images_it_is_students_interval(rng):
    from scipy import stats

    differences = rng.normal(size=7)

    assert corrected_interval(differences, 0.0, 0.9) == pytest.approx(
        tuple(stats.ttest_1samp(differences, 0.0).confidence_interval(0.9))
    )


@given(differences=st.lists(st.floats(-1, 1), min_size=2, max_size=10), ratio=st.floats(0, 1))
def test_the_more_is_tested_the_wider_it_is(differences: list[float], ratio: float):
    low, high = corrected_interval(differences, ratio)
    wider_low, wider_high = corrected_interval(differences, ratio + 0.1)

    assert wider_low <= low <= np.mean(differences) + 1e-12
    assert wider_high >= high >= np.mean(differences) - 1e-12


def test_a_single_fold_has_no_interval():
    assert np.isnan(corrected_interval([0.5], 0.25)).all()


def test_equal_differences_have_an_interval_of_no_width():
    assert corrected_interval([0.25, 0.25, 0.25], 0.5) == (0.25, 0.25)
