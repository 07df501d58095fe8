"""The head `linear`: which penalties are tried, and which is taken."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import accuracy, log_loss
from benchmark.options import DenseOptions
from benchmark.strategies.choices import choice_point, edge_warning
from benchmark.strategies.outcome import Features, FittedHead, HeadData
from benchmark.strategies.softmax import MAX_ITERATIONS, Regression, Solution
from benchmark.strategies.standardising import standardiser

# Inverse strength of the penalty of `linear`, strongest penalty first, so that each fit starts from the last one.
LINEAR_C = tuple(10.0**exponent for exponent in range(-6, 5))
# The chosen regression is solved until its loss is within this share of its minimum; those that are only tried, within
# so many times this share.
LINEAR_TOLERANCE, TIMES_COARSER = 1e-5, 30
# Of a block of training images: they stay in the processor's cache between the two products of a step.
ROWS_AT_ONCE = 4096
# A logit so low that its class has the probability zero.
IMPOSSIBLE = -1e9


def fit_linear(data: HeadData, seed: int, options: DenseOptions, tolerance: float = LINEAR_TOLERANCE) -> FittedHead:
    """Multinomial logistic regression on standardised features, its L2 penalty chosen on validation.

    Penalties are tried from the strongest to the weakest, each fit coarse and started from the one before. The search
    stops when accuracy and loss are both worse than the best, or when the loss is above the smallest one twice in a
    row: weaker penalties would give nearly the same solutions. The best validation accuracy wins, ties go to the
    smaller loss, and the winner is solved again, finely. A class that no training image has gets the probability zero.
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

    firsts = range(0, len(data.train), ROWS_AT_ONCE)
    blocks = (scale(data.train[first : first + ROWS_AT_ONCE]) for first in firsts)
    regression = Regression(blocks, labels, len(classes))
    tried = [judge(regression.solve(LINEAR_C[0], TIMES_COARSER * tolerance))]
    for c in LINEAR_C[1:]:
        if _has_passed_the_best(tried):
            break
        tried.append(judge(regression.solve(c, TIMES_COARSER * tolerance, start=tried[-1].solution)))
    best = _best_of(tried).solution
    chosen = regression.solve(best.c, tolerance, start=best)
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
    return max(tried, key=lambda one: (one.accuracy, -one.loss))


def _has_passed_the_best(tried: Sequence[_Tried]) -> bool:
    """Whether the last fit is worse than the best in accuracy and loss, or the last two are above the smallest loss."""
    best, last = _best_of(tried), tried[-1]
    least_loss = min(one.loss for one in tried)
    is_worse = last.accuracy < best.accuracy and last.loss > best.loss
    return is_worse or all(one.loss > least_loss for one in tried[-2:])


def _all_classes(
    layer: tuple[Features, Features], classes: NDArray[np.int64], n_classes: int
) -> tuple[Features, Features]:
    """A layer of some classes as one of all; the others get the probability zero."""
    weights, bias = np.zeros((len(layer[0]), n_classes), np.float32), np.full(n_classes, IMPOSSIBLE, np.float32)
    weights[:, classes], bias[classes] = layer
    return weights, bias
