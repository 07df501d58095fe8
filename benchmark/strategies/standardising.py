"""Features with mean zero and deviation one, in as few columns as they need, for `linear` and `ridge`."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmark.provenance import usable_cpus
from benchmark.strategies.outcome import Features

SMALLEST_DEVIATION = 1e-6
# With fewer columns than this for each row, finding the space of the rows takes as long as it saves.
LEAST_COLUMNS_PER_ROW = 2


class Standardiser(NamedTuple):
    """Subtracts a mean `(d,)` from features `(n, d)`, divides by a deviation `(d,)`, and may change coordinates.

    The weights of a penalised linear classifier lie in the space of the training rows, since a part outside it would
    only be penalised. So with few images it is the same classifier in the coordinates of that space, found faster.

    Attributes:
        mean: What is subtracted.
        deviation: What is divided by.
        basis: Orthonormal, `(d, r)`, of the space of the training rows; None where there are too many of them.
    """

    mean: Features
    deviation: Features
    basis: Features | None = None

    def __call__(self, features: Features) -> Features:
        """`(n, d)`, or `(n, r)` with a basis."""
        scaled: Features = (features - self.mean) / self.deviation
        return scaled if self.basis is None else scaled @ self.basis

    def folded_into(self, weights: Features, bias: Features) -> tuple[Features, Features]:
        """The weights `(d, k)` and bias `(k,)` of a layer that takes features as they are.

        `((x - m) / s) B W + b = x (B W / s) + (b - m (B W / s))`
        """
        whole = weights.astype(np.float64) if self.basis is None else self.basis.astype(np.float64) @ weights
        kernel = whole / self.deviation[:, np.newaxis]
        return kernel.astype(np.float32), (bias - self.mean @ kernel).astype(np.float32)


def standardiser(train: Features) -> Standardiser:
    """By mean and deviation of the training features only: those of test features would leak the split."""

    def moments(columns: Features) -> tuple[Features, Features]:
        mean = columns.mean(axis=0, dtype=np.float64, keepdims=True)
        deviation = columns.std(axis=0, dtype=np.float64, mean=mean)
        return mean[0].astype(np.float32), np.maximum(deviation, SMALLEST_DEVIATION).astype(np.float32)

    n_threads = usable_cpus()
    with ThreadPoolExecutor(n_threads) as threads:
        of_columns = threads.map(moments, np.array_split(train, min(n_threads, train.shape[1]), axis=1))
        mean, deviation = map(np.concatenate, zip(*of_columns, strict=True))
    scale = Standardiser(mean, deviation)
    return scale if LEAST_COLUMNS_PER_ROW * len(train) > len(mean) else scale._replace(basis=_row_space(scale(train)))


def _row_space(rows: Features) -> Features:
    """An orthonormal basis `(d, n)` of rows `(n, d)`."""
    from scipy import linalg

    with threadpool_limits(1):  # whose bits do not depend on the number of processors
        basis: Features = linalg.qr(rows.T.astype(np.float64), mode="economic")[0].astype(np.float32)
    return basis
