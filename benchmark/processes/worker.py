"""The worker process: it runs one cell after the other, and only here TensorFlow computes anything."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

from benchmark.isolation import apply_backend_settings
from benchmark.plan.planned import PlannedCell
from benchmark.processes.conditions import Conditions
from benchmark.work.events import CellStarted, Report, cell_failed
from benchmark.work.rows import new_row
from benchmark.work.running import CellRunner, checkpoint_path

log = logging.getLogger(__name__)


def work(channel: Connection, conditions: Conditions, cores: Sequence[int]) -> None:
    """Run the cells of a job, each when the parent sends it; the first function of a worker process.

    Args:
        channel: Gives one `PlannedCell` at a time and None after the last one; takes the events.
        conditions: How to run them.
        cores: The numbers of the cores to use.
    """
    _die_with_parent()
    send_output_to(conditions.log_path)
    # TensorFlow and BLAS make one thread per core that they see.
    if conditions.n_jobs > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    run_job(iter(channel.recv, None), channel.send, conditions)


def run_job(cells: Iterable[PlannedCell], report: Report, conditions: Conditions) -> None:
    """Run the cells of a job in this process; a failure ends its own cell, and others that need the same step.

    Args:
        cells: They share a backbone, a dataset and a size.
        report: Called with each event.
        conditions: How to run them.
    """
    apply_backend_settings()
    runner: CellRunner | None = None
    for planned in cells:
        is_deterministic = conditions.apply_determinism(planned)  # the same for all cells of a job
        now = datetime.now().astimezone()
        row = new_row(planned, now, n_jobs=conditions.n_jobs, is_deterministic=is_deterministic)
        report(CellStarted(planned, row))
        runner = runner or CellRunner(
            planned.cell, report, again=conditions.again, keep_weights=conditions.keep_weights
        )
        try:
            if conditions.again:
                checkpoint_path(planned.key).unlink(missing_ok=True)
            ended = runner.run(planned, row)
        # Whatever goes wrong is written into the cell's row, and the sweep goes on.
        except Exception as error:
            log.exception("%s failed", planned.cell)
            ended = cell_failed(planned, error, row)
        report(ended)


def send_output_to(log_path: Path) -> None:
    """Send standard output and error of this process, including what C++ libraries print, to a file."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr, force=True)


def _die_with_parent() -> None:
    """End this process when its parent is gone, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        import fcntl

        # The parent holds the other end of this pipe while it lives. When it is closed, the kernel kills this process
        # even while it hangs in C code. Some sandboxes do not support this; then the thread below does it.
        with suppress(OSError):
            fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
