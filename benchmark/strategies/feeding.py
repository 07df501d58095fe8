"""Batches for training: the same images in the same order for the same seed, stage and epoch."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import ArrayImages, FileImages, Images, RecordImages
from benchmark.preprocessing import resize_images

Positions = NDArray[np.int64]
EVALUATION_BATCH_SIZE = 256
DECODERS = 4


@dataclass(frozen=True)
class Source:
    """Where the inputs of a model come from.

    Attributes:
        take: From positions `(b,)` to inputs `(b, *shape)`.
        shape: Of one input.
        dtype: Of the inputs.
    """

    take: Callable[[Positions], NDArray[Any]]
    shape: tuple[int, ...]
    dtype: str


def array_source(array: NDArray[Any]) -> Source:
    """Inputs out of an array `(n, *shape)`, which may be memory-mapped."""
    return Source(lambda positions: array[positions], tuple(array.shape[1:]), str(array.dtype))


def image_source(images: Images, *, size_px: int, resize: str, crop: str) -> Source:
    """Images as a model takes them: arrays as they are, uint8; files decoded and resized, float32 in 0..255."""
    if isinstance(images, ArrayImages):
        return array_source(images.pixels)
    return Source(_file_reader(images, size_px=size_px, resize=resize, crop=crop), (size_px, size_px, 3), "float32")


def _file_reader(
    images: FileImages | RecordImages, *, size_px: int, resize: str, crop: str
) -> Callable[[Positions], NDArray[np.float32]]:
    import tensorflow as tf

    def resize_one(image: Any) -> Any:
        return resize_images(image, size_px=size_px, resize=resize, crop=crop)

    traced = tf.function(resize_one, input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8)])
    pool = ThreadPoolExecutor(DECODERS)

    def read(position: int) -> NDArray[np.float32]:
        resized: NDArray[np.float32] = traced(images.decode(position)[np.newaxis]).numpy()
        return resized

    return lambda positions: np.concatenate(list(pool.map(read, positions.tolist())))


def batches(
    source: Source, targets: NDArray[np.float32] | None, order: Callable[[], Positions], n: int, batch_size: int
) -> Any:
    """A `tf.data.Dataset` that asks for a new order each time it is gone through.

    Args:
        source: Of the inputs.
        targets: `(n_all, k)` of all images; None for inputs alone.
        order: Gives the positions of `n` images.
        n: How many.
        batch_size: Images a batch; the last may have fewer.
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
    return dataset.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2)


def fixed_batches(source: Source, targets: NDArray[np.float32] | None, positions: Positions) -> Any:
    """Batches of these images, always in their order."""
    return batches(source, targets, lambda: positions, len(positions), EVALUATION_BATCH_SIZE)
