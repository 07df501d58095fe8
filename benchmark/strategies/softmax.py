"""Multinomial logistic regression for one penalty after another: SciPy's L-BFGS in coordinates in which it is fast.

On features of a network, L-BFGS takes hundreds of steps, because some directions vary a million times as much as
others. In the coordinates `u = L' w`, where `L L' = h X'X / n + I / (C n)`, all directions are alike, and a few
dozen steps are enough. `h X'X / n` stands for the curvature of the loss: Böhning (Annals of the Institute of
Statistical Mathematics 44, 1992) bounds it by a multiple of `X'X`; the multiple taken here is the mean over images and
classes of `p (1 - p)` at the solution that the search starts from.
"""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmark.provenance import usable_cpus
from benchmark.strategies.outcome import Features, Labels

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

MAX_ITERATIONS = 300
# Rows at a time: they stay in the processor's cache between the two products of a step.
ROWS_AT_ONCE = 512
# Rows whose sums a thread makes.
ROWS_OF_PART = 8192
SMALLEST_CURVATURE = 1e-5

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """The regression for one penalty.

    Attributes:
        c: Inverse strength of the penalty: the sum of the losses of all images has `|weights|^2 / (2 c)` added, as
            in scikit-learn, whose regression of two classes is that of half this `c`.
        weights: `(d, k)`.
        bias: `(k,)`, without a penalty.
        has_converged: Whether the solver ended before its last step.
    """

    c: float
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    has_converged: bool

    def probabilities(self, features: Features) -> Features:
        """`(n, k)` of features `(n, d)`."""
        from scipy.special import softmax

        found: Features = softmax(features @ self.weights + self.bias, axis=1)
        return found


class Regression:
    """The regressions of some images for any penalty.

    The rows are divided into parts, whose sums are added in order, so that the result does not depend on the number of
    processors.

    Args:
        train: `(n, d)`, each column with mean zero.
        labels: `(n,)` in 0..k-1; each class occurs.
        n_classes: k.
    """

    def __init__(self, train: Features, labels: Labels, n_classes: int) -> None:
        self._train, self._labels, self._n_classes = train, labels, n_classes
        self._covariance: Vector = np.zeros((train.shape[1], train.shape[1]))
        with _threads() as threads:
            starts = range(0, len(train), ROWS_OF_PART)
            for first in range(0, len(starts), usable_cpus()):  # so many products are in memory at once
                for product in threads.map(self._product, starts[first : first + usable_cpus()]):
                    self._covariance += product
        self._covariance /= len(train)

    def _product(self, first: int) -> Features:
        part = self._train[first : first + ROWS_OF_PART]
        return part.T @ part

    def solve(self, c: float, tolerance: float, start: Solution | None = None) -> Solution:
        """The regression for one penalty.

        Args:
            c: As `Solution` has it.
            tolerance: It stops when the loss, penalty included, is within this share of its minimum.
            start: Of a nearby penalty, or of this one with a larger tolerance.
        """
        n, dim = self._train.shape
        if start is None:
            weights, bias = np.zeros((dim, self._n_classes)), np.zeros(self._n_classes)
            curvature = (1 - 1 / self._n_classes) / self._n_classes
        else:
            weights, bias = start.weights.astype(np.float64), start.bias.astype(np.float64)
            with threadpool_limits(1):  # whose bits do not depend on the number of processors
                probabilities = start.probabilities(self._train)
            curvature = max(float(np.mean(probabilities * (1 - probabilities))), SMALLEST_CURVATURE)
        hessian = curvature * self._covariance + np.eye(dim) / (c * n)
        with _threads() as threads:
            problem = _Problem(self._train, self._labels, hessian, curvature, 1 / (c * n), threads)
            weights, bias, has_converged = problem.solve(weights, bias, tolerance)
        return Solution(c, weights.astype(np.float32), bias.astype(np.float32), has_converged)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """One for each processor; the libraries below make none of their own."""
    with threadpool_limits(1), ThreadPoolExecutor(usable_cpus()) as threads:
        yield threads


