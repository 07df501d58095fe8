"""The grid, the keys of its cells, and which cells share work."""

import itertools
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.datasets import SPLIT_VERSION
from benchmark.errors import BenchmarkError, UnknownNameError, WeightsError
from benchmark.features.cache import cache_key
from benchmark.ledger import CELL_COLUMNS
from benchmark.options import FINETUNE, USUAL_STAGES, Augmentation, DenseOptions, Stage
from benchmark.plan.cells import Cell, DatasetRequest, feature_facts, job_key, make_keys, view_key
from benchmark.plan.grid import expand, expanded, select_cells
from benchmark.plan.planned import MISSING, PlannedCell, group_into_jobs
from benchmark.provenance import environment
from benchmark.recipes import Grid, Published, Sweep, read_recipe, recipe_text
from benchmark.registry import Backbone

FOLDER = Path("registry")
FINGERPRINT = "0" * 64


def a_backbone(name: str, **facts: Any) -> Backbone:
    return Backbone(
        name=name,
        folder=FOLDER,
        **{"application": "ResNet50", "mode": "caffe", "input_size_px": 64, "min_size_px": 32, **facts},
    )


REGISTRY = {
    name: a_backbone(name, mode=mode)
    for name, mode in (("NetB1", "caffe"), ("NetB0", "caffe"), ("Other", "tf"), ("Plain", "raw"))
}
OWN = {"application": None, "builder": "nets:own", "weights": "random", "mode": "unit", "has_classifier": True}
# Two networks with their own classifiers beside the others.
MIXED = REGISTRY | {name: a_backbone(name, **OWN, input_size_px=28, min_size_px=16) for name in ("own1", "own2")}


def a_sweep(*grids: Grid) -> Sweep:
    return Sweep(name="toy", grid=grids)


def a_cell(**settings: Any) -> Cell:
    usual: dict[str, Any] = {
        "backbone": REGISTRY["NetB0"], "dataset": DatasetRequest("digits"), "mode": "native", "strategy": "probe",
        "head": "linear", "seed": 0, "input_size_px": 64, "resize": "bilinear", "crop": "squash",
        "engine": "tensorflow", "precision": "float32", "val_fraction": 0.1, "dense": DenseOptions(),
    }  # fmt: skip
    return Cell(**{**usual, **settings})


def key_of(cell: Cell, fingerprint: str) -> str:
    return make_keys(cell, fingerprint)[0]


def with_backbone(**facts: Any) -> Cell:
    return a_cell(backbone=a_backbone("NetB0", **facts))


# --- the grid --------------------------------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_lists():
    grid = Grid(
        backbones=("NetB0", "Other"), datasets=("digits", "mnist"), modes=("native", "unit"), heads=("linear", "knn"),
        seeds=(0, 5),
    )  # fmt: skip

    cells = expand(a_sweep(grid), REGISTRY)

    assert len(cells) == 2 * 2 * 2 * 2 * 2
    assert len(set(cells)) == len(cells)


def test_the_cells_stand_in_the_order_of_the_lists_the_seeds_changing_fastest():
    grid = Grid(backbones=("Other", "NetB0"), modes=("unit", "native"), seeds=(3, 1))

    cells = expand(a_sweep(grid), REGISTRY)

    assert [(cell.backbone.name, cell.mode, cell.seed) for cell in cells] == [
        ("Other", "unit", 3), ("Other", "unit", 1), ("Other", "native", 3), ("Other", "native", 1),
        ("NetB0", "unit", 3), ("NetB0", "unit", 1), ("NetB0", "native", 3), ("NetB0", "native", 1),
    ]  # fmt: skip


def test_shots_are_an_axis_and_without_them_a_cell_has_all_images():
    grids = (Grid(backbones=("NetB0",), shots=(1, 25), seeds=(3, 0)), Grid(backbones=("NetB0",)))

    cells = expand(a_sweep(*grids), REGISTRY)

    assert [(cell.shots, cell.seed) for cell in cells] == [(1, 3), (1, 0), (25, 3), (25, 0), (None, 0)]
    assert [cell.columns["shots"] for cell in cells[1:]] == [1, 25, 25, None]
    assert [str(cell).partition("64 px ")[2] for cell in cells[-2:]] == ["shots 25 seed 0", "seed 0"]


