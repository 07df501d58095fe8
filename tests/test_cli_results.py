"""The commands that read ledgers, in this process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_ledgers import add, add_predicted

from benchmark.ledger import FAILED, Ledger

IMAGES = np.arange(1000)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "results" / "toy")
    add_predicted(ledger, IMAGES < 660, mode="native")
    add_predicted(ledger, IMAGES < 270, mode="unit")
    return ledger


# --- leaderboard -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["table", "md"])
def test_a_leaderboard_shows_the_column_that_it_is_ranked_by(call, tmp_path, format_name):
    add(Ledger(tmp_path / "results" / "toy"), macro_f1=0.4321, chance=0.1234)

    _, out, _ = call("leaderboard", "--by", "macro_f1", "--format", format_name)

    assert "0.4321" in out
    assert "0.1234" in out


def test_a_rank_that_does_not_exist_is_empty_for_machines(call, tmp_path):
    ledger = Ledger(tmp_path / "results" / "toy")
    add(ledger)
    add(ledger, mode="unit")

    _, out, _ = call("leaderboard", "--format", "json")

    records = json.loads(out)
    assert [(record["rank"], record["not_ranked"]) for record in records] == [(1, ""), (None, "not in mode native")]


# --- ablation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["table", "md"])
def test_an_ablation_for_people_has_points_and_a_verdict(call, ledger, format_name):
    code, out, _ = call("ablation", "--format", format_name)

    assert code == 0
    assert all(text in out for text in ("27.00 → 66.00", "+39.00", "+144 %", "harmful"))


def test_an_ablation_for_machines_has_plain_numbers(call, ledger):
    _, out, _ = call("ablation", "--format", "json")

    (record,) = json.loads(out)
    assert record["accuracy_lost"] == pytest.approx(0.39)
    assert record["relative_gain"] == pytest.approx(0.66 / 0.27 - 1)


def test_without_a_pair_of_modes_an_ablation_says_what_to_run(call, tmp_path):
    add(Ledger(tmp_path / "results" / "toy"), mode="unit")

    code, _, err = call("ablation")

    assert code == 2
    assert "--modes native,unit" in err


# --- compare ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_right", "code", "mark"), [(900, 0, "="), (890, 3, "-"), (910, 0, "+"), (899, 0, "~")])
def test_a_comparison_ends_with_3_where_a_cell_got_worse(call, tmp_path, n_right, code, mark):
    add_predicted(Ledger(tmp_path / "before"), IMAGES < 900)
    add_predicted(Ledger(tmp_path / "after"), n_right > IMAGES)

    ended, out, _ = call("compare", "before", "after", "--format", "json")

    assert ended == code
    assert [record["mark"] for record in json.loads(out)] == [mark]


def test_a_comparison_ends_with_3_where_all_cells_together_got_worse(call, tmp_path):
    """In each of eight cells four images of its own were right before."""
    for seed in range(8):
        add_predicted(Ledger(tmp_path / "before"), IMAGES < 900, seed=seed)
        add_predicted(Ledger(tmp_path / "after"), (IMAGES < 900) & (seed != IMAGES // 4), seed=seed)

    ended, out, _ = call("compare", "before", "after", "--format", "json")

    assert ended == 3
    assert {record["change"] for record in json.loads(out)} == {"within noise"}
    assert {record["overall_difference"] for record in json.loads(out)} == {-0.004}
    assert "Over all 8 cells: -0.40 points" in call("compare", "before", "after")[1]


def test_ledgers_with_no_cell_in_common_end_with_4(call, tmp_path):
    add(Ledger(tmp_path / "before"), backbone="NetA")
    add(Ledger(tmp_path / "after"), backbone="NetB")

    code, _, err = call("compare", "before", "after")

    assert code == 4
    assert "no finished cell in common" in err


def test_a_comparison_shows_only_what_moved(call, tmp_path):
    for folder, n_right in (("before", 900), ("after", 700)):
        add_predicted(Ledger(tmp_path / folder), n_right > IMAGES, backbone="Moved")
        add_predicted(Ledger(tmp_path / folder), IMAGES < 900, backbone="Stayed")

    _, out, _ = call("compare", "before", "after")

    assert "1 worse, 1 same" in out
    assert "Moved" in out
    assert "Stayed" not in out
    assert "Worse and better: beyond noise" in out


def test_where_nothing_moved_no_words_are_explained(call, tmp_path):
    add_predicted(Ledger(tmp_path / "before"), IMAGES < 900)

    _, out, _ = call("compare", "before", "before")

    assert out.startswith("1 same")
    assert "Worse and better" not in out


def test_a_place_that_is_no_ledger_ends_with_2(call, ledger):
    code, _, err = call("compare", "nowhere", "results")

    assert code == 2
    assert "REVISION:PATH" in err


# --- what is empty, broken or hostile --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["leaderboard", "ablation"])
def test_a_ledger_of_failures_only_is_no_traceback(call, tmp_path, command):
    add(Ledger(tmp_path / "results" / "toy"), status=FAILED, error_type="oom")

    code, out, err = call(command)

    assert code == (0 if command == "leaderboard" else 2)
    assert ("Not ranked: 1 failed cell." in out) == (command == "leaderboard")
    assert "Traceback" not in out + err


@pytest.mark.parametrize("name", ["größe_馬", "<script>alert(1)</script>", "a|b", "[red]x[/red]"])
def test_names_are_shown_as_they_are(call, tmp_path, name):
    add(Ledger(tmp_path / "results" / "toy"), backbone=name)

    _, out, _ = call("leaderboard")

    assert name in out


@pytest.mark.slow
@pytest.mark.parametrize("command", [["ablation"], ["leaderboard"], ["compare", "results", "results"]])
def test_reading_does_not_import_tensorflow(ledger, tmp_path, command):
    code = (
        f"import sys; sys.argv = ['benchmark', *{command}]\n"
        "from benchmark.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print({'tensorflow', 'keras'} & set(sys.modules))\n"
    )

    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert answer.stdout.splitlines()[-1] == "set()"
