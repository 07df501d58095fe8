"""`benchmark rerun` makes a row again, by the recipe stored beside its ledger."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_sweep import write_sweep

from benchmark.cli import main
from benchmark.ledger import CELL_COLUMNS, DONE, Ledger
from benchmark.plan.grid import expanded
from benchmark.plan.planning import make_plan
from benchmark.recipes import Grid, Sweep, recipe_text
from benchmark.registry import Backbone, load_registry
from benchmark.work.rows import new_row


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark", "rerun", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger of `results` with the recipe of its rows, which `add_row` adds."""
    monkeypatch.chdir(tmp_path)
    return Ledger(tmp_path / "results" / "toy")


def add_row(ledger: Ledger, backbone: str = "VGG16-hed", **columns: Any) -> str:
    """A finished row of a cell that its stored recipe makes."""
    grid = Grid(backbones=(backbone,), limit=200, heads=("knn",), input_size_px=32)
    sweep, registry = Sweep(name="toy", grid=(grid,)), {**load_registry(), "Mine": MINE}
    (planned,) = make_plan(sweep, registry, Ledger(ledger.folder / "none")).cells
    row = {**new_row(planned, datetime.now().astimezone()), "git_commit": "", "is_dirty": 0, **columns}
    sha256 = ledger.keep_recipe(recipe_text(expanded(sweep, registry)))
    ledger.append_run({**row, "status": DONE, "recipe_sha256": sha256, "accuracy": 0.5})
    return str(row["run_id"])


MINE = Backbone(name="Mine", folder=Path(), builder="nets:mine", mode="tf", input_size_px=16, weights="random")


def test_the_beginning_of_a_run_id_is_enough(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    run_id = add_row(ledger, "MobileNetV2-dogs")
    add_row(ledger)

    assert call(monkeypatch, run_id[:8], "--dry-run") == 0

    said = capsys.readouterr().out
    assert said.startswith("MobileNetV2-dogs digits native probe knn 32 px seed 0")
    assert said.rstrip().endswith(str(Path("mine", "toy")))
    assert not Path("mine").exists()


def test_a_replaced_row_can_be_made_again_too(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    first = add_row(ledger)
    add_row(ledger)

    assert call(monkeypatch, first, "--dry-run") == 0
    assert "VGG16-hed" in capsys.readouterr().out


def test_a_row_whose_key_has_changed_is_made_again_with_a_note(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    run_id = add_row(ledger, cell_key="of another version", setting_key="of another version")

    assert call(monkeypatch, run_id, "--dry-run") == 0
    assert "data, weights or versions have changed" in capsys.readouterr().err


@pytest.mark.parametrize(("run_id", "message"), [("none", "No run begins"), ("", "2 runs begin")])
def test_no_or_several_runs_are_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys, run_id: str, message: str
):
    add_row(ledger, "MobileNetV2-dogs")
    add_row(ledger)

    assert call(monkeypatch, run_id, "--dry-run") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("is_dirty", "note"), [(1, "with changes that no commit holds"), (0, "made by commit abc; this is")]
)
def test_code_that_differs_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys, is_dirty: int, note: str):
    run_id = add_row(ledger, git_commit="abc", is_dirty=is_dirty)

    assert call(monkeypatch, run_id, "--dry-run") == 0
    assert note in capsys.readouterr().err


def test_the_same_code_and_machine_need_no_note(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    run_id = add_row(ledger)

    assert call(monkeypatch, run_id, "--dry-run") == 0
    assert capsys.readouterr().err == ""


def test_a_backbone_of_another_registry_asks_for_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("benchmark.plan.planning.examine_networks", lambda *_: {})  # its module does not exist
    run_id = add_row(ledger, "Mine")

    assert call(monkeypatch, run_id) == 2
    assert "--registry" in capsys.readouterr().err


@pytest.mark.slow
def test_a_row_comes_out_again(tmp_path: Path, program: Callable[..., Any]):
    write_sweep(tmp_path)
    one = ("--registry", "one.toml")
    assert program(tmp_path, "run", "toy.toml", *one, "--where", "backbone=One", "--where", "seed=1").returncode == 0
    runs = Ledger(tmp_path / "results" / "toy").read_runs()
    row = runs[runs["head"] == "dense"].iloc[-1]

    assert program(tmp_path, "rerun", row["run_id"], *one).returncode == 0

    again = Ledger(tmp_path / "mine" / "toy").read_runs()
    compared = [
        *CELL_COLUMNS,
        "cell_key",
        "setting_key",
        "is_deterministic",
        "accuracy",
        "log_loss",
        "params_total",
        "dataset_fingerprint",
        "recipe_sha256",
    ]
    pd.testing.assert_series_equal(again[compared].iloc[0], row[compared], check_names=False)
