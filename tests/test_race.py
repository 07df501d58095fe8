"""A race is decided by its rows: who is out, who is taken, what the budget allows, and that a kill changes nothing."""

import copy
import itertools

import numpy as np
import pytest
from sampling import sampled
from scipy import stats
from toy_race import ROUNDS, Net, World

from benchmark.analysis.race import FIRST_SHARE, Step
from benchmark.plan.estimate import guess_gflops
from benchmark.plan.racing import Round


def test_a_race_begins_with_its_first_backbone_in_the_smallest_round():
    world = World({"A": Net(0.9), "B": Net(0.8)})

    assert world.replay().step == Step("A", 0)


def test_whoever_is_worse_than_the_leader_is_out_and_runs_in_no_later_round():
    world = World({"A": Net(0.9), "B": Net(0.5), "C": Net(0.898)})

    course = world.play()

    assert course.worse == {"B": 0}
    assert {step.number for step in world.steps() if step.backbone == "B"} == {0}
    assert course.is_decided


def test_a_backbone_is_out_if_mcnemars_exact_test_on_all_images_of_the_round_says_so():
    """An independent reference: the two differ in the images that only the better one names correctly."""
    for n_differing in (5, 10):  # one or two in each fold
        world = World({"A": Net(0.9), "B": Net(0.9 - n_differing / 400)})
        course = world.play()

        p_value = stats.binomtest(0, n_differing).pvalue

        assert (course.worse.get("B") == 0) == (p_value < 0.05), n_differing


def test_the_last_one_left_is_taken_and_tested_on_the_whole_dataset_at_once():
    world = World({"A": Net(0.95), "B": Net(0.5)})

    course = world.play()

    assert (course.chosen, course.finalists) == ("A", ["A"])
    assert world.steps() == [Step("A", 0), Step("B", 0), Step("A", 1, is_test=True)]


@pytest.mark.parametrize(
    ("cheap", "dear"),
    [
        (Net(0.9, latency_ms=5, params=9e6), Net(0.9, latency_ms=6, params=1e6)),
        (Net(0.9, latency_ms=5, params=1e6), Net(0.9, latency_ms=5, params=9e6)),
        (Net(0.898, latency_ms=5), Net(0.9, latency_ms=6)),
    ],
    ids=["latency", "parameters", "a little less accurate"],
)
def test_of_those_not_told_apart_the_cheaper_is_taken(cheap: Net, dear: Net):
    for order in itertools.permutations({"Cheap": cheap, "Dear": dear}.items()):
        course = World(dict(order)).play()

        assert course.chosen == "Cheap"
        assert course.finalists == ["Cheap", "Dear"]
        assert course.is_decided


def test_test_images_are_looked_at_by_the_finalists_only_and_decide_nothing():
    world = World(
        {"A": Net(0.9, latency_ms=5, test_skill=0.2), "B": Net(0.9, latency_ms=9), "C": Net(0.3, test_skill=1.0)}
    )

    course = world.play()

    assert course.chosen == "A"
    assert {step.backbone for step in world.steps() if step.is_test} == {"A", "B"}


def test_test_images_come_after_all_rounds():
    world = World({"A": Net(0.9), "B": Net(0.9), "C": Net(0.5)})

    world.play()

    are_tests = [step.is_test for step in world.steps()]
    assert are_tests == sorted(are_tests)


# --- limits and failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"latency_ms": 20}, "40 ms an image, more than --max-latency-ms 20"),
        ({"images_per_s": 50}, "10 images/s, fewer than --min-images-per-s 50"),
        ({"params_backbone": 10e6}, "24 M parameters, more than --max-params 10M"),
        ({"model_mib": 50}, "91.55 MiB of weights, more than --max-model-mib 50"),
    ],
)
def test_a_limit_that_was_measured_cuts_after_the_first_round(limits: dict[str, float], reason: str):
    slow = Net(0.99, latency_ms=40, images_per_s=10, params=24e6)
    world = World({"Slow": slow, "A": Net(0.6), "B": Net(0.6)}, limits=limits)

    course = world.play()

    assert [(cut.backbone, cut.reason) for cut in course.cut] == [("Slow", reason)]
    assert Step("Slow", 1) not in world.steps()
    assert course.chosen in {"A", "B"}


def test_if_measured_limits_leave_nobody_nobody_is_chosen_and_no_test_image_is_seen():
    world = World({"A": Net(0.9)}, limits={"latency_ms": 1})

    course = world.play()

    assert (course.chosen, course.boards) == ("", [])
    assert not any(step.is_test for step in world.steps())


def test_a_backbone_that_fails_is_cut_with_its_reason_and_the_others_go_on():
    course = World({"A": Net(0.9, error_type="oom"), "B": Net(0.8)}).play()

    assert [(cut.backbone, cut.reason, cut.is_failure) for cut in course.cut] == [("A", "no A", True)]
    assert course.chosen == "B"


