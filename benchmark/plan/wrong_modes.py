"""Cells whose preprocessing is known to be wrong for their backbone, told without building anything."""

from collections.abc import Iterable
from typing import Any

from benchmark.options import SCRATCH
from benchmark.plan.cells import Cell
from benchmark.preprocessing import resolve_mode
from benchmark.xray.verdicts import judge_mode

# Cells that agree in these and in their dataset are compared with each other.
COMPARED = ("backbone", "strategy", "stages", "folds", "head", "head_options", "input_size_px")


def wrong_modes(cells: Iterable[Cell]) -> dict[Cell, str]:
    """What is wrong with the mode of each cell that has a wrong one and no right one to be compared with.

    A cell is compared, and so an ablation, where another one of the same backbone, dataset, head, strategy and size
    has the right mode. A network that has learned nothing yet has no wrong mode.

    Args:
        cells: All cells of a sweep.

    Returns:
        A sentence for each such cell; it is the same for all cells of one backbone and mode.
    """
    learned = [cell for cell in cells if _has_learned(cell)]
    compared = {_comparison(cell) for cell in learned if _is_right(cell)}
    return {cell: _warning(cell) for cell in learned if not _is_right(cell) and _comparison(cell) not in compared}


def _has_learned(cell: Cell) -> bool:
    is_random = cell.backbone.weights == "random" and cell.backbone.application is not None
    return cell.strategy != SCRATCH and not is_random


def _is_right(cell: Cell) -> bool:
    return cell.steps == resolve_mode("native", cell.backbone.native_mode)


def _comparison(cell: Cell) -> tuple[Any, ...]:
    columns = cell.columns
    return (cell.dataset, *(columns[column] for column in COMPARED))


def _warning(cell: Cell) -> str:
    findings = ", ".join(judge_mode(cell.mode, cell.backbone.native_mode).findings)
    return f"mode {cell.mode} is not what {cell.backbone.name} was trained with ({findings})"
