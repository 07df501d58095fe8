"""The grid of a recipe expanded into cells."""

import fnmatch
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark.datasets import ALL_CLASSES, OWN_CLASSES, check_dataset_name
from benchmark.errors import BenchmarkError, UnknownNameError, check_known, some_of
from benchmark.features.engines import OPENVINO, TENSORFLOW, choose_engine
from benchmark.features.graph import NO_FLOAT16
from benchmark.ledger import RUN_COLUMNS, RUNS, TEXT_COLUMNS
from benchmark.options import ALL_LAYERS, CLASSIFY, FINETUNE, PROBE, SCRATCH, STRATEGIES, USUAL_STAGES, Stage
from benchmark.plan.cells import TRAINED_HEAD, Cell, DatasetRequest
from benchmark.preprocessing import MODES, NATIVE, USUAL_CROP, USUAL_RESIZE, Crop, check_resizing
from benchmark.provenance import environment
from benchmark.recipes import Grid, Published, Sweep
from benchmark.registry import (
    Backbone,
    Registry,
    check_classifier_size,
    check_input_size,
    select_names,
    shipped_entries,
)
from benchmark.strategies.heads import HEADS

# The modes of a network with its own classifier: they work on grey images too.
NETWORK_MODES = (NATIVE, "unit", "raw", "tf")
# The strategies that leave the network as it is, and take its output for each image once.
FROZEN = (PROBE, CLASSIFY)


def expanded(sweep: Sweep, registry: Registry) -> Sweep:
    """The sweep with every name resolved; each of its grids has one strategy and all options of that strategy.

    Raises:
        BenchmarkError: A name is unknown, or options contradict each other.
    """
    for figure in sweep.published:
        _check_published(figure)
    grids = itertools.chain.from_iterable(_grids_of_strategies(grid, registry) for grid in sweep.grid)
    return sweep.model_copy(update={"grid": tuple(dict.fromkeys(grids))})


def _check_published(figure: Published) -> None:
    check_known("metric of a published figure", figure.metric, [*set(RUN_COLUMNS) - TEXT_COLUMNS[RUNS]])
    # Leaderboards add the classes and the limit to the name of a dataset; a place may hold such characters itself.
    is_place = ":" in figure.dataset
    check_dataset_name(figure.dataset if is_place else re.split(r"[\[@]", figure.dataset, maxsplit=1)[0])


def expand(sweep: Sweep, registry: Registry) -> list[Cell]:
    """The cells of a sweep, each once; cells that share work stand next to each other.

    Raises:
        BenchmarkError: A name is unknown, options contradict each other, or a size is too small for its backbone.
    """
    grids = expanded(sweep, registry).grid
    return list(dict.fromkeys(itertools.chain.from_iterable(_cells(grid, registry) for grid in grids)))


def select_cells(cells: Sequence[Cell], where: Mapping[str, str]) -> list[Cell]:
    """The cells that `matching` finds by their columns."""
    return [cells[place] for place in matching([cell.columns for cell in cells], where)]


def matching(rows: Sequence[Mapping[Any, Any]], where: Mapping[str, str]) -> list[int]:
    """The positions of the rows whose columns have these values or match these shell patterns.

    Raises:
        UnknownNameError: There is no such column, or no row matches.
    """
    places = list(range(len(rows)))
    for column, pattern in where.items():
        if rows and column not in rows[0]:
            raise UnknownNameError("column in --where", column, rows[0])
        found = {value_text(rows[place][column]) for place in places}
        # An equal value is no pattern, since names may contain brackets.
        wanted = {pattern} & found or set(fnmatch.filter(found, pattern))
        places = [place for place in places if value_text(rows[place][column]) in wanted]
        if rows and not places:
            raise UnknownNameError(f"{column} in --where", pattern, found)
    return places


