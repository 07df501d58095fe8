"""The grid of a recipe expanded into cells."""

import fnmatch
import itertools
from collections.abc import Iterable, Mapping, Sequence

from benchmark.datasets import check_dataset_name
from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.options import ALL_LAYERS, Stage
from benchmark.plan.cells import FINETUNE, PROBE, SCRATCH, STRATEGIES, TRAINED_HEAD, USUAL_STAGES, Cell, DatasetRequest
from benchmark.preprocessing import MODES, check_resizing
from benchmark.recipes import Grid, Sweep
from benchmark.registry import Backbone, Registry, check_input_size, select_names
from benchmark.strategies.heads import HEADS

# Of a network with its own classifier: they make sense of grey images too.
NETWORK_MODES = ("native", "unit", "raw", "tf")


def expand(sweep: Sweep, registry: Registry, where: Mapping[str, str] | None = None) -> list[Cell]:
    """The cells of a sweep, each once, in an order that keeps those together which share work.

    Args:
        sweep: The sweep.
        registry: The backbones.
        where: Of the columns that name a cell, the values or shell patterns that are wanted; all where it is None.

    Raises:
        BenchmarkError: A name is unknown, a size is too small for its backbone, or no cell is as wanted.
    """
    cells = dict.fromkeys(itertools.chain.from_iterable(_cells_of_grid(grid, registry) for grid in sweep.grid))
    return _select(list(cells), where) if where else list(cells)


def _select(cells: Sequence[Cell], where: Mapping[str, str]) -> list[Cell]:
    for column, pattern in where.items():
        if column not in cells[0].columns:
            raise UnknownNameError("column in --where", column, cells[0].columns)
        found = {str(cell.columns[column]) for cell in cells}
        # The labels of strategies and subsets hold brackets of their own, so a whole label needs no pattern.
        wanted = {pattern} & found or set(fnmatch.filter(found, pattern))
        cells = [cell for cell in cells if str(cell.columns[column]) in wanted]
        if not cells:
            raise UnknownNameError(f"{column} among the cells of the sweep", pattern, found)
    return list(cells)


def _cells_of_grid(grid: Grid, registry: Registry) -> Iterable[Cell]:
    check_resizing(grid.resize, grid.crop)
    for dataset in grid.datasets:
        check_dataset_name(dataset)
    if grid.folds and "seeds" in grid.model_fields_set:
        raise BenchmarkError("folds and seeds cannot both be given: each fold is one run.")
    modes = select_names("mode", grid.modes, MODES)
    strategies = select_names("strategy", grid.strategies, STRATEGIES)
    select_names("head", grid.heads, HEADS)  # a wrong name is a mistake even where no cell has a head
    learners = _learners(grid, strategies, registry)
    for (backbone, strategy), dataset, mode in itertools.product(learners, grid.datasets, modes):
        _check_mode(backbone, mode)
        size_px = grid.input_size_px or backbone.input_size_px
        check_input_size(backbone, size_px)
        for head, seed in itertools.product(_heads(grid, backbone, strategy), _seeds(grid)):
            yield Cell(
                backbone=backbone,
                dataset=DatasetRequest(dataset, grid.limit, grid.classes, grid.max_bad_images),
                mode=mode,
                strategy=strategy,
                head=head,
                seed=seed,
                input_size_px=size_px,
                resize=grid.resize,
                crop=grid.crop,
                precision=grid.precision,
                val_fraction=grid.val_fraction,
                dense=grid.dense,
                stages=_stages(grid, strategy),
                augmentation=grid.augment,
                folds=grid.folds,
            )


def _learners(grid: Grid, strategies: Sequence[str], registry: Registry) -> list[tuple[Backbone, str]]:
    """Each backbone with each strategy that it can take: with its own classifier, `scratch` alone.

    Raises:
        BenchmarkError: Nothing that a name or pattern matches can take any of the strategies.
    """
    learners = [
        (registry[name], strategy)
        for name in select_names("backbone", grid.backbones, registry)
        for strategy in strategies
        if strategy == SCRATCH or not registry[name].has_classifier
    ]
    usable = {backbone.name for backbone, _ in learners}
    for asked in grid.backbones:
        if not fnmatch.filter(usable, asked):
            raise BenchmarkError(
                f"{asked} has its own classifier and random weights, so its only strategy is {SCRATCH!r}, got "
                f"{', '.join(strategies)}: choose {SCRATCH!r}, or leave {asked} out."
            )
    return learners


def _heads(grid: Grid, backbone: Backbone, strategy: str) -> Sequence[str]:
    """The heads of a strategy; none for a network with its own classifier.

    Raises:
        BenchmarkError: The strategy cannot do what the grid asks.
    """
    if strategy == PROBE:
        if grid.augment.label():
            raise BenchmarkError(
                f"augment ({grid.augment.label()}) has no effect on strategy {PROBE!r}, which trains on features that "
                f"are extracted once: choose {FINETUNE!r} or {SCRATCH!r}, or leave augment out."
            )
        return select_names("head", grid.heads, HEADS)
    if grid.precision != "float32":
        raise BenchmarkError(f"strategy {strategy!r} trains in float32 only, not in {grid.precision}.")
    if backbone.has_classifier:
        return ("",)
    if "heads" in grid.model_fields_set and tuple(grid.heads) != (TRAINED_HEAD,):
        raise BenchmarkError(
            f"strategy {strategy!r} trains the head {TRAINED_HEAD!r} only, got {', '.join(grid.heads)}: give "
            "other strategies a [[grid]] of their own."
        )
    return (TRAINED_HEAD,)


def _seeds(grid: Grid) -> Sequence[int]:
    return range(grid.folds) if grid.folds else grid.seeds


def _stages(grid: Grid, strategy: str) -> tuple[Stage, ...]:
    if strategy == PROBE:
        return ()
    stages = grid.stages or USUAL_STAGES[strategy]
    if strategy == SCRATCH:
        return tuple(stage.model_copy(update={"unfreeze": ALL_LAYERS}) for stage in stages)
    return stages


def _check_mode(backbone: Backbone, mode: str) -> None:
    if backbone.has_classifier and mode not in NETWORK_MODES:
        raise BenchmarkError(
            f"{backbone.name} has random weights, so mode {mode!r} is neither right nor wrong for it: choose one of "
            f"{', '.join(NETWORK_MODES)}."
        )
