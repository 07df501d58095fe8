"""Preprocessing: modes, resizing, and the record `View` that holds both.

A mode takes pixels `(n, height, width, 3)` float32, RGB, 0..255, and returns a new array or tensor of the same
shape. It uses only operators that work on NumPy arrays and on TensorFlow tensors, so the same code runs inside the
extraction graph and in a test.

The constants are those of `keras.applications.imagenet_utils.preprocess_input`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.errors import check_known

Pixels = Any  # a NumPy array or a TensorFlow tensor
Mode = Callable[[Pixels], Pixels]

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


STEPS: dict[str, Mode] = {
    "raw": to_raw, "unit": to_unit, "tf": to_tf, "caffe": to_caffe, "torch": to_torch, "swap": swap_channels,
}  # fmt: skip

MODES = {
    "native": "the right one for the backbone, from the registry",
    "unit": "x/255, in [0, 1]",
    "raw": "0..255, untouched",
    "tf": "x/127.5 - 1, in [-1, 1]",
    "caffe": "BGR, ImageNet mean subtracted",
    "torch": "x/255, ImageNet mean and deviation",
    "double": "x/255, then native: the double-rescaling mistake",
    "bgr": "native on swapped channels",
}


def resolve_mode(mode: str, native: str) -> tuple[str, ...]:
    """The steps of a mode for a backbone; two modes with equal steps give equal features.

    Args:
        mode: A key of `MODES`.
        native: The step that the backbone's own `preprocess_input` does: raw, unit, tf, caffe or torch.

    Raises:
        UnknownNameError: There is no such mode.
    """
    check_known("mode", mode, MODES)
    if mode == "native":
        return (native,)
    if mode == "double":
        return ("unit",) if native == "raw" else ("unit", native)
    if mode == "bgr":
        return ("swap", native)
    return (mode,)


def apply_steps(steps: tuple[str, ...], pixels: Pixels) -> Pixels:
    """The pixels after every step; the caller's array is not changed."""
    for step in steps:
        pixels = STEPS[step](pixels)
    return pixels


# TensorFlow's antialias has no effect on nearest-neighbour interpolation, so there is no fifth name.
RESIZERS: dict[str, tuple[str, bool]] = {
    "bilinear": ("bilinear", False),
    "bilinear-antialias": ("bilinear", True),
    "bicubic": ("bicubic", False),
    "bicubic-antialias": ("bicubic", True),
    "nearest": ("nearest", False),
}
CROPS = {
    "squash": "the whole image, its aspect ratio changed",
    "crop": "the largest centred square",
}


@dataclass(frozen=True)
class View:
    """How images are prepared for a network: all that decides which pixels it sees.

    Attributes:
        size_px: Side of the square input.
        resize: A key of `RESIZERS`.
        crop: A key of `CROPS`.
        steps: What the mode does, from `resolve_mode`.
    """

    size_px: int
    resize: str
    crop: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.size_px}px {self.resize} {self.crop} {'>'.join(self.steps)}"

    def resize_images(self, images: Pixels, n_channels: int = 3) -> Pixels:
        """Images resized to the network's input, before the steps of the mode.

        Args:
            images: Tensor `(n, height, width, channels)` uint8 with one or three channels.
            n_channels: Of the result: three, or one for a network of grey images. Grey images are repeated, those of
                three channels become their luminance.

        Returns:
            Tensor `(n, size_px, size_px, n_channels)` float32 in 0..255; bicubic may overshoot a little. Images that
            have the size already keep their pixels.
        """
        import tensorflow as tf

        method, antialias = RESIZERS[self.resize]
        size = (self.size_px, self.size_px)
        square = _centre_square(images) if self.crop == "crop" else images
        if tuple(square.shape[1:3]) != size:
            square = tf.image.resize(square, size, method, antialias=antialias)
        resized = tf.cast(square, tf.float32)
        if images.shape[-1] > n_channels:
            return tf.image.rgb_to_grayscale(resized)
        return tf.image.grayscale_to_rgb(resized) if images.shape[-1] < n_channels else resized


def _centre_square(images: Pixels) -> Pixels:
    import tensorflow as tf

    height, width = images.shape[1:3]
    if height is None or width is None:
        height, width = tf.unstack(tf.shape(images)[1:3])
        side = tf.minimum(height, width)
    else:
        side = min(height, width)
    return tf.image.crop_to_bounding_box(images, (height - side) // 2, (width - side) // 2, side, side)


def check_resizing(resize: str, crop: str) -> None:
    """Refuse unknown names of interpolation and crop.

    Raises:
        UnknownNameError: `resize` or `crop` is unknown.
    """
    check_known("resize", resize, RESIZERS)
    check_known("crop", crop, CROPS)
