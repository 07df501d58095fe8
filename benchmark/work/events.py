"""What happens while cells are run: one record for each kind of event."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.plan.planning import PlannedCell
from benchmark.work.rows import Rows, failure_columns, new_row


@dataclass(frozen=True)
class CellStarted:
    """A worker begins a cell."""

    planned: PlannedCell


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
        history: For `history.csv`.
        per_class: For `per_class.csv`.
        confusion: For `confusion.csv`.
        scores: `(n, k)` of the test images.
        labels: `(n,)` true classes of the test images.
        class_names: In the order of the labels.
    """

    planned: PlannedCell
    row: dict[str, Any]
    history: Rows = field(default_factory=list)
    per_class: Rows = field(default_factory=list)
    confusion: Rows = field(default_factory=list)
    scores: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()


def cell_failed(planned: PlannedCell, error: BaseException, row: dict[str, Any] | None = None) -> CellEnded:
    """The end of a cell that failed.

    Args:
        planned: The cell.
        error: Why it failed.
        row: The columns known before; None if the worker is gone and with it what it knew.
    """
    row = row or new_row(planned, datetime.now().astimezone())
    return CellEnded(planned, {**row, **failure_columns(error)})


Event = CellStarted | StageProgress | CellEnded
Report = Callable[[Event], None]