def test_patterns_name_several_backbones_modes_and_heads_each_once():
    grid = Grid(backbones=("NetB*", "NetB0"), modes=("[tc]*",), heads=("*",))

    cells = expand(a_sweep(grid), REGISTRY)

    assert list(dict.fromkeys(cell.backbone.name for cell in cells)) == ["NetB1", "NetB0"]
    assert {cell.mode for cell in cells} == {"tf", "caffe", "torch"}
    assert {cell.head for cell in cells} == {"linear", "ridge", "knn", "prototype", "dense"}
    assert len(cells) == 2 * 3 * 5


def test_a_cell_that_two_grids_name_is_done_once():
    first = Grid(backbones=("NetB0",), seeds=(0, 1))
    second = Grid(backbones=("NetB0", "Other"), seeds=(1, 2))

    cells = expand(a_sweep(first, second), REGISTRY)

    assert [(cell.backbone.name, cell.seed) for cell in cells] == [
        ("NetB0", 0), ("NetB0", 1), ("NetB0", 2), ("Other", 1), ("Other", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"seed": "1"}, [("NetB0", 1), ("Other", 1)]),
        ({"backbone": "Net*"}, [("NetB0", 0), ("NetB0", 1)]),
        ({"backbone": "Other", "seed": "0"}, [("Other", 0)]),
    ],
)
def test_columns_choose_among_the_cells(where: dict[str, str], kept: list[tuple[str, int]]):
    cells = select_cells(expand(a_sweep(Grid(backbones=("NetB0", "Other"), seeds=(0, 1))), REGISTRY), where)

    assert [(cell.backbone.name, cell.seed) for cell in cells] == kept


def test_a_name_with_brackets_is_chosen_as_it_stands():
    grid = Grid(backbones=("NetB0",), datasets=("folder:pets[old]", "folder:petso"))

    (cell,) = select_cells(expand(a_sweep(grid), REGISTRY), {"dataset": "folder:pets[old]"})

    assert cell.dataset.name == "folder:pets[old]"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"seeds": "0"}, "Unknown column in --where 'seeds'. Did you mean 'seed'"),
        ({"seed": "7"}, "Unknown seed in --where '7'. Known: 0."),
    ],
)
def test_a_choice_of_nothing_is_refused(where: dict[str, str], message: str):
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        select_cells(expand(a_sweep(Grid(backbones=("NetB0",))), REGISTRY), where)


def test_the_size_is_the_registrys_where_the_recipe_gives_none():
    sizes = [
        expand(a_sweep(Grid(backbones=("NetB0",), input_size_px=size)), REGISTRY)[0].input_size_px
        for size in (None, 96)
    ]

    assert sizes == [64, 96]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"backbones": ("NetB9",)}, r"Unknown backbone 'NetB9'\. Did you mean 'NetB\d'\?"),
        ({"backbones": ("Vgg*",)}, r"Unknown backbone 'Vgg\*'"),
        ({"datasets": ("digit",)}, r"Unknown dataset 'digit'\. Did you mean 'digits'\?"),
        ({"datasets": ("folder:",)}, r"Unknown dataset 'folder:'"),
        ({"modes": ("cafe",)}, r"Unknown mode 'cafe'\. Did you mean 'caffe'\?"),
        ({"heads": ("lineer",)}, r"Unknown head 'lineer'\. Did you mean 'linear'\?"),
        ({"strategies": ("prob",)}, r"Unknown strategy 'prob'\. Did you mean 'probe'\?"),
        ({"resize": "bilinaer"}, r"'bilinaer'.*'bilinear'"),
        ({"crop": "squish"}, r"'squish'.*'squash'"),
    ],
)
def test_an_unknown_name_is_refused_with_what_may_be_meant(setting: dict[str, Any], message: str):
    with pytest.raises(UnknownNameError, match=message):
        expand(a_sweep(Grid(**{"backbones": ("NetB0",), **setting})), REGISTRY)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"metric": "acuracy"}, r"Unknown metric of a published figure 'acuracy'\. Did you mean 'accuracy'\?"),
        ({"metric": "backbone"}, "Unknown metric of a published figure 'backbone'"),
        ({"dataset": "digit"}, r"Unknown dataset 'digit'\. Did you mean 'digits'\?"),
        ({"dataset": "digit@300"}, "Unknown dataset 'digit'"),
    ],
)
def test_a_published_figure_of_something_unknown_is_refused(facts: dict[str, str], message: str):
    figure = Published(**{"dataset": "digits", "backbone": "NetB0", **facts}, value=0.5)

    with pytest.raises(UnknownNameError, match=message):
        expand(a_sweep(Grid(backbones=("NetB0",))).model_copy(update={"published": (figure,)}), REGISTRY)


