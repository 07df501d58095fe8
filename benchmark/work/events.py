"""The events of running cells: one record for each kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.plan.planned import PlannedCell
from benchmark.work.rows import Rows, failure_columns, new_row


@dataclass(frozen=True)
class CellStarted:
    """A worker begins a cell; `row` has the columns that it knows already."""

    planned: PlannedCell
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageProgress:
    """`n_done` of the `n_total` images or epochs of a stage of the current cell are done."""

    stage: str
    n_done: int
    n_total: int


@dataclass(frozen=True)
class CellEnded:
    """A cell's row and the tables that belong to it; a failed cell has no scores.

    Attributes:
        planned: The cell.
        row: For `runs.csv`.
        tables: Its rows in the other files, by their names.
        scores: `(n, k)` of the test images.
        labels: `(n,)` true classes of the test images.
        class_names: In the order of the labels.
        weights: What was trained, if it is to be kept; see `Outcome`.
    """

    planned: PlannedCell
    row: dict[str, Any]
    tables: Mapping[str, Rows] = field(default_factory=dict)
    scores: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    weights: tuple[NDArray[np.float32], ...] = ()


def cell_failed(planned: PlannedCell, error: BaseException, row: dict[str, Any] | None = None) -> CellEnded:
    """The end of a cell that failed; `row` has the columns known before, None or empty if no worker began the cell."""
    row = row or new_row(planned, datetime.now().astimezone())
    return CellEnded(planned, {**row, **failure_columns(error)})


Event = CellStarted | StageProgress | CellEnded
Report = Callable[[Event], None]
