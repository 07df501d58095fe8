"""The head `linear`: which penalties are tried, and which is taken."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import accuracy, log_loss
from benchmark.options import DenseOptions
from benchmark.strategies.choices import choice_point, edge_warning
from benchmark.strategies.cross_entropy import blocks_of
from benchmark.strategies.outcome import Features, FittedHead, HeadData
from benchmark.strategies.softmax import MAX_ITERATIONS, Regression, Solution
from benchmark.strategies.standardising import standardiser

# Inverse strength of the penalty of `linear`, strongest penalty first, so that each fit starts where the last two lead.
LINEAR_C = tuple(10.0**exponent for exponent in range(-6, 5))
# The chosen regression is solved until its loss is within this share of its minimum; those that are only tried, within
# so many times this share.
LINEAR_TOLERANCE, TIMES_COARSER = 1e-5, 30
# A logit so low that its class has the probability zero.
IMPOSSIBLE = -1e9


def fit_linear(data: HeadData, seed: int, options: DenseOptions, tolerance: float = LINEAR_TOLERANCE) -> FittedHead:
    """Multinomial logistic regression on standardised features, its L2 penalty chosen on validation.

    Penalties are tried from the strongest to the weakest, coarsely, until one is worse than the best in loss and
    accuracy on validation, or two in a row have a greater loss. The one with the smallest loss is solved again, finely.
    Accuracy does not choose, since it depends on chance in a few images. A class that no training image has gets the
    probability zero.
    """
    scale = standardiser(data.train)
    val = scale(data.val)
    classes, labels = np.unique(data.train_labels, return_inverse=True)

    def probabilities(solution: Solution, standardised: Features) -> Features:
        scores = np.zeros((len(standardised), data.n_classes), np.float32)
        scores[:, classes] = solution.probabilities(standardised)
        return scores

    def judge(solution: Solution) -> _Tried:
        scores = probabilities(solution, val)
        return _Tried(accuracy(data.val_labels, scores.argmax(axis=1)), log_loss(data.val_labels, scores), solution)

    blocks = (scale(data.train[rows]) for rows in blocks_of(len(data.train), len(classes)))
    regression = Regression(blocks, labels, len(classes))
    tried: list[_Tried] = []
    for solution in regression.path(LINEAR_C, TIMES_COARSER * tolerance):
        tried.append(judge(solution))
        if _has_passed_the_best(tried):
            break
    best = _best_of(tried).solution
    chosen = regression.solve(best.c, tolerance, best.weights, best.bias)
    unsolved = "" if chosen.has_converged else f"the regression was not solved within {MAX_ITERATIONS} steps"
    return FittedHead(
        scores=lambda features: probabilities(chosen, scale(features)),
        are_probabilities=True,
        history=(
            *(
                choice_point(f"{metric} at C={one.solution.c:g}", getattr(one, metric))
                for one in tried
                for metric in ("accuracy", "loss")
            ),
            choice_point("chosen C", chosen.c),
        ),
        weights=_all_classes(scale.folded_into(chosen.weights, chosen.bias), classes, data.n_classes),
        warning=unsolved or edge_warning("C", chosen.c, {one.solution.c: one.accuracy for one in tried}, LINEAR_C),
    )


class _Tried(NamedTuple):
    """A regression, and its accuracy and log loss on validation."""

    accuracy: float
    loss: float
    solution: Solution


def _best_of(tried: Sequence[_Tried]) -> _Tried:
    return min(tried, key=lambda one: one.loss)


def _has_passed_the_best(tried: Sequence[_Tried]) -> bool:
    """Whether the last fit is worse than the best in loss and accuracy, or the last two have a greater loss."""
    best, last = _best_of(tried), tried[-1]
    is_worse = last.loss > best.loss and last.accuracy < best.accuracy
    return is_worse or all(one.loss > best.loss for one in tried[-2:])


def _all_classes(
    layer: tuple[Features, Features], classes: NDArray[np.int64], n_classes: int
) -> tuple[Features, Features]:
    """A layer of some classes as one of all; the others get the probability zero."""
    weights, bias = np.zeros((len(layer[0]), n_classes), np.float32), np.full(n_classes, IMPOSSIBLE, np.float32)
    weights[:, classes], bias[classes] = layer
    return weights, bias
