"""What a run predicted, and which test images it named correctly, from its saved predictions."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.ledger import Ledger

Correct = NDArray[np.bool_]


class Correctness:
    """The predictions of runs, and which test images they named correctly; each run is read once, on first use.

    Args:
        runs: What `load_runs` returns.
    """

    def __init__(self, runs: pd.DataFrame) -> None:
        self._fingerprints = runs.set_index(["folder", "run_id"])["dataset_fingerprint"].to_dict()
        # Caches of the instance, which end with it.
        self._ledger = functools.cache(lambda folder: Ledger(Path(folder)))
        self.predicted_by_run = functools.cache(self._predicted_by_run)
        self.of_run = functools.cache(self._of_run)
        self._true_labels = functools.cache(
            lambda folder, fingerprint: self._ledger(folder).read_true_labels(fingerprint)
        )

    def _predicted_by_run(self, folder: str, run_id: str) -> NDArray[np.int16] | None:
        """`(n_test,)` classes in the order of the dataset's test images; None where they were not kept."""
        predictions = self._ledger(folder).read_predictions(run_id)
        return None if predictions is None else predictions[0]

    def _of_run(self, folder: str, run_id: str) -> Correct | None:
        """`(n_test,)` in the order of the dataset's test images; None without predictions of all of them."""
        predicted = self.predicted_by_run(folder, run_id)
        true = self._true_labels(folder, self._fingerprints[folder, run_id])
        if predicted is None or true is None or len(predicted) != len(true[0]):
            return None
        correct: Correct = predicted == true[0]
        return correct
