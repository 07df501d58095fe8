"""The answer of a race, in words, as a table and for machines."""

import json

import pytest
from toy_race import Net, World

from benchmark.analysis.formats import json_text
from benchmark.analysis.recommendation import Record, answer_section, make_answer
from benchmark.metrics import wilson_interval
from benchmark.plan.racing import Cut


def answer_of(world: World, *cuts: Cut) -> Record:
    course = world.play()
    return make_answer(world.race, course, cuts, world.runs, world)  # type: ignore[arg-type]


def test_the_first_sentence_says_what_to_take_how_good_it_is_and_what_it_costs():
    answer = answer_of(World({"A": Net(0.9, test_skill=0.94, latency_ms=24.2, params=5.9e6), "B": Net(0.4)}))

    low, high = (100 * end for end in wilson_interval(376, 400))
    assert answer["sentences"] == [
        f"Take A: 94.0 % ({low:.1f} to {high:.1f}) on 400 test images it was not chosen on, 5.9 M parameters, "
        "24.2 ms an image here."
    ]


def test_those_not_told_apart_are_named_with_what_all_of_them_cost_more():
    nets = {
        "A": Net(0.9, latency_ms=5, params=1e6),
        "B": Net(0.9, latency_ms=6, params=3e6, test_skill=0.905),
        "C": Net(0.9, latency_ms=7, params=2e6),
    }

    answer = answer_of(World(nets))

    assert answer["sentences"][1] == "Not told apart: B (+0.5 points), C (+0.0 points), all slower and larger."


def test_one_that_is_better_on_the_test_images_is_said_to_be_so_and_to_be_slower():
    nets = {"A": Net(0.9, latency_ms=5, test_skill=0.80), "B": Net(0.9, latency_ms=30, test_skill=0.83)}

    answer = answer_of(World(nets))

    assert answer["chosen"] == "A", "test images decide nothing"
    assert answer["sentences"][1] == "3.0 points better but 6 x slower: B."


def test_one_that_is_worse_on_the_test_images_is_said_to_be_so():
    nets = {"A": Net(0.9, latency_ms=5), "B": Net(0.9, latency_ms=30, test_skill=0.8)}

    assert answer_of(World(nets))["sentences"][1] == "Worse on the test images: B (-10.0 points)."


def test_a_race_that_the_budget_ended_says_so_and_names_who_was_not_tried():
    nets = {"A": Net(0.93, images_per_s=4), "B": Net(0.915, images_per_s=4), "Huge": Net(0.99, flops_g=1e6)}

    answer = answer_of(World(nets, budget_s=600))

    assert answer["sentences"][-2:] == [
        "The budget of 10.0 min ended the race after 400 of 1,600 training images: with more time, another backbone "
        "may win.",
        "Not tried for lack of time: Huge.",
    ]
    assert not answer["is_decided"]


def test_a_backbone_whose_test_failed_is_still_taken_and_the_sentence_says_so():
    world = World({"A": Net(0.9), "B": Net(0.4)})
    while (step := world.replay().step) and not step.is_test:
        world.run(step)
    world.nets = {**world.nets, "A": Net(0.9, error_type="oom")}

    answer = answer_of(world)

    assert answer["sentences"][0].startswith("Take A: 90.0 % in the race (its test failed), 2.0 M parameters")
    assert answer["cut"] == [{"backbone": "A", "reason": "no A"}]


def test_the_table_has_the_finalists_first_and_says_when_the_others_were_out():
    answer = answer_of(World({"Worst": Net(0.2), "A": Net(0.9, latency_ms=5), "B": Net(0.9, latency_ms=6)}))

    cells = answer_section(answer).cells

    assert cells["Backbone"].tolist() == ["A", "B", "Worst"]
    assert cells["Result"].tolist() == ["take", "not told apart", "out after 400"]
    assert cells["Test, %"].tolist() == ["90.0", "90.0", "–"]


def test_a_table_of_many_is_cut_and_says_so():
    nets = {f"Net{number:02}": Net(0.2) for number in range(20)}

    section = answer_section(answer_of(World({"A": Net(0.9), **nets})))

    assert len(section.cells) == 12
    assert section.notes[0] == "And 9 backbones that were worse: --json has them."


def test_whoever_was_cut_is_named_with_the_reason_the_nearest_to_a_limit_first():
    reason = "the weights are not here"
    cuts = [Cut("C", reason), Cut("D", reason), Cut("E", "30 M, too large", 3.0), Cut("F", "20 M, too large", 2.0)]

    answer = answer_of(World({"A": Net(0.9)}), *cuts)

    assert [cut["backbone"] for cut in answer["cut"]] == ["F", "E", "C", "D"]
    notes = answer_section(answer).notes
    assert "Left out: C, D: the weights are not here." in notes
    assert "Left out: F (20 M, too large), E (30 M, too large)." in notes


def test_an_answer_is_json_with_every_part():
    answer = answer_of(World({"A": Net(0.9), "B": Net(0.4)}))

    read = json.loads(json_text(answer))

    assert read["chosen"] == "A"
    assert [(one["backbone"], one["result"]) for one in read["backbones"]] == [("A", "take"), ("B", "out")]
    assert read["rounds"][0] == {"n_images": 400, "backbones": ["A", "B"], "accuracy": pytest.approx([0.9, 0.4])}
    assert read["backbones"][1]["accuracy"] is None, "the test images of a backbone that is out are not looked at"


def test_the_run_to_export_is_one_of_the_chosen_with_the_test_images():
    world = World({"A": Net(0.9), "B": Net(0.4)}, n_seeds=2)
    world.play()
    world.rows = [{**row, "val_accuracy": 0.5 + 0.1 * row["seed"]} for row in world.rows]

    answer = answer_of(world)

    (row,) = [row for row in world.rows if row["run_id"] == answer["run_id"]]
    assert (row["backbone"], row["seed"], row["known_step"].is_test) == ("A", 1, True)
