"""Rows that contradict the predictions they stand beside, as rows do that were altered by hand."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.ledger import Ledger
from benchmark.metrics import score_metrics

# The columns that follow from true and predicted classes alone.
DERIVED = (
    "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1",
    "weighted_f1",
)  # fmt: skip
# What writing a number as text may cost it.
ROUNDING = 1e-6

Classes = NDArray[np.int16]


class Soundness:
    """Whether rows agree with their predictions and their confusion matrices.

    What was not kept contradicts nothing.
    """

    def __init__(self) -> None:
        # Caches of the instance, gone with it.
        self._confusion = functools.cache(_read_confusion)

    def contradiction(self, row: Mapping[Any, Any]) -> str:
        """What is wrong with a finished row, as the end of a sentence; empty if nothing is.

        Args:
            row: The columns that `load_runs` gives.
        """
        ledger = Ledger(Path(row["folder"]))
        predictions = ledger.read_predictions(row["run_id"])
        true = ledger.read_true_labels(row["dataset_fingerprint"])
        names = ledger.read_class_names(row["dataset_fingerprint"])
        if predictions is None or true is None or names is None:
            return ""
        predicted = predictions[0]
        if len(predicted) != len(true):
            return f"{len(true)} test images, {len(predicted)} predictions"
        return _other_figures(row, true, predicted, len(names)) or self._other_counts(row, true, predicted, names)

    def _other_counts(self, row: Mapping[Any, Any], true: Classes, predicted: Classes, names: tuple[str, ...]) -> str:
        kept = self._confusion(row["folder"]).get(row["run_id"])
        pairs = zip(true, predicted, strict=True)
        counts = pd.Series([(names[one], names[other]) for one, other in pairs]).value_counts().to_dict()
        return "" if kept in (None, counts) else "confusion.csv counts other pairs of classes than the predictions"


def _other_figures(row: Mapping[Any, Any], true: Classes, predicted: Classes, n_classes: int) -> str:
    """The first figure that does not follow from the predictions."""
    scores = np.eye(n_classes, dtype=np.float32)[predicted]
    derived = score_metrics(true.astype(np.int64), scores, are_probabilities=False)
    for column in DERIVED:
        written, figure = row[column], derived[column]
        if figure is not None and not pd.isna(written) and abs(written - figure) > ROUNDING:
            return f"{column} is {written:.4f}, its predictions give {figure:.4f}"
    return ""


def _read_confusion(folder: str) -> dict[str, dict[tuple[str, str], int]]:
    """By run: how many images of a class were taken for which class."""
    table = Ledger(Path(folder)).read_confusion()
    found: dict[str, dict[tuple[str, str], int]] = {}
    columns = (table[column] for column in ("run_id", "true_class", "predicted_class", "count"))
    for run_id, true, predicted, count in zip(*columns, strict=True):
        found.setdefault(run_id, {})[str(true), str(predicted)] = int(count)
    return found