@pytest.mark.parametrize("dataset", ["digits@300", "folder:pets[old][cat,dog]@100", "tfds:stanford_dogs"])
def test_a_published_figure_names_its_dataset_as_leaderboards_do(dataset: str):
    figure = Published(dataset=dataset, backbone="NetB0", value=0.5)

    assert expand(a_sweep(Grid(backbones=("NetB0",))).model_copy(update={"published": (figure,)}), REGISTRY)


def test_a_size_below_the_minimum_is_refused_with_the_minimum():
    with pytest.raises(BenchmarkError, match="Other needs an input of at least 32 px, got 31 px"):
        expand(a_sweep(Grid(backbones=("Other",), input_size_px=31)), REGISTRY)


def test_the_smallest_size_is_allowed():
    (cell,) = expand(a_sweep(Grid(backbones=("Other",), input_size_px=32)), REGISTRY)

    assert cell.input_size_px == 32


def test_the_columns_of_a_cell_are_those_that_name_it_in_the_ledger():
    cell = a_cell(dataset=DatasetRequest("folder:pets", 300, ("cat", "hot dog")), folds=4)

    assert tuple(cell.columns) == CELL_COLUMNS
    assert [cell.columns[name] for name in ("dataset", "classes", "limit", "folds")] == [
        "folder:pets", "cat,hot dog", 300, 4,
    ]  # fmt: skip


def test_two_cells_that_differ_only_in_dropped_copies_are_two_rows_of_a_ledger():
    kept, dropped = (a_cell(dataset=DatasetRequest("folder:pets", drop_duplicates=drop)) for drop in (False, True))

    assert kept.name != dropped.name
    assert [cell.columns["drop_duplicates"] for cell in (kept, dropped)] == [None, 1]


@pytest.mark.parametrize(
    ("settings", "columns"),
    [
        ({"head": "dense"}, ("probe", "", "dense", "")),
        ({"head": "dense", "dense": DenseOptions(units=512, epochs=3)}, ("probe", "", "dense", "units=512,epochs=3")),
        (
            {
                "strategy": "finetune",
                "head": "dense",
                "stages": USUAL_STAGES[FINETUNE],
                "dense": DenseOptions(units=0, epochs=3),
            },
            ("finetune", "", "dense", "units=0"),
        ),
        (
            {"strategy": "finetune", "head": "dense", "stages": (Stage(epochs=3), Stage(unfreeze=5))},
            ("finetune", "0,epochs=3 + 5", "dense", ""),
        ),
    ],
)
def test_a_name_and_its_options_are_columns_of_their_own(settings: dict[str, Any], columns: tuple[str, ...]):
    found = a_cell(**settings).columns

    assert tuple(found[name] for name in ("strategy", "stages", "head", "head_options")) == columns


# --- expanded recipes ------------------------------------------------------------------------------------------------


def test_an_expanded_sweep_names_everything_and_has_one_strategy_in_each_grid():
    grid = Grid(backbones=("NetB*", "own1"), modes=("native", "r*"), strategies=("probe", "scratch"))

    probe, scratch = expanded(a_sweep(grid), MIXED).grid

    assert (probe.strategies, probe.backbones, probe.stages) == (("probe",), ("NetB1", "NetB0"), None)
    assert (scratch.strategies, scratch.backbones) == (("scratch",), ("NetB1", "NetB0", "own1"))
    assert {stage.unfreeze for stage in scratch.stages or ()} == {"all"}
    assert probe.modes == scratch.modes == ("native", "raw")


