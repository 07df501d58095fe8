"""Extraction: all images of a dataset through a frozen network into one file of features."""

import hashlib
import io
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from numpy.lib import format as npy

from benchmark.ahead import map_ahead
from benchmark.datasets import OnProgress, Source
from benchmark.errors import FeaturesError
from benchmark.features.extractor import BATCH_SIZE, Extractor, Features, fastest_batch_size, has_gpu, is_out_of_memory
from benchmark.memory import MIB, PeakMemory

log = logging.getLogger(__name__)

BatchFunction = Callable[[slice], Features]

# How often the features that are done are saved, so that an interrupted pass can go on.
SAVE_INTERVAL_S = 10.0


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
        peak_rss_mib: Peak memory of the process in this pass; see `memory`.
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
    extractor: Extractor,
    source: Source,
    n_images: int,
    file: IO[bytes],
    *,
    batch_size: int | None = BATCH_SIZE,
    so_far: Extraction | None = None,
    save: Callable[[Extraction], None] | None = None,
    on_progress: OnProgress | None = None,
    start_mib: float | None = None,
) -> Extraction:
    """Write the features of all images to a file, as a `(n, *output_shape)` float32 array in NumPy's format.

    Memory does not grow with the number of images. If it runs out, the batch is halved and the pass goes on.

    Args:
        extractor: The network.
        source: The images.
        n_images: Their number.
        file: An open binary file; readable too if it holds a part already.
        batch_size: Images per batch; None finds the fastest.
        so_far: The part of an earlier pass that the file holds, as `save` got it.
        save: Called every few seconds with the part that is done.
        on_progress: Called after each batch.
        start_mib: Memory to count at the start; see `PeakMemory`.

    Returns:
        The cost, of the earlier pass too.

    Raises:
        FeaturesError: A feature is not a finite number.
    """
    rows = _Rows(file, (n_images, *extractor.output_shape))
    if so_far is not None and not rows.skip(so_far):
        so_far = None
    if so_far is not None:
        batch_size = so_far.batch_size  # the size is part of what decides the last bits
    size = batch_size or fastest_batch_size(extractor, source, n_images)
    _reset_peak_device()
    n_before, first_batch, first_batch_s = rows.n_done, 0, 0.0

    def cost() -> Extraction:
        extract_s = time.perf_counter() - started
        n_done = rows.n_done - n_before
        n_steady, steady_s = n_done - first_batch, extract_s - first_batch_s
        if not n_steady:
            n_steady, steady_s = n_done, extract_s
        this_pass = Extraction(
            n_images=n_done,
            feature_dim=extractor.output_shape[-1],
            sha256=rows.sha256,
            extract_s=extract_s,
            first_batch_s=first_batch_s,
            images_per_s=n_steady / steady_s,
            batch_size=size,
            peak_rss_mib=memory.peak_mib(),
            peak_device_mib=_peak_device_mib(),
        )
        return _both(so_far, this_pass) if so_far else this_pass

    with PeakMemory(start_mib) as memory:
        saved = started = time.perf_counter()
        compute = _batch_function(extractor, source)
        for features, used in _batches(compute, n_before, n_images, size, extractor.n_in_flight):
            size = used
            _check_finite(features, rows.n_done)
            rows.write(features)
            if not first_batch:
                first_batch, first_batch_s = rows.n_done - n_before, time.perf_counter() - started
            if on_progress:
                on_progress(rows.n_done, n_images)
            if save and time.perf_counter() - saved > SAVE_INTERVAL_S:
                save(cost())
                saved = time.perf_counter()
        return cost()


def _both(earlier: Extraction, later: Extraction) -> Extraction:
    """The cost of an interrupted pass and the one that went on with it."""
    steady_s = [part.extract_s - part.first_batch_s for part in (earlier, later)]
    n_steady = [part.images_per_s * part_s for part, part_s in zip((earlier, later), steady_s, strict=True)]
    devices = [part.peak_device_mib for part in (earlier, later) if part.peak_device_mib is not None]
    return replace(
        later,
        n_images=earlier.n_images + later.n_images,
        extract_s=earlier.extract_s + later.extract_s,
        first_batch_s=earlier.first_batch_s + later.first_batch_s,
        images_per_s=sum(n_steady) / sum(steady_s) if sum(steady_s) else later.images_per_s,
        peak_rss_mib=max(earlier.peak_rss_mib, later.peak_rss_mib),
        peak_device_mib=max(devices) if devices else None,
    )


class _Rows:
    """The rows of an array, written one after the other to a file in NumPy's format.

    Attributes:
        n_done: Number of rows that are written.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...]) -> None:
        header = io.BytesIO()
        npy.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        self._header = header.getvalue()
        self._row_bytes = 4 * math.prod(shape[1:])
        self._file = file
        self._digest = hashlib.sha256()
        self.n_done = 0

    @property
    def sha256(self) -> str:
        """Of the file so far."""
        return self._digest.hexdigest()

    def skip(self, so_far: Extraction) -> bool:
        """Go on after the rows that the file holds; False, and nothing is changed, if it does not hold them."""
        n_bytes = len(self._header) + so_far.n_images * self._row_bytes
        self._file.seek(0)
        digest = hashlib.sha256()
        while n_bytes and (part := self._file.read(min(n_bytes, 2**20))):
            digest.update(part)
            n_bytes -= len(part)
        is_whole = digest.hexdigest() == so_far.sha256
        if is_whole:
            self._file.truncate()  # what came after the last save
            self._digest, self.n_done = digest, so_far.n_images
        return is_whole

    def write(self, features: Features) -> None:
        """Add rows."""
        if not self.n_done:
            self._file.seek(0)
            self._file.truncate()
            self._put(self._header)
        self._put(features.tobytes())
        self.n_done += len(features)

    def _put(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)


def _batch_function(extractor: Extractor, source: Source) -> BatchFunction:
    """A function from a slice of the images to their features."""
    return lambda batch: extractor.features(source.take(np.arange(batch.start, batch.stop)))


def _batches(
    compute: BatchFunction, start: int, n_images: int, batch_size: int, n_in_flight: int
) -> Iterator[tuple[Features, int]]:
    """The features of the images from `start` on, batch after batch in their order, each with the batch size.

    If memory runs out, the batch is halved and the pass goes on with the first image that has no features yet.
    """
    while start < n_images:
        try:
            for features in _pipelined(compute, start, n_images, batch_size, n_in_flight):
                yield features, batch_size
                start += len(features)
        except Exception as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
            batch_size //= 2
            log.warning("out of memory: continuing from image %d with batches of %d", start, batch_size)


def _pipelined(compute: BatchFunction, start: int, stop: int, batch_size: int, n_in_flight: int) -> Iterator[Features]:
    """Results in order, while the next batches are computed; the first batch runs alone because it compiles."""
    batches = [slice(first, min(first + batch_size, stop)) for first in range(start, stop, batch_size)]
    yield compute(batches[0])
    yield from map_ahead(compute, batches[1:], n_in_flight)


def _check_finite(features: Features, n_before: int) -> None:
    if not np.isfinite(features).all():
        is_finite = np.isfinite(features.reshape(len(features), -1)).all(axis=1)
        row = n_before + int(np.flatnonzero(~is_finite)[0])
        raise FeaturesError(
            f"the features of image {row} are not finite numbers: the weights may be damaged, or the pixels outside "
            "the network's range."
        )


def _reset_peak_device() -> None:
    if "tensorflow" in sys.modules and has_gpu():
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")


def _peak_device_mib() -> float | None:
    if "tensorflow" not in sys.modules or not has_gpu():
        return None
    import tensorflow as tf

    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / MIB
