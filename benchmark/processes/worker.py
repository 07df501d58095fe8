"""One job in a process of its own; TensorFlow does something here and nowhere upstream."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmark.isolation import choose_backend
from benchmark.plan.cells import Cell, Job
from benchmark.processes.conditions import Conditions
from benchmark.processes.placement import Placement
from benchmark.provenance import cpu_name, platform_label
from benchmark.work.events import CellEnded, CellStarted, Report
from benchmark.work.rows import class_rows, history_rows, new_row, result_columns
from benchmark.work.workshop import Workshop, checkpoint_path

log = logging.getLogger(__name__)


def work(channel: Connection, conditions: Conditions, placement: Placement) -> None:
    """Do the cells of a job and send what happens; the entry point of the child process.

    Args:
        channel: Gives the `Job`, takes `Event` records.
        conditions: How to work.
        placement: The cores to use.
    """
    _die_with_parent()
    _send_output_to(conditions.log_path)
    placement.take()
    choose_backend()
    job: Job = channel.recv()
    is_deterministic = conditions.choose_determinism(job)
    how = {"cpu": placement.label(cpu_name()), "platform": platform_label(is_deterministic=is_deterministic)}
    run_job(job, channel.send, how)
    channel.close()


def _die_with_parent() -> None:
    """End this process when its parent is gone, even if the parent was killed and could not ask for it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        import fcntl

        # The pipe whose other end the parent holds as long as it lives. The kernel kills this process when it is
        # closed, whatever this process is stuck in; sandboxes that do without this leave it to the thread.
        with suppress(OSError):
            fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _send_output_to(log_path: Path) -> None:
    """Standard output and error of this process, TensorFlow's C++ lines included, into a file."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr, force=True)


def run_job(job: Job, report: Report, how: Mapping[str, str]) -> None:
    """Do the cells of a job in this process; a failure ends its cell, or those that share what failed.

    Args:
        job: What to do.
        report: Told what happens.
        how: Columns of every row that say how this process works.
    """
    if job.again:
        for key in job.keys:
            checkpoint_path(key).unlink(missing_ok=True)
    workshop = Workshop(job.cells[0], report)
    for index, (cell, key) in enumerate(zip(job.cells, job.keys, strict=True)):
        report(CellStarted(index))
        started = datetime.now().astimezone()
        row = {**new_row(cell, key, job.recipe_sha256, started), **how}
        try:
            ended = _run_cell(workshop, cell, key, index, row)
        # Whatever goes wrong becomes the cell's row, and the sweep goes on.
        except Exception as error:
            log.exception("%s failed", cell)
            ended = CellEnded.in_failure(index, row, error)
        report(ended)


def _run_cell(workshop: Workshop, cell: Cell, key: str, index: int, row: dict[str, Any]) -> CellEnded:
    started = time.perf_counter()
    done = workshop.do(cell, key)
    dataset, labels = done.dataset, done.dataset.labels[done.split.test]
    row |= result_columns(dataset, done.split, done.costs, done.outcome)
    row["peak_rss_mib"] = max([done.peak_rss_mib, *(one.peak_rss_mib for one in done.costs.extractions)])
    row["elapsed_s"] = time.perf_counter() - started
    scores = done.outcome.scores
    history = history_rows(row["run_id"], done.outcome, done.costs)
    per_class, confusion = class_rows(row["run_id"], labels, scores, dataset.class_names)
    return CellEnded(index, row, history, per_class, confusion, scores, labels, dataset.class_names)
