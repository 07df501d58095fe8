"""The conditions under which workers run cells."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmark.plan.planned import PlannedCell
from benchmark.provenance import environment

# TensorFlow reads this variable at its first operation: 1 makes every operation deterministic.
DETERMINISM_VARIABLE = "TF_DETERMINISTIC_OPS"


@dataclass(frozen=True)
class Conditions:
    """The conditions under which workers run cells.

    Attributes:
        log_path: The file that takes everything that workers and their libraries print.
        timeout_s: Seconds that a cell may take, including the features that it extracts for later cells; None = no
            limit.
        is_deterministic: Whether TensorFlow uses deterministic operations only; None = automatic: on only for CPU jobs
            in which Keras trains nothing, since it costs no time there.
        n_jobs: How many jobs run at the same time on a machine.
        again: Whether features are extracted and trainings started over, whatever earlier runs left.
        keep_weights: Whether what is trained goes into the ledger.
    """

    log_path: Path
    timeout_s: float | None = None
    is_deterministic: bool | None = None
    n_jobs: int = 1
    again: bool = False
    keep_weights: bool = False

    def apply_determinism(self, planned: PlannedCell) -> bool:
        """Set the variable for the job of this cell in this process; whether its operations are deterministic."""
        chosen = self.is_deterministic
        if chosen is None:
            chosen = not planned.has_training and not environment()["gpu"]
        os.environ[DETERMINISM_VARIABLE] = str(int(chosen))
        return chosen
