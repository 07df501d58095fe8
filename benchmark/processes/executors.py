"""Where jobs are done: each in a process of its own, one or several at a time, on this machine."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmark.memory import available_mib
from benchmark.plan.cells import Job
from benchmark.processes.conditions import Conditions
from benchmark.processes.placement import ALL_CORES, Placement, divide_cores
from benchmark.processes.process import JobProcess, wait_for_any
from benchmark.work.events import Event


@dataclass(frozen=True)
class JobEvent:
    """What happens in the job of that number."""

    job: int
    event: Event


Execute = Callable[[Sequence[Job]], Iterator[JobEvent]]


@dataclass(frozen=True)
class _Remaining:
    """What is left of a job: its cells from `first` on."""

    number: int
    job: Job
    first: int = 0


@dataclass(frozen=True)
class _Running:
    remaining: _Remaining
    placement: Placement
    process: JobProcess


class LocalExecutor:
    """Does jobs in child processes; one that dies or hangs fails the cell at hand, a new one does the others.

    The parent sleeps while nothing happens. Leaving the generator early ends all children.

    Args:
        conditions: Log and time limit.
        memory_mib: What a job is expected to need. It is not started beside others if so much is not free.
        n_jobs: How many at a time; the cores are divided among them.
        placement: The cores of a job that has no neighbours.
    """

    def __init__(
        self,
        conditions: Conditions,
        *,
        memory_mib: Callable[[Job], float],
        n_jobs: int = 1,
        placement: Placement = ALL_CORES,
    ) -> None:
        self._conditions = conditions
        self._n_jobs = n_jobs
        self._memory_mib = memory_mib
        self._placement = placement

    def __call__(self, jobs: Sequence[Job]) -> Iterator[JobEvent]:
        """The events of all jobs; every cell ends."""
        waiting = deque(_Remaining(number, job) for number, job in enumerate(jobs))
        n_jobs = min(self._n_jobs, len(jobs))
        free = divide_cores(n_jobs) if n_jobs > 1 else [self._placement]
        running: list[_Running] = []
        try:
            while waiting or running:
                while waiting and free and (not running or self._fits(waiting[0].job, running)):
                    running.append(self._start(waiting.popleft(), free.pop()))
                awaited = wait_for_any([one.process for one in running])
                for one in [one for one in running if one.process in awaited]:
                    event = one.process.next_event()
                    if event is not None:
                        yield JobEvent(one.remaining.number, event)
                    if one.process.is_over:
                        one.process.end()
                        running.remove(one)
                        free.append(one.placement)
                        waiting.extendleft(self._rest(one))
        finally:
            for one in running:
                one.process.end()

    def _start(self, remaining: _Remaining, placement: Placement) -> _Running:
        process = JobProcess(remaining.job, remaining.first, self._conditions, placement)
        return _Running(remaining, placement, process)

    def _fits(self, job: Job, running: Sequence[_Running]) -> bool:
        """Whether a job finds its memory when those that run have taken all that they are expected to need."""
        yet_to_come = sum(max(0.0, self._memory_mib(one.remaining.job) - one.process.rss_mib) for one in running)
        return self._memory_mib(job) + yet_to_come <= available_mib()

    def _rest(self, one: _Running) -> list[_Remaining]:
        """What a process left undone, to be done before other jobs: its features are in the cache."""
        first = one.process.n_ended
        job = one.remaining.job
        return [_Remaining(one.remaining.number, job, first)] if first < len(job.cells) else []
