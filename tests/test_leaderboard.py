"""The leaderboard: settings averaged over their seeds and ranked within their dataset."""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_ledgers import RESULT, SETTING, add, add_predicted

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.formats import to_csv, to_json, to_markdown
from benchmark.analysis.leaderboard import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    make_leaderboard,
)
from benchmark.analysis.loading import count_failed, find_ledgers, load_runs
from benchmark.analysis.presentation import SHOTS_NOTE, leaderboard_cells, leaderboard_sections
from benchmark.analysis.published import compare_published, load_published
from benchmark.errors import LedgerError, UnknownNameError
from benchmark.ledger import DONE, FAILED, Ledger
from benchmark.recipes import Published

GOLDEN = Path(__file__).parent / "golden" / "leaderboard.md"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results" / "toy")


def board_of(ledger: Ledger, **options: Any) -> pd.DataFrame:
    return make_leaderboard(load_runs([ledger.folder]), **options)


def board_with_ties(ledger: Ledger) -> pd.DataFrame:
    runs = load_runs([ledger.folder])
    return make_leaderboard(runs, correctness=Correctness(runs))


def markdown_of(ledger: Ledger, published: Sequence[Published] = (), **options: Any) -> str:
    runs = load_runs([ledger.folder])
    board = make_leaderboard(runs, published=published, **options)
    return to_markdown(leaderboard_sections(board, compare_published(board, published), count_failed(runs)))


def wilson(share: float, n: int) -> tuple[float, float]:
    """The closed form of the 95 % score interval."""
    z = 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


# --- what a line is --------------------------------------------------------------------------------------------------


def test_a_line_is_the_mean_of_its_seeds_with_their_sample_deviation(ledger: Ledger):
    for seed, accuracy, wall_s in ((0, 0.7, 8.0), (1, 0.8, 10.0), (2, 0.9, 15.0)):
        add(ledger, seed=seed, accuracy=accuracy, wall_s=wall_s)

    (line,) = board_of(ledger).to_dict("records")

    assert line["n_seeds"] == 3
    assert line["accuracy"] == pytest.approx(0.8)
    assert line["accuracy_std"] == pytest.approx(0.1)
    assert line["wall_s"] == pytest.approx(11.0)


def test_folds_are_taken_together_each_with_its_number_of_images(ledger: Ledger):
    for fold, (n_right, n_test) in enumerate(((6, 8), (12, 12), (2, 4))):
        add(ledger, folds=3, seed=fold, n_test=n_test, accuracy=n_right / n_test)
    add(ledger, backbone="NetB", accuracy=0.4)

    folds, other = board_of(ledger).to_dict("records")

    assert (folds["accuracy"], folds["n_test"], folds["n_seeds"]) == (pytest.approx(20 / 24), 24, 3)
    assert (folds["accuracy_low"], folds["accuracy_high"]) == pytest.approx(wilson(20 / 24, 24), abs=1e-12)
    assert (other["accuracy"], other["n_test"]) == (0.4, 100)


def test_one_seed_has_no_deviation(ledger: Ledger):
    add(ledger)

    assert math.isnan(board_of(ledger)["accuracy_std"][0])


def test_the_interval_is_wilsons_of_the_mean_accuracy_at_the_size_of_the_test_set(ledger: Ledger):
    for seed, accuracy in ((0, 0.8), (1, 0.9)):
        add(ledger, seed=seed, accuracy=accuracy)

    (line,) = board_of(ledger).to_dict("records")

    assert (line["accuracy_low"], line["accuracy_high"]) == pytest.approx(wilson(0.85, 100))


