"""Recipe files read into sweeps, and what is said about a file that is wrong."""

from pathlib import Path

import pytest

from benchmark.errors import ConfigError, UnknownNameError
from benchmark.options import DenseOptions
from benchmark.plan.grid import expand
from benchmark.recipes import Grid, Published, find_recipe, read_recipe, recipe_paths, sweep_of_options
from benchmark.registry import read_registry, shipped_path

TOP = "at the top"
GRID_2 = r"table \[\[grid\]\] number 2"
PUBLISHED_1 = r"table \[\[published\]\] number 1"


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


@pytest.mark.parametrize(
    ("line", "option"), [("seeds = [1, 2]", {"folds": 3}), ("folds = 3", {"seeds": (1, 2)})], ids=["folds", "seeds"]
)
def test_folds_or_seeds_as_an_option_replace_the_other_of_the_recipe(tmp_path, line, option):
    (grid,) = read_recipe(written(tmp_path, f'name = "mine"\n{line}'), option).grid

    assert grid == Grid(**option)
    assert grid.model_fields_set & {"seeds", "folds"} == set(option)


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


def test_several_metrics_of_one_network_are_figures_of_their_own(tmp_path):
    text = """
    name = "mine"

    [[published]]
    dataset = "folder:*"
    backbone = "VGG16"
    values = { accuracy = 0.713, top5_accuracy = 0.901 }
    note = "their table 2"
    """

    sweep = read_recipe(written(tmp_path, text))

    same = {"dataset": "folder:*", "backbone": "VGG16", "note": "their table 2"}
    assert sweep.published == (
        Published(**same, metric="accuracy", value=0.713), Published(**same, metric="top5_accuracy", value=0.901),
    )  # fmt: skip


