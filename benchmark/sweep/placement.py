"""Which cores the process of a job uses."""

import os
from dataclasses import dataclass

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
