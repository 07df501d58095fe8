"""The strategy `classify`: the answers of a network's own classifier, with nothing trained."""

import time

import numpy as np
from numpy.typing import NDArray

from benchmark.strategies.outcome import Features, Outcome


def run_classify(
    probabilities: Features, tested: NDArray[np.int64], *, classes: NDArray[np.int64] | None, params_total: int
) -> Outcome:
    """Take the answers of a network for the test images.

    Args:
        probabilities: `(n, 1000)` float32 of all images.
        tested: Positions of the test images.
        classes: `(k,)`: the classes to choose among, 0 to 999, in the order of the labels; None for all of them.
        params_total: Parameters of the network.
    """
    started = time.perf_counter()
    scores = probabilities[tested]
    if classes is not None:
        scores = among(scores, classes)
    return Outcome(
        scores=scores,
        are_probabilities=True,
        train_accuracy=None,
        val_accuracy=None,
        params_total=params_total,
        params_trainable=0,
        epochs=None,
        history=(),
        train_s=0.0,
        eval_s=time.perf_counter() - started,
    )


def among(probabilities: Features, classes: NDArray[np.int64]) -> Features:
    """The probabilities `(n, k)` of these classes if no other class is possible; equal ones where all are zero."""
    chosen = probabilities[:, classes].astype(np.float64)
    sums = chosen.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.full_like(chosen, 1 / len(classes))
    np.divide(chosen, sums, out=shares, where=sums > 0)
    return shares.astype(np.float32)
