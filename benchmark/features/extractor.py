"""A network made ready to extract, what one image takes, and how many to take at a time."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Source
from benchmark.errors import is_out_of_memory

log = logging.getLogger(__name__)

Features = NDArray[np.float32]

# Of a processor: small batches stay in its cache, and always the same size gives always the same bits.
BATCH_SIZE = 16
# On a GPU, the largest batch that is tried, the batches that are timed for a size, and the gain that makes it worth it.
MOST_BATCH_SIZE, TIMED_BATCHES, LEAST_GAIN = 4096, 3, 1.05
# When a latency is measured: warm-up images, least and most images timed, and the time limit.
WARM_UP_IMAGES, LATENCY_IMAGES, MOST_LATENCY_IMAGES, LATENCY_S = 2, 10, 100, 0.5


class Extractor(NamedTuple):
    """A network made ready to run by an engine, for one mode.

    Attributes:
        features: From images as `Images.source` gives them to the network's output for them, float32. Threads may
            call it at the same time.
        output_shape: Of the output for one image.
        n_in_flight: Number of batches to compute at the same time.
        is_filled_up: Whether batches are filled up to one size, so that no bit depends on the number of images.
    """

    features: Callable[[NDArray[np.uint8]], Features]
    output_shape: tuple[int, ...]
    n_in_flight: int
    is_filled_up: bool = False


class Latency(NamedTuple):
    """How long one image takes, from uint8 pixels to features, in milliseconds.

    Attributes:
        median_ms: Half of the images take longer.
        p95_ms: One of 20 takes longer.
    """

    median_ms: float
    p95_ms: float


def measure_latency(extractor: Extractor, image: NDArray[np.uint8]) -> Latency:
    """The latency of a network on one image `(1, height, width, channels)`, read and resized already.

    Images run one at a time: at least `LATENCY_IMAGES`, then more until `LATENCY_S` or `MOST_LATENCY_IMAGES`.
    """
    times: list[float] = []
    for _ in range(WARM_UP_IMAGES):
        extractor.features(image)
    while len(times) < LATENCY_IMAGES or (sum(times) < LATENCY_S and len(times) < MOST_LATENCY_IMAGES):
        started = time.perf_counter()
        extractor.features(image)
        times.append(time.perf_counter() - started)
    median, p95 = np.quantile(times, (0.5, 0.95))
    return Latency(1000 * float(median), 1000 * float(p95))


def fastest_batch_size(extractor: Extractor, source: Source, n_images: int) -> int:
    """The size of a batch, doubled while more images per second come out and memory suffices."""
    size, best, best_rate = BATCH_SIZE, BATCH_SIZE, 0.0
    while size <= min(n_images, MOST_BATCH_SIZE):
        try:
            batch = source.take(np.arange(size))
            extractor.features(batch)  # compiles
            started = time.perf_counter()
            for _ in range(TIMED_BATCHES):
                extractor.features(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        rate = TIMED_BATCHES * size / (time.perf_counter() - started)
        if rate < LEAST_GAIN * best_rate:
            break
        best, best_rate, size = size, rate, 2 * size
    log.info("batches of %d: %.0f images/s", best, best_rate)
    return best


def has_gpu() -> bool:
    """Whether TensorFlow computes on a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
