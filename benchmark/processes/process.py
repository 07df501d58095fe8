"""One job in a child process, watched from outside."""

import multiprocessing
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from benchmark.errors import BenchmarkError
from benchmark.memory import MIB
from benchmark.plan.cells import Job
from benchmark.processes.conditions import Conditions
from benchmark.processes.death import CellTimeoutError, WorkerMemoryError, cause_of_death, count_oom_kills, log_end
from benchmark.processes.placement import Placement
from benchmark.processes.starting import start_worker
from benchmark.processes.worker import work
from benchmark.work.events import CellEnded, Event, Progress, cell_lost

# A worker that was asked to end has so long before it is killed.
GRACE_S = 5.0


class JobProcess:
    """The cells of a job from `first` on, in a process of their own.

    Args:
        job: What to do.
        first: The cells before it are done.
        conditions: How.
        placement: Which cores.

    Attributes:
        receiver: Has something to read when the process has something to say, its death included.
        is_over: The process has said its last word.
    """

    def __init__(self, job: Job, first: int, conditions: Conditions, placement: Placement) -> None:
        self.is_over = False
        self._job = job
        self._conditions = conditions
        self._first = first
        self._current = first  # the cell at hand, or the one to come
        self._n_oom_kills = count_oom_kills()
        self._log_start = _size(conditions.log_path)
        self.receiver, channel = multiprocessing.Pipe()
        self._child: BaseProcess | None = None
        self._start_failure: BenchmarkError | None = None
        try:
            self._child = start_worker(work, (channel, conditions, placement), conditions.log_path)
        except OSError as error:
            self._start_failure = WorkerMemoryError(f"No worker process could be started: {error}. Run fewer at once.")
        channel.close()
        self._cell_started = time.monotonic()  # the wait for a start is not the cell's
        # Not an argument of the process: the write of one that is larger than a pipe never ends if the child dies
        # before it reads it. By a thread, since this one has to see that the cell is late.
        part = replace(job, cells=job.cells[first:], keys=job.keys[first:])
        threading.Thread(target=_send, args=(self.receiver, part), daemon=True).start()

    @property
    def n_ended(self) -> int:
        """Cells of the job that have ended."""
        return self._current

    @property
    def rss_mib(self) -> float:
        """What the process holds of the memory now."""
        if self._child is None:
            return 0.0
        try:
            return psutil.Process(self._child.pid).memory_info().rss / MIB
        except psutil.Error:
            return 0.0

    @property
    def is_late(self) -> bool:
        """Whether the cell at hand has taken longer than it may."""
        return self.left_s is not None and self.left_s <= 0

    @property
    def left_s(self) -> float | None:
        """Seconds that the cell at hand has left; None for ever."""
        if self._conditions.timeout_s is None:
            return None
        return self._cell_started + self._conditions.timeout_s - time.monotonic()

    def next_event(self) -> Event | None:
        """What the process says, or what becomes of the cell at hand if it is dead or late; indices are the job's.

        None at the end of all cells. To be called when `receiver` has something to read or the process is late.
        """
        if self.receiver.poll():
            try:
                return self._noted(self.receiver.recv())
            except (EOFError, OSError):  # closed, or killed in the middle of a message
                self.is_over = True
                return self._failed(self._cause_of_death())
        self.is_over = True
        if self._child is not None:
            self._child.kill()
        return self._failed(
            CellTimeoutError(
                f"The cell took longer than {self._conditions.timeout_s:g} s: give it more with --timeout, or look "
                f"into {self._conditions.log_path}."
            )
        )

    def _noted(self, event: Event) -> Event:
        if isinstance(event, Progress):
            return event
        self._cell_started = time.monotonic()
        if isinstance(event, CellEnded):
            self._current += 1
            self._log_start = _size(self._conditions.log_path)  # what was written before is of other cells
        return replace(event, index=event.index + self._first)

    def _cause_of_death(self) -> BenchmarkError:
        if self._child is None:
            assert self._start_failure is not None
            return self._start_failure
        self._child.join(GRACE_S)
        log_path = self._conditions.log_path
        return cause_of_death(
            self._child.exitcode,
            log_end(log_path, self._log_start),
            was_oom_kill=count_oom_kills() > self._n_oom_kills,
            log_path=log_path,
        )

    def _failed(self, error: BenchmarkError) -> CellEnded | None:
        """The end of the cell at hand; None if there is none."""
        index, job = self._current, self._job
        if index == len(job.cells):
            return None
        self._current += 1
        return cell_lost(job, index, error)

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._child is not None and self._child.is_alive():  # if not, its number may be another process's
            self._child.terminate()
            self._child.join(GRACE_S)
            if self._child.is_alive():
                self._child.kill()
                self._child.join()
        self.receiver.close()


def wait_for_any(processes: Sequence[JobProcess]) -> list[JobProcess]:
    """Sleep until a process has something to say or is late; those that have or are."""
    left_s = [process.left_s for process in processes if process.left_s is not None]
    ready = wait([process.receiver for process in processes], max(0.0, min(left_s)) if left_s else None)
    return [process for process in processes if process.receiver in ready or process.is_late]


def _send(receiver: Connection, job: Job) -> None:
    """Give a child its job, if it lives; if not, the end of the connection says so to whoever listens."""
    with suppress(OSError):
        receiver.send(job)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
