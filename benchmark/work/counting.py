"""The parameters of a sweep's cells, counted on networks without weights and without reading data."""

from collections.abc import Sequence
from typing import Any

from benchmark.datasets import known_shape
from benchmark.errors import BenchmarkError
from benchmark.isolation import call_silently_in_child
from benchmark.options import CLASSIFY, PROBE
from benchmark.plan.cells import Cell
from benchmark.strategies.heads import HEADS

NAMING = ("backbone", "dataset", "classes", "strategy", "stages", "head", "head_options", "input_size_px")


def count_params(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """`params_total`, `params_backbone` and `params_trainable` (of the stage with most) of the different cells.

    The registry has the numbers of the frozen networks that come with the project. All others are built in child
    processes.

    Raises:
        BenchmarkError: The number of classes of a dataset is not known without reading it.
    """
    different = {tuple(cell.columns[column] for column in NAMING): cell for cell in cells}
    counts = {names: known for names, cell in different.items() if (known := _count_by_registry(cell))}
    rest = {names: cell for names, cell in different.items() if names not in counts}
    # A process for each registry folder, since modules of builders in two folders may have the same name.
    for folder in dict.fromkeys(cell.backbone.folder for cell in rest.values()):
        some = {names: cell for names, cell in rest.items() if cell.backbone.folder == folder}
        counts |= zip(some, call_silently_in_child(_count_all, list(some.values())), strict=True)
    return [dict(zip(NAMING, names, strict=True)) | counts[names] for names in different]


def _count_by_registry(cell: Cell) -> dict[str, int]:
    """The counts of a probe of a backbone that comes with the project; empty of anything else."""
    backbone = cell.backbone
    if cell.strategy != PROBE or not backbone.is_shipped:
        return {}
    if backbone.params_backbone is None or backbone.feature_dim is None:
        return {}
    return _probe_counts(cell, backbone.params_backbone, backbone.feature_dim)


def _probe_counts(cell: Cell, n_backbone: int, feature_dim: int) -> dict[str, int]:
    _, n_classes = _shape(cell)
    n_head = HEADS[cell.head].n_params(feature_dim, n_classes, cell.dense)
    return {"params_total": n_backbone + n_head, "params_backbone": n_backbone, "params_trainable": n_head}


def _shape(cell: Cell) -> tuple[int, int]:
    """Numbers of channels and classes."""
    shape = known_shape(cell.dataset.name, cell.dataset.classes)
    if shape is None:
        raise BenchmarkError(
            f"How many classes {cell.dataset.name} has is not known without reading it: name them (--classes a,b,c)."
        )
    return shape


def _count_all(cells: Sequence[Cell]) -> list[dict[str, int]]:
    return [_count(cell) for cell in cells]


def _count(cell: Cell) -> dict[str, int]:
    from benchmark.work.classifiers import untrained_classifier

    if cell.strategy == PROBE:
        from benchmark.backbones.build import build_untrained

        body = build_untrained(cell.backbone, cell.input_size_px, seed=0)
        return _probe_counts(cell, int(body.count_params()), int(body.outputs[0].shape[-1]))
    if cell.strategy == CLASSIFY:
        return _count_whole(cell)
    n_channels, n_classes = _shape(cell)
    classifier = untrained_classifier(cell, n_channels, n_classes)
    return {
        "params_total": classifier.n_params(),
        "params_backbone": int(classifier.body.count_params()),
        "params_trainable": classifier.most_trainable([stage.unfreeze for stage in cell.stages]),
    }


def _count_whole(cell: Cell) -> dict[str, int]:
    """The counts of a network with its own classifier, of which nothing is trained."""
    from benchmark.backbones.build import build_untrained, build_whole

    backbone = cell.backbone
    n_backbone = backbone.params_backbone if backbone.is_shipped else None
    if n_backbone is None:
        n_backbone = int(build_untrained(backbone, cell.input_size_px, seed=0).count_params())
    n_total = int(build_whole(backbone.with_random_weights(), cell.input_size_px).count_params())
    return {"params_total": n_total, "params_backbone": n_backbone, "params_trainable": 0}
