"""Do the figures of a ledger come out again."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy_ledgers import add, add_predicted

from benchmark.analysis.loading import load_all_runs, load_runs
from benchmark.analysis.pairs import has_regressed, is_comparable
from benchmark.analysis.verification import verify_rows
from benchmark.errors import LedgerError
from benchmark.ledger import DONE, FAILED, RUNS, Ledger, cell_names
from benchmark.options import DENSE_OPTIONS_BEFORE, DenseOptions
from benchmark.plan.examining import examine_networks
from benchmark.plan.grid import expanded
from benchmark.plan.planning import make_plan
from benchmark.plan.repeating import choose_rows, clean_cache, count_without_row, plan_again
from benchmark.recipes import Grid, Sweep, recipe_text
from benchmark.registry import Backbone, load_registry
from benchmark.storage import cache_root
from benchmark.work.rows import new_row

pytestmark = pytest.mark.usefixtures("unexamined")

IMAGES = np.arange(1000)
MACHINE = {
    "platform": "Linux-x86_64", "cpu": "A", "cpu_count": 2, "gpu": "", "keras_version": "3.15.1", "val_accuracy": 0.8,
}  # fmt: skip


def verified(tmp_path: Path) -> pd.DataFrame:
    """The rows of `before` compared with those of `after`, which have the keys of the same cells."""
    before, after = (load_all_runs([tmp_path / name]) for name in ("before", "after"))
    again = {}
    for row, new in zip(before.to_dict("records"), after.to_dict("records"), strict=True):
        has_same = all(row[column] == new[column] for column in ("dataset_fingerprint", "split_version"))
        keys = {column: row[column] for column in ("cell_key", "setting_key")} if has_same else {}
        again[row["folder"], row["run_id"]] = {**new, **keys}
    return verify_rows(before, again)


def verify(tmp_path: Path, before: dict, after: dict) -> dict:
    """One cell, right on so many images before and after."""
    for name, facts in (("before", before), ("after", after)):
        add_predicted(Ledger(tmp_path / name), facts.pop("n_right", 900) > IMAGES, **{**MACHINE, **facts})
    table = verified(tmp_path)
    (row,) = table.to_dict("records")
    return row


@pytest.mark.parametrize(
    ("after", "mark", "note"),
    [
        ({}, "=", ""),
        ({"n_right": 901}, "-", "same machine type"),
        ({"n_right": 901, "keras_version": "3.15.2"}, "~", "Keras 3.15.1 then 3.15.2"),
        ({"n_right": 901, "gpu": "A GPU"}, "~", "GPU none then A GPU"),
        ({"val_accuracy": 0.7}, "-", "val_accuracy 0.8 then 0.7; on the same machine type"),
        ({"val_accuracy": 0.7, "cpu": "B"}, "-", "val_accuracy 0.8 then 0.7; processor A then B"),
        ({"val_accuracy": 0.795, "cpu": "B"}, "=", "processor A then B"),
        ({"n_right": 901, "cpu": "B"}, "~", "processor A then B"),
        ({"n_right": 911, "cpu": "B"}, "-", "processor A then B"),
        ({"cpu": "B"}, "=", "processor A then B"),
        ({"params_total": 7}, "-", "params_total 2000000 then 7"),
        ({"weights_sha256": "b"}, "-", "weights_sha256 is another, but the predictions are those of the same weights"),
        ({"weights_sha256": "b", "n_right": 899, "cpu": "B"}, "-", "weights_sha256 is another"),
        ({"weights_sha256": "b", "n_right": 500}, "?", "the weights are not those"),
        ({"dataset_fingerprint": "0" * 64}, "?", "the images are not those"),
        ({"split_version": 3}, "?", "the splits are not drawn as those"),
        ({"keras_version": "3.16.0", "n_right": 895}, "~", "Keras 3.15.1 then 3.16.0"),
        ({"keras_version": "3.15.2"}, "=", "Keras 3.15.1 then 3.15.2"),
        ({"is_deterministic": 1}, "=", ""),
    ],
)
def test_counts_and_predictions_are_compared_exactly_and_accuracies_elsewhere_within_a_tolerance(
    tmp_path, after, mark, note
):
    row = verify(tmp_path, {}, after)

    assert row["mark"] == mark
    assert note in row["note"]
    assert bool(row["note"]) == bool(note)


@pytest.mark.parametrize(("is_deterministic", "mark"), [(0, "~"), (1, "-")])
def test_a_gpu_may_give_other_predictions_unless_it_was_deterministic(tmp_path: Path, is_deterministic: int, mark: str):
    gpu = {"gpu": "A GPU", "is_deterministic": is_deterministic}

    assert verify(tmp_path, {**gpu}, {"n_right": 901, **gpu})["mark"] == mark


@pytest.mark.parametrize(("error_type", "mark"), [("download", "?"), ("oom", "?"), ("timeout", "?"), ("diverged", "!")])
def test_a_failure_of_this_machine_is_not_a_regression(tmp_path: Path, error_type: str, mark: str):
    add(Ledger(tmp_path / "before"))
    add(Ledger(tmp_path / "after"), status=FAILED, error_type=error_type, error_message="too bad")

    table = verified(tmp_path)

    assert table[["mark", "note"]].to_numpy().tolist() == [[mark, f"{error_type}: too bad"]]
    assert has_regressed(table) == (mark == "!")
    assert is_comparable(table) == (mark == "!")


def test_rows_of_other_contents_of_one_dataset_are_each_held_against_their_own(tmp_path: Path):
    for name, n_right in (("a", 900), ("b", 800)):
        for moment in ("before", "after"):
            facts = {"dataset_fingerprint": name * 64, **MACHINE}
            add_predicted(Ledger(tmp_path / moment / name), n_right > IMAGES, **facts)

    table = verified(tmp_path)

    assert table["mark"].tolist() == ["=", "="]
    assert table["accuracy_before"].tolist() == [0.9, 0.8]


@pytest.mark.parametrize(("n_images", "mark"), [(40, "~"), (4000, "-")])
def test_elsewhere_a_test_set_too_small_for_the_tolerance_has_what_chance_explains(
    tmp_path: Path, rng: np.random.Generator, n_images: int, mark: str
):
    """Three in a hundred: of 40 images one, of 4,000 a hundred and twenty, with others that changed both ways."""
    right = np.arange(n_images) < 0.8 * n_images
    now = right.copy()
    now[: round(0.05 * n_images)] = False
    now[-round(0.02 * n_images) :] = True
    for name, images, cpu in (("before", right, "A"), ("after", now, "B")):
        add_predicted(Ledger(tmp_path / name), images, **{**MACHINE, "cpu": cpu})

    table = verified(tmp_path)

    (row,) = table.to_dict("records")
    assert row["accuracy_after"] - row["accuracy_before"] == pytest.approx(-0.03, abs=0.006)
    assert row["mark"] == mark


@pytest.mark.parametrize(
    ("n_epochs", "n_right", "marks"),
    [
        ((10, 20, 15), (950, 850, 900), "~~~"),
        ((10, 20, 15), (860, 850, 855), "---"),
        ((12, 12, 12), (950, 850, 900), "--="),
        ((20,), (850,), "-"),
    ],
)
def test_trainings_that_ended_at_other_epochs_are_tested_with_the_other_seeds_of_their_setting(
    tmp_path: Path, n_epochs: tuple[int, ...], n_right: tuple[int, ...], marks: str
):
    for seed, (epochs, right) in enumerate(zip(n_epochs, n_right, strict=True)):
        facts = {**MACHINE, "seed": seed, "setting_key": "setting"}
        add_predicted(Ledger(tmp_path / "before"), IMAGES < 900, **facts, epochs=12)
        add_predicted(Ledger(tmp_path / "after"), right > IMAGES, **{**facts, "cpu": "B"}, epochs=epochs)

    table = verified(tmp_path)

    assert "".join(table["mark"]) == marks
    says_p = table["note"].str.contains("all seeds of the setting together: p = ")
    assert says_p.tolist() == [mark == "~" and right != 900 for mark, right in zip(marks, n_right, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("n_cells", [1, 20])
def test_the_level_of_chance_is_that_of_all_cells_together(tmp_path: Path, n_cells: int):
    """One in twenty cells would be found to have changed by chance alone."""
    for name, n_right, cpu in (("before", 100, "A"), ("after", 109, "B")):
        for seed in range(n_cells):
            right = np.arange(200) < (n_right if seed == 0 else 100)
            add_predicted(Ledger(tmp_path / name), right, **{**MACHINE, "cpu": cpu, "seed": seed})

    table = verified(tmp_path)

    assert table["mark"].tolist() == ["-" if n_cells == 1 else "~"] + ["="] * (n_cells - 1)


def test_nothing_can_be_compared_on_other_images(tmp_path):
    for name, fingerprint in (("before", "a"), ("after", "b")):
        add(Ledger(tmp_path / name), dataset_fingerprint=fingerprint)

    table = verified(tmp_path)

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


TINY = Backbone(name="Tiny", folder=Path(), builder="nets:tiny", mode="tf", input_size_px=16, weights="random")


def a_ledger_of(folder: Path, grid: Grid) -> Ledger:
    """Finished rows of all cells of a grid, with the recipe that makes them."""
    ledger, sweep = Ledger(folder), Sweep(name="toy", grid=(grid,))
    sha256 = ledger.keep_recipe(recipe_text(expanded(sweep, {"Tiny": TINY})))
    for planned in make_plan(sweep, {"Tiny": TINY}, ledger).cells:
        row = {**new_row(planned, datetime.now().astimezone()), "dataset_fingerprint": planned.dataset_fingerprint}
        ledger.append_run({**row, "status": DONE, "recipe_sha256": sha256, "accuracy": 0.5, "n_test": 10})
    return ledger


def again(ledger: Ledger, rows: pd.DataFrame) -> list[str]:
    return [planned.key for planned in plan_again(rows, {"Tiny": TINY}, Ledger(ledger.folder.parent / "new"))]


@pytest.mark.parametrize("name", ["pets", "pets[cat,dog]@100", "pets, all of them (new)"])
def test_rows_are_planned_again_by_the_recipe_beside_them_whatever_their_dataset_is_called(
    tmp_path: Path, image_folder: Path, name: str
):
    pets = image_folder.rename(image_folder.with_name(name))
    ledger = a_ledger_of(
        tmp_path / "toy", Grid(backbones=("Tiny",), datasets=(f"folder:{pets}",), modes=("native", "unit"), folds=2)
    )
    rows = load_all_runs([ledger.folder])

    assert again(ledger, rows[::-1]) == rows["cell_key"].tolist()[::-1]


def test_a_cell_whose_key_has_changed_is_the_one_that_the_recipe_describes_alike(tmp_path: Path):
    ledger = a_ledger_of(
        tmp_path / "toy", Grid(backbones=("Tiny",), limit=200, heads=("linear", "dense"), seeds=(0, 1))
    )
    rows = load_all_runs([ledger.folder])

    keys = again(ledger, rows.assign(cell_key=[f"of another version {number}" for number in range(len(rows))]))

    assert keys == rows["cell_key"].tolist()


def test_a_share_with_more_digits_than_a_row_keeps_names_the_cell_all_the_same(tmp_path: Path):
    ledger = a_ledger_of(tmp_path / "toy", Grid(backbones=("Tiny",), limit=200, val_fraction=1 / 3))
    rows = load_all_runs([ledger.folder])

    assert again(ledger, rows) == rows["cell_key"].tolist()


def test_cells_of_a_recipe_that_have_no_row_are_counted(tmp_path: Path):
    ledger = a_ledger_of(tmp_path / "toy", Grid(backbones=("Tiny",), limit=200, seeds=(0, 1, 2)))
    rows = load_all_runs([ledger.folder])

    counts = [count_without_row(rows[:1], some, {"Tiny": TINY}) for some in (rows, rows[:2], rows[:1])]

    assert counts == [0, 1, 2]


def test_a_row_without_a_recipe_cannot_be_planned_again_and_says_how_it_gets_one(tmp_path: Path):
    add(Ledger(tmp_path / "toy"), recipe_sha256="0" * 64)

    with pytest.raises(LedgerError, match=r"does not hold the recipe of run run0.*'benchmark run RECIPE"):
        plan_again(load_all_runs([tmp_path / "toy"]), {"Tiny": TINY}, Ledger(tmp_path / "new"))


def test_a_cell_that_the_recipe_does_not_make_is_named(tmp_path: Path):
    ledger = a_ledger_of(tmp_path / "toy", Grid(backbones=("Tiny",), limit=200))
    rows = load_all_runs([ledger.folder])

    with pytest.raises(LedgerError, match="does not make the cell of run"):
        again(ledger, rows.assign(seed=7, cell_key="other"))


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


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans build the networks after all."""
    monkeypatch.setattr("benchmark.plan.planning.examine_networks", examine_networks)


