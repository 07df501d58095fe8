"""`benchmark rerun`: the command that makes a row again, printed and run."""

import shlex
import sys
from pathlib import Path

import pytest
from toy_ledgers import add
from toy_sweep import start_sweep, write_sweep

from benchmark.cli import main
from benchmark.ledger import IDENTITY, Ledger
from benchmark.provenance import DETERMINISTIC, environment

COLUMNS = {"dataset": "digits", "mode": "native", "head": "knn", "strategy": "probe", "seed": 0, "input_size_px": 32}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark", "rerun", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.chdir(tmp_path)
    return Ledger(tmp_path / "results" / "toy")


def test_the_beginning_of_a_run_id_is_enough(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    run_id = add(ledger, backbone="MobileNetV2-dogs", **COLUMNS)
    add(ledger, backbone="VGG16-hed", **COLUMNS)

    assert call(monkeypatch, run_id[:8], "--dry-run") == 0

    command = shlex.split(capsys.readouterr().out)
    assert command[:4] == ["benchmark", "run", "--name", "toy"]
    assert command[command.index("--backbones") + 1] == "MobileNetV2-dogs"
    assert command[command.index("--heads") + 1] == "knn"


def test_a_replaced_row_can_be_made_again_too(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    first = add(ledger, backbone="VGG16-hed", **COLUMNS)
    add(ledger, backbone="VGG16-hed", **COLUMNS)

    assert call(monkeypatch, first, "--dry-run") == 0
    assert "VGG16-hed" in capsys.readouterr().out


@pytest.mark.parametrize(("platform", "is_asked"), [("Linux-x86_64", False), (f"Linux-x86_64{DETERMINISTIC}", True)])
def test_a_row_of_deterministic_operations_is_made_with_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys, platform: str, is_asked: bool
):
    run_id = add(ledger, backbone="VGG16-hed", platform=platform, **COLUMNS)

    assert call(monkeypatch, run_id, "--dry-run") == 0
    assert ("--deterministic" in shlex.split(capsys.readouterr().out)) == is_asked


@pytest.mark.parametrize(("run_id", "message"), [("none", "No run begins"), ("", "2 runs begin")])
def test_no_or_several_runs_are_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys, run_id: str, message: str
):
    add(ledger, backbone="MobileNetV2-dogs", **COLUMNS)
    add(ledger, backbone="VGG16-hed", **COLUMNS)

    assert call(monkeypatch, run_id, "--dry-run") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("commit", "note"), [("abc+dirty", "with changes that no commit holds"), ("abc", "made by commit abc; this is")]
)
def test_code_that_is_not_at_hand_is_said_so(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys, commit: str, note: str
):
    run_id = add(ledger, backbone="VGG16-hed", git_commit=commit, **COLUMNS)

    assert call(monkeypatch, run_id, "--dry-run") == 0
    assert note in capsys.readouterr().err


def test_the_same_code_and_machine_need_no_note(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    run_id = add(ledger, backbone="VGG16-hed", **{**COLUMNS, **environment(), "git_commit": ""})

    assert call(monkeypatch, run_id, "--dry-run") == 0
    assert capsys.readouterr().err == ""


def test_a_backbone_of_an_unknown_registry_asks_for_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys):
    run_id = add(ledger, backbone="Mine", **COLUMNS)

    assert call(monkeypatch, run_id) == 2
    assert "Give it with --registry." in capsys.readouterr().err


@pytest.mark.slow
def test_a_row_comes_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    write_sweep(tmp_path)
    assert start_sweep(tmp_path, "results", "--where", "backbone=One", "--where", "seed=1").wait(300) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runs = Ledger(tmp_path / "results" / "toy").read_runs()
    row = runs[runs["head"] == "dense"].iloc[-1]

    assert call(monkeypatch, row["run_id"], "--registry", "one.toml") == 0

    again = Ledger(tmp_path / "mine" / "toy").read_runs()
    compared = [*IDENTITY, "accuracy", "log_loss", "params_total", "dataset_fingerprint", "recipe_sha256"]
    assert again[compared].to_dict("records") == [row[compared].to_dict()]
