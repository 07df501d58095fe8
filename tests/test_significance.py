"""Which settings a test set can tell apart."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from toy_ledgers import add, add_predicted

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import load_runs
from benchmark.analysis.presentation import leaderboard_cells
from benchmark.analysis.significance import (
    MAX_EXACT,
    SeedRuns,
    adjust_by_holm,
    compare_settings,
    paired_p_value,
    rank_with_ties,
)
from benchmark.ledger import Ledger

N_IMAGES = 1000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "toy")


def right_of(first: int, last: int) -> np.ndarray:
    """The images from `first` to before `last` are right."""
    images = np.arange(N_IMAGES)
    return (images >= first) & (images < last)


def p_value_of(differences: list[int] | np.ndarray) -> float:
    return paired_p_value(np.asarray(differences, np.int8))


def board_of(ledger: Ledger, **options: Any) -> Any:
    runs = load_runs([ledger.folder])
    return make_leaderboard(runs, correctness=Correctness(runs), **options)


# --- the test of two settings ----------------------------------------------------------------------------------------


@given(st.integers(0, MAX_EXACT - 1), st.data())
def test_with_one_seed_it_is_mcnemars_exact_test(n_differ: int, data: st.DataObject):
    n_better = data.draw(st.integers(0, n_differ))
    differences = np.array([1] * n_better + [-1] * (n_differ - n_better) + [0] * 5)

    expected = stats.binomtest(n_better, n_differ).pvalue if n_differ else 1.0

    assert p_value_of(differences) == pytest.approx(expected)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_with_several_seeds_it_goes_through_every_choice_of_signs(differences: list[int]):
    sizes = np.abs(differences)
    sums = [abs(int(np.dot(signs, sizes))) for signs in itertools.product((-1, 1), repeat=len(sizes))]

    expected = np.mean(np.array(sums) >= abs(sum(differences)))

    assert p_value_of(differences) == pytest.approx(expected)


def test_it_gives_what_a_textbook_found():
    """Agresti, Categorical Data Analysis (2nd edition), section 10.1.1: approval of a prime minister in two surveys of
    the same people; 150 changed from yes to no, 86 from no to yes: z = -4.17."""
    differences = [-1] * 150 + [1] * 86 + [0] * (794 + 570)

    assert p_value_of(differences) == pytest.approx(2 * stats.norm.sf(4.17), rel=0.3)
    assert p_value_of(differences) == pytest.approx(stats.binomtest(86, 236).pvalue)


def test_for_many_images_it_is_close_to_the_exact_test():
    differences = np.array([1] * 1160 + [-1] * 1060)

    assert len(differences) > MAX_EXACT
    assert p_value_of(differences) == pytest.approx(stats.binomtest(1160, 2220).pvalue, abs=0.003)


def test_seeds_do_not_count_as_further_images():
    """Three equal models are no more evidence than one."""
    differences = np.array([1] * 20 + [-1] * 8)

    assert p_value_of(3 * differences) == pytest.approx(p_value_of(differences))


# --- ranks -----------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_be_told_apart_share_their_ranks(ledger: Ledger):
    add_predicted(ledger, right_of(0, 905), backbone="NetA")
    add_predicted(ledger, right_of(3, 903), backbone="NetB")
    add_predicted(ledger, right_of(0, 500), backbone="NetC")
    add_predicted(ledger, right_of(2, 501), backbone="NetD")
    add_predicted(ledger, right_of(0, 100), backbone="NetE")

    board = board_of(ledger)

    assert leaderboard_cells(board)["Rank"].tolist() == ["1–2", "1–2", "3–4", "3–4", "5"]
    assert board["rank"].tolist() == [1, 2, 3, 4, 5]


def test_the_p_value_is_mcnemars_corrected_by_holm_for_all_pairs(ledger: Ledger):
    add_predicted(ledger, right_of(0, 900), backbone="NetA")
    add_predicted(ledger, right_of(0, 893), backbone="NetB")  # seven images worse, none better
    add_predicted(ledger, right_of(10, 900), backbone="NetC")  # ten

    of_b, of_c = stats.binomtest(0, 7).pvalue, stats.binomtest(0, 10).pvalue

    # A with B, A with C, and B with C, which is not tested.
    assert board_of(ledger)["p_best"].tolist()[1:] == pytest.approx([2 * of_b, 3 * of_c])
    assert 3 * of_c < 2 * of_b < 0.05


@pytest.mark.slow
@settings(max_examples=20, deadline=None)  # each call of statsmodels collects garbage
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_correction_is_that_of_statsmodels(p_values: list[float]):
    expected = multipletests(p_values, method="holm")[1]

    assert adjust_by_holm(np.array(p_values)) == pytest.approx(expected)


def test_a_worked_example_of_holms_method():
    """Four hypotheses with p = 0.01, 0.04, 0.03 and 0.005: at 5 % the first and the last are rejected."""
    adjusted = adjust_by_holm(np.array([0.01, 0.04, 0.03, 0.005]))

    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_was_not_tested_is_not_corrected_for():
    assert adjust_by_holm(np.array([0.01, np.nan, 0.04])) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


def test_holms_correction_can_make_a_tie(ledger: Ledger):
    add_predicted(ledger, right_of(0, 900), backbone="NetA")
    for name in "BCD":
        add_predicted(ledger, right_of(0, 893), backbone=f"Net{name}")

    board = board_of(ledger)

    assert stats.binomtest(0, 7).pvalue < 0.05
    assert set(leaderboard_cells(board)["Rank"]) == {"1–4"}


def test_seeds_are_paired_image_by_image(ledger: Ledger):
    rng = np.random.default_rng(0)
    for seed in range(3):
        images = rng.random(N_IMAGES)
        add_predicted(ledger, images < 0.80, backbone="NetA", seed=seed)
        add_predicted(ledger, images < 0.78, backbone="NetB", seed=seed)

    board = board_of(ledger)

    assert board["n_seeds"].tolist() == [3, 3]
    assert leaderboard_cells(board)["Rank"].tolist() == ["1", "2"], "NetB is wrong wherever NetA is"


def test_settings_of_other_seeds_are_compared_too(ledger: Ledger):
    add_predicted(ledger, right_of(0, 900), backbone="NetA", seed=0)
    add_predicted(ledger, right_of(0, 500), backbone="NetB", seed=1)

    assert board_of(ledger)["p_best"][1] == pytest.approx(stats.binomtest(0, 400).pvalue)


def test_without_predictions_there_are_no_ties(ledger: Ledger):
    add(ledger, backbone="NetA", accuracy=0.9)
    add(ledger, backbone="NetB", accuracy=0.9)
    add(ledger, backbone="NetC", accuracy=0.8)

    board = board_of(ledger)

    assert leaderboard_cells(board)["Rank"].tolist() == ["1", "1", "3"]
    assert board["p_best"].isna().all()


def test_other_test_images_are_never_paired(ledger: Ledger):
    add_predicted(ledger, right_of(0, 900), backbone="NetA")
    add_predicted(ledger, right_of(0, 899), backbone="NetB", dataset_fingerprint="0" * 64)

    board = board_of(ledger)

    assert board["rank"].tolist() == [1, 1], "each in a dataset of its own"
    assert board["p_best"].isna().all()


def test_ranked_by_a_cost_nothing_is_tied(ledger: Ledger):
    add_predicted(ledger, right_of(0, 900), backbone="NetA", wall_s=2.0)
    add_predicted(ledger, right_of(0, 900), backbone="NetB", wall_s=1.0)

    assert leaderboard_cells(board_of(ledger, by="wall_s"))["Rank"].tolist() == ["1", "2"]


def test_the_smallest_difference_is_where_mcnemars_test_begins_to_reject(ledger: Ledger):
    add_predicted(ledger, right_of(0, 600), backbone="NetA")
    add_predicted(ledger, right_of(200, 790), backbone="NetB")  # 390 images differ

    least = board_of(ledger)["smallest_difference"][1]

    assert least == pytest.approx(1.96 * np.sqrt(390) / N_IMAGES, rel=1e-3)
    n_better = round((390 + least * N_IMAGES) / 2)
    assert stats.binomtest(n_better + 2, 390).pvalue < 0.05 < stats.binomtest(n_better - 1, 390).pvalue


@pytest.mark.slow
@pytest.mark.parametrize(("n_settings", "n_seeds"), [(2, 1), (5, 3), (20, 1)])
def test_equally_good_settings_are_told_apart_in_at_most_one_of_twenty_test_sets(n_settings: int, n_seeds: int):
    """Also with many settings, of which the luckiest is the best."""
    rng = np.random.default_rng(0)
    n_false, n_sets = 0, 1000
    for _ in range(n_sets):
        hardness = rng.beta(2, 1, 200)
        drawn = [Drawn(rng.random((n_seeds, 200)) < hardness) for _ in range(n_settings)]
        drawn.sort(key=lambda setting: -setting.right.mean())
        n_false += any(standing != (1, n_settings) for standing in ranges_of(drawn))

    assert n_false / n_sets <= 0.05


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_ranges_are_those_of_all_pairs_tested_exactly(n_seeds: int):
    """With SciPy's McNemar or sign-flip test of every pair, and the Holm correction of statsmodels."""
    rng = np.random.default_rng(1)
    hardness = rng.random(400)
    drawn = [Drawn(hardness + 0.3 * rng.random((n_seeds, 400)) < level) for level in np.linspace(0.9, 1.0, 9)[::-1]]
    drawn.sort(key=lambda setting: -setting.right.mean())
    pairs = list(itertools.combinations(range(9), 2))
    p_values = [paired_p_value(compare_settings(drawn[a], drawn[b]).differences) for a, b in pairs]
    is_apart = multipletests(p_values, method="holm")[0]
    apart = [pair for pair, is_so in zip(pairs, is_apart, strict=True) if is_so]
    n_better = [sum(worse == number for _, worse in apart) for number in range(9)]
    n_worse = [sum(better == number for better, _ in apart) for number in range(9)]

    found = ranges_of(drawn)

    assert found == [(1 + better, 9 - worse) for better, worse in zip(n_better, n_worse, strict=True)]
    assert 0 < len(apart) < len(pairs)


def test_far_settings_are_told_apart_though_each_is_close_to_one_between(ledger: Ledger):
    """Which a single list of disjoint ties could not say."""
    for shift, name in enumerate(("NetA", "NetB", "NetC")):
        add_predicted(ledger, np.arange(1000) < 900 - 5 * shift, backbone=name)

    board = board_of(ledger)

    assert board[["rank_first", "rank_last"]].to_numpy().tolist() == [[1, 2], [1, 3], [2, 3]]


def ranges_of(settings: Sequence[SeedRuns]) -> list[tuple[int, int]]:
    return [(standing.first, standing.last) for standing in rank_with_ties(settings)]


class Drawn(SeedRuns):
    """A setting that is right on these images, `(s, n)`."""

    def __init__(self, right: np.ndarray) -> None:
        self.right = right
        self.fingerprint = "drawn"
        self.seeds = tuple(range(len(right)))
        self.n_right = lambda seeds: right[list(seeds)].sum(axis=0, dtype=np.int8)
