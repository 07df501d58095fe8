"""Which test images a run named correctly, from its saved predictions."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.ledger import Ledger

Correct = NDArray[np.bool_]


class Correctness:
    """Which test images each run named correctly; each run is read once, on first use.

    Args:
        runs: What `load_runs` returns.
    """

    def __init__(self, runs: pd.DataFrame) -> None:
        self._fingerprints = runs.set_index(["folder", "run_id"])["dataset_fingerprint"].to_dict()
        # Caches of the instance, which end with it.
        self.of_run = functools.cache(self._of_run)
        self._true_labels = functools.cache(
            lambda folder, fingerprint: Ledger(Path(folder)).read_true_labels(fingerprint)
        )

    def _of_run(self, folder: str, run_id: str) -> Correct | None:
        """`(n_test,)` in the order of the dataset's test images; None without predictions of all of them."""
        predictions = Ledger(Path(folder)).read_predictions(run_id)
        true = self._true_labels(folder, self._fingerprints[folder, run_id])
        if predictions is None or true is None or len(predictions[0]) != len(true[0]):
            return None
        correct: Correct = predictions[0] == true[0]
        return correct