def value_text(value: Any) -> str:
    """A value as people write it: 500 also where a table has 500.0, and nothing where it has none."""
    if value is None or value != value:  # noqa: PLR0124  # NaN is no value
        return ""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _grids_of_strategies(grid: Grid, registry: Registry) -> Iterator[Grid]:
    check_resizing(grid.resize or USUAL_RESIZE, grid.crop or USUAL_CROP)
    for dataset in grid.datasets:
        check_dataset_name(dataset)
    if grid.folds and "seeds" in grid.model_fields_set:
        raise BenchmarkError("folds and seeds cannot both be given: each fold is one run.")
    heads = select_names("head", grid.heads, HEADS)  # a wrong name is a mistake even if no strategy uses it
    modes = select_names("mode", grid.modes, MODES)
    strategies = select_names("strategy", grid.strategies, STRATEGIES)
    if grid.restrict_classes and CLASSIFY not in strategies:
        raise BenchmarkError(
            f"restrict_classes is for strategy {CLASSIFY!r}: choose it, or leave restrict_classes out."
        )
    for strategy, backbones in _backbones_by_strategy(grid, strategies, registry).items():
        update: dict[str, Any] = {"backbones": tuple(backbones), "modes": tuple(modes), "strategies": (strategy,)}
        update["restrict_classes"] = grid.restrict_classes and strategy == CLASSIFY
        if strategy in FROZEN:
            _check_frozen(grid, strategy)
            update |= {"stages": None, **({"heads": tuple(heads)} if strategy == PROBE else {})}
        else:
            _check_training(grid, strategy, has_head=not all(registry[name].has_classifier for name in backbones))
            update |= {"stages": _stages(grid, strategy)}
        for (engine, resize, crop), some in _by_defaults(grid, strategy, backbones, registry).items():
            own = {"backbones": tuple(some), "engine": engine, "resize": resize, "crop": crop}
            yield grid.model_copy(update={**update, **own})


def _check_frozen(grid: Grid, strategy: str) -> None:
    """Refuse options that have no effect on a network that is not trained."""
    if label := grid.augment.label():
        why = "trains on features that are extracted once" if strategy == PROBE else "trains nothing"
        raise BenchmarkError(
            f"augment ({label}) has no effect on strategy {strategy!r}, which {why}: choose {FINETUNE!r} or "
            f"{SCRATCH!r}, or leave augment out."
        )
    if strategy == PROBE:
        return
    given = {
        "heads": "heads" in grid.model_fields_set, "folds": grid.folds is not None, "part": grid.part is not None,
    }  # fmt: skip
    if names := [name for name, is_given in given.items() if is_given]:
        raise BenchmarkError(
            f"{', '.join(names)}: strategy {strategy!r} trains nothing. Leave out what is for training, or give other "
            "strategies a [[grid]] of their own."
        )


def _backbones_by_strategy(grid: Grid, strategies: Sequence[str], registry: Registry) -> dict[str, list[str]]:
    """The backbones that can take each strategy.

    Raises:
        BenchmarkError: No backbone that a name or pattern matches can take any of the strategies.
    """
    names = select_names("backbone", grid.backbones, registry)
    usable = {
        strategy: [name for name in names if _can_take(strategy, registry[name], grid)] for strategy in strategies
    }
    for asked in grid.backbones:
        if not any(asked in some or fnmatch.filter(some, asked) for some in usable.values()):
            raise BenchmarkError(_no_strategy_for(asked, names, strategies, registry))
    return {strategy: some for strategy, some in usable.items() if some}


def _can_take(strategy: str, backbone: Backbone, grid: Grid) -> bool:
    if strategy == CLASSIFY:
        is_drawn = grid.weights == "random" and (backbone.application or backbone.hub) is not None
        return (backbone.with_random_weights() if is_drawn else backbone).has_imagenet_classifier
    return strategy == SCRATCH or not backbone.has_classifier


def _no_strategy_for(asked: str, names: Sequence[str], strategies: Sequence[str], registry: Registry) -> str:
    if all(registry[name].has_classifier for name in fnmatch.filter(names, asked)):
        return (
            f"{asked}: a network with its own classifier takes the strategy {SCRATCH!r} only, got "
            f"{', '.join(strategies)}: add {SCRATCH!r} to the strategies, or leave {asked} out."
        )
    able = [name for name, backbone in shipped_entries().items() if backbone.has_imagenet_classifier]
    return (
        f"{asked} cannot {CLASSIFY}: its weights have no classifier of ImageNet's classes. Networks of Keras "
        f'Applications with weights = "imagenet" do: {some_of(able)}. Choose one of them, or another strategy. If a '
        "weights file has the classifier too, write weights_classifier = true into its registry entry."
    )


