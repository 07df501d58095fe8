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
    if view.crop == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    box = _kept(image, view)
    size = (view.size_px, view.size_px)
    name, has_antialias = RESIZERS[view.resize]
    shrinks = box[2] - box[0] > view.size_px or box[3] - box[1] > view.size_px
    if shrinks and not has_antialias and name != "nearest":
        pixels = _sampled(np.asarray(image), box, view.size_px, name)
    else:
        pixels = np.asarray(image.resize(size, _FILTERS[name], box))
    return pixels if pixels.ndim > 2 else pixels[..., np.newaxis]


def least_side(view: View) -> int:
    """The side in px that the shorter side of an image gets, before the centre is cut out."""
    return view.size_px if isinstance(view.crop, str) else round(view.size_px / view.crop)


def _kept(image: Image.Image, view: View) -> tuple[float, float, float, float]:
    """The part of an image that becomes the result: left, top, right and bottom.

    With a share it is what remains if the whole image is resized until its shorter side has `least_side`, and the
    centre is cut out.
    """
    if isinstance(view.crop, str):
        return 0, 0, image.width, image.height
    shorter = least_side(view)
    longer = int(shorter * max(image.size) / min(image.size))
    width, height = (shorter, longer) if image.width < image.height else (longer, shorter)
    left, top = (width - view.size_px) // 2, (height - view.size_px) // 2
    across, down = image.width / width, image.height / height
    return left * across, top * down, (left + view.size_px) * across, (top + view.size_px) * down


def _sampled(
    pixels: NDArray[np.uint8], box: tuple[float, float, float, float], size_px: int, name: str
) -> NDArray[np.uint8]:
    """Pixels interpolated from their nearest neighbours only, however much they shrink, which Pillow cannot do.

    Args:
        pixels: `(height, width)` or `(height, width, channels)`.
        box: The part to resize: left, top, right and bottom.
        size_px: The new height and width.
        name: bilinear (2 neighbours on each axis) or bicubic (4).
    """
    values = pixels if pixels.ndim > 2 else pixels[..., np.newaxis]
    left, top, right, bottom = box
    rows, row_weights = _neighbours(values.shape[0], (top, bottom), size_px, name)
    columns, column_weights = _neighbours(values.shape[1], (left, right), size_px, name)
    found = values[rows[:, :, np.newaxis, np.newaxis], columns]  # (new rows, k, new columns, k, channels)
    blended = np.einsum("yk,xl,ykxlc->yxc", row_weights, column_weights, found, optimize=True)
    rounded: NDArray[np.uint8] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return rounded if pixels.ndim > 2 else rounded[..., 0]


def _neighbours(
    old: int, part: tuple[float, float], new: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of `new` pixels on a part of an axis of `old`, its neighbours `(new, k)` and their weights."""
    start, end = part
    centres = start + (np.arange(new) + 0.5) * (end - start) / new - 0.5
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