@pytest.mark.parametrize(
    "keys", ["values = 0.7", "values = {}", "values = { accuracy = 0.7 }\nvalue = 0.7", "values = {}\nmetric = 'auroc'"]
)
def test_values_take_the_place_of_metric_and_value(tmp_path, keys: str):
    text = f'name = "mine"\n[[published]]\ndataset = "digits"\nbackbone = "VGG16"\n{keys}'

    with pytest.raises(ConfigError, match=rf"(?s){PUBLISHED_1}:.*values: expected a table of metrics and their values"):
        read_recipe(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("seedz = [1]", TOP, r"seedz: not a key here\. Did you mean 'seeds'\?"),
        ("epoch = 3", TOP, r"epoch: not a key here\. Did you mean 'epochs' in dense or stages\?"),
        ("stages = [{ epoch = 3 }]", TOP, r"stages\.0\.epoch: not a key here\. Did you mean 'epochs'\?"),
        ("descripton = 'x'", TOP, r"descripton: not a key here\. Did you mean 'description'\?"),
        ("zzz = 1", TOP, r"zzz: not a key here\. Known: backbones, .*, published\."),
        ("[augment]\nflipp = 'both'", TOP, r"augment\.flipp: not a key here\. Did you mean 'flip'\?"),
        ("[[grid]]\n[[grid]]\nmode = 'unit'", GRID_2, r"mode: not a key here\. Did you mean 'modes'\?"),
        (
            "[[grid]]\n[[grid]]\nablation = true",
            GRID_2,
            r"ablation: not a key here\. It belongs at the top of the file\.",
        ),
        ("[[grid]]\n[[grid]]\nlimit = 0", GRID_2, r"limit: Input should be greater than or equal to 1 \(got 0\)"),
        ("seeds = ['one']", TOP, r"seeds\.0: Input should be a valid integer \(got 'one'\)"),
        ("seeds = [true]", TOP, r"seeds\.0: Input should be a valid integer \(got True\)"),
        ("seeds = [-1]", TOP, r"seeds\.0: Input should be greater than or equal to 0 \(got -1\)"),
        ("seeds = [4294967296]", TOP, r"seeds\.0: Input should be less than 4294967296 \(got 4294967296\)"),
        ("seeds = [2, 1, 2]", TOP, r"seeds: 2 is given twice: each seed is one run \(got \[2, 1, 2\]\)"),
        ("modes = 'native'", TOP, r"modes: Input should be a list \(got 'native'\)"),
        ("modes = []", TOP, r"modes: Give at least one"),
        ("stages = []", TOP, r"stages: Give at least one"),
        ("limit = 1.5", TOP, r"limit: Input should be a valid integer.*\(got 1\.5\)"),
        ("limit = true", TOP, r"limit: Input should be a valid integer \(got True\)"),
        ("folds = 1", TOP, r"folds: Input should be greater than or equal to 2 \(got 1\)"),
        ("folds = 1001", TOP, r"folds: Input should be less than or equal to 1000 \(got 1001\)"),
        (
            "input_size_px = 5000",
            "at the top",
            r"input_size_px: Input should be less than or equal to 4096 \(got 5000\)",
        ),
        ("val_fraction = 1.0", TOP, r"val_fraction: Input should be less than 1 \(got 1\.0\)"),
        ("val_fraction = true", TOP, r"val_fraction: Input should be a valid number \(got True\)"),
        (
            "precision = 'float64'",
            "at the top",
            r"precision: Input should be 'float32', 'bfloat16' or 'float16' \(got 'float64'\)",
        ),
        ("dense = 3", TOP, r"dense: Input should be a table \(got 3\)"),
        ("[dense]\nunitz = 3", TOP, r"dense\.unitz: not a key here\. Did you mean 'units'\?"),
        ("[dense]\nunits = 'x'", TOP, r"dense\.units: .*valid integer; or Input should be a list \(got 'x'\)"),
        ("[dense]\ndropout = 1.0", TOP, r"dense\.dropout: Input should be less than 1 \(got 1\.0\)"),
        ("[[published]]\nvalue = 'x'", PUBLISHED_1, r"value: Input should be a valid number \(got 'x'\)"),
        ("[[published]]\nvalue = 0.9", PUBLISHED_1, r"dataset: Field required"),
        ("[[published]]\nvaluee = 0.9", PUBLISHED_1, r"valuee: not a key here\. Did you mean 'value'\?"),
        ("grid = []", TOP, r"grid: Give at least one"),
        ("ablation = 1", TOP, r"ablation: Input should be a valid boolean \(got 1\)"),
        ("description = 3", TOP, r"description: Input should be a valid string \(got 3\)"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_file_table_key_and_value(tmp_path, text, place, complaint):
    path = written(tmp_path, f'name = "mine"\n{text}')

    with pytest.raises(ConfigError, match=rf"mine\.toml, {place}:\n(.*\n)*  {complaint}"):
        read_recipe(path)


@pytest.mark.parametrize("text", ["seeds = ['x']", "stages = [{ epochs = 0 }]", "[[grid]]\nmodes = [1]"])
def test_a_list_of_a_wrong_item_is_not_called_empty(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        read_recipe(written(tmp_path, f'name = "mine"\n{text}'))

    assert "at least one" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("", "name: Field required"), ("name = '../up'", "name: String should match pattern")],
)
def test_a_recipe_needs_a_name_that_can_be_a_folder(tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=rf"mine\.toml, at the top:\n  {complaint}"):
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
    with pytest.raises(ConfigError, match=r"the command line:\n  --limit: Input should be greater"):
        sweep_of_options("quick", {"limit": 0})


def test_a_wrong_option_beside_a_recipe_is_blamed_on_the_command_line(tmp_path):
    with pytest.raises(ConfigError, match=r"^the command line:\n  --input-size: .*\(got 0\)$"):
        read_recipe(written(tmp_path, 'name = "mine"'), {"input_size_px": 0})


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


def test_the_recipe_imagenet_has_every_documented_network_with_its_figures():
    registry = read_registry(shipped_path("backbones.toml"))
    sweep = read_recipe(find_recipe("imagenet"))

    cells = expand(sweep, registry)

    documented = {name for name, entry in registry.items() if entry.weights == "imagenet"} - {
        "MobileNetV3Small", "MobileNetV3Large",
    }  # fmt: skip
    assert sorted(cell.backbone.name for cell in cells) == sorted(documented)
    assert len(documented) == 38
    assert {(cell.strategy, cell.mode, cell.crop, cell.resize) for cell in cells} == {
        ("classify", "native", 0.875, "bilinear-antialias")
    }
    by_metric = {
        metric: {figure.backbone for figure in sweep.published if figure.metric == metric}
        for metric in {figure.metric for figure in sweep.published}
    }
    assert by_metric["accuracy"] == by_metric["params_total"] == by_metric["model_mib"] == documented
    assert documented - by_metric["top5_accuracy"] == {name for name in documented if name.startswith("ConvNeXt")}
    assert len(by_metric["latency_ms"]) == 26
    assert {figure.dataset for figure in sweep.published} == {"folder:*"}


def test_the_documented_parameters_of_imagenets_networks_are_plausible():
    """With the classifier, a network has at least 1,000 weights more for each of its features."""
    registry = read_registry(shipped_path("backbones.toml"))

    for figure in read_recipe(find_recipe("imagenet")).published:
        entry = registry[figure.backbone]
        if figure.metric == "params_total":
            assert figure.value > 0.98 * (entry.params_backbone + 1000 * entry.feature_dim), figure.backbone
        if figure.metric == "model_mib":
            assert figure.value > 0.98 * entry.params_backbone * 4 / 2**20, figure.backbone


def test_the_demo_is_two_backbones_by_three_modes_two_heads_and_three_seeds():
    cells = expand(read_recipe(find_recipe("demo")), read_registry(shipped_path("backbones.toml")))

    assert len(cells) == len(set(cells)) == 2 * 3 * 2 * 3
    assert {cell.backbone.name for cell in cells} == {"MobileNetV2-dogs", "VGG16-hed"}
    assert {cell.dataset.name for cell in cells} == {"digits"}
