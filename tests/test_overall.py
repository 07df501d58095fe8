"""The difference of all cells together: by hand, against other ways to compute it, and in simulations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy_ledgers import add_predicted

from benchmark.analysis.changes import changes_sections
from benchmark.analysis.comparison import compare_ledgers, has_declined
from benchmark.analysis.loading import load_runs
from benchmark.analysis.overall import MIN_CELLS, Overall, overall_difference
from benchmark.analysis.pairs import has_regressed
from benchmark.ledger import Ledger

N_IMAGES, N_CELLS = 1000, 24
N_TRIALS = 300
# Of a share of .05 in so many trials, two standard errors.
MOST_ALARMS = 0.05 + 2 * np.sqrt(0.05 * 0.95 / N_TRIALS)


def changes(
    rng: np.random.Generator, *, n_images=N_IMAGES, n_cells=N_CELLS, share=0.02, shared=0.0, deviation=0.0, mean=0.0
) -> np.ndarray:
    """Changes of which a share is up or down, more often in some images; some images change in all cells alike.

    The mean of each cell is drawn with a deviation around the mean of all.
    """
    some = np.clip(share * rng.gamma(0.3, 1 / 0.3, size=(n_images, 1)), 0, 0.5)
    shift = rng.normal(mean, deviation, size=n_cells)
    draws = rng.random((n_images, n_cells))
    draws = np.where(rng.random((n_images, 1)) < shared, draws[:, :1], draws)
    is_up, is_down = draws < some / 2 + np.maximum(shift, 0), draws > 1 - some / 2 + np.minimum(shift, 0)
    return is_up.astype(np.int8) - is_down.astype(np.int8)


@pytest.mark.parametrize("n_images", [200, 1000])
@pytest.mark.parametrize("share", [0.002, 0.02])
@pytest.mark.parametrize(("shared", "deviation"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.0, 0.003)])
def test_without_a_difference_at_most_one_comparison_in_twenty_shows_one(
    rng: np.random.Generator, n_images: int, share: float, shared: float, deviation: float
):
    facts = {"n_images": n_images, "share": share, "shared": shared, "deviation": deviation}

    p_values = [overall_difference([changes(rng, **facts)]).p_value for _ in range(N_TRIALS)]

    assert np.mean(np.array(p_values) < 0.05) <= MOST_ALARMS


def test_the_interval_holds_a_known_decline(rng: np.random.Generator):
    """Half a point of 1,000 images, of which 2 % change anyway."""
    found = [overall_difference([changes(rng, mean=-0.005, deviation=0.001)]) for _ in range(N_TRIALS)]

    assert np.mean([one.low <= -0.005 <= one.high for one in found]) >= 1 - MOST_ALARMS
    assert np.mean([one.p_value < 0.05 and one.difference < 0 for one in found]) > 0.95


def test_a_decline_in_many_cells_is_found_that_none_of_them_shows(rng: np.random.Generator):
    """Of .15 points on 10,000 images in each of 72 cells, where 5 % change anyway."""
    some = changes(rng, n_images=10_000, n_cells=72, share=0.05, mean=-0.0015)
    single = [stats.binomtest(np.count_nonzero(cell > 0), np.count_nonzero(cell)).pvalue for cell in some.T]

    found = overall_difference([some])

    assert min(single) * 72 > 0.05
    assert found.p_value < 0.001
    assert found.low < -0.0015 < found.high < 0


def test_images_that_change_alike_in_all_cells_count_once(rng: np.random.Generator):
    """The difference is then that of one cell, whatever their number; McNemar's test with its correction is known."""
    change = np.repeat([[1], [-1], [0]], [30, 14, 956], axis=0).astype(np.int8)

    found = overall_difference([np.repeat(change, N_CELLS, axis=1)])

    assert found.difference == pytest.approx(16 / 1000)
    corrected = stats.chi2.sf((30 - 14 - 1) ** 2 / (30 + 14), df=1)
    assert found.p_value == pytest.approx(corrected, rel=0.05)


def test_without_an_effect_of_cells_it_is_students_test_of_the_mean_of_each_image(rng: np.random.Generator):
    some = changes(rng, shared=1.0)

    found = overall_difference([some])

    low, high = stats.ttest_1samp(some.mean(axis=1), 0).confidence_interval()
    step = np.abs(some.mean(axis=1)).max() / N_IMAGES
    assert (found.low, found.high) == pytest.approx((low - step, high + step))


def test_a_cell_that_moved_alone_does_not_move_all(rng: np.random.Generator):
    some = np.zeros((N_IMAGES, N_CELLS), np.int8)
    some[:400, 0] = -1

    found = overall_difference([some])

    assert found.difference == pytest.approx(-0.4 / N_CELLS)
    assert found.p_value > 0.05


def test_a_dataset_counts_by_its_cells(rng: np.random.Generator):
    two = [np.full((10, 10), 1, np.int8), np.zeros((5000, 30), np.int8)]

    assert overall_difference(two).difference == pytest.approx(0.25)
    assert overall_difference(two).n_cells == 40


def test_few_cells_are_not_tested_together():
    few = overall_difference([np.ones((100, MIN_CELLS - 1), np.int8)])

    assert few.n_cells == 0
    assert np.isnan(few[1:]).all()


@pytest.mark.parametrize(("value", "p_value"), [(0, 1.0), (-1, 0.0)])
def test_where_all_images_and_cells_agree_nothing_is_left_to_chance(value: int, p_value: float):
    assert overall_difference([np.full((50, 6), value, np.int8)]) == Overall(6, value, value, value, p_value)


# --- in the comparison of ledgers ------------------------------------------------------------------------------------


def compared(tmp_path: Path, rng: np.random.Generator, *, n_lost: int, n_cells: int = 12) -> pd.DataFrame:
    """Cells whose later rows are right on so many images fewer, each on images of its own, and change on others too."""
    for seed in range(n_cells):
        was_right = rng.permutation(N_IMAGES) < 900
        is_right = was_right.copy()
        is_right[rng.choice(np.flatnonzero(was_right), 5 + n_lost, replace=False)] = False
        is_right[rng.choice(np.flatnonzero(~was_right), 5, replace=False)] = True
        for name, images in (("before", was_right), ("after", is_right)):
            add_predicted(Ledger(tmp_path / name), images, seed=seed)
    return compare_ledgers(load_runs([tmp_path / "before"]), load_runs([tmp_path / "after"]))


def test_a_decline_that_no_cell_shows_is_one_of_all_cells(tmp_path: Path, rng: np.random.Generator):
    table = compared(tmp_path, rng, n_lost=5)

    assert set(table["change"]) == {"within noise"}
    assert not has_regressed(table)
    assert has_declined(table)
    (section,) = changes_sections(table)
    assert section.notes[1].startswith("Over all 12 cells: -0.50 points (95 % interval -0.")
    assert table["overall_difference"].tolist() == pytest.approx([-0.005] * 12)


def test_a_gain_of_all_cells_is_no_decline(tmp_path: Path, rng: np.random.Generator):
    table = compared(tmp_path, rng, n_lost=-5)

    assert table["overall_p_value"][0] < 0.05
    assert not has_declined(table)


def test_cells_that_only_scatter_have_not_declined(tmp_path: Path, rng: np.random.Generator):
    table = compared(tmp_path, rng, n_lost=0)

    assert not has_declined(table)


def test_of_few_cells_nothing_is_said_together(tmp_path: Path, rng: np.random.Generator):
    table = compared(tmp_path, rng, n_lost=5, n_cells=MIN_CELLS - 1)

    (section,) = changes_sections(table)
    assert len(section.notes) == 1
    assert not has_declined(table)
