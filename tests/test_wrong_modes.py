"""Wrong modes cause one warning before a run and are marked in its rows; an ablation causes none."""

from pathlib import Path
from typing import Any

import pytest
from documented_modes import EXPECTED

from benchmark.ledger import Ledger
from benchmark.plan.cells import Cell
from benchmark.plan.grid import expand
from benchmark.plan.planning import make_plan
from benchmark.plan.wrong_modes import wrong_modes
from benchmark.preprocessing import MODES
from benchmark.recipes import Grid, Sweep, find_recipe, read_recipe, recipe_paths
from benchmark.registry import Backbone, read_registry, shipped_path

REGISTRY = read_registry(shipped_path("backbones.toml"))
ONE_OF = {"caffe": "ResNet50", "tf": "MobileNetV2", "torch": "DenseNet121", "raw": "EfficientNetB0"}


def cells_of(*grids: dict[str, Any]) -> list[Cell]:
    """The cells of a sweep of these grids, of ResNet50 unless they say otherwise."""
    sweep = Sweep(name="toy", grid=tuple(Grid(**{"backbones": ("ResNet50",), **lists}) for lists in grids))
    return expand(sweep, REGISTRY)


def warned(*grids: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Mode, dataset, head, strategy and size of the cells that are warned of."""
    return [
        (cell.mode, cell.dataset.name, cell.head, cell.strategy, cell.input_size_px)
        for cell in wrong_modes(cells_of(*grids))
    ]


@pytest.mark.parametrize("native", ONE_OF)
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_alone_is_warned_of_if_the_table_says_that_it_is_wrong(native, mode):
    (cell,) = cells_of({"backbones": (ONE_OF[native],), "modes": (mode,)})

    found = wrong_modes([cell])

    expected = EXPECTED[native][mode]
    is_right = expected[0] in ("right", "same as native")
    message = f"mode {mode} is not what {ONE_OF[native]} was trained with ({', '.join(expected)})"
    assert found == ({} if is_right else {cell: message})


def test_all_cells_of_a_backbone_and_mode_get_the_same_words():
    cells = cells_of({"modes": ("unit", "bgr"), "heads": ("linear", "knn"), "seeds": (0, 1, 2)})

    found = wrong_modes(cells)

    assert set(found) == set(cells)
    assert len(set(found.values())) == 2


@pytest.mark.parametrize("right", ["native", "caffe"])
def test_a_wrong_mode_beside_the_right_one_is_an_ablation(right):
    assert warned({"modes": ("unit", right), "seeds": (0, 1)}) == []


def test_the_right_mode_may_stand_in_another_grid_of_the_sweep():
    assert warned({"modes": ("unit",)}, {"modes": ("native",)}) == []


@pytest.mark.parametrize(
    "other",
    [
        {"backbones": ("ResNet101",)},
        {"datasets": ("mnist",)},
        {"heads": ("knn",)},
        {"heads": ("dense",)},
        {"strategies": ("finetune",)},
        {"input_size_px": 64},
        {"limit": 500},
        {"modes": ("tf",)},
    ],
    ids=str,
)
def test_a_right_mode_in_a_cell_that_differs_in_more_is_not_compared(other):
    found = warned({"modes": ("unit",)}, {"modes": ("native",), **other})

    assert ("unit", "digits", "linear", "probe", 224) in found


def test_another_seed_compares_too():
    assert warned({"modes": ("unit",), "seeds": (0, 1)}, {"modes": ("native",), "seeds": (2,)}) == []


def test_what_has_learned_nothing_yet_has_no_wrong_mode():
    cells = cells_of({"backbones": ("ResNet50", "lenet5"), "modes": ("raw",), "strategies": ("scratch",)})

    assert {cell.backbone.name for cell in cells} == {"ResNet50", "lenet5"}
    assert wrong_modes(cells) == {}


@pytest.mark.parametrize(
    ("source", "is_warned"),
    [
        ({"application": "ResNet50", "weights": "random"}, False),
        ({"builder": "nets:net", "weights": "random"}, False),
        ({"builder": "nets:net"}, True),
        ({"model": "file:net.keras"}, True),
    ],
    ids=["application", "random builder", "builder", "model"],
)
def test_random_weights_have_no_wrong_mode_and_those_that_a_network_brings_have(source, is_warned):
    record = Backbone(name="Mine", folder=Path(), mode="caffe", input_size_px=32, **source)
    sweep = Sweep(name="toy", grid=(Grid(backbones=("Mine",), modes=("unit",)),))

    assert bool(wrong_modes(expand(sweep, {"Mine": record}))) == is_warned


def test_finetuning_with_a_wrong_mode_is_warned_of_too():
    assert warned({"modes": ("unit",), "strategies": ("finetune",)}) == [("unit", "digits", "dense", "finetune", 224)]


def test_classifying_with_a_wrong_mode_is_warned_of_too():
    grid = {"datasets": ("folder:val",), "strategies": ("classify",)}

    assert warned({**grid, "modes": ("unit",)}) == [("unit", "folder:val", "", "classify", 224)]
    assert warned({**grid, "modes": ("unit", "native")}) == []


@pytest.mark.parametrize("name", sorted(recipe_paths()))
def test_no_shipped_recipe_has_a_wrong_mode_without_meaning_it(name):
    sweep = read_recipe(find_recipe(name))

    assert sweep.ablation or wrong_modes(expand(sweep, REGISTRY)) == {}


def test_chosen_cells_are_compared_with_all_of_their_sweep(tmp_path):
    sweep = Sweep(name="toy", grid=(Grid(backbones=("ResNet50",), datasets=("digits",), modes=("native", "unit")),))

    def choose_unit(cells: list[Cell]) -> list[Cell]:
        return [cell for cell in cells if cell.mode == "unit"]

    plan = make_plan(sweep, REGISTRY, Ledger(tmp_path), choose=choose_unit)

    assert [(planned.cell.mode, planned.warning) for planned in plan.cells] == [("unit", "")]
