"""The runner: it groups cells into jobs, writes their rows into the ledger and yields their events."""

import itertools
from collections.abc import Iterator, Sequence

from benchmark.ledger import DONE, Ledger, fold_of
from benchmark.plan.planned import PlannedCell, group_into_jobs
from benchmark.processes.executors import Execute
from benchmark.work.events import CellEnded, Event, cell_failed
from benchmark.work.running import checkpoint_path

WORKER_LOG = "worker.log"


def run_cells(
    cells: Sequence[PlannedCell], ledger: Ledger, execute: Execute, *, recipe_sha256: str, again: bool
) -> Iterator[Event]:
    """Run cells and write each row as soon as its cell has ended; only this process writes the ledger.

    When a `CellEnded` is yielded, the ledger has a row of the cell: this one, or one that another process wrote first.
    Leaving the generator early (Ctrl-C) ends the child processes; every finished row is in the ledger.

    Args:
        cells: The cells to run. Those whose dataset is not available fail first.
        ledger: Where the rows go.
        execute: Runs the jobs that the cells make.
        recipe_sha256: For the rows.
        again: Start every cell over, and write a row even if the ledger has a finished one.

    Raises:
        LedgerError: The ledger cannot be written.
    """
    blocked = (cell_failed(planned, planned.obstacle) for planned in cells if planned.obstacle is not None)
    jobs = group_into_jobs(planned for planned in cells if planned.obstacle is None)
    for event in itertools.chain(blocked, execute(jobs, again)):
        if isinstance(event, CellEnded):
            status = event.row["status"]
            doubts = (
                [event.planned.warning, *event.planned.notes, event.row.get("warning", "")] if status == DONE else []
            )
            event.row.update(recipe_sha256=recipe_sha256, warning="; ".join(filter(None, doubts)))
            _write(event, ledger, again=again)
            if status == DONE:
                checkpoint_path(event.planned.key).unlink(missing_ok=True)
        yield event


def _write(ended: CellEnded, ledger: Ledger, *, again: bool) -> None:
    """Write the predictions first and the row last: whatever belongs to a row in the ledger is complete."""
    if not again and ledger.has_done(ended.row["cell_key"]):
        return
    if ended.scores is not None and ended.labels is not None:
        fold = fold_of(ended.row)
        ledger.save_true_labels(ended.row["dataset_fingerprint"], ended.labels, ended.class_names, fold)
        ledger.save_predictions(ended.row["run_id"], ended.scores, ended.labels)
    if ended.weights:
        ledger.save_weights(ended.row["run_id"], ended.weights)
    ledger.append_run(ended.row, ended.tables, unless_done=not again)
