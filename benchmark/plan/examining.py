"""The networks of a sweep that are not as shipped, built once before it: checked, and identified."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.isolation import call_silently_in_child, start_server
from benchmark.options import FINETUNE, SCRATCH
from benchmark.plan.cells import Cell, DatasetRequest
from benchmark.registry import Backbone

if TYPE_CHECKING:
    from benchmark.xray.entries import Found

RGB_OF_TWO = (3, 2)

Shapes = Mapping[DatasetRequest, tuple[int, int]]
# A backbone, the side of its input, and channels and classes.
Network = tuple[Backbone, int, tuple[int, int]]


def examine_networks(cells: Sequence[Cell], shapes: Shapes) -> "dict[Cell, Found]":
    """What the networks of cells are whose entries differ from the shipped ones.

    All entries that differ from the shipped ones are built and checked, in a child process for each registry folder,
    since modules of two folders may have the same name.

    Args:
        cells: The cells.
        shapes: Numbers of channels and classes of the datasets that are available.

    Raises:
        BenchmarkError: A network cannot be built, or is not what its entry says.
    """
    backbones = {cell.backbone for cell in cells}
    own = {backbone for backbone in backbones if not backbone.is_shipped}
    groups: dict[Network, list[Cell]] = {}
    for cell in cells:
        if cell.backbone in own and (cell.dataset in shapes or not cell.backbone.has_classifier):
            shape = shapes[cell.dataset] if cell.backbone.has_classifier else RGB_OF_TWO
            groups.setdefault((cell.backbone, cell.input_size_px, shape), []).append(cell)
    found: dict[Cell, Found] = {}
    for folder in dict.fromkeys(backbone.folder for backbone, _, _ in groups):
        found |= _examine({network: used for network, used in groups.items() if network[0].folder == folder})
    return found


def _examine(groups: Mapping[Network, Sequence[Cell]]) -> "dict[Cell, Found]":
    from benchmark.xray.entries import Use, examine_all

    uses = [
        Use(
            backbone=backbone,
            size_px=size_px,
            n_channels=n_channels,
            n_classes=n_classes,
            draws_weights=backbone.weights == "random" or any(cell.strategy == SCRATCH for cell in cells),
            is_trained=any(cell.strategy in (FINETUNE, SCRATCH) for cell in cells),
            steps=frozenset(step for cell in cells for step in cell.view.steps),
        )
        for (backbone, size_px, (n_channels, n_classes)), cells in groups.items()
    ]
    start_server(Path(os.devnull))  # from which the workers of a run are forked, too
    found = call_silently_in_child(examine_all, uses)
    return {cell: one for cells, one in zip(groups.values(), found, strict=True) for cell in cells}
