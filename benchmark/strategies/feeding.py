"""Batches for training: the same images in the same order for the same seed, stage and epoch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Source

Positions = NDArray[np.int64]
EVALUATION_BATCH_SIZE = 256


def batches(
    source: Source, targets: NDArray[np.float32] | None, order: Callable[[], Positions], n: int, batch_size: int
) -> Any:
    """A `tf.data.Dataset` that asks for a new order in each epoch.

    Args:
        source: Of the inputs.
        targets: `(n_all, k)` of all images; None for inputs only.
        order: Gives the positions of `n` images.
        n: Number of images.
        batch_size: Images per batch; the last may have fewer.
    """
    import tensorflow as tf

    def generate() -> Iterator[Any]:
        positions = order()
        for start in range(0, n, batch_size):
            chosen = positions[start : start + batch_size]
            yield source.take(chosen) if targets is None else (source.take(chosen), targets[chosen])

    signature: Any = tf.TensorSpec((None, *source.shape), source.dtype)
    if targets is not None:
        signature = (signature, tf.TensorSpec((None, targets.shape[1]), tf.float32))
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    n_batches = -(-n // batch_size)
    return untuned(dataset.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2))


def untuned(dataset: Any) -> Any:
    """A `tf.data.Dataset` without the thread that tunes it: nothing here has a size to tune.

    The thread's pauses double, up to a minute, and deleting the dataset waits for the end of a pause.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def fixed_batches(source: Source, targets: NDArray[np.float32] | None, positions: Positions) -> Any:
    """Batches of these images, always in their order."""
    return batches(source, targets, lambda: positions, len(positions), EVALUATION_BATCH_SIZE)
