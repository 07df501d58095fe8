"""Images in memory, files or records: decoding, one protocol to read them, and one way to turn them into batches."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmark.datasets.files import path_text
from benchmark.errors import DataError
from benchmark.preprocessing import View

Positions = Sequence[int] | NDArray[np.int64]

WHITE = (255, 255, 255, 255)
RGB = 3
DECODERS = 4
LARGEST_16_BIT = 65_535
# From 16 bits to 8.
USUAL_SHIFT = 8

# Photos above 89 megapixels, which Pillow warns of, are read; above 179 it raises an error. Its other warnings are of
# metadata that is not used. A filter for one call would not be safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Images(Protocol):
    """`n` images that are read by their positions."""

    @property
    def n_channels(self) -> int:
        """Channels of each image: one (grey) or three (RGB)."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of each image in px; None if they differ or are not known."""

    def __len__(self) -> int: ...

    def read(self, indices: Positions) -> Sequence[NDArray[np.uint8]] | NDArray[np.uint8]:
        """The pixels `(height, width, n_channels)` uint8 of these images, stacked if all have one size."""

    def take(self, indices: Positions) -> "Images":
        """The images at these positions, not read."""


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size, held in memory.

    Attributes:
        pixels: `(n, height, width, n_channels)` uint8 in 0..255.
    """

    pixels: NDArray[np.uint8]

    @property
    def n_channels(self) -> int:
        """Channels of each image."""
        return int(self.pixels.shape[-1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Positions) -> NDArray[np.uint8]:
        """A copy of these images, `(k, height, width, n_channels)`."""
        return self.pixels[indices]

    def take(self, indices: Positions) -> "ArrayImages":
        """The images at these positions."""
        return ArrayImages(self.pixels[indices])


def decode_file(path: Path, shift: int = USUAL_SHIFT) -> NDArray[np.uint8]:
    """The image of a file: `(height, width, 3)` uint8, RGB, 0..255.

    The EXIF rotation is applied, 16-bit grey is scaled to 8 bits, palettes and CMYK become RGB, transparent pixels
    are put on white, and only the first frame of an animation is read.

    Args:
        path: The file.
        shift: Number of bits by which the values of 16-bit grey are divided.

    Raises:
        DataError: The file is not an image, is damaged, is so large that it may be an attack, or has values whose range
            is not known.
    """
    return decode(path, path, shift)[0]


class Depth(NamedTuple):
    """How deep the values of an image are, as its file has them.

    Attributes:
        grey_top: The largest value if the image is 16-bit grey, else None.
        is_wide_colour: Whether colours have 16 bits; Pillow reads the upper 8.
    """

    grey_top: int | None
    is_wide_colour: bool


def decode(file: Path | IO[bytes], path: Path, shift: int = USUAL_SHIFT) -> tuple[NDArray[np.uint8], Depth]:
    """As `decode_file`, of the file at `path` or of its opened stream, with the depth of the values."""
    try:
        with Image.open(file) as image:
            is_grey = image.mode.startswith("I")
            is_wide_colour = not is_grey and ";16" in str(image.tile)
            turned = ImageOps.exif_transpose(image)
            if is_grey:
                values = _sixteen_bits(turned)
                grey = np.minimum(values >> shift, 255).astype(np.uint8)
                return np.repeat(grey[..., np.newaxis], RGB, axis=-1), Depth(int(values.max()), False)
            return np.asarray(_to_rgb(turned), np.uint8), Depth(None, is_wide_colour)
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


@dataclass(frozen=True)
class EncodedImages:
    """RGB images of any sizes, in files or records, decoded each time they are read.

    Attributes:
        places: Where each image is, such as its path.
        decode: From a place to `(height, width, 3)` uint8.
    """

    places: tuple[Any, ...]
    decode: Callable[[Any], NDArray[np.uint8]]
    n_channels: ClassVar[int] = RGB
    size: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.places)

    def read(self, indices: Positions) -> list[NDArray[np.uint8]]:
        """These images, each with its own size."""
        return [self.decode(self.places[index]) for index in indices]

    def take(self, indices: Positions) -> "EncodedImages":
        """The images at these positions, not decoded."""
        return EncodedImages(tuple(self.places[index] for index in indices), self.decode)


class LabelledArrays(NamedTuple):
    """A dataset in memory, its training images first.

    Attributes:
        images: `(n, height, width, channels)` uint8 in 0..255.
        labels: `(n,)` int64, positions in `class_names`.
        n_train: Number of training images; the others are the test split. If it is `n`, there is no test split.
        class_names: In the order of the labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    n_train: int
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where the inputs of a model come from.

    Attributes:
        take: From positions `(b,)` to inputs `(b, *shape)`.
        shape: Of one input.
        dtype: Of the inputs.
    """

    take: Callable[[NDArray[np.int64]], NDArray[Any]]
    shape: tuple[int, ...]
    dtype: str


def array_source(array: NDArray[Any]) -> Source:
    """Inputs from an array `(n, *shape)`, which may be memory-mapped."""
    return Source(lambda positions: array[positions], tuple(array.shape[1:]), str(array.dtype))


def image_source(images: Images, view: View) -> Source:
    """Images of one size as they are, uint8; others decoded and resized one by one, float32 in 0..255."""
    if images.size is not None:
        return Source(lambda positions: np.asarray(images.read(positions)), (*images.size, images.n_channels), "uint8")

    import tensorflow as tf

    shape = (view.size_px, view.size_px, images.n_channels)
    # One graph for all sizes.
    any_image = tf.TensorSpec((1, None, None, images.n_channels), tf.uint8)
    resize = tf.function(lambda image: view.resize_images(image, images.n_channels)).get_concrete_function(any_image)
    pool = ThreadPoolExecutor(DECODERS)

    def read_resized(position: int) -> NDArray[np.float32]:
        (image,) = images.read([position])
        resized: NDArray[np.float32] = resize(tf.constant(image[np.newaxis])).numpy()
        return resized

    return Source(lambda positions: np.concatenate(list(pool.map(read_resized, positions.tolist()))), shape, "float32")
