"""Preprocessing: modes, the names of filters and crops, and the record `View` that holds all of them.

A mode takes pixels `(n, height, width, 3)` float32, RGB, 0..255, and returns a new array or tensor of the same
shape. It uses only operators that work on NumPy arrays and on TensorFlow tensors, and it is nothing but a scale and an
offset for each channel, swapped or not: extraction applies it in that form, see `line_of`.

The constants are those of `keras.applications.imagenet_utils.preprocess_input`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from benchmark.errors import BenchmarkError, check_known

Pixels = Any  # a NumPy array or a TensorFlow tensor
Mode = Callable[[Pixels], Pixels]

FULL = 255.0
# Of ImageNet's training images: means of blue, green and red in 0..255; means and standard deviations of RGB in 0..1.
CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
TORCH_MEAN_RGB = np.array([0.485, 0.456, 0.406], np.float32)
TORCH_STD_RGB = np.array([0.229, 0.224, 0.225], np.float32)


def to_raw(pixels: Pixels) -> Pixels:
    """The pixels as they are, in 0..255."""
    return pixels * 1.0


def to_unit(pixels: Pixels) -> Pixels:
    """Pixels in [0, 1]."""
    return pixels / 255.0


def to_tf(pixels: Pixels) -> Pixels:
    """Pixels in [-1, 1]: Keras's mode "tf"."""
    return pixels / 127.5 - 1.0


def to_caffe(pixels: Pixels) -> Pixels:
    """Blue, green, red with ImageNet's mean subtracted, not scaled: Keras's mode "caffe"."""
    return swap_channels(pixels) - CAFFE_MEAN_BGR


def to_torch(pixels: Pixels) -> Pixels:
    """Pixels in [0, 1], standardised with ImageNet's mean and deviation: Keras's mode "torch"."""
    return (to_unit(pixels) - TORCH_MEAN_RGB) / TORCH_STD_RGB


def swap_channels(pixels: Pixels) -> Pixels:
    """The channels in the opposite order."""
    return pixels[..., ::-1]


Positive = Annotated[float, Field(gt=0)]


class Normalisation(BaseModel):
    """A step that networks trained with statistics of their own need: pixels in [0, 1], standardised.

    Attributes:
        mean: Of red, green and blue in 0..1.
        std: Their standard deviations in 0..1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # Strict mode takes no list, which is what TOML has, for a tuple.
    mean: Annotated[tuple[float, float, float], Field(strict=False)]
    std: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]

    def __call__(self, pixels: Pixels) -> Pixels:
        """Pixels in 0..255 standardised."""
        return (to_unit(pixels) - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    def __str__(self) -> str:
        mean, std = (",".join(map(str, values)) for values in (self.mean, self.std))
        return f"mean={mean},std={std}"


# What a mode consists of: a key of `STEPS`, or a network's own.
Step = str | Normalisation

STEPS: dict[str, Mode] = {
    "raw": to_raw, "unit": to_unit, "tf": to_tf, "caffe": to_caffe, "torch": to_torch, "swap": swap_channels,
}  # fmt: skip

NATIVE = "native"
MODES = {
    NATIVE: "the right one for the backbone, from the registry",
    "unit": "x/255, in [0, 1]",
    "raw": "0..255, untouched",
    "tf": "x/127.5 - 1, in [-1, 1]",
    "caffe": "BGR, ImageNet mean subtracted",
    "torch": "x/255, ImageNet mean and deviation",
    "double": "x/255, then native: the double-rescaling mistake",
    "bgr": "native on swapped channels",
}


# The steps that Keras's own networks were trained with. Keras calls `raw` "identity".
NATIVE_MODES = ("raw", "unit", "tf", "caffe", "torch")


def describe_step(step: Step) -> str:
    """What a step does to pixels in 0..255, in a few words."""
    return MODES[step] if isinstance(step, str) else "x/255, mean and deviation of its own"


def resolve_mode(mode: str, native: Step) -> tuple[Step, ...]:
    """The steps of a mode for a backbone; two modes with equal steps give equal features.

    Args:
        mode: A key of `MODES`.
        native: The step that the backbone's own preprocessing does: one of `NATIVE_MODES`, or a normalisation.

    Raises:
        UnknownNameError: There is no such mode.
    """
    check_known("mode", mode, MODES)
    if mode == NATIVE:
        return (native,)
    if mode == "double":
        return ("unit",) if native == "raw" else ("unit", native)
    if mode == "bgr":
        return ("swap", native)
    return (mode,)


def apply_steps(steps: tuple[Step, ...], pixels: Pixels) -> Pixels:
    """The pixels after every step; the caller's array is not changed."""
    for step in steps:
        pixels = STEPS[step](pixels) if isinstance(step, str) else step(pixels)
    return pixels


