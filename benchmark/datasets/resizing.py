"""One image resized for a view: the same pixels for arrays, files and records, cached or not."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.preprocessing import RESIZERS, View

# Pillow's filters widen as an image shrinks, which is antialiasing.
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
# Keys's cubic kernel, as in Pillow and TensorFlow. R. Keys, "Cubic convolution interpolation for digital image
# processing", 1981.
_CUBIC = -0.5


def resize(image: Image.Image, view: View) -> NDArray[np.uint8]:
    """The pixels of an image that a network sees before the mode: `(size_px, size_px, channels)` uint8, 0..255.

    Values are rounded to whole numbers. Images that have the size already keep their pixels.

    Args:
        image: Grey ("L") or RGB.
        view: Its mode is not applied.
    """
    image, (width, height) = _cropped(image, view)
    name, has_antialias = RESIZERS[view.resize]
    shrinks = width < image.width or height < image.height
    if shrinks and not has_antialias and name != "nearest":
        pixels = _sampled(np.asarray(image), (height, width), name)
    else:
        pixels = np.asarray(image.resize((width, height), _FILTERS[name]))
    top, left = (height - view.size_px) // 2, (width - view.size_px) // 2
    kept = pixels[top : top + view.size_px, left : left + view.size_px]
    return kept if kept.ndim > 2 else kept[..., np.newaxis]


def least_side(view: View) -> int:
    """The side in px that the shorter side of an image gets, before the centre is cut out."""
    return view.size_px if isinstance(view.crop, str) else round(view.size_px / view.crop)


def _cropped(image: Image.Image, view: View) -> tuple[Image.Image, tuple[int, int]]:
    """The part of the image to resize, and the width and height that it gets."""
    if view.crop == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if isinstance(view.crop, str):
        return image, (view.size_px, view.size_px)
    shorter = least_side(view)
    longer = max(shorter, int(shorter * max(image.size) / min(image.size)))
    return image, (shorter, longer) if image.width < image.height else (longer, shorter)


def _sampled(pixels: NDArray[np.uint8], size: tuple[int, int], name: str) -> NDArray[np.uint8]:
    """Pixels interpolated from their nearest neighbours only, however much they shrink, which Pillow cannot do.

    Args:
        pixels: `(height, width)` or `(height, width, channels)`.
        size: The new height and width.
        name: bilinear (2 neighbours on each axis) or bicubic (4).
    """
    values = pixels if pixels.ndim > 2 else pixels[..., np.newaxis]
    (rows, row_weights), (columns, column_weights) = (
        _neighbours(old, new, name) for old, new in zip(values.shape, size, strict=False)
    )
    found = values[rows[:, :, np.newaxis, np.newaxis], columns]  # (new rows, k, new columns, k, channels)
    blended = np.einsum("yk,xl,ykxlc->yxc", row_weights, column_weights, found, optimize=True)
    rounded: NDArray[np.uint8] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return rounded if pixels.ndim > 2 else rounded[..., 0]


def _neighbours(old: int, new: int, name: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of `new` pixels on an axis of `old`, its neighbours `(new, k)` and their weights."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    reach = 1 if name == "bilinear" else 2
    neighbours = np.floor(centres).astype(np.int64)[:, np.newaxis] + np.arange(1 - reach, 1 + reach)
    distances = np.abs(centres[:, np.newaxis] - neighbours)
    weights = np.maximum(0, 1 - distances) if name == "bilinear" else _keys_cubic(distances)
    # Beyond the border there is nothing; what is inside counts for more.
    weights = weights * ((neighbours >= 0) & (neighbours < old))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(neighbours, 0, old - 1), weights.astype(np.float32)


def _keys_cubic(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_CUBIC + 2) * distances - (_CUBIC + 3)) * distances**2 + 1
    far = _CUBIC * (((distances - 5) * distances + 8) * distances - 4)
    return np.where(distances <= 1, near, np.where(distances < 2, far, 0))
