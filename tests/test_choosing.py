"""`--where`, `--top` and `--columns`: which rows and columns are shown, and what is said of the others."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_ledgers import add, add_predicted

from benchmark import console
from benchmark.analysis import ablation, leaderboard
from benchmark.analysis.choosing import rows_where
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.loading import load_runs
from benchmark.charts import Evidence
from benchmark.cli.options import complete
from benchmark.errors import UnknownNameError
from benchmark.ledger import FAILED, Ledger

IMAGES = np.arange(1000)
Call = Callable[..., tuple[int, str, str]]


def test_the_best_by_what_was_not_measured_is_nobody_and_the_table_says_why(call: Call, tmp_path: Path):
    add(Ledger(tmp_path / "results" / "toy"), backbone="NetA")

    code, out, _ = call("leaderboard", "--by", "top5_accuracy", "--top", "3")

    assert code == 0
    assert "In 1 other, what they are ranked by was not measured." in " ".join(out.split())


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Four backbones, the last two equally accurate, in mode native; the first in two further modes."""
    ledger = Ledger(tmp_path / "results" / "toy")
    for backbone, accuracy in (("NetA", 0.9), ("NetB", 0.7), ("VGG1", 0.6), ("VGG2", 0.6)):
        add(ledger, backbone=backbone, accuracy=accuracy, log_loss=0.25, limit=500)
    add(ledger, backbone="NetA", mode="unit", accuracy=0.5, limit=500)
    add(ledger, backbone="NetA", mode="raw", accuracy=0.8, limit=500)
    return ledger


def records(call: Call, *arguments: str) -> list[dict]:
    code, out, err = call(*arguments, "--format", "json")
    assert code == 0, err
    return json.loads(out)


# --- --where ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "backbones"),
    [
        (["backbone=VGG*"], ["VGG1", "VGG2"]),
        (["backbone=Net?", "mode=native"], ["NetA", "NetB"]),
        (["limit=500", "mode=native"], ["NetA", "NetB", "VGG1", "VGG2"]),
        (["folds=", "mode=unit"], ["NetA"]),
        (["seed=0", "backbone=NetB"], ["NetB"]),
        (["dataset=digits@500", "backbone=VGG?"], ["VGG1", "VGG2"]),
        (["dataset=digits", "mode=unit"], ["NetA"]),
        (["sweep=toy", "log_loss=0.25", "backbone=NetA"], ["NetA"]),
        (["log_loss=", "mode=r*"], ["NetA"]),
    ],
)
def test_rows_are_chosen_by_any_column(call: Call, ledger: Ledger, where: list[str], backbones: list[str]):
    options = [word for condition in where for word in ("--where", condition)]

    assert [record["backbone"] for record in records(call, "leaderboard", *options)] == backbones


def test_ranks_and_their_correction_are_of_the_chosen_rows_alone(call: Call, tmp_path: Path):
    """Two settings that are told apart at 5 % are not any more if Holm corrects for 45 pairs."""
    ledger = Ledger(tmp_path / "results" / "toy")
    for backbone, n_right in {"NetA": 700, "NetB": 660, **{f"Other{n}": 655 - n for n in range(8)}}.items():
        right = np.random.default_rng(n_right).permutation(IMAGES) < n_right
        add_predicted(ledger, right, backbone=backbone)

    everything = {one["backbone"]: one for one in records(call, "leaderboard")}
    chosen = {one["backbone"]: one for one in records(call, "leaderboard", "--where", "backbone=Net*")}

    assert chosen["NetB"]["rank"] == everything["NetB"]["rank"] == 2
    assert chosen["NetB"]["p_best"] < everything["NetB"]["p_best"]


def test_failed_cells_that_were_not_chosen_are_not_counted(call: Call, ledger: Ledger):
    add(ledger, status=FAILED, backbone="Broken", error_type="oom")

    assert "failed" not in call("leaderboard", "--where", "backbone=Net*")[1]
    assert "1 failed cell" in call("leaderboard", "--where", "backbone=Broken")[1]


def test_an_ablation_is_of_the_chosen_rows(call: Call, tmp_path: Path):
    ledger = Ledger(tmp_path / "results" / "toy")
    for backbone in ("NetA", "NetB"):
        add(ledger, backbone=backbone, accuracy=0.9)
        add(ledger, backbone=backbone, mode="unit", accuracy=0.5)

    assert [one["backbone"] for one in records(call, "ablation", "--where", "backbone=NetB")] == ["NetB"]


@pytest.mark.parametrize("command", ["leaderboard", "ablation", "plot", "report"])
@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (["backbon=NetA"], "Unknown column in --where 'backbon'. The nearest of"),
        (["backbone=NetX"], "Unknown backbone in --where 'NetX'. Did you mean 'Net"),
        (["backbone"], "--where takes column=value"),
        (["seed=0", "seed=1"], "--where gives seed twice"),
    ],
)
def test_a_wrong_condition_is_refused(call: Call, ledger: Ledger, command: str, conditions: list[str], message: str):
    pytest.importorskip("itables")  # which the report needs

    code, _, err = call(command, *(word for one in conditions for word in ("--where", one)))

    assert code == 2
    assert message in " ".join(err.split())
    assert "backbone" in err or command