GRIDS = st.builds(
    lambda strategies, backbones, modes, heads, repeats, stages, dense, flip, size, limit, shots: Grid(
        strategies=strategies, backbones=backbones, modes=modes, stages=stages, dense=dense, input_size_px=size,
        limit=limit, shots=shots, **({"heads": heads} if strategies == ("probe",) else {}),
        **({"augment": Augmentation(flip=flip)} if "probe" not in strategies else {}), **repeats,
    ),
    strategies=st.sampled_from([("probe",), ("finetune",), ("scratch",), ("probe", "finetune"), ("*t*",)]),
    backbones=st.lists(st.sampled_from(["NetB*", "NetB0", "Other", "Plain"]), min_size=1).map(tuple),
    modes=st.lists(st.sampled_from(["native", "unit", "t*"]), min_size=1).map(tuple),
    heads=st.lists(st.sampled_from(["linear", "dense", "*"]), min_size=1).map(tuple),
    repeats=st.sampled_from([{}, {"seeds": (3, 1)}, {"folds": 3}]),
    stages=st.sampled_from(
        [None, (Stage(epochs=2, class_weights=(("cat", 2.0),)), Stage(unfreeze=0.5, class_weights="balanced"))]
    ),
    dense=st.builds(DenseOptions, units=st.sampled_from([0, 8, (8, 4)]), dropout=st.sampled_from([0.0, 0.2])),
    flip=st.sampled_from(["none", "both"]),
    size=st.sampled_from([None, 64, 96]),
    limit=st.sampled_from([None, 300]),
    shots=st.sampled_from([None, (5,), (10, 1)]),
)  # fmt: skip


@pytest.mark.slow
@settings(deadline=None)
@given(grids=st.lists(GRIDS, min_size=1, max_size=3))
def test_the_stored_recipe_of_a_sweep_makes_the_same_cells(tmp_path_factory: pytest.TempPathFactory, grids: list[Grid]):
    sweep = Sweep(name="toy", ablation=True, grid=tuple(grids))
    path = tmp_path_factory.mktemp("recipe") / "stored.toml"

    path.write_text(recipe_text(expanded(sweep, REGISTRY)))

    assert expand(read_recipe(path), REGISTRY) == expand(sweep, REGISTRY)


def test_cells_with_other_weights_share_no_job():
    grids = (Grid(backbones=("NetB0",)), Grid(backbones=("NetB0",), weights="random"))

    own, drawn = expand(Sweep(name="toy", grid=grids), REGISTRY)

    assert (own.backbone.weights, drawn.backbone.weights) == (REGISTRY["NetB0"].weights, "random")
    assert job_key(own) != job_key(drawn)
    assert feature_facts(own, "f") != feature_facts(drawn, "f")


def test_a_stored_recipe_keeps_its_meaning_when_a_default_changes():
    text = recipe_text(expanded(a_sweep(Grid(backbones=("NetB0",))), REGISTRY))

    assert set(Grid.model_fields) - set(tomllib.loads(text)["grid"][0]) == {
        "input_size_px", "batch_size", "limit", "part", "classes", "stages", "folds", "shots", "weights",
    }, "an option is left to its default"  # fmt: skip


# --- keys ------------------------------------------------------------------------------------------------------------

