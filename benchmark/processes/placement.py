"""Which cores the process of a job uses."""

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.ledger import BESIDE_OTHERS


@dataclass(frozen=True)
class Placement:
    """The cores of a job's process.

    Attributes:
        cores: Their numbers; None for all that this process may use.
        n_jobs: How many jobs run at the same time.
    """

    cores: tuple[int, ...] | None = None
    n_jobs: int = 1

    def take(self) -> None:
        """Keep this process to its cores. TensorFlow and BLAS make as many threads as they find cores."""
        if self.cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores)

    def label(self, cpu: str) -> str:
        """The processor as a row names it, marked where the job had neighbours, which make its times other ones."""
        return cpu if self.n_jobs == 1 else f"{cpu} ({self.n_jobs}{BESIDE_OTHERS}"


ALL_CORES = Placement()


def divide_cores(n_jobs: int) -> list[Placement]:
    """So many placements of about equal size; they share cores only where there are fewer cores than jobs."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return [
        Placement(tuple(cores[number::n_jobs]) or (cores[number % len(cores)],), n_jobs) for number in range(n_jobs)
    ]


@contextmanager
def claim_cores(n_jobs: int) -> Iterator[Placement]:
    """One of so many placements, which no other process of this machine can claim meanwhile.

    For jobs that do not know of each other. The claim ends with the process, however that ends. Where more jobs claim
    than there are placements, the last ones get all cores.
    """
    if n_jobs == 1:
        yield ALL_CORES
        return
    # Not in the cache, which several machines may share.
    folder = Path(tempfile.gettempdir(), f"backbone-benchmark-cores-{_user()}")
    folder.mkdir(exist_ok=True)
    for number, placement in enumerate(divide_cores(n_jobs)):
        lock = FileLock(folder / f"{number + 1}-of-{n_jobs}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        with lock:
            lock.release()  # the first of two
            yield placement
        return
    yield Placement(None, n_jobs)


def _user() -> str:
    """A container may run as a number that has no name."""
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
