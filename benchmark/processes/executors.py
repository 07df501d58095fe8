"""The executor of this machine: each job in a process of its own, one or several at a time."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

import psutil

from benchmark.errors import BenchmarkError
from benchmark.isolation import start_worker
from benchmark.memory import available_mib
from benchmark.plan.cells import Cell
from benchmark.plan.planned import Job
from benchmark.processes.conditions import Conditions
from benchmark.processes.death import CellTimeoutError, WorkerMemoryError, cause_of_death, count_oom_kills
from benchmark.processes.worker import work
from benchmark.storage import MIB
from benchmark.work.events import CellEnded, CellStarted, Event, cell_failed

# Runs jobs and yields their events, with a `CellEnded` for every cell. The flag says whether trainings start over.
Execute = Callable[[Sequence[Job], bool], Iterator[Event]]
# A worker that was asked to end is killed after this time.
GRACE_S = 5.0
# The system counts milliseconds in 32 bits.
LONGEST_WAIT_S = 3600.0


class JobProcess:
    """The cells of a job in a process of their own.

    Args:
        job: The cells, at least one.
        conditions: How to run them.
        cores: The numbers of the cores to use.

    Attributes:
        rest: The cells that have not ended; the first one is the current cell.
        cores: As given.
        channel: Can be read when the process has sent an event or is dead.
        is_over: Whether `next_event` has returned the last event.

    Raises:
        OSError: The system cannot start another process.
    """

    def __init__(self, job: Job, conditions: Conditions, cores: Sequence[int]) -> None:
        self.rest = list(job)
        self.cores = cores
        self.is_over = False
        self._conditions = conditions
        self._row: dict[str, Any] = {}  # of the current cell, as far as its worker told
        self._n_oom_kills = count_oom_kills()
        self._child, self.channel = start_worker(work, (conditions, cores), conditions.log_path)
        self._hand_over()

    def _hand_over(self) -> None:
        """Send the current cell, or None after the last one."""
        self._cell_started = time.monotonic()
        log_path = self._conditions.log_path
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        with suppress(OSError):  # the process is dead, which the end of the channel reports
            self.channel.send(self.rest[0] if self.rest else None)

    @property
    def rss_mib(self) -> float:
        """Resident memory of the process now."""
        try:
            return psutil.Process(self._child.pid).memory_info().rss / MIB
        except psutil.Error:
            return 0.0

    @property
    def left_s(self) -> float:
        """Seconds that the current cell has left; infinite without a limit."""
        return self._cell_started + (self._conditions.timeout_s or math.inf) - time.monotonic()

    def next_event(self) -> Event:
        """The event that the process sent or, if it is dead or late, the failure of its current cell.

        Call this when `channel` can be read or `left_s` is 0 or less.
        """
        if not self.channel.poll():
            self._child.kill()
            return self._failed(CellTimeoutError(self._conditions))
        try:
            event: Event = self.channel.recv()
        except (EOFError, OSError):  # closed, or killed in the middle of a message
            self._child.join(GRACE_S)
            log, was_oom_kill = self._conditions.log_path, count_oom_kills() > self._n_oom_kills
            return self._failed(cause_of_death(self._child.exitcode, log, self._log_start, was_oom_kill=was_oom_kill))
        if isinstance(event, CellEnded):
            del self.rest[0]
            self.is_over = not self.rest
            self._row = {}
            self._hand_over()
        elif isinstance(event, CellStarted):
            self._row = event.row
            self._cell_started = time.monotonic()  # the start of the process does not count
        return event

    def _failed(self, error: BenchmarkError) -> CellEnded:
        self.is_over = True
        return cell_failed(self.rest.pop(0), error, self._row)

    def end(self) -> None:
        """End the process, by force if it does not end by itself."""
        if self._child.is_alive():  # if not, its number may belong to another process by now
            self._child.terminate()
            self._child.join(GRACE_S)
            if self._child.is_alive():
                self._child.kill()
                self._child.join()
        self.channel.close()


def wait_for_any(processes: Sequence[JobProcess]) -> list[JobProcess]:
    """Sleep until a process has sent something, is dead or is late, or for an hour; return those that did or are."""
    left_s = max(0.0, min((process.left_s for process in processes), default=0.0))
    ready = wait([process.channel for process in processes], min(left_s, LONGEST_WAIT_S))
    return [process for process in processes if process.channel in ready or process.left_s <= 0]


class LocalExecutor:
    """Runs jobs in child processes. One that dies or hangs fails its current cell; a new one runs the others.

    The parent sleeps while nothing happens. Leaving the generator early ends all children.

    Args:
        conditions: How to run them; the cores are divided among the jobs that run at the same time.
        memory_mib: MiB that the job of a cell is expected to need. It starts beside others only if they are free.
    """

    def __init__(self, conditions: Conditions, *, memory_mib: Callable[[Cell], float]) -> None:
        self._conditions = conditions
        self._memory_mib = memory_mib

    def __call__(self, jobs: Sequence[Job], again: bool) -> Iterator[Event]:
        """See `Execute`."""
        conditions = replace(self._conditions, n_jobs=min(self._conditions.n_jobs, len(jobs)), again=again)
        free = divide_cores(conditions.n_jobs)
        waiting, running = deque(jobs), list[JobProcess]()
        try:
            while waiting or running:
                while waiting and free and (not running or self._fits(waiting[0], running)):
                    job = waiting.popleft()
                    try:
                        running.append(JobProcess(job, conditions, free[-1]))
                        free.pop()
                    except OSError as error:
                        yield cell_failed(job[0], WorkerMemoryError(f"Cannot start a worker: {error}. Run fewer jobs."))
                        if job[1:]:
                            waiting.appendleft(job[1:])
                for process in wait_for_any(running):
                    yield process.next_event()
                    if process.is_over:
                        process.end()
                        running.remove(process)
                        free.append(process.cores)
                        if process.rest:  # before the other jobs, because its features are in the cache
                            waiting.appendleft(process.rest)
        finally:
            for process in running:
                process.end()

    def _fits(self, job: Job, running: Sequence[JobProcess]) -> bool:
        """Whether enough memory is free for a job once the running ones use as much as expected."""
        yet_to_come = sum(max(0.0, self._memory_mib(one.rest[0].cell) - one.rss_mib) for one in running)
        return self._memory_mib(job[0].cell) + yet_to_come <= available_mib()


def divide_cores(n_jobs: int) -> list[Sequence[int]]:
    """The usable cores in `n_jobs` parts of about equal size, which overlap only if there are fewer cores than jobs."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return [cores[number::n_jobs] or [cores[number % len(cores)]] for number in range(n_jobs)]
