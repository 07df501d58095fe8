"""Images in memory, files or records: one protocol to read them, in their own size or in that of a network."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.ahead import map_ahead
from benchmark.datasets.pixels import RGB, OnProgress, PixelCache
from benchmark.datasets.resizing import resize
from benchmark.preprocessing import View
from benchmark.provenance import usable_cpus

# Of a hash, enough to tell a thousand million images apart; and enough to copy the features of one to another.
CONTENT_BYTES, IDENTITY_BYTES = 8, 16

Positions = Sequence[int] | NDArray[np.int64]
Identities = NDArray[np.bytes_]


@dataclass(frozen=True)
class Source:
    """Where the inputs of a model come from.

    Attributes:
        take: From positions `(b,)` to inputs `(b, *shape)`.
        shape: Of one input.
        dtype: Of the inputs.
        is_cached: False if images have to be decoded each time, because the disk has no room for the cache.
    """

    take: Callable[[NDArray[np.int64]], NDArray[Any]]
    shape: tuple[int, ...]
    dtype: str
    is_cached: bool = True


def array_source(array: NDArray[Any]) -> Source:
    """Inputs from an array `(n, *shape)`, which may be memory-mapped."""
    return Source(lambda positions: array[positions], tuple(array.shape[1:]), str(array.dtype))


class Images(Protocol):
    """`n` images that are read by their positions."""

    @property
    def n_channels(self) -> int:
        """Channels of each image: one (grey) or three (RGB)."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of each image in px; None if they differ or are not known."""

    @property
    def contents(self) -> NDArray[np.uint64]:
        """`(n,)`: a number for the content of each image, which is the beginning of its hash; copies have the same."""

    @property
    def identities(self) -> Identities:
        """`(n,)`: what decides the pixels of each image; equal ones have equal pixels in any view and any dataset."""

    def __len__(self) -> int: ...

    def read(self, indices: Positions) -> Sequence[NDArray[np.uint8]] | NDArray[np.uint8]:
        """The pixels `(height, width, n_channels)` uint8 of these images, stacked if all have one size."""

    def source(self, view: View, on_progress: OnProgress | None = None) -> Source:
        """The images resized for a view, before its mode: `(size_px, size_px, n_channels)` uint8, 0..255.

        Args:
            view: Its mode is not applied.
            on_progress: Called while the cache of resized images is filled.
        """

    def take(self, indices: Positions) -> "Images":
        """The images at these positions, not read."""

    def name(self, index: int) -> str:
        """What the image at this position is called where it is stored: by its file, or by its number."""


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size, held in memory.

    Attributes:
        pixels: `(n, height, width, n_channels)` uint8 in 0..255.
        numbers: `(n,)`: what each was as it was stored, training images first, from 0 on; None if they are all of them.
    """

    pixels: NDArray[np.uint8]
    numbers: NDArray[np.int64] | None = field(default=None, compare=False)

    @property
    def n_channels(self) -> int:
        """Channels of each image."""
        return int(self.pixels.shape[-1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @functools.cached_property
    def contents(self) -> NDArray[np.uint64]:
        """See `Images`; of the pixels."""
        digests = (hashlib.sha256(image.tobytes()).digest() for image in self.pixels)
        return np.array([int.from_bytes(digest[:CONTENT_BYTES]) for digest in digests], np.uint64)

    @property
    def identities(self) -> Identities:
        """See `Images`; of the pixels and their shape."""
        shape = str(self.pixels.shape[1:]).encode()
        return _identities(shape + image.tobytes() for image in self.pixels)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Positions) -> NDArray[np.uint8]:
        """A copy of these images, `(k, height, width, n_channels)`."""
        return self.pixels[indices]

    def source(self, view: View, on_progress: OnProgress | None = None) -> Source:  # noqa: ARG002  # nothing is cached
        """See `Images`."""
        shape = (view.size_px, view.size_px, self.n_channels)
        if self.pixels.shape[1:] == shape and isinstance(view.crop, str):
            return array_source(self.pixels)
        grey_or_rgb = self.pixels[..., 0] if self.n_channels == 1 else self.pixels
        return Source(
            lambda positions: np.stack([resize(Image.fromarray(grey_or_rgb[index]), view) for index in positions]),
            shape,
            "uint8",
        )

    def take(self, indices: Positions) -> "ArrayImages":
        """The images at these positions."""
        return ArrayImages(self.pixels[indices], self._numbers[indices])

    def name(self, index: int) -> str:
        """The number of an image as it was stored."""
        return str(self._numbers[index])

    @property
    def _numbers(self) -> NDArray[np.int64]:
        return np.arange(len(self)) if self.numbers is None else self.numbers


@dataclass(frozen=True)
class EncodedImages:
    """RGB images of any sizes, in files or records, decoded when they are read.

    Attributes:
        home: The name under which their resized pixels are cached, such as the path of their folder.
        ids: What each image is: the SHA-256 of its file or record in hexadecimal digits, and what else decides its
            pixels. Equal ids mean equal pixels, in any dataset.
        places: Where each image is, such as its path.
        decode: From a place to `(height, width, 3)` uint8; with a view, resized for it.
        name_of: From a place to what people call the image.
    """

    home: str
    ids: tuple[str, ...]
    places: tuple[Any, ...]
    decode: Callable[[Any, View | None], NDArray[np.uint8]] = field(compare=False)
    name_of: Callable[[Any], str] = field(default=str, compare=False)
    n_channels: ClassVar[int] = RGB
    size: ClassVar[None] = None

    @functools.cached_property
    def contents(self) -> NDArray[np.uint64]:
        """See `Images`; of the files or records."""
        return np.array([int(image_id[: 2 * CONTENT_BYTES], 16) for image_id in self.ids], np.uint64)

    @property
    def identities(self) -> Identities:
        """See `Images`; of the ids."""
        return _identities(image_id.encode() for image_id in self.ids)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, indices: Positions) -> list[NDArray[np.uint8]]:
        """These images, each with its own size."""
        return [self.decode(self.places[index], None) for index in indices]

    def source(self, view: View, on_progress: OnProgress | None = None) -> Source:
        """See `Images`. They come from the cache of resized images, which gets those that it lacks."""
        cache = PixelCache(self.home, view)
        is_cached = cache.fill(self.ids, lambda index: self._resized(index, view), on_progress)

        def take(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
            cached = [cache.read(self.ids[index]) for index in positions.tolist()]
            missing = [index for index, pixels in zip(positions.tolist(), cached, strict=True) if pixels is None]
            decoded = map_ahead(lambda index: self._resized(index, view), missing, usable_cpus())
            return np.stack([next(decoded) if pixels is None else pixels for pixels in cached])

        return Source(take, (view.size_px, view.size_px, RGB), "uint8", is_cached)

    def _resized(self, index: int, view: View) -> NDArray[np.uint8]:
        return self.decode(self.places[index], view)

    def take(self, indices: Positions) -> "EncodedImages":
        """The images at these positions, not decoded."""
        return replace(
            self,
            ids=tuple(self.ids[index] for index in indices),
            places=tuple(self.places[index] for index in indices),
        )

    def name(self, index: int) -> str:
        """See `Images`."""
        return self.name_of(self.places[index])


def _identities(contents: Iterable[bytes]) -> Identities:
    digests = (hashlib.sha256(content).digest() for content in contents)
    return np.array([digest[:IDENTITY_BYTES] for digest in digests], f"S{IDENTITY_BYTES}")


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
