"""Commands that make rows again: parsed by the program itself, they give just the cells that the rows name."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from benchmark.analysis.commands import OWN_REGISTRY, RESULTS, Command, Commands
from benchmark.analysis.loading import SETTING
from benchmark.cli.app import app
from benchmark.cli.options import grid_options, parse_where
from benchmark.cli.running import find_sweep
from benchmark.plan.cells import Cell
from benchmark.plan.grid import expand
from benchmark.recipes import read_recipe, recipe_paths, sweep_of_options
from benchmark.registry import load_registry
from benchmark.storage import digest_of_text

RUN = typer.main.get_command(app).commands["run"]
REGISTRY = load_registry()
TWO_STAGES = """
name = "own"
datasets = ["digits"]
backbones = ["MobileNetV2-dogs"]
seeds = [0, 1, 2]

[[grid]]
heads = ["linear", "dense"]
val_fraction = 0.3

[[grid]]
strategies = ["finetune"]
stages = [{ unfreeze = 0, epochs = 2 }, { unfreeze = 5, epochs = 1 }]

[[grid]]
strategies = ["finetune"]
stages = [{ unfreeze = "all", epochs = 1 }]
"""


def cells_done_by(command: Command) -> list[Cell]:
    """What `benchmark run` does when it is given the text of a command."""
    program, run, *arguments = shlex.split(command.text)
    assert (program, run) == ("benchmark", "run")
    context = RUN.make_context("run", arguments)
    assert context.params["results"] == Path(RESULTS)
    sweep, _ = find_sweep(context.params["recipe"], grid_options(context.params), context.params["name"])
    return expand(sweep, REGISTRY, parse_where(context.params["where"]))


def rows_of(cells: list[Cell], *, sha256: str = "", folder: str = "results/custom") -> pd.DataFrame:
    facts = {"dataset_fingerprint": "f" * 64, "folder": folder, "sweep": Path(folder).name, "recipe_sha256": sha256}
    return pd.DataFrame([{**cell.columns, **facts} for cell in cells])


def settings_of(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [some for _, some in rows.groupby(list(SETTING), sort=False, dropna=False)]


def columns_of(cells: list[Cell]) -> set[tuple[Any, ...]]:
    columns = {tuple(cell.columns.values()) for cell in cells}
    assert len(columns) == len(cells)
    return columns


def cells_of_options(**options: Any) -> list[Cell]:
    return expand(sweep_of_options("custom", options), REGISTRY)


@pytest.fixture
def own_recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "results of mine" / "own"
    folder.mkdir(parents=True)
    recipe = folder / "recipe.toml"
    recipe.write_text(TWO_STAGES)
    return recipe


# --- rows of recipes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", recipe_paths())
def test_every_setting_of_every_shipped_recipe_is_done_by_its_command_and_nothing_else(recipe: str):
    sweep = read_recipe(recipe_paths()[recipe])
    cells = expand(sweep, REGISTRY)
    rows = rows_of(cells, sha256=sweep.sha256)
    commands = Commands(rows)

    for some in settings_of(rows):
        (command,) = commands.of_setting(some.to_dict("records"))
        done = cells_done_by(command)

        assert command.arguments[:2] == ("run", recipe)
        assert command.remark == ""
        assert columns_of(done) == {
            tuple(row) for row in some[list(cells[0].columns)].itertuples(index=False, name=None)
        }
        assert set(done) <= set(cells), "the cell is another one, though it is called the same"


def test_a_command_names_no_column_that_the_others_make_needless():
    sweep = read_recipe(recipe_paths()["demo"])
    cells = [cell for cell in expand(sweep, REGISTRY) if cell.backbone.name == "VGG16-hed" and cell.mode == "unit"]
    rows = rows_of([cell for cell in cells if cell.head == "dense"], sha256=sweep.sha256)

    (command,) = Commands(rows).of_setting(rows.to_dict("records"))

    assert command.text == (
        "benchmark run demo --where backbone=VGG16-hed --where mode=unit --where head=dense --results mine"
    )


@pytest.mark.parametrize("seeds", [(0,), (1, 2)])
def test_seeds_of_a_recipe_that_are_not_asked_for_are_not_done(seeds: tuple[int, ...]):
    sweep = read_recipe(recipe_paths()["demo"])
    cells = [cell for cell in expand(sweep, REGISTRY) if cell.seed in seeds][: 6 * len(seeds)]
    rows = rows_of(cells, sha256=sweep.sha256)

    for some in settings_of(rows):
        done = [
            cell for command in Commands(rows).of_setting(some.to_dict("records")) for cell in cells_done_by(command)
        ]

        assert sorted(cell.seed for cell in done) == sorted(some["seed"])


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 100}, {"datasets": ("mnist",), "limit": 500}, {"input_size_px": 96}, {"seeds": (7,)},
        {"modes": ("caffe",)}, {"precision": "bfloat16", "resize": "nearest", "crop": "crop"}, {"heads": ("knn",)},
        {"backbones": ("ResNet50",)}, {"folds": 3},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_replaced_lists_of_a_recipe_are_given_again(options: dict[str, Any]):
    path = recipe_paths()["fashion_mnist"]
    if "folds" in options:
        path = recipe_paths()["animals5"]  # has no seeds of its own
    sweep = read_recipe(path, options)
    cells = expand(sweep, REGISTRY)
    rows = rows_of(cells, sha256=sweep.sha256)
    commands = Commands(rows)

    for some in settings_of(rows):
        done = [cell for command in commands.of_setting(some.to_dict("records")) for cell in cells_done_by(command)]

        assert set(done) <= set(cells)
        assert len(done) == len(some)


def test_a_recipe_of_ones_own_is_taken_from_beside_its_rows(own_recipe: Path):
    cells = expand(read_recipe(own_recipe), REGISTRY)
    rows = rows_of(cells, sha256=digest_of_text(TWO_STAGES), folder=str(own_recipe.parent))
    commands = Commands(rows)
    done = []

    for some in settings_of(rows):
        (command,) = commands.of_setting(some.to_dict("records"))
        assert command.arguments[1] == str(own_recipe)
        assert set(cells_done_by(command)) <= set(cells)
        done += cells_done_by(command)

    assert sorted(map(str, done)) == sorted(map(str, cells))


def test_rows_of_two_sweeps_get_a_command_each():
    cells = cells_of_options(backbones=("VGG16-hed",))
    rows = pd.concat([rows_of(cells, folder="results/a"), rows_of(cells, folder="results/b")])

    names = [command.arguments[2] for command in Commands(rows).of_setting(rows.to_dict("records"))]

    assert names == ["a", "b"]


# --- rows without a recipe -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"backbones": ("MobileNetV2-dogs",)},
        {"backbones": ("VGG16-hed", "ResNet50"), "modes": ("native", "unit"), "heads": ("knn",), "seeds": (0, 3)},
        {"datasets": ("folder:/my pets/a,b",), "classes": ("cat & dog", "größe"), "limit": 12},
        {"datasets": ("folder:/home/@me/pets@2x",), "limit": 5},
        {"datasets": ("tfds:stanford_dogs",), "input_size_px": 99, "resize": "bicubic-antialias", "crop": "crop"},
        {"strategies": ("finetune", "scratch"), "precision": "float32"},
        {"backbones": ("lenet5", "two_conv"), "strategies": ("scratch",), "modes": ("unit",)},
        {"folds": 4, "heads": ("ridge",)},
        {"folds": 3, "strategies": ("finetune",)},
        {"backbones": ("lenet5",), "strategies": ("scratch",), "folds": 2},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_a_sweep_of_options_are_done_by_their_options(options: dict[str, Any]):
    if "," in options.get("datasets", ("",))[0]:
        options = {**options, "datasets": (options["datasets"][0].replace(",", ";"),)}
    cells = cells_of_options(**options)
    rows = rows_of(cells)
    commands = Commands(rows)
    done = []

    for some in settings_of(rows):
        (command,) = commands.of_setting(some.to_dict("records"))
        assert command.arguments[1:3] == ("--name", "custom")
        done += cells_done_by(command)

    assert sorted(map(str, done)) == sorted(map(str, cells))
    assert set(done) == set(cells)


def test_a_row_whose_recipe_changed_since_says_what_may_differ(own_recipe: Path):
    cells = cells_of_options(backbones=("VGG16-hed",))
    rows = rows_of(cells, sha256="0" * 64, folder=str(own_recipe.parent))

    (command,) = Commands(rows).of_setting(rows.to_dict("records"))

    assert cells_done_by(command) == cells
    assert "recipe (000000000000…) is not at hand" in command.remark


def test_a_row_that_needs_its_lost_recipe_gets_no_command(own_recipe: Path):
    cells = expand(read_recipe(own_recipe), REGISTRY)[-3:]
    rows = rows_of(cells, sha256="0" * 64, folder=str(own_recipe.parent))

    (command,) = Commands(rows).of_setting(rows.to_dict("records"))

    assert command.text == ""
    assert "'finetune(all,epochs=1)'" in command.remark
    assert "not at hand" in command.remark


def test_a_backbone_of_another_registry_asks_for_that_file():
    rows = rows_of(cells_of_options(backbones=("VGG16-hed",))).assign(backbone="MyNet")

    (command,) = Commands(rows).of_setting(rows.to_dict("records"))

    assert command.arguments[-4:-2] == ("--registry", OWN_REGISTRY)
    assert command.remark == f"{OWN_REGISTRY}: the file that describes MyNet."


def test_a_recipe_that_names_a_backbone_of_another_registry_can_be_used(own_recipe: Path):
    text = TWO_STAGES.replace("MobileNetV2-dogs", "MyNet")
    own_recipe.write_text(text)
    cells = cells_of_options(backbones=("VGG16-hed",), seeds=(0, 1, 2))
    rows = rows_of(cells, sha256=digest_of_text(text), folder=str(own_recipe.parent)).assign(backbone="MyNet")

    (command,) = Commands(rows).of_setting(rows.to_dict("records"))

    assert command.text == (
        f"benchmark run '{own_recipe}' --registry {OWN_REGISTRY} --where head=linear --results mine"
    )


def test_what_the_program_would_refuse_is_said_instead_of_given():
    rows = rows_of(cells_of_options(backbones=("VGG16-hed",))).assign(mode="upside-down")

    (command,) = Commands(rows).of_setting(rows.to_dict("records"))

    assert command.text == ""
    assert "Unknown mode 'upside-down'" in command.remark


def test_the_name_of_one_of_several_contents_is_the_datasets():
    rows = rows_of(cells_of_options(backbones=("VGG16-hed",)))

    (command,) = Commands(rows).of_setting(rows.assign(dataset="digits #ffffffff").to_dict("records"))

    assert command.text == "benchmark run --name custom --backbones VGG16-hed --results mine"
