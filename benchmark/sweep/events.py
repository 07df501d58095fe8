"""What a worker process tells its parent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.sweep.rows import Rows


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


Event = CellStarted | Progress | CellEnded
Report = Callable[[Event], None]
