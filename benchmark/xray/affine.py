"""Affine maps of a pixel, found by probing a function, not by reading its source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError

PIXEL_MAX = 255.0
MIXED = "mixed"

Floats = NDArray[np.float64]
Colours = NDArray[np.float32]

# The corners of the colour cube, `(8, 3)`. An affine map is greatest and least there.
_CUBE = PIXEL_MAX * np.indices((2, 2, 2)).reshape(3, -1).T
# Black and the pure colours determine a map; random colours check it.
_BASIS = np.vstack([np.zeros(3), PIXEL_MAX * np.eye(3)]).astype(np.float32)
_OTHERS = np.random.default_rng(0).uniform(0, PIXEL_MAX, (16, 3)).astype(np.float32)


class NotAffineError(BenchmarkError):
    """A function that does more to a pixel than scale, mix and shift its channels."""


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
        """This map of the three outputs of another one."""
        return AffineMap(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def select(self, outputs: Any) -> "AffineMap":
        """These outputs alone, given as a NumPy index."""
        return AffineMap(self.matrix[outputs], self.offset[outputs])

    @property
    def at_corners(self) -> Floats:
        """The outputs at the corners of the colour cube, `(8, d)`."""
        values: Floats = _CUBE @ self.matrix.T + self.offset
        return values

    @property
    def low(self) -> Floats:
        """The least value of each output, `(d,)`."""
        least: Floats = self.at_corners.min(axis=0)
        return least

    @property
    def high(self) -> Floats:
        """The greatest value of each output, `(d,)`."""
        greatest: Floats = self.at_corners.max(axis=0)
        return greatest

    @property
    def width(self) -> Floats:
        """The length of the range of each output, `(d,)`, at least 0."""
        return self.high - self.low

    @property
    def channel_order(self) -> str:
        """`RGB`, `BGR`, or `mixed` where the outputs are not the three channels in one of these orders."""
        weights = np.abs(self.matrix)
        is_one_channel = (weights.max(axis=1) > 0.999 * weights.sum(axis=1)).all()
        order = "".join("RGB"[channel] for channel in weights.argmax(axis=1))
        return order if is_one_channel and order in ("RGB", "BGR") else MIXED

    def distance(self, other: "AffineMap") -> Floats:
        """The greatest difference of each output from that of another map, over all pixels, `(d,)`."""
        greatest: Floats = np.abs(self.at_corners - other.at_corners).max(axis=0)
        return greatest


UNCHANGED = AffineMap(np.eye(3), np.zeros(3))


def probe_affine(function: Callable[[Colours], Any], what: str, *, tolerance: float = 1e-4) -> AffineMap:
    """The affine map that a function computes.

    Args:
        function: Takes `(n, 3)` float32, RGB colours in 0..255, and returns `(n, d)`; it may write into its argument.
            It is called twice, so that a function of all colours together does not pass for one of each.
        what: Names the function in the error.
        tolerance: How far a value may lie from the map, as a share of the greatest value at black and pure colours.

    Raises:
        NotAffineError: The values at other colours do not lie on the map.
    """
    # f(x) = A x + b: b is the value at black, and column c of A is (f(255 e_c) - b) / 255.
    basis, others = (np.asarray(function(colours.copy()), np.float64) for colours in (_BASIS, _OTHERS))
    found = AffineMap((basis[1:] - basis[0]).T / PIXEL_MAX, basis[0])
    distance = np.abs(others - (_OTHERS @ found.matrix.T + found.offset)).max()
    if not distance <= tolerance * np.abs(basis).max():  # also true of NaN
        raise NotAffineError(
            f"{what} does more than scale, mix and shift the channels of each pixel, so modes cannot be compared "
            "through it."
        )
    return found
