"""Under what conditions the processes of jobs work."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmark.provenance import gpu_name

# TensorFlow reads it when it is first imported: every operation gives the same result every time.
DETERMINISM_VARIABLE = "TF_DETERMINISTIC_OPS"


@dataclass(frozen=True)
class Conditions:
    """Under what conditions the processes of jobs work.

    Attributes:
        log_path: Where everything goes that workers and their libraries print.
        timeout_s: Seconds that a cell may take, with the work that it is the first to need; None for ever.
        is_deterministic: Whether TensorFlow has to give the same result every time; None where that costs nothing,
            which is on a machine without a GPU.
    """

    log_path: Path
    timeout_s: float | None = None
    is_deterministic: bool | None = None

    def choose_determinism(self) -> bool:
        """Tell TensorFlow, before it is imported; whether it has to be deterministic."""
        chosen = not gpu_name() if self.is_deterministic is None else self.is_deterministic
        os.environ[DETERMINISM_VARIABLE] = "1" if chosen else "0"
        return chosen
