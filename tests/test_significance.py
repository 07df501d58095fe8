"""Which settings images and seeds can tell apart."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from threadpoolctl import threadpool_limits
from toy_ledgers import add, add_predicted

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import load_runs
from benchmark.analysis.presentation import leaderboard_cells
from benchmark.analysis.ranks import SeedRuns, pair_seeds, rank_with_ties
from benchmark.analysis.significance import (
    Sums,
    adjust_by_holm,
    compare_runs,
    estimate,
    p_values,
    paired_p_value,
    sum_differences,
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


# --- two settings ----------------------------------------------------------------------------------------------------


def with_added(differences: np.ndarray) -> np.ndarray:
    """`(n + 2, s)` differences, with one image in favour of each setting."""
    return np.vstack([differences, np.ones(differences.shape[1]), -np.ones(differences.shape[1])])


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_the_mean_squares_are_those_of_statsmodels(rng: np.random.Generator, n_seeds: int):
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    hardness = rng.random(40)
    native, unit = rng.random((n_seeds, 40)) < hardness, rng.random((n_seeds, 40)) < 0.7 * hardness
    differences = with_added(native.T.astype(float) - unit.T)  # (n, s)
    images, seeds = np.indices(differences.shape)
    cells = pd.DataFrame({"d": differences.ravel(), "image": images.ravel(), "seed": seeds.ravel()})
    parts = anova_lm(ols("d ~ C(image) + C(seed)", cells).fit())["mean_sq"]
    variance = parts["C(image)"] + max(parts["C(seed)"] - parts["Residual"], 0)
    df = 1 / (parts["C(image)"] / variance / 41 + min(parts["C(seed)"] / variance, 1) / (n_seeds - 1))
    error = np.sqrt(variance / differences.size)
    interval = stats.t(df, differences.mean(), error).interval(0.95)

    found = compare_runs(native, unit)

    assert (found.low, found.high) == pytest.approx(interval)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(differences.mean()) / error, df))


def test_with_one_seed_the_interval_is_students_over_the_images(rng: np.random.Generator):
    native, unit = rng.random((1, 400)) < 0.8, rng.random((1, 400)) < 0.6
    differences = with_added(native.T.astype(float) - unit.T)

    found = compare_runs(native, unit)

    interval = stats.ttest_1samp(differences[:, 0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(paired_p_value(native[0].astype(np.int8) - unit[0]))


def test_seeds_that_all_give_the_same_are_no_further_images(rng: np.random.Generator):
    """Three equal models are no more evidence than one."""
    native, unit = rng.random((1, 400)) < 0.8, rng.random((1, 400)) < 0.7

    one, three = compare_runs(native, unit), compare_runs(native.repeat(3, axis=0), unit.repeat(3, axis=0))

    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_several_seeds_never_claim_to_know_the_images_better_than_their_variance_allows(rng: np.random.Generator):
    """Seeds that lose exactly the same by chance do not make the interval narrow."""
    native = np.stack([rng.permutation(np.arange(1000) < 900) for _ in range(3)])
    unit = np.stack([rng.permutation(np.arange(1000) < 880) for _ in range(3)])
    of_images = with_added((native.T.astype(float) - unit.T).mean(axis=1, keepdims=True))[:, 0]

    found = compare_runs(native, unit)

    assert found.high - found.low >= np.ptp(stats.ttest_1samp(of_images, 0).confidence_interval(0.95)) * 0.999


def test_two_seeds_that_scatter_prove_little():
    """One degree of freedom: Student's quantile is 12.7."""
    better = np.stack([np.arange(10_000) < 9000, np.arange(10_000) < 8900])
    worse = np.stack([np.arange(10_000) < 8800, np.arange(10_000) < 8850])

    found = compare_runs(better, worse)

    assert found.low < -0.05
    assert found.p_value > 0.3