CHANGES = {
    "mode": a_cell(mode="unit"),
    "the same steps under another name": a_cell(mode="caffe"),
    "strategy": a_cell(strategy="finetune"),
    "head": a_cell(head="ridge"),
    "stages": a_cell(strategy="finetune", stages=(Stage(epochs=3),)),
    "augment": a_cell(strategy="finetune", augmentation=Augmentation(flip="both")),
    "units of a trained head": a_cell(strategy="finetune", dense=DenseOptions(units=512)),
    "folds": a_cell(folds=5),
    "shots": a_cell(shots=5),
    "more shots": a_cell(shots=10),
    "seed": a_cell(seed=1),
    "size": a_cell(input_size_px=96),
    "resize": a_cell(resize="nearest"),
    "crop": a_cell(crop="crop"),
    "precision": a_cell(precision="bfloat16"),
    "engine": a_cell(engine="openvino"),
    "batch_size": a_cell(batch_size=64),
    "val_fraction": a_cell(val_fraction=0.2),
    "backbone": a_cell(backbone=REGISTRY["NetB1"]),
    "application": with_backbone(application="ResNet101"),
    "builder": with_backbone(application=None, builder="nets:tiny", weights="random"),
    "right mode": with_backbone(mode="tf"),
    "preprocess": with_backbone(preprocess="resnet"),
    "weights": with_backbone(weights="random"),
    "weights of a wheel": with_backbone(weights="pypi:nets==1.0/nets/a.h5", weights_sha256="a" * 64),
    "checksum of a wheel's weights": with_backbone(weights="pypi:nets==1.0/nets/a.h5", weights_sha256="b" * 64),
    "weights_group": with_backbone(weights_group="model_weights"),
    "weights_match": with_backbone(weights_match="order"),
    "weights_graph": with_backbone(weights_graph="imagenet"),
    "alpha": with_backbone(alpha=0.5),
    "minimalistic": with_backbone(minimalistic=True),
    "depth_multiplier": with_backbone(depth_multiplier=2),
    "include_preprocessing": with_backbone(include_preprocessing=False),
    "weights_skip": with_backbone(weights_skip=("dense*",)),
    "cut": with_backbone(application=None, builder="nets:tiny", weights="random", cut="gap"),
    "pooling": with_backbone(application=None, builder="nets:tiny", weights="random", pooling="max"),
    "weights of a builder": with_backbone(application=None, builder="nets:tiny", weights="builder"),
    "network of a builder": a_cell(network_sha256="a" * 64),
    "another network of a builder": a_cell(network_sha256="b" * 64),
    "network of its own": with_backbone(application=None, builder="nets:tiny", weights="random", has_classifier=True),
}  # fmt: skip


def test_every_setting_and_every_fact_of_the_registry_changes_the_key():
    keys = {name: key_of(cell, FINGERPRINT) for name, cell in CHANGES.items()} | {
        "nothing": key_of(a_cell(), FINGERPRINT),
        "fingerprint": key_of(a_cell(), "1" * 64),
        "dense": key_of(a_cell(head="dense"), FINGERPRINT),
    }

    twins = {name: [other for other in keys if other != name and keys[other] == key] for name, key in keys.items()}

    assert not any(twins.values()), twins


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "seed"])
def test_rows_that_differ_in_anything_but_the_seed_are_never_one_setting(change: str):
    setting = make_keys(a_cell(), FINGERPRINT)[1]

    assert make_keys(CHANGES[change], FINGERPRINT)[1] != setting
    assert make_keys(replace(CHANGES[change], seed=7), FINGERPRINT)[1] == make_keys(CHANGES[change], FINGERPRINT)[1]


def test_the_keys_of_cells_without_shots_are_those_from_before_there_were_shots():
    cell = a_cell(backbone=a_backbone("NetB0"))
    setting = cache_key(
        {
            "features": feature_facts(cell, FINGERPRINT), "registry": cell.backbone.facts, "mode": "native",
            "strategy": "probe", "head": "linear", "folds": None, "val_fraction": 0.1, "split_version": SPLIT_VERSION,
        }
    )  # fmt: skip

    assert make_keys(cell, FINGERPRINT)[1] == setting


def test_all_shots_share_the_features_of_all_images():
    facts = [feature_facts(a_cell(shots=shots), FINGERPRINT) for shots in (None, 1, 5)]

    assert facts[0] == facts[1] == facts[2]


def test_splits_that_are_drawn_otherwise_are_another_setting(monkeypatch: pytest.MonkeyPatch):
    before = make_keys(a_cell(), FINGERPRINT)
    monkeypatch.setattr("benchmark.plan.cells.SPLIT_VERSION", SPLIT_VERSION + 1)

    after = make_keys(a_cell(), FINGERPRINT)

    assert not set(before) & set(after)


def test_rows_of_another_content_of_the_dataset_are_another_setting():
    assert make_keys(a_cell(), FINGERPRINT)[1] != make_keys(a_cell(), "1" * 64)[1]


