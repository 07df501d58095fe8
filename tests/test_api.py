"""What `from benchmark import …` gives."""

import doctest
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import benchmark
from benchmark import ablation, leaderboard, load_ledger
from benchmark.errors import LedgerError

ROOT = Path(__file__).parents[1]


def test_the_example_of_the_package_runs_on_the_committed_results(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)

    assert doctest.testmod(benchmark) == (0, 3 + 1)


def test_the_tables_are_those_of_the_committed_leaderboard(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    committed = pd.read_csv("results/leaderboard.csv", keep_default_na=False)

    board = leaderboard(load_ledger())

    assert board.columns.tolist() == committed.columns.tolist()
    assert board["accuracy"].tolist() == pytest.approx(committed["accuracy"].astype(float).tolist())
    assert board[["rank_first", "rank_last"]].to_numpy().tolist() == (
        committed[["rank_first", "rank_last"]].astype(int).to_numpy().tolist()
    )


def test_some_rows_give_the_tables_of_those_rows():
    runs = load_ledger(ROOT / "results" / "fashion_mnist")

    some = runs[(runs["backbone"] == "VGG16-hed") & (runs["seed"] == 0)]

    assert set(leaderboard(some)["backbone"]) == {"VGG16-hed"}
    assert set(ablation(some)["interval_over"]) == {"images"}


def test_a_place_without_a_ledger_is_refused(tmp_path: Path):
    with pytest.raises(LedgerError, match=r"There is no runs\.csv"):
        load_ledger(tmp_path)


def test_importing_the_package_imports_no_library():
    code = "import sys, benchmark; print(sorted({'pandas', 'numpy', 'tensorflow', 'typer'} & set(sys.modules)))"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"
