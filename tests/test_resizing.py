"""Resizing, against TensorFlow, Pillow and Keras."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark.datasets.resizing import resize
from benchmark.preprocessing import CROPS, RESIZERS, View

# TensorFlow takes cubic weights from a table.
HALF_A_LEVEL = 0.6
# Pillow rounds after each axis.
ONE_LEVEL = 1.01
WITHOUT_ANTIALIAS = [name for name, (_, has_antialias) in RESIZERS.items() if not has_antialias]

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def resized(pixels: np.ndarray, size_px: int, name: str = "bilinear", crop: str | float = "squash") -> np.ndarray:
    """Of an image `(height, width)` or `(height, width, 3)`."""
    return resize(Image.fromarray(pixels), View(size_px, name, crop))


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise whose interpolation stays in 0..255: Pillow cuts off what is beyond, after each axis."""
    return np.random.default_rng(seed).integers(80, 176, (height, width, 3), dtype=np.uint8)


def by_tensorflow(pixels: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    import tensorflow as tf

    method, antialias = RESIZERS[name]
    method = {"lanczos": "lanczos3"}.get(method, method)
    return np.clip(tf.image.resize(pixels.astype(np.float32), size, method, antialias=antialias), 0, 255)


@pytest.mark.parametrize("name", WITHOUT_ANTIALIAS)
@given(size=sizes, size_px=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_without_antialias_it_equals_tensorflow(name, size, size_px):
    centres = [(position + 0.5) * old / size_px for old in size for position in range(size_px)]
    assume(name != "nearest" or not any(centre.is_integer() for centre in centres))  # two pixels are equally near
    pixels = photo(*size)

    found = resized(pixels, size_px, name)

    # Pillow is used where no axis shrinks.
    tolerance = HALF_A_LEVEL if max(size) > size_px else 2 * ONE_LEVEL
    assert found.dtype == np.uint8
    assert np.abs(found - by_tensorflow(pixels, (size_px, size_px), name)).max() <= tolerance


@pytest.mark.parametrize("name", ["bilinear-antialias", "bicubic-antialias", "lanczos"])
@pytest.mark.parametrize(("size", "size_px"), [((60, 90), 14), ((31, 20), 20), ((9, 12), 40), ((50, 8), 16)])
def test_with_antialias_it_equals_tensorflow(name, size, size_px):
    pixels = photo(*size)

    difference = np.abs(resized(pixels, size_px, name) - by_tensorflow(pixels, (size_px, size_px), name))

    assert difference.max() <= 2 * ONE_LEVEL
    assert difference.mean() <= HALF_A_LEVEL


def test_area_is_the_mean_of_the_pixels_that_become_one():
    pixels = photo(12, 20)

    means = pixels.reshape(4, 3, 4, 5, 3).mean(axis=(1, 3))

    assert np.abs(resized(pixels, 4, "area") - means).max() <= ONE_LEVEL


def test_every_pixel_counts_with_antialias_and_few_do_without():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[::8, ::8] = 255  # one pixel of each 8 x 8

    assert resized(pixels, 8, "bilinear").max() == 0
    assert resized(pixels, 8, "bilinear-antialias").min() > 0


@pytest.mark.parametrize("name", RESIZERS)
@pytest.mark.parametrize("crop", CROPS)
def test_images_of_the_right_size_keep_their_pixels(name, crop):
    pixels = photo(5, 5)

    np.testing.assert_array_equal(resized(pixels, 5, name, crop), pixels)


@given(st.integers(1, 7), st.integers(1, 7))
def test_crop_takes_the_centred_square(height, width):
    pixels = photo(height, width)
    side = min(height, width)

    top, left = (height - side) // 2, (width - side) // 2
    np.testing.assert_array_equal(resized(pixels, side, crop="crop"), pixels[top : top + side, left : left + side])


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (11, 20), (16, 16)])
def test_crop_equals_the_smart_resize_of_keras(shape):
    import keras

    pixels = photo(*shape)

    expected = keras.preprocessing.image.smart_resize(pixels.astype(np.float32), (6, 6), interpolation="bilinear")
    assert np.abs(resized(pixels, 6, crop="crop") - expected).max() <= HALF_A_LEVEL


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (70, 70), (30, 500)])
@pytest.mark.parametrize("name", ["bilinear-antialias", "bicubic"])
def test_a_share_resizes_the_shorter_side_and_keeps_the_centre(shape, name):
    pixels = photo(*shape)
    height, width = shape
    shorter = 32  # 28 / 0.875
    whole = (32, int(32 * width / height)) if height <= width else (int(32 * height / width), 32)

    found = resized(pixels, 28, name, 0.875)

    top, left = (whole[0] - 28) // 2, (whole[1] - 28) // 2
    expected = by_tensorflow(pixels, whole, name)[top : top + 28, left : left + 28]
    assert found.shape == (28, 28, 3)
    assert min(whole) == shorter
    assert np.abs(found - expected).max() <= 2 * ONE_LEVEL


@pytest.mark.parametrize("crop", [*CROPS, 0.5])
@pytest.mark.parametrize("name", RESIZERS)
def test_a_grey_image_is_resized_as_its_colours_would_be(name, crop):
    grey = photo(18, 13)[..., 0]

    found = resized(grey, 5, name, crop)

    assert found.shape == (5, 5, 1)
    np.testing.assert_array_equal(found.repeat(3, axis=-1), resized(np.stack([grey] * 3, axis=-1), 5, name, crop))


def test_an_image_of_one_pixel_can_be_enlarged():
    for name in RESIZERS:
        np.testing.assert_array_equal(resized(np.full((1, 1, 3), 77, np.uint8), 4, name), np.full((4, 4, 3), 77))