@pytest.mark.parametrize(
    "options",
    [{"units": 255}, {"dropout": 0.3}, {"epochs": 21}, {"patience": 4}, {"batch_size": 64}, {"learning_rate": 2e-3}],
    ids=lambda options: next(iter(options)),
)
def test_the_options_of_dense_change_the_key_of_dense_only(options: dict[str, Any]):
    dense = DenseOptions(**options)

    assert key_of(a_cell(head="dense", dense=dense), FINGERPRINT) != key_of(a_cell(head="dense"), FINGERPRINT)
    assert key_of(a_cell(dense=dense), FINGERPRINT) == key_of(a_cell(), FINGERPRINT)


def test_a_dataset_is_known_by_its_content_and_not_by_its_name():
    spellings = ("folder:pets", "folder:pets/", "folder:./pets", "folder:/home/me/pets")

    keys = {key_of(a_cell(dataset=DatasetRequest(name)), FINGERPRINT) for name in spellings}

    assert len(keys) == 1


def test_cells_of_one_setting_differ_in_their_seed_only():
    (key, setting_key), (other_key, same_setting_key) = (make_keys(a_cell(seed=seed), FINGERPRINT) for seed in (0, 1))
    _, other_setting_key = make_keys(a_cell(val_fraction=0.2), FINGERPRINT)

    assert setting_key == same_setting_key
    assert key != other_key
    assert setting_key != other_setting_key


def test_facts_that_only_inform_do_not_change_the_key():
    informed = with_backbone(flops_g=7.75, params_backbone=23_587_712, feature_dim=2048)
    moved = a_cell(backbone=REGISTRY["NetB0"].model_copy(update={"folder": Path("elsewhere")}))

    keys = {key_of(cell, FINGERPRINT) for cell in (a_cell(), informed, moved)}

    assert len(keys) == 1


@settings(deadline=None)  # the first look-up of a version reads files
@given(seed=st.integers(0, 10_000), size=st.integers(32, 512), fingerprint=st.text("0123456789abcdef", min_size=1))
def test_equal_cells_have_equal_keys_of_32_digits(seed: int, size: int, fingerprint: str):
    one, other = (key_of(a_cell(seed=seed, input_size_px=size), fingerprint) for _ in range(2))

    assert one == other
    assert len(one) == 32
    assert set(one) <= set("0123456789abcdef")


def test_the_minor_versions_of_the_frameworks_change_the_key():
    keys = []
    for keras, tensorflow in (("3.15.1", "2.21.0"), ("3.15.2", "2.21.9"), ("3.16.0", "2.21.0"), ("3.15.1", "2.22.0")):
        versions = {**environment(), "keras_version": keras, "tensorflow_version": tensorflow}
        keys.append(make_keys(a_cell(), FINGERPRINT, versions)[0])

    assert keys[0] == keys[1], "a patch release changed the key"
    assert len(set(keys)) == 3


def test_without_versions_the_key_is_that_of_this_installation():
    assert make_keys(a_cell(), FINGERPRINT) == make_keys(a_cell(), FINGERPRINT, environment())


def test_the_content_of_a_weights_file_changes_the_key_and_its_place_does_not(tmp_path: Path):
    keys = []
    for folder, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.h5").write_bytes(content)
        backbone = REGISTRY["NetB0"].model_copy(update={"folder": tmp_path / folder, "weights": "file:net.h5"})
        keys.append(key_of(a_cell(backbone=backbone), FINGERPRINT))

    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_a_missing_weights_file_is_named(tmp_path: Path):
    backbone = REGISTRY["NetB0"].model_copy(update={"folder": tmp_path, "weights": "file:net.h5"})

    with pytest.raises(WeightsError, match=r"NetB0: .*net\.h5 does not exist"):
        key_of(a_cell(backbone=backbone), FINGERPRINT)


# --- shared work -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right_mode", "twin"), [("caffe", "caffe"), ("tf", "tf"), ("torch", "torch"), ("raw", "raw")])
def test_native_shares_the_view_of_the_mode_that_it_is(right_mode: str, twin: str):
    backbone = a_backbone("Net", mode=right_mode)
    native, same, other = (a_cell(backbone=backbone, mode=mode) for mode in ("native", twin, "unit"))

    assert view_key(native) == view_key(same)
    assert feature_facts(native, FINGERPRINT) == feature_facts(same, FINGERPRINT)
    assert view_key(native) != view_key(other)


