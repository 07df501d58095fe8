"""How workers work, whatever the job."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmark.plan.cells import Job
from benchmark.provenance import environment

# TensorFlow reads it at the first operation: every operation gives the same result every time.
DETERMINISM_VARIABLE = "TF_DETERMINISTIC_OPS"


@dataclass(frozen=True)
class Conditions:
    """How workers work, whatever the job.

    Attributes:
        log_path: Where everything goes that workers and their libraries print.
        timeout_s: Seconds that a cell may take, with the work that it is the first to need; None for ever.
        is_deterministic: Whether TensorFlow has to give the same result every time; None where that costs nothing,
            which is where it trains nothing, on a machine without a GPU.
    """

    log_path: Path
    timeout_s: float | None = None
    is_deterministic: bool | None = None

    def choose_determinism(self, job: Job) -> bool:
        """Tell TensorFlow, before it does anything; whether it has to be deterministic in this job."""
        chosen = self.is_deterministic
        if chosen is None:
            chosen = not job.has_training and not environment()["gpu"]
        os.environ[DETERMINISM_VARIABLE] = str(int(chosen))
        return chosen
