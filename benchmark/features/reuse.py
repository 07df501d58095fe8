"""Features that an earlier pass extracted, for the images that are in this dataset too.

A feature depends on its image and the network, and with TensorFlow without oneDNN on the size of the batch; not on its
place in the batch, nor on the other images. So a row of a full batch is also the row of that image in any other full
batch. Engines that pad the last batch have full batches only. With other engines, a smaller last batch is always
extracted again.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import is_out_of_memory
from benchmark.features.extractor import Features
from benchmark.features.rows import Rows

if TYPE_CHECKING:
    from benchmark.features.engine import Extraction

log = logging.getLogger(__name__)

Positions = NDArray[np.int64]
# From the positions of images to their features.
BatchFunction = Callable[[Positions], Features]

NOWHERE = -1


@dataclass(frozen=True)
class Earlier:
    """Features of another dataset that the same network extracted from the same view.

    Attributes:
        features: `(m, *shape)` float32, memory-mapped.
        extraction: Cost of the pass that made them.
        rows: `(n,)` int64: the row of each image of this dataset; `NOWHERE` if it has none.
    """

    features: Features
    extraction: "Extraction"
    rows: Positions


def n_in_full_batches(n_images: int, size: int, *, is_filled_up: bool) -> int:
    """The number of images whose batches have `size` images."""
    return n_images if is_filled_up else n_images - n_images % size


class Reused:
    """The images of a dataset whose features an earlier pass extracted, in full batches of the same size.

    Attributes:
        missing: Positions of the other images, ascending.

    Args:
        earlier: Of two with the same image, the first is used.
        start: Images before this position do not count.
        n_images: Of the dataset.
        size: Of a batch.
        is_filled_up: See `Extractor`.
    """

    def __init__(self, earlier: Sequence[Earlier], start: int, n_images: int, size: int, *, is_filled_up: bool) -> None:
        self._earlier = [one for one in earlier if one.extraction.batch_size == size]
        self._start, self._size = start, size
        # Of each image, which of the earlier features have it, and where.
        self._which, self._rows = np.full((2, n_images), NOWHERE, np.int64)
        of_this = np.arange(n_images) < n_in_full_batches(n_images, size, is_filled_up=is_filled_up)
        of_this[:start] = False
        for number, one in enumerate(self._earlier):
            n_full = n_in_full_batches(len(one.features), size, is_filled_up=is_filled_up)
            new = of_this & (self._which == NOWHERE) & (one.rows != NOWHERE) & (one.rows < n_full)
            self._which[new], self._rows[new] = number, one.rows[new]
        self.missing: Positions = start + np.flatnonzero(self._which[start:] == NOWHERE)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._which != NOWHERE))

    def agrees(self, compute: BatchFunction) -> bool:
        """Whether a batch of these images, extracted now, has the same bits; False if memory runs out.

        Its images are taken from everywhere, so they have other neighbours and places than they had.
        """
        known = np.flatnonzero(self._which != NOWHERE)
        sample = known[np.linspace(0, len(known) - 1, self._size).astype(np.int64)]
        try:
            features = compute(sample)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return features.tobytes() == self._read(sample).tobytes()

    def copy(self, rows: Rows, stop: int, at_a_time: int) -> None:
        """Write the rows of the next images, up to the one at `stop`; all of them are reused."""
        for first in range(rows.n_done, stop, at_a_time):
            rows.write(self._read(np.arange(first, min(first + at_a_time, stop))))

    def _read(self, positions: Positions) -> Features:
        which = self._which[positions]
        features = np.empty((len(positions), *self._earlier[0].features.shape[1:]), np.float32)
        for number in np.unique(which):
            is_there = which == number
            features[is_there] = self._earlier[number].features[self._rows[positions[is_there]]]
        return features

    def shares(self, stop: int) -> Iterator["Extraction"]:
        """The parts of the earlier passes that made the rows of the images before `stop`."""
        which = self._which[self._start : stop]
        for number, n in zip(*np.unique(which[which != NOWHERE], return_counts=True), strict=True):
            whole = self._earlier[number].extraction
            part = int(n) / whole.n_images
            yield replace(
                whole,
                n_images=int(n),
                extract_s=part * whole.extract_s,
                first_batch_s=part * whole.first_batch_s,
            )


def reusable(
    earlier: Sequence[Earlier], compute: BatchFunction, start: int, n_images: int, size: int, *, is_filled_up: bool
) -> Reused:
    """What of these features is reused: nothing if a batch of the images has other bits now. See `Reused`."""
    reused = Reused(earlier, start, n_images, size, is_filled_up=is_filled_up)
    if len(reused) and not reused.agrees(compute):
        log.warning("features that were extracted before are not reused: they would have other bits now")
        return Reused((), start, n_images, size, is_filled_up=is_filled_up)
    return reused