@pytest.mark.parametrize("change", ["head", "seed", "val_fraction"])
def test_cells_that_differ_in_what_follows_the_features_share_them(change: str):
    assert feature_facts(CHANGES[change], FINGERPRINT) == feature_facts(a_cell(), FINGERPRINT)
    assert view_key(CHANGES[change]) == view_key(a_cell())


def test_the_name_of_a_dataset_is_no_fact_of_its_features():
    spellings = ("folder:../pets", "folder:pets/", "folder:./pets", "folder:/home/me/pets")

    keys = {cache_key(feature_facts(a_cell(dataset=DatasetRequest(name)), FINGERPRINT)) for name in spellings}

    assert len(keys) == 1


@pytest.mark.parametrize("change", ["mode", "resize", "crop", "precision", "engine", "batch_size"])
def test_cells_that_are_extracted_otherwise_do_not_share_features(change: str):
    assert feature_facts(CHANGES[change], FINGERPRINT) != feature_facts(a_cell(), FINGERPRINT)
    assert view_key(CHANGES[change]) != view_key(a_cell())


def test_jobs_are_the_cells_of_one_backbone_dataset_and_size():
    grid = Grid(backbones=("NetB0", "Other"), datasets=("digits", "mnist"), seeds=(0, 1))
    cells = expand(a_sweep(grid, replace_size(grid, 96)), REGISTRY)
    shuffled = cells[::2] + cells[1::2]

    jobs = jobs_of(shuffled)

    shared = [{(cell.backbone.name, cell.dataset.name, cell.input_size_px) for cell in job} for job in jobs]
    assert [len(group) for group in shared] == [1] * 8
    assert len(set.union(*shared)) == 8
    assert sorted(itertools.chain(*jobs), key=cells.index) == cells


def jobs_of(cells: list[Cell]) -> list[list[Cell]]:
    return [
        [planned.cell for planned in job] for job in group_into_jobs(PlannedCell(cell, "", MISSING) for cell in cells)
    ]


def replace_size(grid: Grid, size_px: int) -> Grid:
    return grid.model_copy(update={"input_size_px": size_px})


def test_the_cells_of_one_view_are_neighbours_in_their_job():
    modes = ("native", "unit", "caffe", "raw")
    cells = [a_cell(mode=mode, seed=seed) for seed in range(3) for mode in modes]

    (job,) = jobs_of(cells)

    views = [view_key(cell) for cell in job]
    n_changes = sum(one != other for one, other in itertools.pairwise(views))
    assert n_changes == 2, "a view would be extracted or opened twice"
    assert sorted(job, key=cells.index) == cells


def test_a_cell_says_what_it_is():
    text = str(replace(a_cell(seed=3), dataset=DatasetRequest("digits", 300)))

    assert text == "NetB0 digits native probe linear 64 px seed 3"


# --- strategies ------------------------------------------------------------------------------------------------------


def test_a_network_with_its_own_classifier_is_trained_from_scratch_without_a_head():
    (cell,) = expand(a_sweep(Grid(backbones=("own1",), strategies=("scratch",))), MIXED)

    assert (cell.backbone.name, cell.strategy, cell.head) == ("own1", "scratch", "")
    assert cell.view.steps == ("unit",)
    assert cell.input_size_px == 28


def test_beside_backbones_it_takes_only_its_own_strategy():
    grid = Grid(backbones=("Other", "own*"), strategies=("finetune", "scratch"))

    cells = expand(a_sweep(grid), MIXED)

    assert [(cell.backbone.name, cell.strategy) for cell in cells] == [
        ("Other", "finetune"), ("Other", "scratch"), ("own1", "scratch"), ("own2", "scratch"),
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["*", "O*", "[NOo]*[r1]"])
def test_a_pattern_leaves_out_what_cannot_be_probed(pattern: str):
    cells = expand(a_sweep(Grid(backbones=(pattern,))), MIXED)

    assert "Other" in {cell.backbone.name for cell in cells}
    assert not any(cell.backbone.has_classifier for cell in cells)