def test_after_a_failed_download_no_other_weights_are_waited_for():
    nets = {name: Net(0.9, error_type="download", needs_download=True) for name in ("B", "C", "D")}
    world = World({"A": Net(0.5), **nets})

    course = world.play()

    assert [step.backbone for step in world.steps()] == ["A", "B", "A"]
    assert [cut.backbone for cut in course.cut] == ["B", "C", "D"]
    assert not any(cut.is_failure for cut in course.cut)


# --- the budget ------------------------------------------------------------------------------------------------------


def test_a_backbone_that_would_take_half_of_the_budget_is_not_tried():
    world = World({"A": Net(0.9), "Huge": Net(0.99, flops_g=1e6), "B": Net(0.8)}, budget_s=300)

    course = world.play()

    assert set(course.untried) == {"Huge"}
    assert course.untried["Huge"] > 300 * FIRST_SHARE
    assert course.chosen == "A"


def test_without_time_for_anybody_nothing_is_run():
    world = World({"A": Net(0.9)}, budget_s=5)

    course = world.play()

    assert (course.chosen, world.rows) == ("", [])
    assert course.untried["A"] / FIRST_SHARE > 5


def test_when_the_budget_ends_the_best_so_far_stands_although_another_is_cheaper():
    nets = {"Best": Net(0.93, latency_ms=50, images_per_s=4), "Fast": Net(0.915, latency_ms=5, images_per_s=4)}
    world = World(nets, budget_s=600)

    course = world.play()

    assert not course.is_decided
    assert course.chosen == "Best"
    assert course.finalists == ["Best", "Fast"]
    assert [step.number for step in world.steps()] == [0, 0, 0, 0]


def test_a_race_that_keeps_its_estimates_keeps_its_budget():
    n_boards = 0
    for budget_s in (60, 120, 300, 600, 1200):
        rates = [5 + 9 * number for number in range(6)]
        nets = {
            f"Net{rate}": Net(0.8 + rate / 1000, images_per_s=rate, flops_g=guess_gflops() / rate) for rate in rates
        }
        course = World(nets, budget_s=budget_s).play()

        assert course.spent_s <= budget_s or not course.boards, budget_s
        n_boards += len(course.boards)
    assert n_boards > 2, "hardly any race had time for a round"


def test_the_test_is_on_the_whole_dataset_if_there_is_time_for_the_finalists():
    """Two slow ones are told apart by the first round, so time is left."""
    world = World({"A": Net(0.95, images_per_s=8), "B": Net(0.5, images_per_s=8)}, budget_s=600)

    course = world.play()

    assert world.steps()[-1] == Step("A", 1, is_test=True)
    assert course.spent_s <= 600


# --- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget_s", sampled([150, 400, 10_000], [400]))
def test_a_race_that_was_killed_after_any_row_gives_the_same_answer(budget_s: float):
    nets = {
        "A": Net(0.9, latency_ms=9), "B": Net(0.89, latency_ms=4, images_per_s=20), "C": Net(0.4),
        "D": Net(0.9, error_type="crashed"), "E": Net(0.88, images_per_s=6), "F": Net(0.91, flops_g=90.0),
    }  # fmt: skip
    rounds = (Round(250, 200, 250), *ROUNDS)
    whole = World(nets, budget_s=budget_s, rounds=rounds)
    course = whole.play()

    for n_rows in range(0, len(whole.rows), 3):
        rows = copy.deepcopy(whole.rows[:n_rows])
        killed = World(nets, budget_s=budget_s, rounds=rounds, rows=rows, boards=whole.boards)
        again = killed.play()

        assert killed.steps() == whole.steps(), n_rows
        assert (again.chosen, again.finalists, again.worse) == (course.chosen, course.finalists, course.worse)
        assert again.spent_s == pytest.approx(course.spent_s)


def test_rows_beyond_the_budget_change_nothing():
    """As an earlier race with more time leaves them."""
    nets = {"A": Net(0.9, images_per_s=4), "B": Net(0.91, images_per_s=4)}
    rich = World(nets, budget_s=10_000)
    rich.play()
    poor = World(nets, budget_s=600)
    course = poor.play()

    again = World(nets, budget_s=600, rows=copy.deepcopy(rich.rows)).play()

    assert len(rich.rows) > len(poor.rows)
    assert again.chosen == course.chosen
    assert again.is_decided == course.is_decided


def test_rows_without_predictions_put_nobody_out():
    world = World({"A": Net(0.9), "B": Net(0.5)})
    world.of_run = lambda *_: None  # type: ignore[method-assign]

    course = world.play()

    assert course.worse == {}
    assert np.isnan(course.boards[0]["p_best"]).all()
