"""Recipe files read into sweeps, and what is said about a file that is wrong."""

from pathlib import Path

import pytest

from benchmark.errors import ConfigError, UnknownNameError
from benchmark.options import DenseOptions
from benchmark.plan.grid import expand
from benchmark.recipes import Grid, Published, find_recipe, read_recipe, recipe_paths, sweep_of_options
from benchmark.registry import read_registry, shipped_path


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_of_a_name_alone_is_one_grid_of_defaults(tmp_path):
    sweep = read_recipe(written(tmp_path, 'name = "mine"'))

    assert (sweep.name, sweep.description, sweep.published) == ("mine", "", ())
    assert sweep.grid == (Grid(),)


def test_keys_at_the_top_are_defaults_that_a_grid_replaces(tmp_path):
    text = """
    name = "mine"
    modes = ["native", "unit"]
    seeds = [3, 4]

    [[grid]]
    backbones = ["VGG16"]

    [[grid]]
    backbones = ["ResNet50"]
    seeds = [5]
    """

    first, second = read_recipe(written(tmp_path, text)).grid

    assert first == Grid(backbones=("VGG16",), modes=("native", "unit"), seeds=(3, 4))
    assert second == Grid(backbones=("ResNet50",), modes=("native", "unit"), seeds=(5,))


def test_overrides_replace_the_keys_of_the_top_and_of_every_grid(tmp_path):
    text = 'name = "mine"\nmodes = ["unit"]\n[[grid]]\nseeds = [5]\n[[grid]]\nlimit = 50'

    sweep = read_recipe(written(tmp_path, text), {"seeds": [7], "modes": ["raw"]})

    assert sweep.grid == (Grid(modes=("raw",), seeds=(7,)), Grid(modes=("raw",), seeds=(7,), limit=50))


@pytest.mark.parametrize("place", ["[dense]", "[[grid]]\n[grid.dense]"])
def test_options_of_the_dense_head_stand_at_the_top_or_in_a_grid(tmp_path, place):
    sweep = read_recipe(written(tmp_path, f'name = "mine"\n{place}\nunits = 8'))

    assert sweep.grid[0].dense == DenseOptions(units=8)


@pytest.mark.parametrize(("line", "is_meant"), [("", False), ("ablation = true", True), ("ablation = false", False)])
def test_a_recipe_may_say_that_wrong_preprocessing_is_meant(tmp_path, line, is_meant):
    assert read_recipe(written(tmp_path, f'name = "mine"\n{line}')).ablation is is_meant


def test_published_figures_are_kept(tmp_path):
    text = """
    name = "mine"

    [[published]]
    dataset = "digits"
    backbone = "VGG16"
    metric = "macro_f1"
    value = 0.9
    note = "their table 2"
    """

    sweep = read_recipe(written(tmp_path, text))

    figure = Published(dataset="digits", backbone="VGG16", metric="macro_f1", value=0.9, note="their table 2")
    assert sweep.published == (figure,)


