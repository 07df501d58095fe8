"""Labels and scores turned into named numbers, by scikit-learn and SciPy.

Both are imported when a number is computed: importing them takes as long as planning a sweep.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE_LEVEL = 0.95
TOP_K = 5
N_CALIBRATION_BINS = 15

Labels = NDArray[np.int64]
Scores = NDArray[np.float32]


def wilson_interval(n_correct: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of the share `n_correct / n`, by Wilson's score method (Wilson 1927)."""
    from scipy.stats import binomtest

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
        By column name; None where a metric does not apply (top-5 of five or fewer classes, AUROC of more than two, or
        where the test images have one class only; log loss and calibration error of scores that are not probabilities).
        Means over classes are of those that occur, as scikit-learn has them.
    """
    predicted = scores.argmax(axis=1)
    low, high = wilson_interval(int(np.sum(labels == predicted)), len(labels))
    # A class that neither occurs nor is predicted has no precision and no recall.
    precision, recall, f1, support = _by_class(labels, predicted, np.union1d(labels, predicted))
    return {
        "accuracy": accuracy(labels, predicted),
        "accuracy_low": low,
        "accuracy_high": high,
        "top5_accuracy": top_k_accuracy(labels, scores, TOP_K) if scores.shape[1] > TOP_K else None,
        # Of the classes that the test set has; the macro averages are also of those that were only predicted.
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_precision": float(precision.mean()),
        "macro_recall": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "weighted_precision": float(np.average(precision, weights=support)),
        "weighted_recall": float(np.average(recall, weights=support)),
        "weighted_f1": float(np.average(f1, weights=support)),
        "auroc": _auroc(labels, scores),
        "log_loss": log_loss(labels, scores) if are_probabilities else None,
        "calibration_error": calibration_error(labels, scores) if are_probabilities else None,
    }


def top_k_accuracy(labels: Labels, scores: Scores, k: int) -> float:
    """Share of images whose true class is among the `k` with the highest scores, 0..1.

    Of equal scores the first class counts as higher, as it does for the predicted class: scikit-learn takes the last,
    so that a predicted class can be missing among its own top `k`.
    """
    true = scores[np.arange(len(labels)), labels][:, np.newaxis]
    is_before = (scores == true) & (np.arange(scores.shape[1]) < labels[:, np.newaxis])
    return float(np.mean(np.sum((scores > true) | is_before, axis=1) < k))


def log_loss(labels: Labels, probabilities: Scores) -> float:
    """Mean cross-entropy of `(n, k)` probabilities in nats."""
    from sklearn import metrics

    # float32 softmax rows miss 1 by more than scikit-learn's log_loss tolerates without a warning.
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    return float(metrics.log_loss(labels, exact, labels=np.arange(probabilities.shape[1])))


def calibration_error(labels: Labels, probabilities: Scores) -> float:
    """Expected calibration error, 0..1 (Guo et al., On calibration of modern neural networks, ICML 2017).

    The mean distance, over 15 bins of equal width weighted by their images, of the mean probability of the predicted
    class from the accuracy.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    surplus = confidence - (probabilities.argmax(axis=1) == labels)
    bins = np.minimum((confidence * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=surplus)).sum() / len(labels))


def _auroc(labels: Labels, scores: Scores) -> float | None:
    """Area under the ROC curve of two classes that both occur: the chance that an image of the second scores higher."""
    from sklearn import metrics

    if scores.shape[1] != 2 or len(np.unique(labels)) != 2:
        return None
    return float(metrics.roc_auc_score(labels, scores[:, 1].astype(np.float64) - scores[:, 0]))


def per_class_metrics(labels: Labels, predicted: Labels, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 in 0..1 and the support (test images) of each class, by column of `per_class.csv`."""
    columns = _by_class(labels, predicted, np.arange(len(class_names)))
    return [
        dict(zip(("class_name", "precision", "recall", "f1", "support"), (name, *numbers), strict=True))
        for name, *numbers in zip(class_names, *(column.tolist() for column in columns), strict=True)
    ]


def _by_class(labels: Labels, predicted: Labels, classes: Labels) -> Any:
    """Four arrays `(k,)`: precision, recall, F1 and support of each of these classes."""
    from sklearn import metrics

    return metrics.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)


def confusion_counts(labels: Labels, predicted: Labels, n_classes: int) -> NDArray[np.int64]:
    """`(k, k)` counts: rows are true classes, columns predicted ones."""
    from sklearn import metrics

    matrix: NDArray[np.int64] = metrics.confusion_matrix(labels, predicted, labels=np.arange(n_classes))
    return matrix