def test_sums_of_many_pairs_are_those_of_single_pairs(rng: np.random.Generator):
    first, second = rng.random((4, 3, 50)) < 0.8, rng.random((2, 3, 50)) < 0.7

    sums = sum_differences(first, second)

    for a, b in itertools.product(range(4), range(2)):
        differences = first[a].astype(int) - second[b]
        expected = (
            differences.sum(), np.abs(differences).sum(), (differences.sum(axis=0) ** 2).sum(),
            (differences.sum(axis=1) ** 2).sum(), 50, 3,
        )  # fmt: skip
        assert tuple(field[a, b] for field in sums) == expected


@pytest.mark.parametrize(
    ("seeds", "others", "pairs"),
    [
        ((0, 1, 2), (0, 1, 2), [(0, 0), (1, 1), (2, 2)]),
        ((0, 1, 2), (2, 1), [(1, 1), (2, 2)]),
        ((0, 1, 2), (3, 2, 4), [(2, 2), (0, 3), (1, 4)]),
        ((0,), (5, 6), [(0, 5)]),
    ],
)
def test_seeds_of_both_are_paired_and_others_in_equal_number(seeds: Any, others: Any, pairs: list[tuple[int, int]]):
    assert list(zip(*pair_seeds(seeds, others), strict=True)) == pairs


@given(st.integers(0, 3000), st.data())
def test_of_two_runs_it_is_mcnemars_exact_test(n_differ: int, data: st.DataObject):
    n_better = data.draw(st.integers(0, n_differ))
    differences = np.array([1] * n_better + [-1] * (n_differ - n_better) + [0] * 5)

    expected = stats.binomtest(n_better, n_differ).pvalue if n_differ else 1.0

    assert p_value_of(differences) == pytest.approx(expected)


def test_it_gives_what_a_textbook_found():
    """Agresti, Categorical Data Analysis (2nd edition), section 10.1.1: approval of a prime minister in two surveys of
    the same people; 150 changed from yes to no, 86 from no to yes: z = -4.17."""
    differences = [-1] * 150 + [1] * 86 + [0] * (794 + 570)

    assert p_value_of(differences) == pytest.approx(2 * stats.norm.sf(4.17), rel=0.3)


# --- simulated: how often tests and intervals are wrong --------------------------------------------------------------

N_MANY = 10_000
# Variances of an image's difficulty, common to all settings and of each setting; what remains is of each training. In
# the committed ledgers, MS_images is 5 to 7 times MS_residual, as it is here with three seeds.
COMMON, OWN = 0.75**2, 0.6**2


def draw_right(
    rng: np.random.Generator, levels: Any, n_seeds: int, deviation: Any, n_images: int = N_MANY
) -> np.ndarray:
    """`(k, s, n)`: settings on new images with new seeds.

    Args:
        rng: Of images and seeds.
        levels: `(k,)`; see `accuracy_at`.
        n_seeds: s.
        deviation: Of the accuracy over seeds, one or `(k,)`.
        n_images: n.
    """

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    k = len(levels)
    ease = np.sqrt(COMMON) * normal(1, 1, n_images) + np.sqrt(OWN) * normal(k, 1, n_images)
    of_seeds = normal(k, n_seeds, 1) * (deviation / stats.norm.pdf(levels)).reshape(k, 1, 1)
    noise = np.sqrt(1 - COMMON - OWN) * normal(k, n_seeds, n_images)
    return noise < (np.reshape(levels, (k, 1, 1)) + ease + of_seeds).astype(np.float32)


def accuracy_at(level: float, deviation: float) -> float:
    """The mean accuracy over all images and seeds that `draw_right` draws from."""
    return float(stats.norm.cdf(level / np.hypot(1, deviation / stats.norm.pdf(level))))


def draw_equal(
    rng: np.random.Generator, n_settings: int, n_seeds: int, deviation: float, n_images: int = N_MANY
) -> np.ndarray:
    """As `draw_right`, with equally good settings that find the same images hard: their difficulty has a beta
    distribution."""
    chances = rng.beta(6, 1, n_images) + deviation * rng.standard_normal((n_settings, n_seeds, 1))
    return rng.random((n_settings, n_seeds, n_images), dtype=np.float32) < chances