def test_of_no_rows_an_unknown_column_is_refused_too(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    Ledger(tmp_path / "empty").append_run({"schema": 2, "run_id": "a", "status": FAILED, "seed": 0, "input_size_px": 8})
    runs = load_runs([tmp_path])

    assert len(rows_where(runs[:0], {"seed": "0"})) == 0
    with pytest.raises(UnknownNameError, match="Unknown column in --where 'sed'"):
        rows_where(runs[:0], {"sed": "0"})


# --- --top -----------------------------------------------------------------------------------------------------------


def test_the_best_are_shown_and_the_number_of_all_is_said(call: Call, ledger: Ledger):
    add(ledger, dataset="mnist", backbone="NetM")

    assert [one["backbone"] for one in records(call, "leaderboard", "--top", "1")] == ["NetA", "NetM"]
    assert call("leaderboard", "--top", "2", "--format", "md")[1].count("Shown: the first 2 of 6 rows.") == 1


def test_equal_values_are_shown_together(call: Call, ledger: Ledger):
    shown = records(call, "leaderboard", "--top", "3")

    assert [one["backbone"] for one in shown] == ["NetA", "NetB", "VGG1", "VGG2"]


def test_those_that_cannot_be_told_from_the_last_shown_are_counted(call: Call, tmp_path: Path):
    ledger = Ledger(tmp_path / "results" / "toy")
    for number in range(4):
        add_predicted(ledger, 700 - number > IMAGES, backbone=f"Net{number}")
    add_predicted(ledger, IMAGES < 300, backbone="Worse")

    _, out, _ = call("leaderboard", "--top", "2", "--format", "md")

    assert "Shown: the first 2 of 5 rows. 2 of the others may be among the best 2: their range of ranks begins" in out


def test_the_cut_changes_no_rank_and_no_test(call: Call, ledger: Ledger):
    for number in range(3):
        add_predicted(ledger, 700 - 30 * number > IMAGES, backbone=f"Net{number}", dataset="seen")

    assert records(call, "leaderboard", "--top", "2") == [
        one for one in records(call, "leaderboard") if one["rank"] is not None and one["rank"] <= 2
    ]


def test_the_most_harmful_are_shown(call: Call, ledger: Ledger):
    add(ledger, backbone="NetA", mode="tf", accuracy=0.85, limit=500)

    assert [one["mode"] for one in records(call, "ablation", "--top", "2")] == ["unit", "raw"]
    assert "Shown: the first 2 of 3 rows." in call("ablation", "--top", "2")[1]


@pytest.mark.parametrize("command", ["leaderboard", "ablation", "plot", "report"])
@pytest.mark.parametrize("top", ["0", "-1", "some"])
def test_a_wrong_number_of_rows_is_refused(call: Call, ledger: Ledger, command: str, top: str):
    assert call(command, "--top", top)[0] == 2


def test_charts_show_the_best_settings_in_all_modes_with_their_ranks_among_all(tmp_path: Path, ledger: Ledger):
    evidence = Evidence.load([tmp_path], top=1)

    settings = evidence.settings("digits@500")
    assert settings["backbone"].tolist() == ["NetA"] * 3
    assert settings["mode"].tolist() == ["native", "raw", "unit"]
    assert sorted(evidence.done["backbone"].unique()) == ["NetA"]
    assert evidence.ablation["mode"].tolist() == ["unit", "raw"]
    whole, best = Evidence.load([tmp_path]).ranking, evidence.ranking
    assert best.equals(whole.loc[best.index])


def test_a_report_says_what_it_was_chosen_by(call: Call, ledger: Ledger):
    pytest.importorskip("itables")

    code, out, _ = call("report", "--where", "backbone=Net*", "--top", "1")

    page = Path(out.strip()).read_text(encoding="utf-8")
    assert code == 0
    assert "only backbone Net*" in page
    assert "only the best 1 of a dataset" in page
    assert "benchmark report results --where &#39;backbone=Net*&#39; --top 1" in page
    assert "NetB, mode native" not in page
    assert "VGG1" not in page


def test_plots_are_of_the_chosen_rows(call: Call, ledger: Ledger):
    code, out, err = call("plot", "--where", "backbone=NetB", "--only", "accuracy", "--formats", "svg")

    assert (code, len(out.splitlines())) == (0, 1), err


# --- --columns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "command"), [(leaderboard, "leaderboard"), (ablation, "ablation")])
def test_the_columns_that_can_be_chosen_are_those_of_the_table(call: Call, tmp_path: Path, module, command: str):
    for mode in ("native", "unit"):
        add(Ledger(tmp_path / "results" / "toy"), mode=mode)

    assert [*records(call, command)[0]] == [*module.COLUMNS]


def test_machines_get_the_chosen_columns_in_their_order_and_that_of_the_rank(call: Call, ledger: Ledger):
    _, out, _ = call("leaderboard", "--columns", "log_loss, backbone,log_loss", "--by", "efficiency", "--format", "csv")

    assert next(csv.reader(io.StringIO(out))) == ["log_loss", "backbone", "efficiency"]


@pytest.mark.parametrize("format_name", ["table", "md"])
def test_people_get_the_chosen_columns_in_their_order(call: Call, ledger: Ledger, format_name: str):
    chosen = "n_test,backbone,accuracy_low,accuracy,rank,resize,augment,accuracy_high"

    _, out, _ = call("leaderboard", "--columns", chosen, "--top", "1", "--format", format_name)

    gap = "[ |]+"
    assert re.search(gap.join(["Backbone", "(95 % )?interval", "Accuracy", "Rank", "Resize", "Augment"]), out)
    assert re.search(gap.join(["100", "NetA"]), out)
    assert re.search(gap.join(["0.9000", "1", "bilinear", "–"]), out)


@pytest.mark.parametrize("command", ["leaderboard", "ablation"])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_chosen_column_is_left_out_on_a_narrow_screen(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, width: int
):
    for mode in ("native", "unit"):
        add(Ledger(tmp_path / "results" / "toy"), mode=mode, accuracy_low=0.4, accuracy_high=0.6)
    monkeypatch.setattr(console.stdout, "width", width)
    columns = {"leaderboard": leaderboard, "ablation": ablation}[command].COLUMNS

    _, out, _ = call(command, "--columns", ",".join(columns))

    rule = next(line for line in out.splitlines() if line.startswith("───"))
    first = out.splitlines()[out.splitlines().index(rule) + 1]
    assert len(first.split()) > 20
    assert "bilinear" in out
    assert "No room" not in out
    assert "…" not in out


def test_few_chosen_columns_fit_80_columns(call: Call, ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console.stdout, "width", 80)

    _, out, _ = call("leaderboard", "--columns", "rank,backbone,mode,log_loss,params_total,n_test,wall_s")

    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"1  NetA +native +0\.2500 +2\.00 +100 +10\b", out)


