"""Cells whose preprocessing is known to be wrong for their backbone, by the registry or by their networks."""

import functools
from collections.abc import Iterable
from typing import Any

from benchmark.options import SCRATCH
from benchmark.plan.cells import Cell
from benchmark.preprocessing import Step
from benchmark.xray.verdicts import find_differences, judge_mode, map_of_steps

# Cells that agree in these columns and in their dataset are compared with each other.
COMPARED = ("backbone", "strategy", "stages", "folds", "shots", "head", "head_options", "input_size_px")


def wrong_modes(cells: Iterable[Cell]) -> dict[Cell, str]:
    """The cells of a sweep that have a wrong mode, each with a sentence on what is wrong with it.

    A cell with a wrong mode is part of an ablation, and left out, if another cell of the same backbone, dataset, head,
    strategy and size has the right mode. No mode is wrong for a network that has not learned anything yet.
    """
    learned = [cell for cell in cells if _has_learned(cell)]
    findings = {cell: _findings(cell.mode, cell.backbone.native_mode) for cell in learned}
    compared = {_comparison(cell) for cell in learned if not findings[cell]}
    return {
        cell: f"mode {cell.mode} is not what {cell.backbone.name} was trained with ({findings[cell]})"
        for cell in learned
        if findings[cell] and _comparison(cell) not in compared
    }


def wrong_by_layers(cell: Cell, shown: Step) -> str:
    """What is wrong with the mode of a cell whose network contradicts its entry; empty if the mode is right.

    Other cells do not make it an ablation: its `native` is not what the sweep's author thinks.

    Args:
        cell: The cell.
        shown: The mode that the network's own layers show instead, or its preset; see `xray.entries.Found`.
    """
    findings = find_differences(map_of_steps(cell.view.steps), map_of_steps((shown,)))
    if not findings or not _has_learned(cell):
        return ""
    return (
        f"mode {cell.mode} is not what {cell.backbone.name} was trained with ({', '.join(findings)}): its own "
        f"{'preset is' if cell.backbone.hub else 'layers are'} made for {shown}, the registry says mode = "
        f'"{cell.backbone.native_mode}"'
    )


@functools.cache
def _findings(mode: str, native: str) -> str:
    return ", ".join(judge_mode(mode, native).findings)


def _has_learned(cell: Cell) -> bool:
    return cell.strategy != SCRATCH and cell.backbone.weights != "random"


def _comparison(cell: Cell) -> tuple[Any, ...]:
    columns = cell.columns
    return (cell.dataset, *(columns[column] for column in COMPARED))
