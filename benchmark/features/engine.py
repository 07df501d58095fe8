"""Extraction: all images of a dataset through a frozen network into one file of features."""

import hashlib
import io
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from benchmark.datasets import Images, OnProgress, image_source
from benchmark.errors import FeaturesError
from benchmark.features.graph import FrozenNetwork
from benchmark.memory import MIB, PeakMemory
from benchmark.preprocessing import View

log = logging.getLogger(__name__)

Features = NDArray[np.float32]
BatchFunction = Callable[[slice], Features]

# Small batches stay in the processor's cache. Two at a time keep all cores busy when one layer cannot (depthwise
# convolutions): up to 1.4 times as many images per second, see perf/.
BATCH_SIZE = 16
BATCHES_IN_FLIGHT = 2


@dataclass(frozen=True)
class Extraction:
    """The cost of one pass over the images.

    Attributes:
        n_images: Images extracted.
        feature_dim: Width of the features.
        sha256: SHA-256 of the features file.
        extract_s: Seconds from the first image to the last feature, including the first batch.
        first_batch_s: Seconds of the first batch, which compiles the graph.
        images_per_s: Steady rate, without the first batch.
        batch_size: Images per batch at the end; smaller than at the start if memory ran out.
        peak_rss_mib: Peak memory of the process in this pass.
        peak_device_mib: Peak memory of the first GPU; None without one.
    """

    n_images: int
    feature_dim: int
    sha256: str
    extract_s: float
    first_batch_s: float
    images_per_s: float
    batch_size: int
    peak_rss_mib: float
    peak_device_mib: float | None


def extract_features(
    frozen: FrozenNetwork,
    images: Images,
    view: View,
    file: IO[bytes],
    *,
    batch_size: int = BATCH_SIZE,
    on_progress: OnProgress | None = None,
) -> Extraction:
    """Write the features of all images to a file, as a `(n, *output_shape)` float32 array in NumPy's format.

    Memory does not grow with the number of images. If it runs out, the batch is halved and the pass goes on.

    Args:
        frozen: The network.
        images: `n` images.
        view: How to prepare them.
        file: An open binary file.
        batch_size: Images per batch.
        on_progress: Called after each batch.

    Raises:
        FeaturesError: A feature is not a finite number.
    """
    n_images = len(images)
    digest = hashlib.sha256()

    def write(content: bytes) -> None:
        digest.update(content)
        file.write(content)

    header = io.BytesIO()
    shape = (n_images, *frozen.output_shape)
    npy.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    write(header.getvalue())
    n_done, first_batch, first_batch_s = 0, 0, 0.0
    started = time.perf_counter()
    with PeakMemory() as memory:
        for features, size in _batches(batch_function(frozen, images, view), n_images, batch_size):
            _check_finite(features, view, n_done)
            write(features.tobytes())
            n_done += len(features)
            if not first_batch:
                first_batch, first_batch_s = n_done, time.perf_counter() - started
            if on_progress:
                on_progress(n_done, n_images)
            batch_size = size
    extract_s = time.perf_counter() - started
    n_steady, steady_s = n_images - first_batch, extract_s - first_batch_s
    if not n_steady:
        n_steady, steady_s = n_images, extract_s
    return Extraction(
        n_images=n_images,
        feature_dim=frozen.feature_dim,
        sha256=digest.hexdigest(),
        extract_s=extract_s,
        first_batch_s=first_batch_s,
        images_per_s=n_steady / steady_s,
        batch_size=batch_size,
        peak_rss_mib=memory.rss_mib,
        peak_device_mib=_peak_device_mib(),
    )


def batch_function(frozen: FrozenNetwork, images: Images, view: View) -> BatchFunction:
    """A function from a slice of the images to their features."""
    source = image_source(images, view)
    extract = frozen.extractor(view, source.shape, source.dtype)
    positions = np.arange(len(images))
    return lambda batch: np.asarray(extract(source.take(positions[batch])))


def _batches(compute: BatchFunction, n_images: int, batch_size: int) -> Iterator[tuple[Features, int]]:
    """The features of all images, batch after batch in the order of the images, each with the batch size.

    If memory runs out, the batch is halved and the pass goes on with the first image that has no features yet.
    """
    import tensorflow as tf

    start = 0
    while start < n_images:
        try:
            for features in _pipelined(compute, start, n_images, batch_size):
                yield features, batch_size
                start += len(features)
        except (tf.errors.ResourceExhaustedError, MemoryError):
            if batch_size == 1:
                raise
            batch_size //= 2
            log.warning("out of memory: continuing from image %d with batches of %d", start, batch_size)


def _pipelined(compute: BatchFunction, start: int, stop: int, batch_size: int) -> Iterator[Features]:
    """Results in order, while the next batches are computed; the first batch runs alone because it compiles."""
    yield compute(slice(start, min(start + batch_size, stop)))
    waiting: deque[Future[Features]] = deque()
    with ThreadPoolExecutor(BATCHES_IN_FLIGHT) as pool:
        for first in range(start + batch_size, stop, batch_size):
            waiting.append(pool.submit(compute, slice(first, min(first + batch_size, stop))))
            if len(waiting) > BATCHES_IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _check_finite(features: Features, view: View, n_before: int) -> None:
    if not np.isfinite(features).all():
        is_finite = np.isfinite(features.reshape(len(features), -1)).all(axis=1)
        row = n_before + int(np.flatnonzero(~is_finite)[0])
        raise FeaturesError(
            f"The features of image {row} ({view}) are not finite numbers: "
            "the weights may be damaged, or the pixels outside the network's range."
        )


def _peak_device_mib() -> float | None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / MIB