class _Problem:
    """The mean loss of the images plus `penalty |w|^2 / 2`, as a function of the fast coordinates.

    Args:
        train: As `Regression` has it.
        labels: Likewise.
        hessian: `(d, d)`: about that of one class's weights.
        curvature: About that of one class's bias.
        penalty: The factor above.
        threads: For the sums over the images.
    """

    def __init__(
        self,
        train: Features,
        labels: Labels,
        hessian: Vector,
        curvature: float,
        penalty: float,
        threads: ThreadPoolExecutor,
    ) -> None:
        from scipy import linalg

        self._train, self._labels, self._penalty, self._threads = train, labels, penalty, threads
        self._root = linalg.cholesky(hessian, lower=True, overwrite_a=True)
        self._bias_root = np.sqrt(curvature)

    def solve(self, weights: Vector, bias: Vector, tolerance: float) -> tuple[Vector, Vector, bool]:
        """Weights `(d, k)` and bias `(k,)` near the minimum, and whether it was reached before the last step."""
        from scipy import optimize

        start = np.concatenate([self._root.T @ weights, self._bias_root * bias[np.newaxis]])
        gradient = np.zeros_like(start)

        def loss(point: Vector) -> tuple[float, Vector]:
            value, gradient[:] = self._loss(point.reshape(start.shape))
            return value, gradient.ravel().copy()

        def stop_when_close(intermediate_result: "OptimizeResult") -> None:
            # In these coordinates the curvature is about one, so that this is the distance to the smallest loss.
            if np.sum(gradient**2) / 2 <= tolerance * intermediate_result.fun:
                raise StopIteration

        found = optimize.minimize(
            loss,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop_when_close,
            options={"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "gtol": 0.0, "ftol": 0.0},
        )
        return *self._weights_and_bias(found.x.reshape(start.shape)), found.nit < MAX_ITERATIONS

    def _weights_and_bias(self, point: Vector) -> tuple[Vector, Vector]:
        return self._solve_root(point[:-1], transposed=True), point[-1] / self._bias_root

    def _solve_root(self, right: Vector, *, transposed: bool = False) -> Vector:
        from scipy import linalg

        solved: Vector = linalg.solve_triangular(
            self._root, right, trans="T" if transposed else "N", lower=True, check_finite=False
        )
        return solved

    def _loss(self, point: Vector) -> tuple[float, Vector]:
        """The loss at a point `(d + 1, k)`, whose last row is the bias, and its gradient `(d + 1, k)`."""
        n = len(self._train)
        weights, bias = self._weights_and_bias(point)
        sums_of_part = functools.partial(self._sums, weights.astype(np.float32), bias.astype(np.float32))
        totals, slopes, bias_slopes = zip(*self._threads.map(sums_of_part, range(0, n, ROWS_OF_PART)), strict=True)
        value = sum(totals) / n + self._penalty / 2 * float(np.sum(weights**2))
        by_weights = self._solve_root(sum(slopes) / n + self._penalty * weights)
        return value, np.concatenate([by_weights, sum(bias_slopes)[np.newaxis] / n / self._bias_root])

    def _sums(self, weights: Features, bias: Features, first: int) -> tuple[float, Vector, Vector]:
        """Of the part that begins with this row: the sum of the losses, and of its slopes by weights and bias."""
        last = min(first + ROWS_OF_PART, len(self._train))
        total, slope, bias_slope = 0.0, np.zeros(weights.shape), np.zeros(bias.shape)
        for begin in range(first, last, ROWS_AT_ONCE):
            block = slice(begin, min(begin + ROWS_AT_ONCE, last))
            rows, labels = self._train[block], self._labels[block]
            scores = rows @ weights + bias
            scores -= scores.max(axis=1, keepdims=True)
            true = (np.arange(len(rows)), labels)
            true_scores = scores[true]
            np.exp(scores, out=scores)
            sums = scores.sum(axis=1)
            total += float(np.sum(np.log(sums) - true_scores, dtype=np.float64))
            scores /= sums[:, np.newaxis]
            scores[true] -= 1  # the derivative of the loss by the scores
            slope += rows.T @ scores
            bias_slope += scores.sum(axis=0, dtype=np.float64)
        return total, slope, bias_slope