def _by_defaults(
    grid: Grid, strategy: str, backbones: Sequence[str], registry: Registry
) -> dict[tuple[str, str, Crop], list[str]]:
    """The backbones by their engine, resizing and crop, which each decides itself where the grid does not."""
    has_gpu = bool(environment()["gpu"])
    if strategy in FROZEN and grid.precision == "float16" and (not has_gpu or grid.engine == OPENVINO):
        raise BenchmarkError(NO_FLOAT16)
    found: dict[tuple[str, str, Crop], list[str]] = {}
    for name in backbones:
        backbone = registry[name]
        resize, crop = backbone.usual_view
        engine = TENSORFLOW
        if strategy in FROZEN:
            engine = choose_engine(grid.engine, backbone.usual_engine, has_gpu=has_gpu, precision=grid.precision)
        found.setdefault((engine, grid.resize or resize, grid.crop or crop), []).append(name)
    return found


def _check_training(grid: Grid, strategy: str, *, has_head: bool) -> None:
    if grid.engine == OPENVINO:
        raise BenchmarkError(f"strategy {strategy!r} trains in TensorFlow, not by --engine openvino.")
    if grid.precision != "float32":
        raise BenchmarkError(f"strategy {strategy!r} trains in float32 only, not in {grid.precision}.")
    if has_head and "heads" in grid.model_fields_set and tuple(grid.heads) != (TRAINED_HEAD,):
        raise BenchmarkError(
            f"strategy {strategy!r} trains the head {TRAINED_HEAD!r} only, got {', '.join(grid.heads)}: give "
            "other strategies a [[grid]] of their own."
        )


def _stages(grid: Grid, strategy: str) -> tuple[Stage, ...]:
    stages = grid.stages or USUAL_STAGES[strategy]
    if strategy == SCRATCH:
        return tuple(stage.model_copy(update={"unfreeze": ALL_LAYERS}) for stage in stages)
    return stages


def _cells(grid: Grid, registry: Registry) -> Iterable[Cell]:
    """The cells of an expanded grid."""
    (strategy,) = grid.strategies
    for name, dataset, mode in itertools.product(grid.backbones, grid.datasets, grid.modes):
        backbone = _with_weights(registry[name], grid)
        _check_mode(backbone, mode)
        size_px = grid.input_size_px or backbone.input_size_px
        request = replace(request_of(grid), name=dataset)
        check_input_size(backbone, size_px)
        if strategy == CLASSIFY:
            check_classifier_size(backbone, size_px)
        seeds = range(grid.folds) if grid.folds else grid.seeds
        for head, shots, seed in itertools.product(_heads(grid, backbone), grid.shots or (None,), seeds):
            yield Cell(
                backbone=backbone,
                dataset=request,
                mode=mode,
                strategy=strategy,
                head=head,
                seed=seed,
                input_size_px=size_px,
                resize=grid.resize or USUAL_RESIZE,
                crop=grid.crop or USUAL_CROP,
                engine=grid.engine,
                precision=grid.precision,
                batch_size=grid.batch_size,
                val_fraction=grid.val_fraction,
                dense=grid.dense,
                stages=grid.stages or (),
                augmentation=grid.augment,
                folds=grid.folds,
                shots=shots,
            )


def request_of(grid: Grid) -> DatasetRequest:
    """The first dataset of a grid of one strategy, as the grid asks for it."""
    imagenet_classes = OWN_CLASSES if grid.restrict_classes else ALL_CLASSES
    return DatasetRequest(
        grid.datasets[0],
        grid.limit,
        grid.classes,
        grid.max_bad_images,
        grid.drop_duplicates,
        grid.part,
        imagenet_classes if grid.strategies == (CLASSIFY,) else None,
    )


def _with_weights(backbone: Backbone, grid: Grid) -> Backbone:
    if grid.weights is None:
        return backbone
    if backbone.application is None and backbone.hub is None:
        raise BenchmarkError(
            f'weights = "random" is for networks of Keras Applications and KerasHub, not for {backbone.name}: leave '
            f"weights or {backbone.name} out."
        )
    return backbone.with_random_weights()


def _heads(grid: Grid, backbone: Backbone) -> Sequence[str]:
    if grid.strategies == (PROBE,):
        return grid.heads
    return ("",) if backbone.has_classifier or grid.strategies == (CLASSIFY,) else (TRAINED_HEAD,)


def _check_mode(backbone: Backbone, mode: str) -> None:
    if backbone.has_classifier and mode not in NETWORK_MODES:
        raise BenchmarkError(
            f"{backbone.name} has random weights, so mode {mode!r} is neither right nor wrong for it: choose one of "
            f"{', '.join(NETWORK_MODES)}."
        )