@pytest.mark.parametrize(
    "other",
    [
        {"backbone": "NetB"}, {"mode": "unit"}, {"head": "knn"}, {"strategy": "finetune"}, {"stages": "0,epochs=3"},
        {"folds": 3}, {"shots": 5}, {"head_options": "units=8"}, {"input_size_px": 96}, {"resize": "nearest"},
        {"crop": "crop"}, {"augment": "flip"}, {"precision": "bfloat16"}, {"val_fraction": 0.2},
        {"weights": "imagenet"},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_settings_that_differ_in_anything_but_the_seed_have_lines_of_their_own(ledger: Ledger, other: dict[str, Any]):
    add(ledger)
    add(ledger, **other)

    assert board_of(ledger)["n_seeds"].tolist() == [1, 1]


def test_a_cell_done_twice_counts_once_with_its_last_row(ledger: Ledger):
    add(ledger, accuracy=0.4)
    add(ledger, accuracy=0.6)

    (line,) = board_of(ledger).to_dict("records")

    assert (line["n_seeds"], line["accuracy"]) == (1, 0.6)


def test_failed_cells_are_counted_and_not_ranked(ledger: Ledger):
    add(ledger, seed=0)
    add(ledger, seed=1, status=FAILED, error_type="oom")

    runs = load_runs([ledger.folder])

    assert count_failed(runs) == {"digits": 1}
    assert make_leaderboard(runs)["n_seeds"].tolist() == [1]


def test_a_done_cell_of_a_wrong_mode_is_ranked_and_has_not_failed(ledger: Ledger):
    add(ledger, warning="mode unit is not what Net was trained with (shifted)")

    runs = load_runs([ledger.folder])

    assert count_failed(runs) == {}
    assert make_leaderboard(runs)["rank"].tolist() == [1]


def test_a_cell_that_failed_and_was_then_done_has_not_failed(ledger: Ledger):
    add(ledger, status=FAILED)
    add(ledger)

    assert count_failed(load_runs([ledger.folder])) == {}


def test_that_a_dataset_was_not_available_hides_no_finished_row(ledger: Ledger):
    add(ledger)
    add(ledger, status=FAILED, error_type="download", cell_key="", setting_key="")

    runs = load_runs([ledger.folder])

    assert runs["status"].tolist() == [DONE]
    assert make_leaderboard(runs)["n_seeds"].tolist() == [1]


def test_only_failed_rows_give_an_empty_leaderboard(ledger: Ledger):
    add(ledger, status=FAILED, error_type="oom")

    board = board_of(ledger)

    assert board.empty
    assert {"rank", "backbone", "accuracy", "published"} <= set(board.columns)
    assert to_json(board) == "[]\n"
    assert len(to_csv(board).splitlines()) == 1
    assert markdown_of(ledger).endswith("\n\nNot ranked: 1 failed cell.\n")


def test_a_row_without_an_accuracy_is_not_ranked(ledger: Ledger):
    add(ledger, backbone="NetA")
    add(ledger, backbone="NetB", accuracy=math.nan)

    assert board_of(ledger)["backbone"].tolist() == ["NetA"]
    assert count_failed(load_runs([ledger.folder])) == {"digits": 1}


def test_rows_made_on_different_images_are_never_ranked_together(ledger: Ledger):
    for backbone, fingerprint in (("NetA", "a" * 64), ("NetB", "b" * 64), ("NetC", "b" * 64)):
        add(ledger, backbone=backbone, dataset="folder:pets", dataset_fingerprint=fingerprint)

    board = board_of(ledger)

    assert board["dataset"].tolist() == ["folder:pets #aaaaaaaa", "folder:pets #bbbbbbbb", "folder:pets #bbbbbbbb"]
    assert board["rank"].tolist() == [1, 1, 1]


def test_missing_predictions_are_mentioned(ledger: Ledger):
    add_predicted(ledger, [True] * 90 + [False] * 10, backbone="NetA")
    add_predicted(ledger, [True] * 80 + [False] * 20, backbone="NetB")
    add(ledger, backbone="NetC", accuracy=0.5)

    runs = load_runs([ledger.folder])

    assert "1 of 2 settings could not be tested against the best: no predictions." in markdown_of(
        ledger, correctness=Correctness(runs)
    )


def test_a_ledger_without_rows_gives_an_empty_leaderboard(ledger: Ledger):
    add(ledger)
    path = ledger.folder / "runs.csv"
    path.write_text(path.read_text().splitlines(keepends=True)[0])

    assert board_of(ledger).empty


# --- ranks -----------------------------------------------------------------------------------------------------------


def test_settings_in_mode_native_are_ranked_and_others_stand_below(ledger: Ledger):
    for backbone, mode, accuracy in (
        ("NetA", "native", 0.8), ("NetA", "unit", 0.9), ("NetA", "raw", 0.7), ("NetB", "native", 0.6),
        ("NetC", "unit", 0.95),
    ):  # fmt: skip
        add(ledger, backbone=backbone, mode=mode, accuracy=accuracy)

    cells = leaderboard_cells(board_of(ledger))

    assert cells[["Rank", "Backbone", "Mode"]].to_numpy().tolist() == [
        ["1", "NetA", "native"], ["2", "NetB", "native"], ["–", "NetC", "unit"], ["–", "NetA", "unit"],
        ["–", "NetA", "raw"],
    ]  # fmt: skip
    assert "Not ranked: 3 settings in other modes than native; see 'benchmark ablation'." in markdown_of(ledger)


def test_where_nothing_is_native_all_settings_are_ranked(ledger: Ledger):
    for mode, accuracy in (("unit", 0.8), ("raw", 0.9)):
        add(ledger, mode=mode, accuracy=accuracy)
        add(ledger, mode="native", dataset="mnist")

    board = board_of(ledger)

    assert board[["dataset", "mode", "rank"]].to_numpy().tolist() == [
        ["digits", "raw", 1], ["digits", "unit", 2], ["mnist", "native", 1],
    ]  # fmt: skip
    assert set(board["not_ranked"]) == {""}


def test_other_modes_never_widen_the_ranks_of_native_settings(ledger: Ledger, rng: np.random.Generator):
    """With all of them among the pairs, the correction for their number would tie all three."""
    images = rng.random(1000)
    for backbone, level in (("NetA", 0.9), ("NetB", 0.885), ("NetC", 0.87)):
        add_predicted(ledger, images < level, backbone=backbone)
    alone = board_with_ties(ledger)
    for number, mode in enumerate(("tf", "caffe", "torch", "unit", "raw", "bgr", "double")):
        for backbone in ("NetA", "NetB", "NetC"):
            add_predicted(ledger, images < 0.9 - 0.001 * number, backbone=backbone, mode=mode)

    ranked = board_with_ties(ledger).dropna(subset="rank")

    shown = ["rank", "rank_first", "rank_last", "backbone", "p_best", "smallest_difference"]
    pd.testing.assert_frame_equal(ranked[shown], alone[shown])
    assert alone["rank_last"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("by", sorted(HIGHER_IS_BETTER | LOWER_IS_BETTER))
def test_the_column_that_is_ranked_by_is_shown(ledger: Ledger, by: str):
    for backbone, value in (("A", 0.4), ("B", 0.9)):
        add(ledger, backbone=backbone, **{by: value * (1e6 if by == "params_total" else 1e3 if by[-2:] == "_s" else 1)})

    cells = leaderboard_cells(board_of(ledger, by=by), by=by)

    differing = {heading for heading in cells if cells[heading].nunique() > 1} - {"Rank", "Backbone"}
    assert differing - {"95 % interval"}
    assert by not in {"balanced_accuracy", "macro_f1"} or "Chance" in cells


def test_what_cannot_be_ranked_says_why(ledger: Ledger):
    add(ledger, backbone="A", wall_s=20.0)
    add(ledger, backbone="B", wall_s=30.0, n_jobs=2)
    add(ledger, backbone="C", wall_s=None)
    add(ledger, backbone="C", wall_s=None, seed=1, n_jobs=2)
    add(ledger, backbone="D", mode="unit", wall_s=10.0)

    board = board_of(ledger, by="wall_s")

    assert board[["backbone", "not_ranked"]].to_numpy().tolist() == [
        ["A", ""], ["B", "measured while 2 jobs ran"], ["C", "not measured"], ["D", "not in mode native"],
    ]  # fmt: skip
    cells = leaderboard_cells(board, by="wall_s")
    assert cells["Rank"].tolist() == ["1", "–", "–", "–"]
    assert cells["Not ranked"].tolist() == ["–", "measured while 2 jobs ran", "not measured", "–"]
    assert "Not ranked" not in leaderboard_cells(board_of(ledger))


def test_of_several_seeds_those_that_ran_alone_are_ranked(ledger: Ledger):
    add(ledger, wall_s=20.0)
    add(ledger, wall_s=40.0, seed=1, n_jobs=2)

    board = board_of(ledger, by="wall_s")

    assert board[["rank", "wall_s", "not_ranked"]].to_numpy().tolist() == [[1, 20.0, ""]]


@pytest.mark.parametrize(("n_seeds", "notes"), [((1, 1), ["Seeds were not varied, so"]), ((2, 2), []),
                                                ((2, 1), ["Seeds were not varied in 1 of 2 rows, so"])])  # fmt: skip
def test_that_seeds_were_not_varied_is_said(ledger: Ledger, n_seeds: tuple[int, int], notes: list[str]):
    for backbone, n_of_backbone in zip("AB", n_seeds, strict=True):
        for seed in range(n_of_backbone):
            add_predicted(ledger, np.arange(100) < 80, backbone=backbone, seed=seed)

    text = markdown_of(ledger, correctness=Correctness(load_runs([ledger.folder])))

    assert [line.partition(" other seeds")[0] for line in text.splitlines() if line.startswith("Seeds")] == notes
    assert ("for other images and other seeds" in text) == (max(n_seeds) > 1)


# --- shots -----------------------------------------------------------------------------------------------------------


def test_settings_are_ranked_among_those_with_as_many_shots_and_the_most_images_come_first(ledger: Ledger):
    for shots, head, accuracy in (
        (1, "linear", 0.4), (1, "knn", 0.5), (10, "linear", 0.9), (10, "knn", 0.8), (None, "linear", 0.95),
    ):  # fmt: skip
        for seed in (0, 1):
            add(ledger, shots=shots, head=head, accuracy=accuracy, seed=seed)

    cells = leaderboard_cells(board_of(ledger))

    assert cells[["Rank", "Head", "Strategy", "Seeds"]].to_numpy().tolist() == [
        ["1", "linear", "probe", "2"], ["1", "linear", "probe(shots=10)", "2"], ["2", "knn", "probe(shots=10)", "2"],
        ["1", "knn", "probe(shots=1)", "2"], ["2", "linear", "probe(shots=1)", "2"],
    ]  # fmt: skip
    assert SHOTS_NOTE in markdown_of(ledger)


def test_shots_are_tested_against_the_best_with_as_many(ledger: Ledger, rng: np.random.Generator):
    images = rng.random(1000)
    for shots, best in ((1, 0.5), (10, 0.9)):
        for head, level in (("linear", best), ("knn", best - 0.2)):
            add_predicted(ledger, images < level, shots=shots, head=head)

    board = board_with_ties(ledger)

    assert board[["shots", "head", "rank", "rank_last"]].to_numpy().tolist() == [
        [10, "linear", 1, 1], [10, "knn", 2, 2], [1, "linear", 1, 1], [1, "knn", 2, 2],
    ]  # fmt: skip
    assert board["p_best"].isna().tolist() == [True, False, True, False]
    assert "could not be tested" not in markdown_of(ledger, correctness=Correctness(load_runs([ledger.folder])))


def test_where_no_setting_of_so_many_shots_is_native_all_of_them_are_ranked(ledger: Ledger):
    add(ledger)
    add(ledger, shots=5, mode="unit")

    assert board_of(ledger)["rank"].tolist() == [1, 1]


def test_a_published_figure_is_of_all_images(ledger: Ledger):
    add(ledger, accuracy=0.9)
    add(ledger, accuracy=0.5, shots=5)
    figure = Published(dataset="digits", backbone="NetA", value=0.92)

    board = board_of(ledger, published=[figure])

    assert board["published"].isna().tolist() == [False, True]
    assert compare_published(board, [figure])["measured"].tolist() == [0.9]


# --- chance ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chance", "n_classes", "is_unbalanced"), [(0.6, 3, True), (0.4, 3, False), (0.7, 2, False),
                                                                    (0.2, 10, True)])  # fmt: skip
def test_unbalanced_classes_bring_chance_balanced_accuracy_and_f1_into_the_table(
    ledger: Ledger, chance: float, n_classes: int, is_unbalanced: bool
):
    for backbone in "AB":
        add(ledger, backbone=backbone, accuracy=0.846, chance=chance, n_classes=n_classes, balanced_accuracy=0.604,
            macro_f1=0.598, n_test=1000)  # fmt: skip

    cells, text = leaderboard_cells(board_of(ledger)), markdown_of(ledger)

    if is_unbalanced:
        assert cells[["Balanced accuracy", "Macro F1"]].to_numpy().tolist() == [["0.6040", "0.5980"]] * 2
        assert cells["Chance"].tolist() == [f"{chance:.4f}"] * 2
    else:
        assert not {"Chance", "Balanced accuracy", "Macro F1"} & set(cells)
    assert text.count("The classes are unbalanced") == is_unbalanced


@pytest.mark.parametrize(("accuracy", "is_marked"), [(0.53, True), (0.40, True), (0.60, False)])
def test_settings_no_better_than_chance_are_marked(ledger: Ledger, accuracy: float, is_marked: bool):
    """The 95 % interval of 53 % of 500 images reaches down to 48.6 %."""
    add(ledger, accuracy=accuracy, chance=0.5, n_classes=2, n_test=500)

    assert leaderboard_cells(board_of(ledger))["Accuracy"].tolist() == [f"{accuracy:.4f}" + " (chance)" * is_marked]
    assert ("(chance): always naming" in markdown_of(ledger)) == is_marked


# --- order -----------------------------------------------------------------------------------------------------------


def test_equal_values_share_a_rank_and_the_next_one_is_left_out(ledger: Ledger):
    for backbone, accuracy in (("C", 0.5), ("A", 0.7), ("D", 0.9), ("B", 0.7)):
        add(ledger, backbone=backbone, accuracy=accuracy)

    board = board_of(ledger)

    assert list(zip(board["rank"], board["backbone"], strict=True)) == [(1, "D"), (2, "A"), (2, "B"), (4, "C")]


@pytest.mark.parametrize("by", sorted(HIGHER_IS_BETTER))
def test_of_gains_the_greatest_is_first(ledger: Ledger, by: str):
    for backbone, value in (("A", 0.2), ("B", 0.3), ("C", 0.1)):
        add(ledger, backbone=backbone, **{by: value})

    assert board_of(ledger, by=by)["backbone"].tolist() == ["B", "A", "C"]


@pytest.mark.parametrize("by", sorted(LOWER_IS_BETTER))
def test_of_costs_the_smallest_is_first(ledger: Ledger, by: str):
    unit = 0.1 if by in ("calibration_error", "log_loss") else 1
    for backbone, value in (("A", 2), ("B", 3), ("C", 1)):
        add(ledger, backbone=backbone, **{by: value * unit})

    assert board_of(ledger, by=by)["backbone"].tolist() == ["C", "A", "B"]


@pytest.mark.parametrize("by", ["log_loss", "images_per_s"])
def test_what_was_not_measured_stands_last(ledger: Ledger, by: str):
    add(ledger, backbone="A")
    add(ledger, backbone="B", **{by: 5.0})

    assert board_of(ledger, by=by)["backbone"].tolist() == ["B", "A"]


def test_datasets_are_never_ranked_together(ledger: Ledger):
    for dataset, accuracy in (("mnist", 0.99), ("digits", 0.8), ("mnist", 0.95), ("digits@300", 0.7)):
        add(ledger, dataset=dataset, accuracy=accuracy, backbone=f"Net{accuracy}")

    board = board_of(ledger)

    assert list(zip(board["dataset"], board["rank"], board["accuracy"], strict=True)) == [
        ("digits", 1, 0.8), ("digits@300", 1, 0.7), ("mnist", 1, 0.99), ("mnist", 2, 0.95),
    ]  # fmt: skip


def test_an_unknown_column_to_rank_by_is_refused_with_what_may_be_meant(ledger: Ledger):
    add(ledger)

    with pytest.raises(UnknownNameError, match=r"column to rank by 'acuracy'\. Did you mean 'accuracy'\?"):
        board_of(ledger, by="acuracy")


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(accuracies=st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_a_rank_is_one_more_than_the_number_of_better_settings(accuracies: list[int]):
    rows = [
        {**SETTING, **RESULT, "status": DONE, "backbone": f"Net{number}", "accuracy": hits / 100}
        for number, hits in enumerate(accuracies)
    ]
    columns = Ledger(Path("absent")).read_runs().columns
    runs = pd.DataFrame(rows).reindex(columns=columns).assign(variant="", machine="", n_jobs=1)

    board = make_leaderboard(runs)

    for _, line in board.iterrows():
        assert line["rank"] == 1 + sum(hits / 100 > line["accuracy"] for hits in accuracies)
    assert len(board) == len(accuracies)


# --- published figures -----------------------------------------------------------------------------------------------


def test_a_published_figure_stands_beside_the_setting_it_belongs_to(ledger: Ledger):
    for mode in ("native", "unit"):
        for head in ("linear", "dense"):
            add(ledger, mode=mode, head=head)
    figures = [
        Published(dataset="digits", backbone="NetA", mode="native", head="dense", value=0.66),
        Published(dataset="digits", backbone="NetA", mode="unit", value=0.27),
        Published(dataset="mnist", backbone="NetA", mode="native", head="linear", value=0.99),
        Published(dataset="digits", backbone="NetA", mode="native", head="linear", metric="macro_f1", value=0.98),
    ]

    board = board_of(ledger, published=figures)

    found = {(line["mode"], line["head"]): line["published"] for line in board.to_dict("records")}
    assert found["native", "dense"] == 0.66
    assert (found["unit", "dense"], found["unit", "linear"]) == (0.27, 0.27), "without a head it holds for all"
    assert pd.isna(found["native", "linear"])


def test_a_star_in_a_published_figure_stands_for_any_text(ledger: Ledger):
    for dataset in ("folder:/data/val", "tfds:imagenet_v2"):
        add(ledger, dataset=dataset, dataset_fingerprint=dataset.ljust(64, "f").replace("/", "-").replace(":", "-"))
    figures = [Published(dataset="folder:*", backbone="NetA", value=0.75)]

    board = board_of(ledger, published=figures)

    found = {line["dataset"]: line["published"] for line in board.to_dict("records")}
    assert found["folder:/data/val"] == 0.75
    assert pd.isna(found["tfds:imagenet_v2"])


def test_brackets_in_the_dataset_of_a_published_figure_are_part_of_its_name(ledger: Ledger):
    add(ledger, dataset="folder:pets", classes="cat,dog")

    board = board_of(ledger, published=[Published(dataset="folder:pets[cat,dog]", backbone="NetA", value=0.75)])

    assert board["published"].tolist() == [0.75]


def test_what_is_scored_by_classify_is_a_dataset_of_its_own(ledger: Ledger):
    add(ledger, dataset="folder:val", dataset_fingerprint="a" * 64)
    add(ledger, dataset="folder:val", strategy="classify", head="", dataset_fingerprint="b" * 64)
    add(ledger, dataset="folder:val", strategy="classify", head="", restrict_classes=1, dataset_fingerprint="c" * 64)

    board = board_of(ledger)

    assert board["dataset"].tolist() == ["folder:val", "folder:val (classify)", "folder:val (classify, restricted)"]
    assert board["rank"].tolist() == [1, 1, 1]


def test_published_figures_are_read_from_the_recipe_beside_the_ledger(ledger: Ledger):
    add(ledger)
    ledger.keep_recipe(
        'name = "toy"\n[[published]]\ndataset = "digits"\nbackbone = "NetA"\nvalue = 0.66\nnote = "a report"\n'
    )

    (figure,) = load_published([ledger.folder.parent])

    assert (figure.backbone, figure.mode, figure.value) == ("NetA", "native", 0.66)


# --- what is one setting ---------------------------------------------------------------------------------------------


def test_settings_that_differ_in_nothing_that_has_a_name_are_never_averaged(ledger: Ledger):
    """Of three settings, two differ in their weights' values only, and the third in their source."""
    for number, (weights, key) in enumerate([("file:a", "1" * 32), ("file:a", "2" * 32), ("random", "3" * 32)]):
        add(ledger, weights=weights, setting_key=key, cell_key=key, seed=number)

    board = make_leaderboard(load_runs([ledger.folder]))

    assert board["n_seeds"].tolist() == [1, 1, 1]
    assert sorted(board["variant"]) == [
        "weights file:a, key 11111111",
        "weights file:a, key 22222222",
        "weights random",
    ]


@pytest.mark.parametrize(
    ("other", "variants"),
    [
        ({"weights": "imagenet"}, ["weights random", "weights imagenet"]),
        ({"val_fraction": 0.2}, ["validation fraction 0.1", "validation fraction 0.2"]),
        ({"keras_version": "3.16.0"}, ["Keras unknown", "Keras 3.16.0"]),
        ({"registry_sha256": "a" * 64}, ["the registry entry unknown", "the registry entry aaaaaaaa"]),
    ],
)
def test_settings_that_look_alike_are_named_by_what_differs(ledger: Ledger, other: dict[str, Any], variants: list[str]):
    """One of them is in another ledger, as rows of one cell in one ledger replace each other."""
    for seed in (0, 1):
        add(ledger, seed=seed, accuracy=0.5)
        add(Ledger(ledger.folder.parent / "other"), seed=seed, accuracy=0.6, **other)

    board = make_leaderboard(load_runs([ledger.folder.parent]))

    assert sorted(board["variant"]) == sorted(variants)
    assert board["n_seeds"].tolist() == [2, 2]


def test_settings_that_differ_in_nothing_that_a_row_holds_are_named_by_their_keys(ledger: Ledger):
    add(ledger, setting_key="a" * 32, cell_key="c" * 32)
    add(Ledger(ledger.folder.parent / "other"), setting_key="b" * 32, cell_key="d" * 32)

    assert sorted(load_runs([ledger.folder.parent])["variant"]) == ["key aaaaaaaa", "key bbbbbbbb"]


def test_a_folder_by_two_spellings_is_one_dataset_with_one_table(ledger: Ledger):
    for seed, name in enumerate(("folder:../pets", "folder:/home/me/pets")):
        add(ledger, seed=seed, dataset=name, dataset_fingerprint="f" * 64)

    (line,) = board_of(ledger).to_dict("records")

    assert (line["dataset"], line["n_seeds"]) == ("folder:/home/me/pets", 2)


def test_rows_of_schema_1_are_settings_by_what_names_them(ledger: Ledger):
    for seed, weights in ((0, "random"), (1, "random"), (0, "imagenet")):
        add(ledger, seed=seed, weights=weights, setting_key="", val_fraction=None)

    board = board_of(ledger)

    assert sorted(zip(board["variant"], board["n_seeds"], strict=True)) == [
        ("weights imagenet", 1), ("weights random", 2),
    ]  # fmt: skip


# --- where ledgers are -----------------------------------------------------------------------------------------------


def test_ledgers_are_found_at_any_depth_and_read_together(ledger: Ledger, tmp_path: Path):
    add(ledger, backbone="A")
    add(Ledger(tmp_path / "results" / "more" / "deep"), backbone="B")

    runs = load_runs([tmp_path / "results"])

    assert find_ledgers([tmp_path]) == [tmp_path / "results" / "more" / "deep", ledger.folder]
    assert sorted(zip(runs["sweep"], runs["backbone"], strict=True)) == [("deep", "B"), ("toy", "A")]


def test_a_ledger_named_twice_is_read_once(ledger: Ledger):
    add(ledger)

    assert len(load_runs([ledger.folder, ledger.folder.parent])) == 1


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_a_place_without_a_ledger_is_named(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")

    with pytest.raises(LedgerError, match=rf"There is no runs\.csv in .*{name}.*'benchmark run'"):
        load_runs([tmp_path / name])


# --- as text ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def varied(ledger: Ledger) -> Ledger:
    """Two datasets; seeds, ties, a name with a bar and one that is not ASCII, a size and a cost left unmeasured."""
    cost = {"images_per_s": 123.4, "peak_rss_mib": 812.6}
    for seed, accuracy in ((0, 0.8), (1, 0.9)):
        add(ledger, seed=seed, accuracy=accuracy, efficiency=accuracy / 2, **cost)
    add(ledger, backbone="Größe|馬", mode="unit", accuracy=0.7, params_total=1_234_567, efficiency=0.567, wall_s=59.6)
    add(ledger, backbone="NetB", accuracy=0.7, precision="bfloat16", **cost)
    add(ledger, dataset="folder:my|pets", head="dense", accuracy=1.0, **cost)
    return ledger


PUBLISHED = (Published(dataset="digits", backbone="NetA", value=0.66),)


def test_the_markdown_is_the_golden_text(varied: Ledger):
    text = markdown_of(varied, PUBLISHED)

    assert text == GOLDEN.read_text(encoding="utf-8")


def test_every_line_of_a_markdown_table_has_the_same_number_of_columns(varied: Ledger):
    text = markdown_of(varied)

    for part in text.split("\n\n## "):
        widths = {line.replace("\\|", "").count("|") for line in part.splitlines() if line.startswith("|")}
        assert len(widths) == 1


def test_the_csv_reads_back_as_the_leaderboard(varied: Ledger):
    board = board_of(varied, published=PUBLISHED)

    back = pd.read_csv(
        io.StringIO(to_csv(board)), keep_default_na=False, na_values={"accuracy_std": "", "log_loss": "", "rank": ""}
    )

    assert back.columns.tolist() == board.columns.tolist()
    assert back["backbone"].tolist() == board["backbone"].tolist()
    assert back["rank"].fillna(0).tolist() == board["rank"].fillna(0).tolist() == [1, 2, 0, 1]
    assert back["accuracy"].tolist() == pytest.approx(board["accuracy"].tolist(), rel=1e-5)
    assert back["accuracy_std"].isna().sum() == 3


def test_a_count_of_many_digits_is_whole_in_the_csv(ledger: Ledger):
    add(ledger, params_total=24_114_826)

    assert ",24114826," in to_csv(board_of(ledger))


def test_the_json_reads_back_as_the_leaderboard_with_null_for_what_was_not_measured(varied: Ledger):
    board = board_of(varied, published=PUBLISHED)

    records = json.loads(to_json(board))

    assert [list(record) for record in records] == [board.columns.tolist()] * len(board)
    assert [record["backbone"] for record in records] == board["backbone"].tolist()
    assert [record["published"] for record in records] == [0.66, None, None, None]
    assert {record["log_loss"] for record in records} == {None}
    assert "Größe" in to_json(board), "text is written as it is"


def test_the_published_column_is_there_only_when_something_was_published(ledger: Ledger):
    add(ledger)

    assert "Published" not in markdown_of(ledger)
    assert "Published" in markdown_of(ledger, PUBLISHED)
