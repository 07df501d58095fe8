"""Ledgers of several machines beside each other: accuracies are pooled where the keys agree, times never are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy_ledgers import add, add_predicted

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.formats import to_markdown
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import SEVERAL, load_runs
from benchmark.analysis.presentation import leaderboard_sections
from benchmark.analysis.published import compare_published
from benchmark.ledger import Ledger

SMALL = {"cpu": "Small", "cpu_count": 2, "gpu": ""}
LARGE = {"cpu": "Large", "cpu_count": 64, "gpu": "H100"}


@pytest.fixture
def results(tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(folder=tmp_path, mine=Ledger(tmp_path / "mine"), theirs=Ledger(tmp_path / "theirs"))


def notes_of(board: Any, **options: Any) -> str:
    return to_markdown(leaderboard_sections(board, compare_published(board, []), **options))


def test_seeds_of_two_machines_are_one_setting_with_one_accuracy_and_no_time(results: SimpleNamespace):
    add(results.mine, seed=0, accuracy=0.5, wall_s=10.0, **SMALL)
    add(results.theirs, seed=1, accuracy=0.7, wall_s=1.0, **LARGE)

    board = make_leaderboard(load_runs([results.folder]))

    assert board[["n_seeds", "accuracy", "machine"]].values.tolist() == [[2, pytest.approx(0.6), SEVERAL]]
    assert np.isnan(board.loc[0, "wall_s"])
    assert "--by-machine" in notes_of(board)


def test_a_cell_of_two_machines_counts_once_and_its_times_are_of_neither(results: SimpleNamespace):
    add(results.mine, accuracy=0.5, wall_s=10.0, **SMALL)
    add(results.theirs, accuracy=0.5, wall_s=1.0, **LARGE)

    board = make_leaderboard(load_runs([results.folder]))

    assert board[["n_seeds", "accuracy"]].values.tolist() == [[1, 0.5]]
    assert np.isnan(board.loc[0, "wall_s"])


def test_by_machine_each_has_its_own_ranks_and_times(results: SimpleNamespace, rng: np.random.Generator):
    for ledger, machine, wall_s in ((results.mine, SMALL, 10.0), (results.theirs, LARGE, 1.0)):
        for backbone, share in (("NetA", 0.9), ("NetB", 0.1)):
            add_predicted(ledger, rng.random(400) < share, backbone=backbone, wall_s=wall_s, **machine)
    runs = load_runs([results.folder], by_machine=True)

    board = make_leaderboard(runs, correctness=Correctness(runs), by_machine=True)

    assert board[["machine", "backbone", "rank", "wall_s"]].values.tolist() == [
        ["H100, 64 CPUs", "NetA", 1, 1.0], ["H100, 64 CPUs", "NetB", 2, 1.0],
        ["Small, 2 CPUs", "NetA", 1, 10.0], ["Small, 2 CPUs", "NetB", 2, 10.0],
    ]  # fmt: skip
    assert (board["rank_first"] == board["rank_last"]).all()  # each pair was tested within its machine
    text = notes_of(board, by_machine=True)
    assert text.index("on H100, 64 CPUs") < text.index("on Small, 2 CPUs")
    assert "not comparable" not in text


def test_settings_of_one_machine_each_name_it_and_keep_their_times(results: SimpleNamespace):
    add(results.mine, backbone="NetA", wall_s=10.0, **SMALL)
    add(results.theirs, backbone="NetB", wall_s=1.0, **LARGE)

    text = notes_of(make_leaderboard(load_runs([results.folder])))

    assert "| Machine |" in text
    assert "| Small, 2 CPUs |" in text
    assert "| H100, 64 CPUs |" in text
    assert "--by-machine" in text


def test_one_machine_is_not_mentioned(results: SimpleNamespace):
    add(results.mine, **SMALL)

    text = notes_of(make_leaderboard(load_runs([results.folder])))

    assert "Small" not in text
    assert "--by-machine" not in text


def test_a_row_that_does_not_know_its_machine_has_one_all_the_same(results: SimpleNamespace):
    add(results.mine, cpu="", cpu_count=None)

    assert load_runs([results.folder])["machine"].tolist() == ["unknown processor"]


def test_times_are_ranked_by_machine_without_being_asked(results: SimpleNamespace, call):
    add(results.mine, wall_s=10.0, **SMALL)
    add(results.theirs, wall_s=1.0, **LARGE)

    answer = call("leaderboard", str(results.folder), "--by", "wall_s", "--format", "csv", "--columns", "machine,rank")

    assert answer.out.splitlines() == ["machine,rank,wall_s", '"H100, 64 CPUs",1,1', '"Small, 2 CPUs",1,10']


def test_a_failure_on_one_machine_is_superseded_by_another_one_unless_machines_stand_apart(results: SimpleNamespace):
    add(results.mine, status="failed", **SMALL)
    add(results.theirs, **LARGE)

    assert load_runs([results.folder])["status"].tolist() == ["done"]
    assert sorted(load_runs([results.folder], by_machine=True)["status"]) == ["done", "failed"]


def test_the_chart_of_times_shows_one_machine_and_names_it(results: SimpleNamespace):
    from benchmark.charts import Evidence, draw

    phases = {"load_s": 1.0, "build_s": 1.0, "extract_s": 1.0, "train_s": 1.0, "eval_s": 1.0}
    for number in range(2):
        add(results.mine, backbone=f"Net{number}", wall_s=5.0, **phases, **SMALL)
    add(results.theirs, backbone="Net2", wall_s=5.0, **phases, **LARGE)

    chart = draw("time", Evidence.load([results.folder]), "digits")

    assert "Small, 2 CPUs" in chart.title
    assert set(chart.data["backbone"]) == {"Net0", "Net1"}
