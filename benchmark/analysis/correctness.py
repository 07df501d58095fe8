"""What a run predicted, and which test images it named correctly, from its saved predictions."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.errors import LedgerError
from benchmark.ledger import Ledger, fold_of

log = logging.getLogger(__name__)

Correct = NDArray[np.bool_]
_T = TypeVar("_T")


class Marks(Protocol):
    """Which test images runs named correctly."""

    def of_run(self, folder: str, run_id: str, /) -> Correct | None:
        """`(n_test,)` in the order of the test images; None where it is not known of all of them."""


class Correctness:
    """The predictions of runs, and which test images they named correctly; each run is read once, on first use.

    A damaged file counts as one that was not kept, and a warning names it.

    Args:
        runs: What `load_runs` returns.
        with_folds: Whether runs of folds count. Each fold has test images of its own, so its runs can be compared with
            those of the same fold only, and not be pooled image by image.
    """

    def __init__(self, runs: pd.DataFrame, *, with_folds: bool = False) -> None:
        self._test_images = {
            (row["folder"], row["run_id"]): (row["dataset_fingerprint"], fold_of(row))
            for row in runs[["folder", "run_id", "dataset_fingerprint", "folds", "seed"]].to_dict("records")
        }
        self._with_folds = with_folds
        # Caches of the instance, which end with it.
        self._ledger = functools.cache(lambda folder: Ledger(Path(folder)))
        self.predicted = functools.cache(self._predicted)
        self.of_run = functools.cache(self._of_run)
        self._true_labels = functools.cache(
            lambda folder, *names: self._if_intact(self._ledger(folder).read_true_labels, *names)
        )
        self._warn_once = functools.cache(log.warning)
        self._n_images: dict[tuple[str, str], int] = {}  # by fingerprint and fold

    def _if_intact(self, read: Callable[..., _T | None], *names: str) -> _T | None:
        try:
            return read(*names)
        except LedgerError as error:
            self._warn_once(str(error))
            return None

    def _predicted(self, folder: str, run_id: str) -> NDArray[np.int16] | None:
        """`(n_test,)` classes in the order of the dataset's test images; None where they were not kept."""
        predictions = self._if_intact(self._ledger(folder).read_predictions, run_id)
        return None if predictions is None else predictions[0]

    def _of_run(self, folder: str, run_id: str) -> Correct | None:
        """`(n_test,)` in the order of the dataset's test images; None without predictions of all of them."""
        fingerprint, fold = self._test_images[folder, run_id]
        if fold and not self._with_folds:
            return None
        predicted = self.predicted(folder, run_id)
        true = self._true_labels(folder, fingerprint, fold)
        if predicted is None or true is None:
            return None
        n_images = self._n_images.setdefault((fingerprint, fold), len(true[0]))
        if not len(predicted) == len(true[0]) == n_images:
            self._warn_once(
                f"The predictions of run {run_id} in {folder} are not used: {len(predicted)} of {n_images} test images."
            )
            return None
        correct: Correct = predicted == true[0]
        return correct
