"""Labels and scores turned into named numbers, by scikit-learn and SciPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics

CONFIDENCE_LEVEL = 0.95
TOP_K = 5

Labels = NDArray[np.int64]
Scores = NDArray[np.float32]


def wilson_interval(n_correct: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of the share `n_correct / n`, by Wilson's score method (Wilson 1927)."""
    # Tested against the share itself, because the p-value, which is not needed, then costs nothing.
    interval = binomtest(n_correct, n, n_correct / n).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy(labels: Labels, predicted: Labels) -> float:
    """Share of images classified correctly, 0..1."""
    return float(np.mean(labels == predicted))


def score_metrics(labels: Labels, scores: Scores, *, are_probabilities: bool) -> dict[str, float | None]:
    """The metric columns of a row.

    Args:
        labels: `(n,)` true classes.
        scores: `(n, k)`, the greatest is the predicted class.
        are_probabilities: Whether the scores are probabilities, so that the log loss means something.

    Returns:
        By column name; None where a metric does not apply (top-5 of five or fewer classes, log loss of scores that are
        not probabilities). Means over classes are of those that occur, as scikit-learn has them.
    """
    predicted, classes = scores.argmax(axis=1), np.arange(scores.shape[1])
    low, high = wilson_interval(int(np.sum(labels == predicted)), len(labels))
    # A class that neither occurs nor is predicted has no precision and no recall.
    precision, recall, f1, support = _by_class(labels, predicted, np.union1d(labels, predicted))
    top5 = log_loss = None
    if len(classes) > TOP_K:
        top5 = float(metrics.top_k_accuracy_score(labels, scores, k=TOP_K, labels=classes))
    if are_probabilities:
        # float32 softmax rows miss 1 by more than scikit-learn's log_loss tolerates without a warning.
        exact = scores.astype(np.float64)
        log_loss = float(metrics.log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=classes))
    return {
        "accuracy": accuracy(labels, predicted),
        "accuracy_low": low,
        "accuracy_high": high,
        "top5_accuracy": top5,
        # Of the classes that the test set has; the macro averages are also of those that were only predicted.
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_precision": float(precision.mean()),
        "macro_recall": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(np.average(f1, weights=support)),
        "log_loss": log_loss,
    }


def per_class_metrics(labels: Labels, predicted: Labels, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 in 0..1 and the support (test images) of each class, by column of `per_class.csv`."""
    columns = _by_class(labels, predicted, np.arange(len(class_names)))
    return [
        dict(zip(("class_name", "precision", "recall", "f1", "support"), (name, *numbers), strict=True))
        for name, *numbers in zip(class_names, *(column.tolist() for column in columns), strict=True)
    ]


def _by_class(labels: Labels, predicted: Labels, classes: Labels) -> Any:
    """Four arrays `(k,)`: precision, recall, F1 and support of each of these classes."""
    return metrics.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)


def confusion_counts(labels: Labels, predicted: Labels, n_classes: int) -> NDArray[np.int64]:
    """`(k, k)` counts: rows are true classes, columns predicted ones."""
    matrix: NDArray[np.int64] = metrics.confusion_matrix(labels, predicted, labels=np.arange(n_classes))
    return matrix
