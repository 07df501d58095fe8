"""Every image of a dataset through a frozen backbone, once, into one file of features."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from benchmark.datasets import ArrayImages, FileImages, Images, RecordImages
from benchmark.errors import FeaturesError
from benchmark.features.graph import FrozenBackbone
from benchmark.memory import MIB, PeakMemory
from benchmark.preprocessing import resize_images

log = logging.getLogger(__name__)

Features = NDArray[np.float32]
Progress = Callable[[int, int], None]
BatchFunction = Callable[[slice], Features]

# Small batches stay in the processor's cache. Two at a time keep all cores busy where one layer alone cannot
# (depthwise convolutions): up to 1.4 times the images a second, see perf/.
BATCH_SIZE = 16
BATCHES_IN_FLIGHT = 2


@dataclass(frozen=True)
class View:
    """How images are prepared for a backbone; one pass over the images gives the features of one view.

    Attributes:
        steps: What `preprocessing.resolve_mode` gives.
        resize: Interpolation.
        crop: Squash or crop.
    """

    steps: tuple[str, ...]
    resize: str
    crop: str


@dataclass(frozen=True)
class Extraction:
    """What one pass over the images cost.

    Attributes:
        n_images: Images extracted.
        feature_dim: Width of the features.
        sha256: Of the features file.
        extract_s: Seconds from the first image to the last feature, the first batch with its compilation included.
        first_batch_s: Seconds of the first batch, which compiles the graph.
        images_per_s: Steady rate, first batch left out.
        batch_size: Images a batch at the end; smaller than at the start if memory ran out.
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
    frozen: FrozenBackbone,
    images: Images,
    view: View,
    file: IO[bytes],
    *,
    batch_size: int = BATCH_SIZE,
    on_progress: Progress | None = None,
) -> Extraction:
    """Write the features of all images to a file, as a `(n, *output_shape)` float32 array in NumPy's format.

    Memory does not grow with the number of images. When it runs out the batch is halved and the pass goes on.

    Args:
        frozen: The backbone.
        images: `n` images.
        view: How to prepare them.
        file: An open binary file.
        batch_size: Images a batch.
        on_progress: Called with the number of images done and `n`.

    Raises:
        FeaturesError: A feature is not a finite number.
    """
    n_images = len(images)
    output = _HashedFile(file)
    header = {"descr": "<f4", "fortran_order": False, "shape": (n_images, *frozen.output_shape)}
    npy.write_array_header_2_0(output, header)
    n_done, first_batch, first_batch_s = 0, 0, 0.0
    started = time.perf_counter()
    with PeakMemory() as memory:
        batches = Batches(batch_function(frozen, images, view), n_images, batch_size)
        for features in batches:
            _check_finite(features, view, n_done)
            output.write(features.tobytes())
            n_done += len(features)
            if not first_batch:
                first_batch, first_batch_s = n_done, time.perf_counter() - started
            if on_progress:
                on_progress(n_done, n_images)
    extract_s = time.perf_counter() - started
    has_steady_part = n_images > first_batch
    return Extraction(
        n_images=n_images,
        feature_dim=frozen.feature_dim,
        sha256=output.hexdigest(),
        extract_s=extract_s,
        first_batch_s=first_batch_s,
        images_per_s=(n_images - first_batch) / (extract_s - first_batch_s)
        if has_steady_part
        else n_images / extract_s,
        batch_size=batches.batch_size,
        peak_rss_mib=memory.rss_mib,
        peak_device_mib=_peak_device_mib(),
    )


def batch_function(frozen: FrozenBackbone, images: Images, view: View) -> BatchFunction:
    """A function from a slice of the images to their features."""
    if isinstance(images, ArrayImages):
        return _array_batch_function(frozen, images, view)
    return _file_batch_function(frozen, images, view)


def _array_batch_function(frozen: FrozenBackbone, images: ArrayImages, view: View) -> BatchFunction:
    height, width, channels = images.pixels.shape[1:]
    extract = frozen.extractor((height, width, channels), steps=view.steps, resize=view.resize, crop=view.crop)
    return lambda batch: np.asarray(extract(images.pixels[batch]))


def _file_batch_function(frozen: FrozenBackbone, images: FileImages | RecordImages, view: View) -> BatchFunction:
    """Files differ in size, so each image is resized by itself, and only resized ones are kept."""
    import tensorflow as tf

    extract = frozen.resized_extractor(steps=view.steps)

    def resize_one(image: Any) -> Any:
        return resize_images(image, size_px=frozen.size_px, resize=view.resize, crop=view.crop)

    resize = tf.function(resize_one, input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8)])

    def batch_features(batch: slice) -> Features:
        indices = range(*batch.indices(len(images)))
        return np.asarray(extract(np.concatenate([resize(images.decode(index)[np.newaxis]) for index in indices])))

    return batch_features


class Batches:
    """The features of all images, batch after batch, in the images' order.

    When memory runs out the batch is halved and the pass goes on from the first image whose features are missing.

    Args:
        compute: From a slice of the images to their features.
        n_images: Number of images.
        batch_size: Images a batch at the start.

    Attributes:
        batch_size: Images a batch now.
    """

    def __init__(self, compute: BatchFunction, n_images: int, batch_size: int) -> None:
        self._compute = compute
        self._n_images = n_images
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Features]:
        import tensorflow as tf

        start = 0
        while start < self._n_images:
            try:
                for features in _pipelined(self._compute, start, self._n_images, self.batch_size):
                    yield features
                    start += len(features)
            except (tf.errors.ResourceExhaustedError, MemoryError):
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                log.warning("out of memory: going on from image %d with batches of %d", start, self.batch_size)


def _pipelined(compute: BatchFunction, start: int, stop: int, batch_size: int) -> Iterator[Features]:
    """Results in order, while the next batches are computed; the first batch alone, since it compiles."""
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
            f"The features of image {row} (steps {' then '.join(view.steps)}) are not finite numbers: "
            "the weights may be damaged, or the pixels out of the network's range."
        )


def _peak_device_mib() -> float | None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / MIB


class _HashedFile:
    """A file to write to that knows the SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        return self._file.write(content)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
