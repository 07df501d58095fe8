"""Extraction: all images of a dataset through a frozen network into one file of features."""

import functools
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np

from benchmark.ahead import map_ahead
from benchmark.datasets import OnProgress, Source
from benchmark.errors import FeaturesError, is_out_of_memory
from benchmark.features.extractor import BATCH_SIZE, Extractor, Features, fastest_batch_size, has_gpu
from benchmark.features.reuse import BatchFunction, Earlier, Positions, Reused, n_in_full_batches, reusable
from benchmark.features.rows import Rows
from benchmark.memory import PeakMemory
from benchmark.storage import MIB

log = logging.getLogger(__name__)

# How often the features that are done are saved, so that an interrupted pass can go on.
SAVE_INTERVAL_S = 10.0


@dataclass(frozen=True)
class Extraction:
    """The cost of one pass over the images, or of the parts of several passes that made a set of features.

    Attributes:
        n_images: Images extracted.
        feature_dim: Width of the features.
        sha256: SHA-256 of the features file.
        extract_s: Seconds from the first image to the last feature, including the first batch.
        first_batch_s: Seconds of the first batch, which compiles the graph; where rows were copied, it checks some.
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
    earlier: Sequence[Earlier] = (),
    on_progress: OnProgress = lambda *_: None,
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
        earlier: Features of other datasets, whose rows are copied instead of extracted if that gives the same bits.
        on_progress: Called after each batch with the number of images that need not be extracted any more.
        start_mib: Memory to count at the start; see `PeakMemory`.

    Returns:
        The cost of this pass and of the part it resumed, with the share of each earlier pass whose rows were copied.

    Raises:
        FeaturesError: A feature is not a finite number.
    """
    rows = Rows(file, (n_images, *extractor.output_shape))
    if so_far is not None and not rows.skip(so_far.n_images, so_far.sha256):
        so_far = None
    if so_far is not None:
        batch_size = so_far.batch_size  # the size is part of what decides the last bits
    size = batch_size or fastest_batch_size(extractor, source, n_images)
    _reset_peak_device()
    compute = _batch_function(extractor, source)
    start = rows.n_done

    def cost() -> Extraction:
        extract_s = clock.elapsed_s()
        this_pass = Extraction(
            n_images=clock.n_images,
            feature_dim=extractor.output_shape[-1],
            sha256=rows.sha256,
            extract_s=extract_s,
            first_batch_s=clock.first_batch_s,
            images_per_s=clock.images_per_s(extract_s),
            batch_size=size,
            peak_rss_mib=memory.peak_mib(),
            peak_device_mib=_peak_device_mib(),
        )
        with_shares = _with_shares(this_pass, [*reused.shares(rows.n_done)])
        return _both(so_far, with_shares) if so_far else with_shares

    with PeakMemory(start_mib) as memory:
        clock = _Clock()
        saved_s = 0.0
        reused = reusable(earlier, compute, start, n_images, size, is_filled_up=extractor.is_filled_up)
        n_before = n_images - len(reused.missing)
        if n_before:
            on_progress(n_before, n_images)
        if len(reused):
            clock.count(0)
        for positions, features, used in _batches(compute, extractor, reused.missing, n_images, size):
            size = used
            _check_finite(features, positions)
            _write(rows, reused, positions, features)
            clock.count(len(positions))
            on_progress(n_before + clock.n_images, n_images)
            if save and clock.elapsed_s() - saved_s > SAVE_INTERVAL_S:
                save(cost())
                saved_s = clock.elapsed_s()
        reused.copy(rows, n_images, size)
        return cost()


class _Clock:
    """Times a pass. What compiles the network, the first batch or the one that checks a reuse, is timed apart from it.

    Attributes:
        n_images: Images that were extracted and counted.
        first_batch_s: Seconds until the network was compiled.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.n_images, self._n_first, self.first_batch_s = 0, 0, 0.0

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    def count(self, n_images: int) -> None:
        """Count these images; the first call ends what compiles."""
        self.n_images += n_images
        if not self.first_batch_s:
            self._n_first, self.first_batch_s = self.n_images, self.elapsed_s()

    def images_per_s(self, elapsed_s: float) -> float:
        """The rate after the network was compiled; over the whole pass if that was all."""
        n_steady = self.n_images - self._n_first
        return n_steady / (elapsed_s - self.first_batch_s) if n_steady else self.n_images / elapsed_s


def _with_shares(own: Extraction, shares: Sequence[Extraction]) -> Extraction:
    """The cost of a pass, and of the earlier passes of which it copied rows; the rate is that of the largest part."""
    both = functools.reduce(lambda later, earlier: _both(earlier, later), shares, own)
    largest = max((own, *shares), key=lambda part: part.n_images)
    return replace(both, images_per_s=largest.images_per_s)


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


def _batch_function(extractor: Extractor, source: Source) -> BatchFunction:
    """A function from the positions of images to their features."""
    return lambda positions: extractor.features(source.take(positions))


def _write(rows: Rows, reused: Reused, positions: Positions, features: Features) -> None:
    """Write the rows of these images, and before each those of the reused images that come before it."""
    ends = np.flatnonzero(np.diff(positions) != 1) + 1
    for first, last in zip((0, *ends), (*ends, len(positions)), strict=True):
        reused.copy(rows, int(positions[first]), len(positions))
        rows.write(features[first:last])


def _batches(
    compute: BatchFunction, extractor: Extractor, missing: Positions, n_images: int, batch_size: int
) -> Iterator[tuple[Positions, Features, int]]:
    """The features of the missing images, batch after batch in their order, each with positions and batch size.

    If memory runs out, the batch is halved and the pass goes on with the first image that has no features yet.
    """
    while len(missing):
        n_full = n_in_full_batches(n_images, batch_size, is_filled_up=extractor.is_filled_up)
        try:
            for features in _pipelined(compute, extractor, missing, n_full, batch_size):
                yield missing[: len(features)], features, batch_size
                missing = missing[len(features) :]
        except Exception as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
            batch_size //= 2
            log.warning("out of memory: continuing from image %d with batches of %d", missing[0], batch_size)


def _pipelined(
    compute: BatchFunction, extractor: Extractor, missing: Positions, n_full: int, size: int
) -> Iterator[Features]:
    """Results in order, while the next batches are computed; the first batch runs alone because it compiles.

    The images before `n_full` are computed in full batches, the others in one that is smaller, as always.
    """

    def compute_whole(batch: Positions) -> Features:
        if extractor.is_filled_up or batch[0] >= n_full:
            return compute(batch)
        return compute(np.resize(batch, size))[: len(batch)]  # repeated

    n_before = int(np.searchsorted(missing, n_full))
    parts = missing[:n_before], missing[n_before:]
    batches = [part[first : first + size] for part in parts for first in range(0, len(part), size)]
    yield compute_whole(batches[0])
    yield from map_ahead(compute_whole, batches[1:], extractor.n_in_flight)


def _check_finite(features: Features, positions: Positions) -> None:
    if not np.isfinite(features).all():
        is_finite = np.isfinite(features.reshape(len(features), -1)).all(axis=1)
        row = int(positions[np.flatnonzero(~is_finite)[0]])
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
