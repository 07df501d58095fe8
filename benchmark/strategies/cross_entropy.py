"""The loss of the head `linear` and its gradient, summed over the images by TensorFlow.

With so few classes its products are twice as fast as NumPy's.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.provenance import usable_cpus
from benchmark.strategies.outcome import Features, Labels

Vector = NDArray[np.float64]
# At most so many of a block of images: smaller blocks need more calls, larger ones leave the processor's cache, and
# TensorFlow keeps the memory of the scores.
ROWS_AT_ONCE, SCORES_AT_ONCE = 8192, 2**20
# Of the memory of a tensor, in bytes.
ALIGNMENT = 64


def blocks_of(n_images: int, n_classes: int) -> list[slice]:
    """The rows of each block of images."""
    n_rows = min(ROWS_AT_ONCE, SCORES_AT_ONCE // n_classes)
    return [slice(first, first + n_rows) for first in range(0, n_images, n_rows)]


class CrossEntropy:
    """The mean cross-entropy in nats of a linear classifier on some images, as a function of its weights and bias.

    Blocks of images are summed in order, so that the result does not depend on which of them is done first.

    Args:
        features: `(n, d)` in blocks of rows, such as `blocks_of` has them.
        labels: `(n,)` in 0..k-1.
    """

    def __init__(self, features: Iterable[Features], labels: Labels) -> None:
        import tensorflow as tf

        self.n = len(labels)
        self._threads = ThreadPoolExecutor(usable_cpus())
        with _on_cpu():
            # Block by block, so that all rows are never in memory twice.
            self._rows = [_shared(rows) for rows in features]
            self._labels = tf.split(tf.constant(labels, tf.int32), [len(rows) for rows in self._rows])

    def covariance(self) -> Vector:
        """`X'X / n` of the features, `(d, d)`."""
        import tensorflow as tf

        with _on_cpu():
            products = (tf.matmul(rows, rows, transpose_a=True).numpy() for rows in self._rows)
            return np.asarray(sum(product.astype(np.float64) for product in products)) / self.n

    def curvature(self, weights: NDArray[Any], bias: NDArray[Any]) -> float:
        """The mean over images and classes of `p (1 - p)`."""
        (total,) = self._sums(_spread, weights, bias)
        return float(total) / self.n / len(bias)

    def __call__(self, weights: Vector, bias: Vector) -> tuple[float, Vector, Vector]:
        """The loss, and its gradients by the weights `(d, k)` and the bias `(k,)`."""
        loss, by_weights, by_bias = self._sums(_loss, weights, bias)
        return float(loss) / self.n, by_weights.T / self.n, by_bias / self.n

    def _sums(self, of_block: Callable[..., Any], weights: NDArray[Any], bias: NDArray[Any]) -> list[Vector]:
        """The sums over blocks of what a function makes of their scores `(m, k)`, rows `(m, d)` and labels `(m,)`."""
        import tensorflow as tf

        def results(rows: Any, labels: Any) -> list[NDArray[Any]]:
            with _on_cpu():  # for this thread
                scores = tf.matmul(rows, weights_here) + bias_here
                return [result.numpy() for result in of_block(scores, rows, labels)]

        with _on_cpu():
            weights_here, bias_here = tf.constant(weights, tf.float32), tf.constant(bias, tf.float32)
        of_blocks = self._threads.map(results, self._rows, self._labels)
        totals = [np.array(first, np.float64) for first in next(of_blocks)]
        for summands in of_blocks:
            for total, summand in zip(totals, summands, strict=True):
                np.add(total, summand, out=total)
        return totals


def _shared(rows: Features) -> Any:
    """A tensor in the memory of an array: a tensor of its own would stay in memory that TensorFlow never gives back."""
    import tensorflow as tf

    n_bytes = rows.size * np.dtype(np.float32).itemsize
    buffer = np.empty(n_bytes + ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % ALIGNMENT
    aligned = buffer[first : first + n_bytes].view(np.float32).reshape(rows.shape)
    aligned[...] = rows
    return tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())


def _loss(scores: Any, rows: Any, labels: Any) -> tuple[Any, Any, Any]:
    """The sum of the losses, and its gradients by the weights, `(k, d)`, and the bias, `(k,)`."""
    import tensorflow as tf

    losses, by_scores = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=scores, labels=labels)
    by_weights = tf.matmul(by_scores, rows, transpose_a=True)
    return tf.reduce_sum(tf.cast(losses, tf.float64)), by_weights, tf.reduce_sum(by_scores, axis=0)


def _spread(scores: Any, *_: Any) -> tuple[Any]:
    """The sum of `p (1 - p)`."""
    import tensorflow as tf

    p = tf.nn.softmax(scores)
    return (tf.reduce_sum(p * (1 - p)),)


def _on_cpu() -> Any:
    """Inside, TensorFlow uses no GPU, which may round the factors of a product to ten bits (TF32)."""
    import tensorflow as tf

    return tf.device("CPU:0")