@pytest.mark.slow
@pytest.mark.usefixtures("examined")
def test_a_ledger_is_verified_by_doing_its_cells_again_elsewhere(tmp_path: Path, program: Callable[..., Any]):
    (tmp_path / "verified_backbones.py").write_text(BUILDER)
    (tmp_path / "tiny.toml").write_text(REGISTRY)
    (tmp_path / "toy.toml").write_text(RECIPE)
    assert program(tmp_path, "run", "toy.toml", "--registry", "tiny.toml").returncode == 0
    ledger = tmp_path / "results" / "toy" / RUNS

    good = program(tmp_path, "verify", "--registry", "tiny.toml", "--cells", "all", "--format", "md")
    runs = pd.read_csv(ledger, keep_default_na=False)
    runs.loc[0, "accuracy"] = 0.123
    runs.to_csv(ledger, index=False)
    bad = program(tmp_path, "verify", "--registry", "tiny.toml", "--cells", "all")

    assert good.returncode == 0, good.stderr
    assert "2 reproduced" in good.stdout
    assert bad.returncode == 3
    assert "1 changed" in bad.stdout
    assert "0.1230" in bad.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("examined")
def test_a_folder_of_any_name_is_run_verified_made_again_and_reported(
    tmp_path: Path, image_folder: Path, program: Callable[..., Any]
):
    """Its name looks like the label of another dataset: some classes and images of a folder called pets."""
    name = "pets[cat,dog]@100"
    image_folder.rename(tmp_path / name)
    (tmp_path / "verified_backbones.py").write_text(BUILDER)
    (tmp_path / "tiny.toml").write_text(REGISTRY)
    own = ("--registry", "tiny.toml")
    options = ("--datasets", f'"folder:{name}"', "--backbones", "Tiny", "--heads", "ridge", "--name", "mine")

    ran = program(tmp_path, "run", *options, *own)
    (row,) = load_all_runs([tmp_path / "results"]).to_dict("records")
    verified = program(tmp_path, "verify", "--cells", "all", *own)
    again = program(tmp_path, "rerun", row["run_id"], *own)
    reported = program(tmp_path, "report", "--out", "report.html")

    assert [step.returncode for step in (ran, verified, again, reported)] == [0] * 4, verified.stderr + again.stderr
    assert row["dataset"] == f"folder:{name}"
    assert "1 reproduced" in verified.stdout
    (second,) = load_all_runs([tmp_path / "mine"]).to_dict("records")
    assert (second["cell_key"], second["accuracy"]) == (row["cell_key"], row["accuracy"])
    assert f"benchmark rerun {row['run_id']}" in (tmp_path / "report.html").read_text()

    (tmp_path / name).rename(tmp_path / "elsewhere")
    without = program(tmp_path, "verify", "results", "--cells", "all", *own)
    assert without.returncode == 3
    assert "is not a folder" in " ".join(without.stdout.split())


def test_recipes_that_were_stored_before_engines_could_be_chosen_make_the_cells_of_their_rows(tmp_path):
    """The head dense had other usual options then, too."""
    shutil.copytree(Path(__file__).parents[1] / "results" / "demo", tmp_path / "demo")
    (recipe,) = (tmp_path / "demo" / "recipes").iterdir()
    usual = {f"{name} = {getattr(DenseOptions(), name)}": f"{name} = {getattr(DENSE_OPTIONS_BEFORE, name)}"
             for name in ("epochs", "patience")}  # fmt: skip
    lines = [usual.get(line, line) for line in recipe.read_text().splitlines() if not line.startswith("engine = ")]
    recipe.write_text("\n".join(lines))
    rows = load_all_runs([tmp_path / "demo"]).assign(engine="tensorflow")

    planned = plan_again(rows, load_registry(), Ledger(tmp_path / "new"))

    assert [one.cell.earlier_name for one in planned] == cell_names(rows)
