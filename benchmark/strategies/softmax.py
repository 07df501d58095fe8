"""Multinomial logistic regression for one penalty after another: SciPy's L-BFGS in coordinates in which it is fast.

On features of a network, L-BFGS takes hundreds of steps, because some directions vary a million times as much as
others. In the coordinates `u = L' w`, where `L L' = h X'X / n + I / (C n)`, all directions are alike, and a few
dozen steps are enough. `h X'X / n` stands for the curvature of the loss: Böhning (Annals of the Institute of
Statistical Mathematics 44, 1992) bounds it by a multiple of `X'X`; the multiple taken here is the mean over images and
classes of `p (1 - p)` where the search starts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmark.strategies.cross_entropy import CrossEntropy, Vector
from benchmark.strategies.outcome import Features, Labels

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

MAX_ITERATIONS = 300
# Steps that L-BFGS remembers, in at most so many bytes. With SciPy's 10 it takes up to 1.7 times as many steps.
FEWEST_REMEMBERED, MOST_REMEMBERED, BYTES_REMEMBERED = 10, 40, 2**28
# SciPy's code for a search that ended at the limit of steps or evaluations.
LIMIT_REACHED = 1
SMALLEST_CURVATURE = 1e-5


@dataclass(frozen=True)
class Solution:
    """The regression for one penalty.

    Attributes:
        c: Inverse strength of the penalty: the sum of the losses of all images has `|weights|^2 / (2 c)` added, as
            in scikit-learn, whose regression of two classes is that of half this `c`.
        weights: `(d, k)`.
        bias: `(k,)`, without a penalty.
        has_converged: Whether the search ended before its limit of steps or evaluations.
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

    Args:
        train: `(n, d)` in blocks of rows; each column has mean zero over all of them.
        labels: `(n,)` in 0..k-1; each class occurs.
        n_classes: k.
    """

    def __init__(self, train: Iterable[Features], labels: Labels, n_classes: int) -> None:
        self._cross_entropy, self._n_classes = CrossEntropy(train, labels), n_classes
        self._covariance = self._cross_entropy.covariance()

    def path(self, penalties: Iterable[float], tolerance: float) -> Iterator[Solution]:
        """The regressions for one penalty after another, each started where the line through the last two leads.

        Args:
            penalties: `c` as `Solution` has it, in equal ratios.
            tolerance: As `solve` has it.
        """
        weights = np.zeros((len(self._covariance), self._n_classes), np.float32)
        bias = np.zeros(self._n_classes, np.float32)
        before = None
        for c in penalties:
            last = self.solve(c, tolerance, weights, bias)
            yield last
            weights, bias = last.weights, last.bias
            if before is not None:
                weights, bias = 2 * weights - before.weights, 2 * bias - before.bias
            before = last

    def solve(self, c: float, tolerance: float, weights: Features, bias: Features) -> Solution:
        """The regression for one penalty.

        Args:
            c: As `Solution` has it.
            tolerance: It stops when the loss, penalty included, is within this share of its minimum.
            weights: `(d, k)`, where the search starts.
            bias: `(k,)`, likewise.
        """
        n, dim = self._cross_entropy.n, len(self._covariance)
        curvature = max(self._cross_entropy.curvature(weights, bias), SMALLEST_CURVATURE)
        hessian = curvature * self._covariance + np.eye(dim) / (c * n)
        with threadpool_limits(1):  # whose bits do not depend on the number of processors
            problem = _Problem(self._cross_entropy, hessian, curvature, 1 / (c * n))
            found, found_bias, has_converged = problem.solve(weights, bias, tolerance)
        return Solution(c, found.astype(np.float32), found_bias.astype(np.float32), has_converged)


class _Problem:
    """The mean loss of the images plus `penalty |w|^2 / 2`, as a function of the fast coordinates.

    Args:
        cross_entropy: The first summand.
        hessian: `(d, d)`: about that of one class's weights.
        curvature: About that of one class's bias.
        penalty: The factor above.
    """

    def __init__(self, cross_entropy: CrossEntropy, hessian: Vector, curvature: float, penalty: float) -> None:
        from scipy import linalg

        self._cross_entropy, self._penalty = cross_entropy, penalty
        self._root = linalg.cholesky(hessian, lower=True, overwrite_a=True)
        self._bias_root = np.sqrt(curvature)

    def solve(self, weights: NDArray[Any], bias: NDArray[Any], tolerance: float) -> tuple[Vector, Vector, bool]:
        """Weights `(d, k)` and bias `(k,)` near the minimum, and whether the search ended before its limit."""
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

        n_remembered = np.clip(BYTES_REMEMBERED // (2 * start.nbytes), FEWEST_REMEMBERED, MOST_REMEMBERED)
        found = optimize.minimize(
            loss,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop_when_close,
            options={
                "maxcor": int(n_remembered),
                "maxiter": MAX_ITERATIONS,
                "maxfun": 2 * MAX_ITERATIONS,
                "gtol": 0.0,
                "ftol": 0.0,
            },
        )
        return *self._weights_and_bias(found.x.reshape(start.shape)), found.status != LIMIT_REACHED

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
        weights, bias = self._weights_and_bias(point)
        loss, by_weights, by_bias = self._cross_entropy(weights, bias)
        slope = self._solve_root(by_weights + self._penalty * weights)
        value = loss + self._penalty / 2 * float(np.sum(weights**2))
        return value, np.concatenate([slope, by_bias[np.newaxis] / self._bias_root])
