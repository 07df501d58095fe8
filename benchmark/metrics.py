"""Labels and scores turned into named numbers, by scikit-learn and SciPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics

CONFIDENCE_LEVEL = 0.95
TOP_K = 5

Labels = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 in 0..1 of one class, and its number of test images."""

    class_name: str
    precision: float
    recall: float
    f1: float
    support: int


def wilson_interval(n_correct: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, by Wilson's score method (Wilson 1927, as SciPy computes it).

    Args:
        n_correct: Images named correctly.
        n: All images.
    """
    interval = binomtest(n_correct, n).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy(labels: Labels, predicted: Labels) -> float:
    """Share of images named correctly, 0..1."""
    return float(np.mean(labels == predicted))


def score_metrics(labels: Labels, scores: Scores, *, are_probabilities: bool) -> dict[str, float | None]:
    """The metric columns of a row.

    Args:
        labels: `(n,)` true classes.
        scores: `(n, k)`, the greatest is the predicted class.
        are_probabilities: Whether the scores are a probabilistic model's, so that the log loss means something.

    Returns:
        By column name; None where a metric does not apply (top-5 of five or fewer classes, log loss of
        scores that are no probabilities).
    """
    n_classes = scores.shape[1]
    predicted = scores.argmax(axis=1)
    classes = np.arange(n_classes)
    low, high = wilson_interval(int(np.sum(labels == predicted)), len(labels))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, average="macro", zero_division=0
    )
    weighted_f1 = metrics.f1_score(labels, predicted, labels=classes, average="weighted", zero_division=0)
    return {
        "accuracy": accuracy(labels, predicted),
        "accuracy_low": low,
        "accuracy_high": high,
        "top5_accuracy": _top_k_accuracy(labels, scores) if n_classes > TOP_K else None,
        "balanced_accuracy": _balanced_accuracy(labels, predicted),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "weighted_f1": float(weighted_f1),
        "log_loss": float(metrics.log_loss(labels, _normalised(scores), labels=classes)) if are_probabilities else None,
    }


def _top_k_accuracy(labels: Labels, scores: Scores) -> float:
    return float(metrics.top_k_accuracy_score(labels, scores, k=TOP_K, labels=np.arange(scores.shape[1])))


def _balanced_accuracy(labels: Labels, predicted: Labels) -> float:
    # Mean recall over the classes that the test set has; scikit-learn warns where a prediction has others.
    present = np.unique(labels)
    return float(metrics.recall_score(labels, predicted, labels=present, average="macro", zero_division=0))


def _normalised(scores: Scores) -> NDArray[np.float64]:
    # float32 softmax rows miss 1 by more than scikit-learn's log_loss tolerates without a warning.
    exact = scores.astype(np.float64)
    normalised: NDArray[np.float64] = exact / exact.sum(axis=1, keepdims=True)
    return normalised


def per_class_metrics(labels: Labels, predicted: Labels, class_names: Sequence[str]) -> list[ClassMetrics]:
    """Precision, recall, F1 and support of every class, in the order of `class_names`."""
    columns = metrics.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(class_names)), average=None, zero_division=0
    )
    return [
        ClassMetrics(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(class_names, *columns, strict=True)
    ]


def confusion_counts(labels: Labels, predicted: Labels, n_classes: int) -> NDArray[np.int64]:
    """`(k, k)` counts: rows are true classes, columns predicted ones."""
    matrix: NDArray[np.int64] = metrics.confusion_matrix(labels, predicted, labels=np.arange(n_classes))
    return matrix