@pytest.mark.parametrize("strategy", ["probe", "finetune"])
@pytest.mark.parametrize("asked", [("own1",), ("Other", "own1"), ("*", "own1"), ("own*",)])
def test_one_that_is_named_is_refused_with_the_strategy_that_it_takes(strategy: str, asked: tuple[str, ...]):
    message = rf"{re.escape(asked[-1])}: a network with its own classifier takes .* 'scratch' only, got {strategy}: add"

    with pytest.raises(BenchmarkError, match=message):
        expand(a_sweep(Grid(backbones=asked, strategies=(strategy,))), MIXED)


def test_a_network_takes_no_mode_of_somebody_else_s_weights():
    with pytest.raises(BenchmarkError, match="own1 has random weights, so mode 'caffe'"):
        expand(a_sweep(Grid(backbones=("own1",), strategies=("scratch",), modes=("caffe",))), MIXED)


@pytest.mark.parametrize("strategy", ["finetune", "scratch"])
def test_what_trains_a_network_trains_the_dense_head(strategy: str):
    (cell,) = expand(a_sweep(Grid(backbones=("Other",), strategies=(strategy,))), REGISTRY)

    assert cell.head == "dense"
    with pytest.raises(BenchmarkError, match=f"'{strategy}' trains the head 'dense' only, got linear"):
        expand(a_sweep(Grid(backbones=("Other",), strategies=(strategy,), heads=("linear",))), REGISTRY)


def test_scratch_unfreezes_everything_whatever_the_stages_say():
    grid = Grid(backbones=("Other",), strategies=("scratch",), stages=(Stage(unfreeze=3, epochs=2),))

    (cell,) = expand(a_sweep(grid), REGISTRY)

    assert cell.stages == (Stage(unfreeze="all", epochs=2),)


def test_augmentation_of_extracted_features_is_refused_with_the_reason():
    with pytest.raises(BenchmarkError, match="no effect on strategy 'probe', which trains on features that are extrac"):
        expand(a_sweep(Grid(backbones=("Other",), augment=Augmentation(rotation=0.1))), REGISTRY)


def test_a_training_in_bfloat16_is_refused():
    with pytest.raises(BenchmarkError, match="float32 only"):
        expand(a_sweep(Grid(backbones=("own1",), strategies=("scratch",), precision="bfloat16")), MIXED)


def test_folds_are_runs_in_place_of_seeds():
    cells = expand(a_sweep(Grid(backbones=("Other",), folds=3)), REGISTRY)

    assert [(cell.seed, cell.columns["folds"]) for cell in cells] == [(0, 3), (1, 3), (2, 3)]


def test_folds_and_seeds_together_are_refused():
    with pytest.raises(BenchmarkError, match="folds and seeds"):
        expand(a_sweep(Grid(backbones=("Other",), folds=3, seeds=(1,))), REGISTRY)


def test_usual_stages_are_not_named_and_others_are():
    usual = a_cell(strategy="finetune", head="dense", stages=USUAL_STAGES[FINETUNE])
    other = a_cell(strategy="finetune", head="dense", stages=(Stage(epochs=4), Stage(unfreeze=20, learning_rate=1e-5)))

    assert usual.columns["stages"] == ""
    assert other.columns["stages"] == "0,epochs=4 + 20,learning_rate=1e-05"


def test_augmentation_is_a_column():
    cell = a_cell(strategy="scratch", augmentation=Augmentation(flip="horizontal", zoom=0.2))

    assert cell.columns["augment"] == "flip=horizontal,zoom=0.2"


def test_how_a_probe_trains_its_head_does_not_change_the_key_of_a_finetuning():
    one = a_cell(strategy="finetune", head="dense", stages=USUAL_STAGES[FINETUNE])
    other = a_cell(strategy="finetune", head="dense", stages=USUAL_STAGES[FINETUNE], dense=DenseOptions(epochs=3))

    assert key_of(one, FINGERPRINT) == key_of(other, FINGERPRINT)
