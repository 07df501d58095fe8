"""One image file as RGB pixels, for any format, rotation and colour model."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmark.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"})
WHITE = (255, 255, 255, 255)


def decode_file(path: Path) -> NDArray[np.uint8]:
    """The image of a file: `(height, width, 3)` uint8, RGB, 0..255.

    The EXIF rotation is applied, 16-bit grey is scaled to 8 bits, palettes and CMYK become RGB, transparent pixels
    are put on white, and only the first frame of an animation is read.

    Raises:
        DataError: The file is not an image, is damaged, or is so large that it may be an attack.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)), np.uint8)
    # Pillow reports damage by many types of errors, such as SyntaxError and struct.error.
    except Exception as error:
        raise DataError(f"{path} cannot be decoded as an image: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", pixels.size, WHITE), pixels).convert("RGB")
    return image.convert("RGB")