@threadpool_limits.wrap(limits=1)  # more threads are slower where processes share the cores
def n_false_tables(draw: Any, n_tables: int) -> int:
    """In how many tables of equally good settings any two are told apart."""
    drawn = (sorted(map(Drawn, draw()), key=lambda setting: -setting.all_right.mean()) for _ in range(n_tables))
    return sum(any(ranks != (1, len(table)) for ranks in ranges_of(table)) for table in drawn)


def most_by_chance(n_tables: int, share: float = 0.05) -> int:
    return int(stats.binom.ppf(0.999, n_tables, share))


FEW = [(2, 0.005, 400), (5, 0.002, 250), (20, 0.005, 100)]
ALL = [(n, deviation, 3000 // n + 150) for n in (2, 5, 20) for deviation in (0.0, 0.002, 0.005)]


@pytest.mark.parametrize(
    ("n_settings", "deviation", "n_tables"), [*FEW, *(pytest.param(*one, marks=pytest.mark.exhaustive) for one in ALL)]
)
@pytest.mark.parametrize("has_own_images", [False, True])
def test_of_tables_of_equally_good_settings_at_most_5_percent_show_a_difference(
    rng: np.random.Generator, n_settings: int, deviation: float, n_tables: int, has_own_images: bool
):
    """On new images and with new seeds, three of them; also with many settings, of which the luckiest is the best."""

    def draw() -> np.ndarray:
        if has_own_images:
            return draw_right(rng, [1.3] * n_settings, 3, deviation)
        return draw_equal(rng, n_settings, 3, deviation)

    assert n_false_tables(draw, n_tables) <= most_by_chance(n_tables)


def test_tests_that_ignore_seeds_would_show_differences_of_equally_good_settings(rng: np.random.Generator):
    """So that the simulations above can fail."""
    n_false = 0
    for _ in range(100):
        drawn = draw_right(rng, [1.3] * 5, 3, 0.005)
        n_right = drawn.sum(axis=1)
        pairs = itertools.combinations(n_right / 3, 2)
        n_false += adjust_by_holm(np.array([stats.ttest_rel(a, b).pvalue for a, b in pairs])).min() < 0.05

    assert n_false > 2 * most_by_chance(100)


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize(("n_settings", "n_images"), [(2, 300), (8, 100)])
def test_few_images_that_differ_do_not_prove_too_much(
    rng: np.random.Generator, n_settings: int, n_images: int, n_seeds: int
):
    """Settings that are right on nearly every image of a small test set."""
    n_tables = 300

    def draw() -> np.ndarray:
        return draw_right(rng, [2.2] * n_settings, n_seeds, 0.0, n_images)

    assert n_false_tables(draw, n_tables) <= most_by_chance(n_tables)


def test_an_unstable_setting_does_not_tie_the_others(rng: np.random.Generator):
    right = draw_right(rng, np.linspace(1.8, 0.2, 9), 3, 0.001)
    right[-1, 0] = False  # one training that failed

    ranks = ranges_of(list(map(Drawn, right)))

    # It may be better than they are, and nothing else is open.
    assert ranks == [*((number, number + 1) for number in range(1, 9)), (1, 9)]


def test_an_unstable_setting_is_not_told_apart_by_the_scatter_of_the_others(rng: np.random.Generator):
    """Equally good in the mean, it has only its own two degrees of freedom."""
    scatter = 0.6
    level = 1.3 * np.hypot(1, scatter)
    deviations = np.array([0.002] * 7 + [scatter * stats.norm.pdf(level)])
    assert accuracy_at(1.3, 0.002) == pytest.approx(accuracy_at(level, deviations[-1]), abs=1e-4)

    n_false = n_false_tables(lambda: draw_right(rng, [1.3] * 7 + [level], 3, deviations), 200)

    assert n_false <= most_by_chance(200)


@pytest.mark.parametrize(
    ("n_seeds", "deviation", "n_repeats"),
    [
        *((n_seeds, 0.002 * (n_seeds > 1), 200) for n_seeds in (1, 3, 5, 10)),
        *(
            pytest.param(n_seeds, deviation, 1000, marks=pytest.mark.exhaustive)
            for n_seeds in (3, 5, 10)
            for deviation in (0.0, 0.002, 0.005)
        ),
    ],
)
def test_intervals_hold_the_true_difference_in_95_percent(
    rng: np.random.Generator, n_seeds: int, deviation: float, n_repeats: int
):
    """For new images, and with several seeds for new seeds."""
    levels = (1.6, 1.3)
    true = accuracy_at(levels[0], deviation) - accuracy_at(levels[1], deviation)
    drawn = (draw_right(rng, levels, n_seeds, deviation) for _ in range(n_repeats))

    n_held = sum(low <= true <= high for low, high, _ in (compare_runs(*right) for right in drawn))

    assert n_repeats - most_by_chance(n_repeats, 0.07) <= n_held <= most_by_chance(n_repeats, 0.97)


@pytest.mark.slow
@pytest.mark.parametrize("deviation", [0.0, 0.002, 0.005])
def test_intervals_of_two_seeds_are_wide_enough(rng: np.random.Generator, deviation: float):
    levels = (1.6, 1.3)
    true = accuracy_at(levels[0], deviation) - accuracy_at(levels[1], deviation)

    n_held = sum(
        low <= true <= high
        for low, high, _ in (compare_runs(*draw_right(rng, levels, 2, deviation)) for _ in range(1000))
    )

    assert n_held >= 1000 - most_by_chance(1000, 0.09)


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


def test_with_one_seed_the_p_value_is_mcnemars_corrected_by_holm_for_all_pairs(ledger: Ledger):
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

    assert least == pytest.approx(1.96 * np.sqrt(390) / N_IMAGES, rel=0.01)
    n_better = round((390 + least * N_IMAGES) / 2)
    assert stats.binomtest(n_better + 2, 390).pvalue < 0.05 < stats.binomtest(n_better - 1, 390).pvalue


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_ranges_are_those_of_all_pairs_tested_one_by_one(rng: np.random.Generator, n_seeds: int):
    """With the Holm correction of statsmodels; pairs share the typical scatter of seeds if it exceeds their own."""
    drawn = list(map(Drawn, draw_right(rng, np.linspace(1.5, 1.2, 9), n_seeds, 0.001, 2000)))
    drawn.sort(key=lambda setting: -setting.all_right.mean())
    pairs = list(itertools.combinations(range(9), 2))
    of_pairs = [
        [field[0, 0] for field in sum_differences(drawn[a].all_right[np.newaxis], drawn[b].all_right[np.newaxis])]
        for a, b in pairs
    ]
    sums = Sums(*np.array(of_pairs).T)
    is_apart = multipletests(p_values(sums, estimate(sums, 9)), method="holm")[0]
    apart = [pair for pair, is_so in zip(pairs, is_apart, strict=True) if is_so]
    n_better = [sum(worse == number for _, worse in apart) for number in range(9)]
    n_worse = [sum(better == number for better, _ in apart) for number in range(9)]

    found = ranges_of(drawn)

    assert found == [(1 + better, 9 - worse) for better, worse in zip(n_better, n_worse, strict=True)]
    assert 0 < len(apart) < len(pairs)


def test_settings_of_some_and_of_many_seeds_are_ranked_together(rng: np.random.Generator):
    right = draw_right(rng, [1.6, 1.4, 1.2], 3, 0.001)
    settings = [Drawn(right[0]), Drawn(right[1][:1]), Drawn(right[2][:2])]

    assert ranges_of(settings) == [(1, 1), (2, 2), (3, 3)]


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
        self.all_right = right
        self.fingerprint = "drawn"
        self.seeds = tuple(range(len(right)))

    def right(self, seeds: Sequence[int]) -> np.ndarray:
        return self.all_right[list(seeds)]