def _joined(steps: tuple[Step, ...]) -> str:
    return ">".join(map(str, steps))


class Line(NamedTuple):
    """A mode as scale and offset per channel: `pixels * scale + offset`, on swapped channels or not.

    A graph that takes scale and offset as inputs serves every mode, and is compiled once.

    Attributes:
        is_swapped: Whether the channels are swapped first.
        scale: `(channels,)` float32.
        offset: `(channels,)` float32.
    """

    is_swapped: bool
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


def line_of(steps: tuple[Step, ...], n_channels: int) -> Line:
    """Scale and offset that do the same as these steps, for a network of one or three channels.

    Raises:
        BenchmarkError: The steps are for three channels, and the network has one.
    """
    values = np.eye(n_channels + 1, n_channels) * FULL  # one channel at its most, and, at the end, none
    results = apply_steps(steps, values)
    if results.shape != values.shape:
        raise BenchmarkError(
            f"mode {_joined(steps)} is for RGB networks, and this one takes grey images: choose raw, unit or tf."
        )
    halves = apply_steps(steps, values / 2)
    offset = results[-1]
    assert np.allclose(halves, (results + offset) / 2), "a mode is no scale and offset"
    slopes = (results[:-1] - offset) / FULL  # (from channel, to channel)
    is_swapped = n_channels > 1 and not slopes[0, 0]
    if is_swapped:
        slopes = slopes[::-1]
    scale = np.diag(slopes)
    assert np.array_equal(slopes, np.diag(scale)), "a mode mixes channels"
    return Line(is_swapped, scale.astype(np.float32), offset.astype(np.float32))


def match_channels(images: Pixels, n_channels: int) -> Pixels:
    """Images as a network takes them, before the steps of the mode.

    Args:
        images: Tensor `(n, height, width, channels)` uint8 with one or three channels.
        n_channels: Of the result. Grey images are repeated, those of three channels become their luminance.

    Returns:
        Tensor `(n, height, width, n_channels)` float32 in 0..255.
    """
    import tensorflow as tf

    pixels = tf.cast(images, tf.float32)
    if images.shape[-1] > n_channels:
        return tf.image.rgb_to_grayscale(pixels)
    return tf.image.grayscale_to_rgb(pixels) if images.shape[-1] < n_channels else pixels


# How an image is resized: the filter, and whether it widens as an image shrinks, so that every pixel counts.
RESIZERS = {
    "bilinear-antialias": ("bilinear", True),
    "bicubic-antialias": ("bicubic", True),
    "lanczos": ("lanczos", True),
    "area": ("area", True),
    "bilinear": ("bilinear", False),
    "bicubic": ("bicubic", False),
    "nearest": ("nearest", False),
}
CROPS = {
    "squash": "the whole image, its aspect ratio changed",
    "crop": "the largest centred square",
}

# Where neither the recipe nor the registry says otherwise.
USUAL_RESIZE, USUAL_CROP = "bilinear-antialias", "squash"


def _as_crop(value: Any) -> Any:
    """The share that a number, or a text of the command line, stands for; other texts as they are."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        return value
    if not 0 < share < 1:
        raise ValueError("expected squash, crop, or a share between 0 and 1, such as 0.875")
    return share


# A name of `CROPS`, or the share of the shorter side that is kept.
Crop = str | float
# The same as files and the command line have it.
CropValue = Annotated[str | Annotated[float, Field(gt=0, lt=1)], BeforeValidator(_as_crop)]


@dataclass(frozen=True)
class View:
    """How images are prepared for a network: all that decides which pixels it sees.

    Attributes:
        size_px: Side of the square input.
        resize: A key of `RESIZERS`.
        crop: A key of `CROPS`; or a fraction f: the shorter side becomes `size_px / f`, and the centre is kept.
        steps: What the mode does, from `resolve_mode`.
    """

    size_px: int
    resize: str
    crop: Crop
    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.size_px}px", self.resize, str(self.crop), _joined(self.steps)]
        return " ".join(part for part in parts if part)

    @property
    def before_mode(self) -> "View":
        """The view without the steps of the mode, which many modes and backbones share."""
        return replace(self, steps=())

    @property
    def has_antialias(self) -> bool:
        """Whether every pixel of an image that shrinks counts."""
        return RESIZERS[self.resize][1]


def check_resizing(resize: str, crop: Crop) -> None:
    """Refuse unknown names of interpolation and crop.

    Raises:
        UnknownNameError: `resize` or `crop` is unknown.
    """
    check_known("resize", resize, RESIZERS)
    if isinstance(crop, str):
        check_known("crop", crop, CROPS)
