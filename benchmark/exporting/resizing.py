"""Resizing as operations of Keras, so that an exported model takes images of any size: the same pixels as `datasets`.

Pillow resizes along one axis after the other. Each new pixel is a weighted sum of old ones, so that a new row of pixels
is a matrix `(new, old)` times the old one. Its weights are whole multiples `k` of 2**-22, and values are rounded to
whole numbers after each axis. float32 holds whole numbers up to 2**24 exactly, so sums are made of two parts:

    k = 2**11 high + low                              both below 2**11, but for high = 2**11
    sum of k p = 2**11 (sum of high p) + sum of low p     with pixels p in 0..255
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmark.preprocessing import FULL, RESIZERS, View

# A symbolic tensor of Keras.
Tensor = Any

# The weights of Pillow are whole multiples of 1 / _UNIT, and _HALF is half of its bits.
_UNIT, _HALF = 2.0**22, 2.0**11
# The bits of a weight that are found at a time, so that no number on the way has more than float32 holds.
_DIGITS = (6, 6, 5, 5)
# Keys's cubic kernel, as in Pillow. R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
_CUBIC = -0.5
_LANCZOS_LOBES = 3


class _Part(NamedTuple):
    """What of an axis is kept.

    Attributes:
        start: Where it begins.
        end: Where it ends; both are scalar tensors of float32, and may be fractions.
        is_cut_first: Whether pixels beyond it have no effect.
    """

    start: Tensor
    end: Tensor
    is_cut_first: bool


def resized(pixels: Tensor, view: View) -> Tensor:
    """Images resized for a view, before its mode, as `datasets.resizing.resize` does it.

    Args:
        pixels: `(n, height, width, channels)` float32, whole numbers in 0..255; height and width may be unknown.
        view: Its mode is not applied.

    Returns:
        `(n, size_px, size_px, channels)` float32, whole numbers in 0..255. For `bilinear-antialias` of whole pixels,
        the default, they are Pillow's; but its version 13 begins with the other axis if an image is taller than wide,
        and then some differ by one. For the other filters, some differ by one where exact sums end in about .5, and
        `nearest` and `area` may take the neighbour where two pixels are equally near.
    """
    from keras import ops

    rows, columns = _positions(pixels[0, :, 0, 0]), _positions(pixels[0, 0, :, 0])
    height, width = _length(rows), _length(columns)
    down, across = _kept(height, width, view)
    name, has_antialias = RESIZERS[view.resize]
    shrinks = ops.maximum(down.end - down.start, across.end - across.start) > view.size_px
    # Pillow cannot shrink without antialias, so that is done in one step and rounded once.
    is_one_step = ops.logical_and(shrinks, not has_antialias and name != "nearest")
    turned = ops.transpose(pixels, (0, 1, 3, 2))  # (n, height, channels, width)
    exact, rounded = _sums(turned, _weights(columns, across, view))  # (n, height, channels, new columns)
    turned = ops.transpose(ops.where(is_one_step, exact, rounded), (0, 2, 3, 1))  # (n, channels, new columns, height)
    exact, rounded = _sums(turned, _weights(rows, down, view))  # (n, channels, new columns, new rows)
    small = ops.where(is_one_step, ops.clip(ops.round(exact), 0.0, FULL), rounded)
    return ops.transpose(small, (0, 3, 2, 1))


def to_grey(pixels: Tensor) -> Tensor:
    """RGB images in grey, as Pillow makes them: `(n, height, width, 1)`, whole numbers in 0..255."""
    from keras import ops

    # ITU-R 601-2 luma in units of 1/65536, whose sums float32 holds exactly.
    weights = np.array([19595, 38470, 7471], np.float32)
    return ops.floor((ops.sum(pixels * weights, axis=-1, keepdims=True) + 32768.0) / 65536.0)


def _positions(line: Tensor) -> Tensor:
    """0, 1, 2 ... for each pixel of a line `(k,)`; the number of pixels may be unknown until the model runs."""
    from keras import ops

    return ops.cumsum(ops.ones_like(line)) - 1.0


def _length(positions: Tensor) -> Tensor:
    from keras import ops

    return ops.max(positions) + 1.0


def _kept(height: Tensor, width: Tensor, view: View) -> tuple[_Part, _Part]:
    """The rows and the columns of the part that becomes the result; see `datasets.resizing`."""
    from keras import ops

    if view.crop == "squash":
        return _Part(height * 0.0, height, False), _Part(width * 0.0, width, False)
    shorter = ops.minimum(height, width)
    if view.crop == "crop":
        top, left = ops.floor((height - shorter) / 2.0), ops.floor((width - shorter) / 2.0)
        return _Part(top, top + shorter, True), _Part(left, left + shorter, True)
    assert isinstance(view.crop, float)
    least = float(round(view.size_px / view.crop))
    longest = ops.floor(least * ops.maximum(height, width) / shorter)
    return _share(height, width, least, longest, view.size_px), _share(width, height, least, longest, view.size_px)


def _share(side: Tensor, other: Tensor, least: float, longest: Tensor, size_px: int) -> _Part:
    """The middle of an axis whose length would be `least` if it is the shorter one, else `longest`."""
    from keras import ops

    length = ops.where(side > other, longest, least)
    start = ops.floor((length - size_px) / 2.0)
    step = side / length
    return _Part(start * step, (start + size_px) * step, False)


def _sums(lines: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Lines of pixels `(..., old)` with these weights: `(..., new)`, as they are, and rounded as Pillow does it."""
    from keras import ops

    high = ops.floor(weights / _HALF)
    highs = ops.matmul(lines, ops.transpose(high))
    lows = ops.matmul(lines, ops.transpose(weights - high * _HALF))
    halves = highs + ops.floor(lows / _HALF)
    rounded = ops.floor((halves + _HALF / 2.0) / _HALF)
    return (highs * _HALF + lows) / _UNIT, ops.clip(rounded, 0.0, FULL)


