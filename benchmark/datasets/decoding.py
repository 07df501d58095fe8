"""An image file or stream decoded to RGB pixels, in its own size or resized for a view."""

import warnings
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmark.datasets.files import path_text
from benchmark.datasets.resizing import least_side, resize
from benchmark.errors import DataError
from benchmark.preprocessing import View

WHITE = (255, 255, 255, 255)
LARGEST_16_BIT = 65_535
# From 16 bits to 8.
USUAL_SHIFT = 8
# A JPEG file is decoded at no less than this many times the size that is needed.
SPARE = 2

# Photos above 89 megapixels, which Pillow warns of, are read; above 179 it raises an error. Its other warnings are of
# metadata that is not used. A filter for one call would not be safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_file(path: Path, view: View | None = None, shift: int = USUAL_SHIFT) -> NDArray[np.uint8]:
    """The image of a file: `(height, width, 3)` uint8, RGB, 0..255; with a view, resized for it.

    The EXIF rotation is applied, 16-bit grey is scaled to 8 bits, palettes and CMYK become RGB, transparent pixels
    are put on white, and only the first frame of an animation is read.

    Args:
        path: The file.
        view: Of which size the image is needed; None for its own size.
        shift: Number of bits by which the values of 16-bit grey are divided.

    Raises:
        DataError: The file is not an image, is damaged, is so large that it may be an attack, or has values whose range
            is not known.
    """
    return decode(path, path, view, shift)[0]


class Depth(NamedTuple):
    """How deep the values of an image are, as its file has them.

    Attributes:
        grey_top: The largest value if the image is 16-bit grey, else None.
        is_wide_colour: Whether colours have 16 bits; Pillow reads the upper 8.
    """

    grey_top: int | None
    is_wide_colour: bool


def decode(
    file: Path | IO[bytes], path: Path | str, view: View | None = None, shift: int = USUAL_SHIFT
) -> tuple[NDArray[np.uint8], Depth]:
    """As `decode_file`, of the file at `path` or of its opened stream, with the depth of the values."""
    try:
        with Image.open(file) as image:
            if view and view.has_antialias:
                # JPEG files are decoded at 1/2, 1/4 or 1/8 of their size, in a fraction of the time.
                side = SPARE * least_side(view)
                image.draft(None, (side, side))
            is_grey = image.mode.startswith("I")
            is_wide_colour = not is_grey and ";16" in str(image.tile)
            turned = ImageOps.exif_transpose(image)
            depth = Depth(None, is_wide_colour)
            if is_grey:
                values = _sixteen_bits(turned)
                depth = Depth(int(values.max()), False)
                turned = Image.fromarray(np.minimum(values >> shift, 255).astype(np.uint8))
            rgb = _to_rgb(turned)
            return resize(rgb, view) if view else np.asarray(rgb, np.uint8), depth
    except MemoryError:
        raise
    # Pillow reports damage by many types of errors, such as SyntaxError and struct.error.
    except Exception as error:
        raise DataError(f"{path_text(path)} cannot be decoded as an image: {error}") from error


def _sixteen_bits(image: Image.Image) -> NDArray[Any]:
    values = np.asarray(image)
    lowest, highest = values.min(), values.max()
    if lowest < 0 or highest > LARGEST_16_BIT:
        raise ValueError(f"its values go from {lowest} to {highest}, not from 0 to {LARGEST_16_BIT}")
    return values


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, whose range is not known: convert it to 8 bits")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", pixels.size, WHITE), pixels).convert("RGB")
    return image.convert("RGB")
