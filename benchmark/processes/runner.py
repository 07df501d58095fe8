"""The runner: cells made into jobs, their rows into the ledger, what happens told as events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmark.ledger import DONE, RECIPE_COPY, Ledger
from benchmark.plan.cells import Cell, group_into_jobs, job_key
from benchmark.plan.planning import PlannedCell
from benchmark.processes.executors import Execute
from benchmark.storage import write_whole
from benchmark.work.events import CellEnded, CellStarted, Progress
from benchmark.work.rows import failure_columns, new_row, warning_columns
from benchmark.work.workshop import checkpoint_path

WORKER_LOG = "worker.log"


@dataclass(frozen=True)
class RunStarted:
    """Cell `number` of all begins."""

    number: int
    cell: Cell


@dataclass(frozen=True)
class RunEnded:
    """A cell's row is in the ledger, or stood there already because another process was faster."""

    number: int
    cell: Cell
    row: dict[str, Any]


SweepEvent = RunStarted | Progress | RunEnded


def copy_recipe(recipe: Path, ledger: Ledger) -> None:
    """Keep the recipe beside its rows, for the published figures and for whoever repeats the sweep."""
    content = recipe.read_bytes()
    copy = ledger.folder / RECIPE_COPY
    if copy.exists() and copy.read_bytes() == content:
        return
    with ledger.writing(), write_whole(copy) as file:
        file.write(content)


def run_cells(
    cells: Sequence[PlannedCell], ledger: Ledger, execute: Execute, *, recipe_sha256: str, again: bool
) -> Iterator[SweepEvent]:
    """Run cells and write each row as soon as it is there; only this process writes the ledger.

    Leaving the generator early (Ctrl-C) ends the child processes; every finished row is in the ledger.

    Args:
        cells: What to do.
        ledger: Where the rows go.
        execute: Does the jobs that the cells make.
        recipe_sha256: For the rows.
        again: Begin every cell anew, and write a row even for one that the ledger has as done.

    Raises:
        LedgerError: The ledger cannot be written.
    """
    number = 0
    for planned in cells:
        if planned.obstacle is not None:
            number += 1
            yield RunEnded(number, planned.cell, _write_obstacle(planned, ledger, recipe_sha256))
    possible = [(planned.cell, planned.key) for planned in cells if planned.obstacle is None]
    with_training = {job_key(planned.cell) for planned in cells if planned.has_training}
    jobs = group_into_jobs(possible, recipe_sha256, again=again, with_training=with_training)
    warnings = {planned.cell: planned.warning for planned in cells}
    for told in execute(jobs):
        event, job = told.event, jobs[told.job]
        if isinstance(event, CellStarted):
            yield RunStarted(number + 1, job.cells[event.index])
        elif isinstance(event, CellEnded):
            number += 1
            cell = job.cells[event.index]
            event.row.update(warning_columns(event.row["status"], warnings[cell]))
            _write(event, ledger, again=again)
            if event.row["status"] == DONE:
                checkpoint_path(event.row["cell_key"]).unlink(missing_ok=True)
            yield RunEnded(number, cell, event.row)
        else:
            yield event


def _write_obstacle(planned: PlannedCell, ledger: Ledger, recipe_sha256: str) -> dict[str, Any]:
    assert planned.obstacle is not None
    row = new_row(planned.cell, planned.key, recipe_sha256, datetime.now().astimezone())
    row |= failure_columns(planned.obstacle)
    ledger.append_run(row)
    return row


def _write(ended: CellEnded, ledger: Ledger, *, again: bool) -> None:
    """Predictions first, the row last: a row in the ledger means that everything of it is there."""
    if not again and ledger.has_done(ended.row["cell_key"]):
        return
    if ended.scores is not None and ended.labels is not None:
        ledger.save_true_labels(ended.row["dataset_fingerprint"], ended.labels, ended.class_names)
        ledger.save_predictions(ended.row["run_id"], ended.scores)
    ledger.append_run(
        ended.row,
        history=ended.history,
        per_class=ended.per_class,
        confusion=ended.confusion,
        unless_done=not again,
    )