def _weights(positions: Tensor, part: _Part, view: View) -> Tensor:
    """The weight of each old pixel in each new one, `(new, old)`, in multiples of 1 / `_UNIT`."""
    from keras import ops

    name, has_antialias = RESIZERS[view.resize]
    if name == "bilinear" and isinstance(view.crop, str):
        return _triangles(positions, part, view)
    step = (part.end - part.start) / view.size_px
    # (i + 1/2) step, of whole numbers as long as possible.
    odd = 2 * np.arange(view.size_px, dtype=np.float32) + np.float32(1)
    offsets = (part.end - part.start) * odd / (2.0 * view.size_px)
    centres = ops.reshape(part.start + offsets, (view.size_px, 1))
    if name == "nearest":
        return ops.cast(ops.equal(ops.reshape(positions, (1, -1)), ops.floor(centres)), "float32") * _UNIT
    # A shrinking image widens the kernel, so that every pixel counts.
    widening = ops.maximum(step, 1.0) if has_antialias else 1.0
    weights = _KERNELS[name]((ops.reshape(positions, (1, -1)) + 0.5 - centres) / widening)
    if part.is_cut_first:
        is_inside = ops.logical_and(positions >= part.start, positions < part.end)
        weights = weights * ops.reshape(ops.cast(is_inside, "float32"), (1, -1))
    weights = weights / ops.sum(weights, axis=1, keepdims=True)
    return ops.floor(weights * _UNIT + 0.5)


def _triangles(positions: Tensor, part: _Part, view: View) -> Tensor:
    """As `_weights`, exactly, for a triangle on whole pixels.

    The middle of old pixel `x` of `old` is `d / (2 new)` from that of new pixel `i`, with whole numbers only:

        d = (2 x + 1) new - (2 i + 1) old
        p = max(0, 2 max(new, old) - |d|)         its weight is p / q, with q the sum of all p of the new pixel

    Without antialias the triangle is not widened, and `new` stands for the larger of the two.
    """
    from keras import ops

    new, old = float(view.size_px), part.end - part.start
    odd = np.arange(1, 2 * view.size_px, 2, dtype=np.float32).reshape(-1, 1)
    places = ops.reshape(positions - part.start, (1, -1))
    distances = ops.abs((2.0 * places + 1.0) * new - old * odd)
    reach = 2.0 * (ops.maximum(old, new) if view.has_antialias else new)
    shares = ops.relu(reach - distances)
    if part.is_cut_first:
        is_inside = ops.logical_and(places >= 0.0, places < old)
        shares = shares * ops.cast(is_inside, "float32")
    whole = ops.sum(shares, axis=1, keepdims=True)
    weights, rest = shares * 0.0, shares
    for bits in _DIGITS:  # long division of p by q
        rest = rest * 2.0**bits
        digit = ops.floor(rest / whole)
        rest = rest - digit * whole
        weights = weights * 2.0**bits + digit
    return weights + ops.cast(2.0 * rest >= whole, "float32")


def _triangle(distances: Tensor) -> Tensor:
    from keras import ops

    return ops.relu(1.0 - ops.abs(distances))


def _box(distances: Tensor) -> Tensor:
    from keras import ops

    return ops.cast(ops.logical_and(distances > -0.5, distances <= 0.5), "float32")


def _keys_cubic(distances: Tensor) -> Tensor:
    from keras import ops

    x = ops.abs(distances)
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1.0
    far = _CUBIC * (((x - 5.0) * x + 8.0) * x - 4.0)
    return ops.where(x < 1.0, near, ops.where(x < 2.0, far, 0.0))


def _lanczos(distances: Tensor) -> Tensor:
    from keras import ops

    is_near = ops.abs(distances) < _LANCZOS_LOBES
    return ops.where(is_near, _sinc(distances) * _sinc(distances / _LANCZOS_LOBES), 0.0)


def _sinc(x: Tensor) -> Tensor:
    from keras import ops

    is_zero = ops.equal(x, 0.0)
    angle = ops.where(is_zero, 1.0, x * math.pi)
    return ops.where(is_zero, 1.0, ops.sin(angle) / angle)


_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "bilinear": _triangle, "area": _box, "bicubic": _keys_cubic, "lanczos": _lanczos,
}  # fmt: skip
