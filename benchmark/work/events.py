"""What a worker process tells its parent."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.plan.cells import Job
from benchmark.work.rows import Rows, failure_columns, new_row


@dataclass(frozen=True)
class CellStarted:
    """The worker begins the job's cell of that index."""

    index: int


@dataclass(frozen=True)
class Progress:
    """So many of a stage's images are done."""

    stage: str
    n_done: int
    n_total: int


@dataclass(frozen=True)
class CellEnded:
    """A cell's row and what goes with it; a failed one has no scores.

    Attributes:
        index: Of the cell in its job.
        row: For `runs.csv`.
        history: For `history.csv`.
        per_class: For `per_class.csv`.
        confusion: For `confusion.csv`.
        scores: `(n, k)` of the test images.
        labels: `(n,)` true classes of the test images.
        class_names: In the order of the labels.
    """

    index: int
    row: dict[str, Any]
    history: Rows
    per_class: Rows
    confusion: Rows
    scores: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def in_failure(cls, index: int, row: dict[str, Any], error: BaseException) -> "CellEnded":
        """The end of a cell that failed; `row` is what was known of it."""
        return cls(index, {**row, **failure_columns(error)}, [], [], [])


def cell_lost(job: Job, index: int, error: BaseException) -> CellEnded:
    """The end of a cell whose process cannot tell of it any more."""
    row = new_row(job.cells[index], job.keys[index], job.recipe_sha256, datetime.now().astimezone())
    return CellEnded.in_failure(index, row, error)


Event = CellStarted | Progress | CellEnded
Report = Callable[[Event], None]