@pytest.mark.parametrize(
    ("text", "table", "complaint"),
    [
        ("seedz = [1]", "grid 1", r"seedz: Extra inputs are not permitted \(got \[1\]\)"),
        ("[[grid]]\n[[grid]]\nmode = 'unit'", "grid 2", r"mode: Extra inputs are not permitted \(got 'unit'\)"),
        ("seeds = ['one']", "grid 1", r"seeds\.0: Input should be a valid integer \(got 'one'\)"),
        ("seeds = [-1]", "grid 1", r"seeds\.0: Input should be greater than or equal to 0 \(got -1\)"),
        ("modes = 'native'", "grid 1", r"modes: Input should be a valid tuple \(got 'native'\)"),
        ("modes = []", "grid 1", r"modes: Tuple should have at least 1 item"),
        ("limit = 1.5", "grid 1", r"limit: Input should be a valid integer.*\(got 1\.5\)"),
        ("val_fraction = 1.0", "grid 1", r"val_fraction: Input should be less than 1 \(got 1\.0\)"),
        ("precision = 'float16'", "grid 1", r"precision: Input should be 'float32' or 'bfloat16' \(got 'float16'\)"),
        ("[dense]\nunitz = 3", "grid 1", r"dense\.unitz: Extra inputs are not permitted \(got 3\)"),
        ("[dense]\ndropout = 1.0", "grid 1", r"dense\.dropout: Input should be less than 1 \(got 1\.0\)"),
        ("[[published]]\nvalue = 'x'", "published 1", r"value: Input should be a valid number \(got 'x'\)"),
        ("[[published]]\nvalue = 0.9", "published 1", r"dataset: Field required"),
        ("[[published]]\nyear = 2020", "published 1", r"year: Extra inputs are not permitted \(got 2020\)"),
        ("grid = []", "top", r"grid: Tuple should have at least 1 item"),
        ("ablation = 1", "top", r"ablation: Input should be a valid boolean \(got 1\)"),
        ("[[grid]]\nablation = true", "grid 1", r"ablation: Extra inputs are not permitted \(got True\)"),
        ("description = 3", "top", r"description: Input should be a valid string \(got 3\)"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_file_table_key_and_value(tmp_path, text, table, complaint):
    path = written(tmp_path, f'name = "mine"\n{text}')

    with pytest.raises(ConfigError, match=rf"mine\.toml, table \[{table}\]:\n(.*\n)*  {complaint}"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("", "name: Field required"), ("name = '../up'", "name: String should match pattern")],
)
def test_a_recipe_needs_a_name_that_can_be_a_folder(tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=rf"mine\.toml, table \[top\]:\n  {complaint}"):
        read_recipe(written(tmp_path, text))


@pytest.mark.parametrize("text", ["grid = 3", "grid = [3]", "[grid]\nseeds = [1]"])
def test_a_grid_that_is_no_list_of_tables_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"mine\.toml: grid must be tables, each headed \[\[grid\]\]"):
        read_recipe(written(tmp_path, f'name = "mine"\n{text}'))


@pytest.mark.parametrize("text", ["published = 5", "published = ['x']", "[published]\nvalue = 0.9"])
def test_published_figures_that_are_no_list_of_tables_are_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"mine\.toml.*published"):
        read_recipe(written(tmp_path, f'name = "mine"\n{text}'))


def test_a_missing_recipe_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        read_recipe(tmp_path / "absent.toml")


def test_options_of_the_command_line_make_a_sweep_of_one_grid():
    sweep = sweep_of_options("quick", {"backbones": ["VGG*"], "seeds": [0, 1]})

    assert (sweep.name, sweep.grid) == ("quick", (Grid(backbones=("VGG*",), seeds=(0, 1)),))


def test_a_wrong_option_is_named():
    with pytest.raises(ConfigError, match=r"the command line, table \[options\]:\n  limit: Input should be greater"):
        sweep_of_options("quick", {"limit": 0})


def test_a_recipe_is_found_by_its_path_or_by_the_name_of_a_shipped_one(tmp_path):
    assert find_recipe(str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
    assert find_recipe("demo") == shipped_path("recipes") / "demo.toml"


def test_an_unknown_recipe_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown recipe 'dmeo'\. Did you mean 'demo'\? Known: "):
        find_recipe("dmeo")


@pytest.mark.parametrize("name", sorted(recipe_paths()))
def test_a_shipped_recipe_bears_its_files_name_and_expands_against_the_shipped_registry(name):
    registry = read_registry(shipped_path("backbones.toml"))

    sweep = read_recipe(find_recipe(name))
    cells = expand(sweep, registry)

    assert sweep.name == name
    assert sweep.description
    assert cells


def test_the_demo_is_two_backbones_by_three_modes_two_heads_and_three_seeds():
    cells = expand(read_recipe(find_recipe("demo")), read_registry(shipped_path("backbones.toml")))

    assert len(cells) == len(set(cells)) == 2 * 3 * 2 * 3
    assert {cell.backbone.name for cell in cells} == {"MobileNetV2-dogs", "VGG16-hed"}
    assert {cell.dataset.name for cell in cells} == {"digits"}
