"""The runner: jobs in child processes, their rows into the ledger, what happens told as events."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.ledger import DONE, RECIPE_COPY, Ledger
from benchmark.storage import write_whole
from benchmark.sweep.cells import Cell, Job, group_into_jobs
from benchmark.sweep.events import CellEnded, CellStarted, Progress
from benchmark.sweep.planning import PlannedCell
from benchmark.sweep.rows import failure_columns, new_row
from benchmark.sweep.worker import work
from benchmark.sweep.workshop import checkpoint_path

JOIN_TIMEOUT_S = 5.0
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


def run_cells(cells: Sequence[PlannedCell], ledger: Ledger, *, recipe_sha256: str, again: bool) -> Iterator[SweepEvent]:
    """Run cells, job by job, and write each row as soon as it is there.

    Leaving the generator early (Ctrl-C) ends the child process; every finished row is in the ledger.

    Args:
        cells: What to do.
        ledger: Where the rows go.
        recipe_sha256: For the rows.
        again: Write a row even for a cell that the ledger has as done.

    Raises:
        LedgerError: The ledger cannot be written.
    """
    number = 0
    for planned in cells:
        if planned.obstacle is not None:
            number += 1
            yield RunEnded(number, planned.cell, _write_obstacle(planned, ledger, recipe_sha256))
    possible = [(planned.cell, planned.key) for planned in cells if planned.obstacle is None]
    for job in group_into_jobs(possible, recipe_sha256):
        for event in _run_job(job, ledger.folder / WORKER_LOG):
            if isinstance(event, CellStarted):
                yield RunStarted(number + 1, job.cells[event.index])
            elif isinstance(event, CellEnded):
                number += 1
                _write(event, ledger, again=again)
                if event.row["status"] == DONE:
                    checkpoint_path(event.row["cell_key"]).unlink(missing_ok=True)
                yield RunEnded(number, job.cells[event.index], event.row)
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


def _run_job(job: Job, log_path: Path) -> Iterator[CellStarted | CellEnded | Progress]:
    """The events of a job. When its process dies the cell at hand fails and the others go on in a new process."""
    first = 0
    while first < len(job.cells):
        part = replace(job, cells=job.cells[first:], keys=job.keys[first:])
        offset, n_ended = first, 0
        for event in _child_events(part, log_path):
            n_ended += isinstance(event, CellEnded)
            yield event if isinstance(event, Progress) else replace(event, index=event.index + offset)
        first += n_ended
        if first < len(job.cells):
            yield _crashed(job, first, log_path)
            first += 1


def _child_events(job: Job, log_path: Path) -> Iterator[CellStarted | CellEnded | Progress]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=work, args=(job, sender, log_path), daemon=True)
    with _deaf_to_ctrl_c():
        child.start()
    sender.close()
    try:
        yield from _received(receiver)
    finally:
        child.terminate()
        child.join(JOIN_TIMEOUT_S)
        if child.is_alive():
            child.kill()
            child.join()
        receiver.close()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process started inside ignores Ctrl-C from its first moment: the parent decides what becomes of it."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _received(receiver: Connection) -> Iterator[CellStarted | CellEnded | Progress]:
    while True:
        try:
            yield receiver.recv()
        except (EOFError, OSError):  # closed, or killed in the middle of a message
            return


class WorkerCrashError(BenchmarkError):
    """The process of a job ended without a word."""

    error_type = "crashed"


def _crashed(job: Job, index: int, log_path: Path) -> CellEnded:
    error = WorkerCrashError(f"The worker process died in this cell; {log_path} may say why.")
    row = new_row(job.cells[index], job.keys[index], job.recipe_sha256, datetime.now().astimezone())
    return CellEnded(index, {**row, **failure_columns(error)}, [], [], [])
