"""The probe: the backbone is frozen, and a head is trained on its features."""

import time

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Split
from benchmark.metrics import accuracy
from benchmark.options import DenseOptions
from benchmark.strategies.heads import HEADS
from benchmark.strategies.outcome import HeadData, Outcome


def run_probe(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    split: Split,
    *,
    n_classes: int,
    head: str,
    seed: int,
    options: DenseOptions,
    params_backbone: int,
) -> Outcome:
    """Train a head on the train split, choose on val, score test.

    Args:
        features: `(n, d)` float32 of all images.
        labels: `(n,)` of all images.
        split: Which image is in which split.
        n_classes: Number of classes.
        head: A key of `HEADS`.
        seed: Of initial weights and the order of the images.
        options: Of the head `dense`.
        params_backbone: Parameters of the backbone that gave the features.
    """
    started = time.perf_counter()
    data = HeadData(features[split.train], labels[split.train], features[split.val], labels[split.val], n_classes)
    fitted = HEADS[head].fit(data, seed, options)
    train_s = time.perf_counter() - started

    started = time.perf_counter()
    scores = fitted.scores(features[split.test])
    val_accuracy = accuracy(data.val_labels, fitted.scores(data.val).argmax(axis=1))
    n_params = HEADS[head].n_params(features.shape[1], n_classes, options)
    train_accuracy = accuracy(data.train_labels, fitted.scores(data.train).argmax(axis=1)) if n_params else None
    return Outcome(
        scores=scores,
        are_probabilities=fitted.are_probabilities,
        train_accuracy=train_accuracy,
        val_accuracy=val_accuracy,
        params_total=params_backbone + n_params,
        params_trainable=n_params,
        epochs=fitted.epochs,
        history=fitted.history,
        train_s=train_s,
        eval_s=time.perf_counter() - started,
        warning=fitted.warning,
        weights=fitted.weights,
    )
