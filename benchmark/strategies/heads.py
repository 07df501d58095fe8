"""Heads: what a probe trains on the features. Each chooses on the validation images only."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from benchmark.options import DenseOptions
from benchmark.strategies.dense import fit_dense
from benchmark.strategies.outcome import Features, FittedHead, HeadData, HistoryPoint

# Inverse strength of the penalty of `linear`, strongest penalty first, so that each fit starts from the last one.
LINEAR_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LINEAR_MAX_ITERATIONS = 200
# Of the gradient. Ten times finer takes three times as long and moves no accuracy by a tenth of a point.
LINEAR_TOLERANCE = 3e-3
# Penalty of `ridge` on standardised features, as a share of the number of training images.
RIDGE_PENALTIES = tuple(10.0**exponent for exponent in range(-6, 2))
KNN_NEIGHBOURS = 20
SMALLEST_DEVIATION = 1e-6


def fit_linear(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Multinomial logistic regression on standardised features, its L2 penalty chosen on validation.

    Solved by scikit-learn's L-BFGS along a path of ever weaker penalties, each started from the last solution;
    the path ends when the validation accuracy has fallen twice in a row.
    """
    scale = _standardiser(data.train)
    train, val = scale(data.train), scale(data.val)
    model = LogisticRegression(max_iter=LINEAR_MAX_ITERATIONS, tol=LINEAR_TOLERANCE, warm_start=True)
    best_accuracy, best_c, coefficients, n_worse = -1.0, 0.0, None, 0
    history = []
    for c in LINEAR_C:
        # One thread: the products are too narrow for more to help, and the result does not depend on the machine.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # more iterations do not help a probe
            model.set_params(C=c).fit(train, data.train_labels)
        accuracy = float(np.mean(_probabilities(model, val, data.n_classes).argmax(axis=1) == data.val_labels))
        history.append(HistoryPoint("head", 0, "val", f"accuracy at C={c:g}", accuracy))
        if accuracy > best_accuracy:
            best_accuracy, best_c, n_worse = accuracy, c, 0
            coefficients = (model.coef_.copy(), model.intercept_.copy())
        elif accuracy < best_accuracy:
            n_worse += 1
            if n_worse == 2:
                break
    assert coefficients is not None
    model.coef_, model.intercept_ = coefficients
    history.append(HistoryPoint("head", 0, "val", "chosen C", best_c))
    return FittedHead(
        scores=lambda features: _probabilities(model, scale(features), data.n_classes),
        are_probabilities=True,
        n_params=_n_linear_params(data),
        history=tuple(history),
    )


def fit_ridge(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Ridge regression onto one-hot classes from standardised features, its penalty chosen on validation.

    With the eigenvectors `V` and eigenvalues `e` of `X'X` the weights of every penalty `a` are
    `V diag(1 / (e + a)) V' X'Y`, so all penalties cost little more than one.
    """
    scale = _standardiser(data.train)
    train, val = scale(data.train), scale(data.val)  # (n, d), (m, d)
    one_hot = np.eye(data.n_classes, dtype=np.float32)[data.train_labels]  # (n, k)
    intercept = one_hot.mean(axis=0)
    gram = (train.T @ train).astype(np.float64)  # (d, d)
    eigenvalues, vectors = linalg.eigh(gram, driver="evd", overwrite_a=True)
    projected = vectors.T @ (train.T @ (one_hot - intercept))  # (d, k)
    history, candidates = [], []
    for share in RIDGE_PENALTIES:
        penalty = share * len(train)
        weights = (vectors @ (projected / (np.maximum(eigenvalues, 0.0) + penalty)[:, np.newaxis])).astype(np.float32)
        accuracy = float(np.mean((val @ weights + intercept).argmax(axis=1) == data.val_labels))
        history.append(HistoryPoint("head", 0, "val", f"accuracy at penalty={share:g}n", accuracy))
        candidates.append((accuracy, share, weights))
    # Of equally good penalties the strongest, which generalises best.
    _, chosen, weights = max(candidates, key=lambda candidate: candidate[:2])
    history.append(HistoryPoint("head", 0, "val", "chosen penalty share", chosen))
    return FittedHead(
        scores=lambda features: scale(features) @ weights + intercept,
        are_probabilities=False,
        n_params=_n_linear_params(data),
        history=tuple(history),
    )


def fit_knn(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Votes of the 20 training images with the most similar features (cosine).

    Between vectors of length one the Euclidean order is the cosine order, and scikit-learn's search is faster
    for it.
    """
    model = KNeighborsClassifier(min(KNN_NEIGHBOURS, len(data.train)), algorithm="brute")
    model.fit(_unit_length(data.train), data.train_labels)
    return FittedHead(
        scores=lambda features: _probabilities(model, _unit_length(features), data.n_classes),
        are_probabilities=False,
        n_params=0,
    )


HeadFitter = Callable[[HeadData, int, DenseOptions], FittedHead]

HEADS: dict[str, HeadFitter] = {
    "linear": fit_linear,
    "ridge": fit_ridge,
    "knn": fit_knn,
    "dense": fit_dense,
}


def describe_heads() -> dict[str, str]:
    """What each head is: the first line of its fitter's docstring."""
    return {name: (fitter.__doc__ or "").splitlines()[0] for name, fitter in HEADS.items()}


def count_head_params(head: str, feature_dim: int, n_classes: int, options: DenseOptions) -> int:
    """Numbers that a head trains, without training it."""
    if head == "knn":
        return 0
    if head == "dense":
        return options.n_params(feature_dim, n_classes)
    return (feature_dim + 1) * n_classes


def _n_linear_params(data: HeadData) -> int:
    return int((data.train.shape[1] + 1) * data.n_classes)


def _probabilities(model: Any, features: Features, n_classes: int) -> Features:
    """Probabilities `(n, k)` of a scikit-learn classifier, zero for a class that no training image has."""
    scores = np.zeros((len(features), n_classes), np.float32)
    scores[:, model.classes_] = model.predict_proba(features)
    return scores


def _standardiser(train: Features) -> Callable[[Features], Features]:
    """A function that subtracts the training mean and divides by the training deviation.

    Training statistics only: test statistics would leak the split.
    """
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.maximum(train.std(axis=0, dtype=np.float64), SMALLEST_DEVIATION).astype(np.float32)
    return lambda features: (features - mean) / deviation


def _unit_length(features: Features) -> Features:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Features = features / np.maximum(lengths, SMALLEST_DEVIATION)
    return unit
