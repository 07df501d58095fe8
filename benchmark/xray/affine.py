"""Affine maps of a pixel, found by probing a function and not by reading its source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError

PIXEL_MAX = 255.0
CHANNELS = "RGB"
MIXED = "mixed"

Floats = NDArray[np.float64]
Colours = NDArray[np.float32]

# Black and the three pure colours give the map; the others, fractions among them, must then lie on it.
_CORNERS = np.vstack([np.zeros(3), PIXEL_MAX * np.eye(3)]).astype(np.float32)
_OTHERS = np.random.default_rng(0).uniform(0, PIXEL_MAX, (16, 3)).astype(np.float32)


class NotAffineError(BenchmarkError):
    """Something that does more to a pixel than scale, mix and shift its channels."""


@dataclass(frozen=True, eq=False)
class AffineMap:
    """`matrix @ pixel + offset`, of an RGB pixel in 0..255.

    Attributes:
        matrix: `(d, 3)`; the columns are red, green and blue.
        offset: `(d,)`.
    """

    matrix: Floats
    offset: Floats

    def after(self, first: "AffineMap") -> "AffineMap":
        """This map of what another one with three outputs gives."""
        return AffineMap(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    @property
    def low(self) -> Floats:
        """The least value of each output, `(d,)`."""
        lowest: Floats = self.offset + PIXEL_MAX * np.minimum(self.matrix, 0).sum(axis=1)
        return lowest

    @property
    def width(self) -> Floats:
        """How far each output ranges, `(d,)`, at least 0."""
        span: Floats = PIXEL_MAX * np.abs(self.matrix).sum(axis=1)
        return span

    @property
    def high(self) -> Floats:
        """The greatest value of each output, `(d,)`."""
        return self.low + self.width

    @property
    def channel_order(self) -> str:
        """`RGB`, `BGR`, or `mixed` where the outputs are not the three channels in one of these orders."""
        weights = np.abs(self.matrix)
        is_one_channel = (weights.max(axis=1) > 0.999 * weights.sum(axis=1)).all() and weights.any(axis=1).all()
        order = "".join(CHANNELS[source] for source in weights.argmax(axis=1))
        return order if is_one_channel and order in (CHANNELS, CHANNELS[::-1]) else MIXED

    def distance(self, other: "AffineMap") -> Floats:
        """How far each output lies from that of another map, at the pixel where this is most, `(d,)`."""
        difference = AffineMap(self.matrix - other.matrix, self.offset - other.offset)
        return np.maximum(np.abs(difference.low), np.abs(difference.high))


IDENTITY = AffineMap(np.eye(3), np.zeros(3))


def probe_affine(function: Callable[[Colours], Any], what: str, *, tolerance: float = 1e-4) -> AffineMap:
    """The affine map that a function is.

    Args:
        function: Takes `(n, 3)` float32, RGB colours in 0..255, and returns `(n, d)`; it may write into its argument.
            It is called twice.
        what: Names the function in the error.
        tolerance: How far an answer may lie from the map, as a share of the greatest one at the corners.

    Raises:
        NotAffineError: Further answers do not lie on the map that the first ones determine.
    """
    # f(x) = A x + b: b is the answer to black, and column c of A is (f(255 e_c) - b) / 255.
    corners, others = (np.asarray(function(colours.copy()), np.float64) for colours in (_CORNERS, _OTHERS))
    offset = corners[0]
    found = AffineMap((corners[1:] - offset).T / PIXEL_MAX, offset)
    distance = np.abs(others - (_OTHERS @ found.matrix.T + offset)).max()
    if not distance <= tolerance * np.abs(corners).max():  # not a number is no answer either
        raise NotAffineError(
            f"{what} does more than scale, mix and shift the channels of each pixel by itself, so modes cannot be "
            "compared through it."
        )
    return found


def probe_pixelwise(function: Callable[[Any], Any], what: str) -> AffineMap:
    """The affine map of a function of images, such as `preprocess_input`.

    The probes are pixels of two images: a function that looks at a whole image is no map of a pixel.

    Args:
        function: Takes `(1, n, 1, 3)` float32 in 0..255, returns the same shape, and may write into its argument.
        what: Names the function in the error.

    Raises:
        NotAffineError: It is none.
    """
    return probe_affine(lambda colours: np.asarray(function(colours.reshape(1, -1, 1, 3))).reshape(-1, 3), what)
