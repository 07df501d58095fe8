"""The planned cells of a sweep, their states, and the jobs that they make."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.ledger import DONE, FAILED
from benchmark.plan.cells import Cell, DatasetRequest, job_key, view_key
from benchmark.recipes import Sweep

MISSING = "missing"
STALE = "stale"
# It would give the numbers of another seed once more.
REPEAT = "repeat"

# The states of the cells that are run, by the value of --when.
WHEN = {"missing": {MISSING, STALE}, "failed": {FAILED}, "always": {DONE, FAILED, MISSING, STALE}}


@dataclass(frozen=True)
class PlannedCell:
    """A cell and its state.

    Attributes:
        cell: The cell.
        key: Its key; empty if its dataset is not available.
        state: done, failed, missing, stale or repeat.
        reason: Why it is stale or a repeat, how it failed, or why a finished one was not checked.
        setting_key: The key of its setting; empty if its dataset is not available.
        dataset_fingerprint: Empty if the dataset is not available.
        n_images: Images that its features need.
        n_classes: Of its dataset.
        obstacle: Why its dataset is not available.
        warning: Why its number should not be trusted; see `plan.wrong_modes`.
        notes: Of its dataset.
        has_training: Whether Keras trains something in the job of this cell, in this cell or in another.
        taken_over: The `run_id` of the row of schema 1 that counts as this cell's; empty if there is none.
    """

    cell: Cell
    key: str
    state: str
    reason: str = ""
    setting_key: str = ""
    dataset_fingerprint: str = ""
    n_images: int = 0
    n_classes: int = 0
    obstacle: BenchmarkError | None = None
    warning: str = ""
    notes: tuple[str, ...] = ()
    has_training: bool = False
    taken_over: str = ""


@dataclass(frozen=True)
class DatasetFacts:
    """A dataset without its images; see `Dataset`."""

    fingerprint: str
    n_images: int
    n_channels: int
    n_classes: int
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    n_duplicates: int | None
    has_own_val: bool
    has_own_test: bool


# Cells that one process runs: they share a backbone, a dataset and a size.
Job = Sequence[PlannedCell]


@dataclass(frozen=True)
class Plan:
    """All cells of a sweep with their states.

    Attributes:
        sweep: The sweep, its names resolved.
        cells: Its cells, or those that were chosen.
        datasets: What was found in each dataset that is available, except its images.
    """

    sweep: Sweep
    cells: tuple[PlannedCell, ...]
    datasets: Mapping[DatasetRequest, DatasetFacts] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Number of cells in each state."""
        return dict(Counter(planned.state for planned in self.cells))

    def to_run(self, when: str) -> list[PlannedCell]:
        """The cells to run now; `when` is a key of `WHEN`."""
        return [planned for planned in self.cells if planned.state in WHEN[when]]


def group_into_jobs(cells: Iterable[PlannedCell]) -> list[Job]:
    """Jobs in the order of their first cells; in a job, cells of the same view stand next to each other."""
    jobs: dict[Any, dict[Any, list[PlannedCell]]] = {}
    for planned in cells:
        jobs.setdefault(job_key(planned.cell), {}).setdefault(view_key(planned.cell), []).append(planned)
    return [list(itertools.chain.from_iterable(views.values())) for views in jobs.values()]
