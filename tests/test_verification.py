"""Do the figures of a ledger come out again."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_ledgers import add, add_predicted

from benchmark.analysis.loading import load_runs
from benchmark.analysis.verification import has_regressed, is_comparable, verify_rows
from benchmark.errors import LedgerError
from benchmark.ledger import FAILED, RUNS, Ledger
from benchmark.registry import load_registry
from benchmark.storage import cache_root
from benchmark.sweep.repeating import choose_rows, clean_cache, plan_again

IMAGES = np.arange(1000)
MACHINE = {"platform": "Linux-x86_64", "cpu": "A", "cpu_count": 2, "keras_version": "3.15.1"}


def verify(tmp_path: Path, before: dict, after: dict, *, is_strict: bool = False) -> dict:
    """One cell, right on so many images before and after."""
    for name, facts in (("before", before), ("after", after)):
        add_predicted(Ledger(tmp_path / name), facts.pop("n_right", 900) > IMAGES, **{**MACHINE, **facts})
    table = verify_rows(load_runs([tmp_path / "before"]), load_runs([tmp_path / "after"]), is_strict=is_strict)
    (row,) = table.to_dict("records")
    return row


@pytest.mark.parametrize(
    ("after", "mark", "note"),
    [
        ({}, "=", ""),
        ({"n_right": 901}, "~", ""),
        ({"n_right": 911}, "-", "same machine type"),
        ({"n_right": 911, "cpu": "B"}, "-", "cpu 'A' then 'B'"),
        ({"cpu": "B"}, "=", "cpu 'A' then 'B'"),
        ({"params_total": 7}, "-", "params_total 2000000 then 7"),
        ({"weights_sha256": "b"}, "?", "the weights are not those"),
        ({"dataset_fingerprint": "0" * 64}, "?", "the images are not those"),
        ({"keras_version": "3.16.0", "n_right": 895}, "~", "keras 3.15.1 then 3.16.0"),
        ({"keras_version": "3.15.2"}, "=", ""),
    ],
)
def test_counts_are_compared_exactly_and_accuracies_within_a_tolerance(tmp_path, after, mark, note):
    row = verify(tmp_path, {}, after)

    assert row["mark"] == mark
    assert note in row["note"]
    assert bool(row["note"]) == bool(note)


def test_strictly_another_prediction_on_the_same_machine_is_a_change(tmp_path):
    assert verify(tmp_path / "a", {}, {"n_right": 901}, is_strict=True)["mark"] == "-"
    assert verify(tmp_path / "b", {}, {"n_right": 901, "cpu": "B"}, is_strict=True)["mark"] == "~"


def test_a_cell_that_fails_now_is_a_regression(tmp_path):
    add(Ledger(tmp_path / "before"))
    add(Ledger(tmp_path / "after"), status=FAILED, error_type="oom", error_message="too big")

    table = verify_rows(load_runs([tmp_path / "before"]), load_runs([tmp_path / "after"]))

    assert table[["mark", "note"]].to_numpy().tolist() == [["!", "oom: too big"]]
    assert has_regressed(table)


def test_nothing_can_be_compared_on_other_images(tmp_path):
    for name, fingerprint in (("before", "a"), ("after", "b")):
        add(Ledger(tmp_path / name), dataset_fingerprint=fingerprint)

    table = verify_rows(load_runs([tmp_path / "before"]), load_runs([tmp_path / "after"]))

    assert not is_comparable(table)


def test_the_quickest_cells_of_every_backbone_are_chosen_in_turn(tmp_path):
    ledger = Ledger(tmp_path / "toy")
    for backbone, wall_s in (("Slow", 9.0), ("Slow", 8.0), ("Quick", 1.0), ("Quick", 3.0), ("Quick", 2.0)):
        add(ledger, backbone=backbone, wall_s=wall_s, seed=int(wall_s))

    chosen = choose_rows(load_runs([ledger.folder]), 4)

    assert list(zip(chosen["backbone"], chosen["wall_s"], strict=True)) == [
        ("Quick", 1.0), ("Slow", 8.0), ("Quick", 2.0), ("Slow", 9.0),
    ]  # fmt: skip


def test_a_clean_cache_has_the_weights_and_nothing_else(tmp_path):
    (cache_root() / "weights").mkdir(parents=True)
    (cache_root() / "weights" / "one.h5").write_text("numbers")
    (cache_root() / "features").mkdir()
    before = cache_root()

    with clean_cache(tmp_path / "clean"):
        inside = cache_root()
        found = [path.relative_to(inside).as_posix() for path in inside.rglob("*")]
        weights = (inside / "weights" / "one.h5").read_text()

    assert inside == tmp_path / "clean"
    assert found == ["weights"]
    assert weights == "numbers"
    assert cache_root() == before


def test_a_ledger_without_its_recipe_cannot_be_done_again(tmp_path):
    ledger = Ledger(tmp_path / "toy")
    add(ledger)

    with pytest.raises(LedgerError, match=r"has no recipe\.toml"):
        plan_again(load_runs([ledger.folder]), load_registry(), Ledger(tmp_path / "new"))


# --- the command -----------------------------------------------------------------------------------------------------

BUILDER = """
def tiny(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images))
"""
REGISTRY = """
[Tiny]
builder = "verified_backbones:tiny"
mode = "tf"
input_size_px = 16
feature_dim = 8
weights = "random"
"""
RECIPE = 'name = "toy"\ndatasets = ["digits"]\nlimit = 300\nbackbones = ["Tiny"]\nheads = ["linear"]\nseeds = [0, 1]\n'


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_ledger_is_verified_by_doing_its_cells_again_elsewhere(tmp_path):
    (tmp_path / "verified_backbones.py").write_text(BUILDER)
    (tmp_path / "tiny.toml").write_text(REGISTRY)
    (tmp_path / "toy.toml").write_text(RECIPE)
    assert program(tmp_path, "run", "toy.toml", "--registry", "tiny.toml").returncode == 0
    ledger = tmp_path / "results" / "toy" / RUNS

    good = program(tmp_path, "verify", "--registry", "tiny.toml", "--cells", "all", "--strict", "--format", "md")
    runs = pd.read_csv(ledger, keep_default_na=False)
    runs.loc[0, "accuracy"] = 0.123
    runs.to_csv(ledger, index=False)
    bad = program(tmp_path, "verify", "--registry", "tiny.toml", "--cells", "all")

    assert good.returncode == 0, good.stderr
    assert "2 reproduced" in good.stdout
    assert bad.returncode == 3
    assert "1 changed" in bad.stdout
    assert "0.1230" in bad.stdout