@pytest.mark.parametrize(
    ("command", "columns", "message"),
    [
        ("leaderboard", "backbon", "Unknown column in --columns 'backbon'. Did you mean 'backbone'?"),
        ("ablation", "verdict,lost", "Unknown column in --columns 'lost'."),
        ("leaderboard", " , ", "--columns takes names, comma separated, got none. Known: rank,"),
        ("ablation", '"a', "Unknown column in --columns 'a'"),
    ],
)
def test_wrong_columns_are_refused(call: Call, ledger: Ledger, command: str, columns: str, message: str):
    code, _, err = call(command, "--columns", columns)

    assert code == 2
    assert message in " ".join(err.split())


def test_names_of_columns_are_completed():
    assert complete("benchmark.analysis.leaderboard:COLUMNS")("backbone,latency_") == [
        "backbone,latency_ms", "backbone,latency_p95_ms",
    ]  # fmt: skip
    assert complete("benchmark.ledger:RUN_COLUMNS")("dataset") == ["dataset", "dataset_fingerprint"]


# --- --out -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "begin"), [("csv", "rank,"), ("md", "## digits"), ("json", "[\n"), ("CSV", "rank,")]
)
def test_a_file_has_the_format_of_its_suffix(call: Call, ledger: Ledger, suffix: str, begin: str):
    code, _, err = call("leaderboard", "--out", f"board.{suffix}")

    assert code == 0, err
    assert Path(f"board.{suffix}").read_text(encoding="utf-8").startswith(begin)


def test_a_format_that_is_given_counts_more_than_the_suffix(call: Call, ledger: Ledger):
    assert call("leaderboard", "--out", "board.csv", "--format", "json")[0] == 0

    assert json.loads(Path("board.csv").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", [["leaderboard"], ["ablation"], ["compare", "results", "results"], ["verify"]])
@pytest.mark.parametrize("name", ["board", "board.txt", "board.csv.gz"])
def test_a_name_that_says_no_format_is_refused(call: Call, ledger: Ledger, command: list[str], name: str):
    code, _, err = call(*command, "--out", name)

    assert code == 2
    assert f"{name} does not say its format: let it end in one of .csv, .json, .md" in " ".join(err.split())
    assert not Path(name).exists()


def test_the_correctness_of_chosen_rows_is_known(ledger: Ledger, tmp_path: Path):
    run_id = add_predicted(ledger, IMAGES < 900, backbone="Seen")

    chosen = rows_where(load_runs([tmp_path]), {"backbone": "Seen"})

    assert Correctness(chosen).of_run(str(ledger.folder), run_id).sum() == 900
