"""Resizing as operations of Keras, so that an exported model takes images of any size: the same pixels as `datasets`.

Pillow resizes along one axis after the other. Each new pixel is a weighted sum of old ones, so that a new row of pixels
is a matrix `(new, old)` times the old one. Values are rounded to whole numbers after each axis.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmark.preprocessing import FULL, RESIZERS, View

# A symbolic tensor of Keras.
Tensor = Any

# Pillow keeps its weights as whole multiples of this.
_WEIGHT_STEP = 2.0**-22
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
        `(n, size_px, size_px, channels)` float32, whole numbers in 0..255. Where Pillow's exact sums end in about .5,
        pixels may differ from it by one; so do some of an image that is taller than wide, for which its version 13
        begins with the other axis. `nearest` and `area` may take the neighbour where two pixels are equally near.
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
    narrow = ops.matmul(turned, ops.transpose(_weights(columns, across, view)))  # (n, height, channels, new)
    narrow = ops.where(is_one_step, narrow, _rounded(narrow))
    turned = ops.transpose(narrow, (0, 2, 3, 1))  # (n, channels, new columns, height)
    small = ops.matmul(turned, ops.transpose(_weights(rows, down, view)))  # (n, channels, new columns, new rows)
    small = ops.where(is_one_step, ops.round(small), _rounded(small))
    return ops.transpose(ops.clip(small, 0.0, FULL), (0, 3, 2, 1))


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


def _weights(positions: Tensor, part: _Part, view: View) -> Tensor:
    """The weight of each old pixel in each new one, `(new, old)`."""
    from keras import ops

    name, has_antialias = RESIZERS[view.resize]
    step = (part.end - part.start) / view.size_px
    # (i + 1/2) step, of whole numbers as long as possible.
    odd = 2 * np.arange(view.size_px, dtype=np.float32) + np.float32(1)
    offsets = (part.end - part.start) * odd / (2.0 * view.size_px)
    centres = ops.reshape(part.start + offsets, (view.size_px, 1))
    if name == "nearest":
        return ops.cast(ops.equal(ops.reshape(positions, (1, -1)), ops.floor(centres)), "float32")
    # A shrinking image widens the kernel, so that every pixel counts.
    widening = ops.maximum(step, 1.0) if has_antialias else 1.0
    weights = _KERNELS[name]((ops.reshape(positions, (1, -1)) + 0.5 - centres) / widening)
    if part.is_cut_first:
        is_inside = ops.logical_and(positions >= part.start, positions < part.end)
        weights = weights * ops.reshape(ops.cast(is_inside, "float32"), (1, -1))
    weights = weights / ops.sum(weights, axis=1, keepdims=True)
    return ops.floor(weights / _WEIGHT_STEP + 0.5) * _WEIGHT_STEP


def _rounded(values: Tensor) -> Tensor:
    from keras import ops

    return ops.clip(ops.floor(values + 0.5), 0.0, FULL)


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
