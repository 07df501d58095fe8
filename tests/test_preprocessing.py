"""Modes against `keras.applications.*.preprocess_input` and plain NumPy; resizing against NumPy, Pillow and Keras."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from benchmark.errors import UnknownNameError
from benchmark.preprocessing import (
    CROPS,
    MODES,
    RESIZERS,
    View,
    apply_steps,
    check_resizing,
    resolve_mode,
)
from benchmark.registry import NATIVE_MODES

# One module of keras.applications for each native mode.
KERAS_MODULE = {"caffe": "vgg16", "tf": "mobilenet_v2", "torch": "densenet", "raw": "efficientnet"}
KERAS_PAIRS = [(mode, native) for native in KERAS_MODULE for mode in MODES]
PAIRS = [(mode, native) for native in NATIVE_MODES for mode in MODES]

images_of_any_shape = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.just(3))
)


def apply_mode(mode: str, native: str, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(apply_steps(resolve_mode(mode, native), pixels))


def keras_reference(mode: str, native: str, pixels: np.ndarray) -> np.ndarray:
    """The mode by Keras's own functions, on copies, because some of them write into their argument."""
    # Imported by name because a test module that imports Keras at its top would fix KERAS_HOME for all tests.
    right = importlib.import_module(f"keras.applications.{KERAS_MODULE[native]}").preprocess_input
    imagenet = importlib.import_module("keras.applications.imagenet_utils").preprocess_input
    if mode == "native":
        return right(pixels.copy())
    if mode == "double":
        return right(pixels / np.float32(255))
    if mode == "bgr":
        return right(pixels[..., ::-1].copy())
    if mode in ("tf", "caffe", "torch"):
        return imagenet(pixels.copy(), mode=mode)
    return {"raw": pixels, "unit": pixels / np.float32(255)}[mode]


def numpy_reference(mode: str, native: str, pixels: np.ndarray) -> np.ndarray:
    """The mode channel by channel in float64, from the published constants."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    if mode == "double":
        return numpy_reference("native", native, np.stack([red, green, blue], axis=-1) / 255)
    if mode == "bgr":
        return numpy_reference("native", native, np.stack([blue, green, red], axis=-1))
    kind = native if mode == "native" else mode
    if kind == "caffe":
        channels = [blue - 103.939, green - 116.779, red - 123.68]
    elif kind == "torch":
        statistics = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]
        pairs = zip((red, green, blue), statistics, strict=True)
        channels = [(channel / 255 - mean) / deviation for channel, (mean, deviation) in pairs]
    else:
        scale, offset = {"raw": (1, 0), "unit": (1 / 255, 0), "tf": (2 / 255, -1)}[kind]
        channels = [channel * scale + offset for channel in (red, green, blue)]
    return np.stack(channels, axis=-1)


# Modes


@pytest.mark.parametrize(("mode", "native"), KERAS_PAIRS)
def test_every_mode_equals_keras_for_a_backbone_of_every_native_mode(mode, native, rng):
    pixels = rng.integers(0, 256, (2, 5, 4, 3)).astype(np.float32)

    found = apply_mode(mode, native, pixels)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, keras_reference(mode, native, pixels), rtol=1e-6, atol=1e-5)


@given(images_of_any_shape, st.sampled_from(PAIRS))
def test_every_mode_equals_its_formula_and_leaves_the_callers_array_alone(images, pair):
    pixels = images.astype(np.float32)
    before = pixels.copy()

    found = apply_mode(*pair, pixels)

    np.testing.assert_allclose(found, numpy_reference(*pair, before), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(pixels, before)
    assert not np.shares_memory(found, pixels)


@pytest.mark.parametrize(("mode", "native"), PAIRS)
def test_a_mode_gives_the_same_numbers_inside_a_graph(mode, native, rng):
    import tensorflow as tf

    pixels = rng.integers(0, 256, (2, 5, 4, 3)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    def traced(tensor):
        return apply_steps(resolve_mode(mode, native), tensor)

    np.testing.assert_allclose(traced(pixels), apply_mode(mode, native, pixels), rtol=1e-6, atol=1e-5)


def test_pure_red_through_every_mode_of_a_caffe_backbone():
    red = np.array([255, 0, 0], np.float32).reshape(1, 1, 1, 3)

    found = {mode: apply_mode(mode, "caffe", red).ravel().tolist() for mode in MODES}

    assert found == {
        "native": pytest.approx([-103.939, -116.779, 131.32]),
        "unit": [1.0, 0.0, 0.0],
        "raw": [255.0, 0.0, 0.0],
        "tf": [1.0, -1.0, -1.0],
        "caffe": pytest.approx([-103.939, -116.779, 131.32]),
        "torch": pytest.approx([2.2489083, -2.0357143, -1.8044444]),
        "double": pytest.approx([-103.939, -116.779, -122.68]),
        "bgr": pytest.approx([151.061, -116.779, -123.68]),
    }


@pytest.mark.parametrize(("native", "twin"), [("caffe", "caffe"), ("tf", "tf"), ("torch", "torch"), ("raw", "raw")])
def test_native_has_the_same_steps_as_the_mode_it_is_so_that_they_share_features(native, twin):
    same = [mode for mode in MODES if resolve_mode(mode, native) == resolve_mode("native", native)]

    assert same == ["native", twin]


def test_rescaling_twice_is_rescaling_once_for_a_backbone_that_rescales_itself():
    assert resolve_mode("double", "raw") == resolve_mode("unit", "raw")


@pytest.mark.parametrize("native", NATIVE_MODES)
def test_there_are_no_other_coincidences_between_modes(native):
    distinct = {resolve_mode(mode, native) for mode in MODES}

    assert len(distinct) == len(MODES) - (2 if native == "raw" else 1)


def test_an_unknown_mode_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown mode 'nativ'\. Did you mean 'native'\? Known: bgr, caffe"):
        resolve_mode("nativ", "caffe")


# Resizing


def resized(images: np.ndarray, size_px: int, resize: str = "bilinear", crop: str = "squash") -> np.ndarray:
    return View(size_px, resize, crop, ()).resize_images(images).numpy()


def bilinear_reference(images: np.ndarray, size_px: int) -> np.ndarray:
    """Each new pixel's centre laid over the old grid, and the four neighbours weighed by distance."""

    def weights(n: int) -> np.ndarray:
        matrix = np.zeros((size_px, n))
        for row in range(size_px):
            centre = np.clip((row + 0.5) * n / size_px - 0.5, 0, n - 1)
            low = int(centre)
            matrix[row, low] += 1 - (centre - low)
            matrix[row, min(low + 1, n - 1)] += centre - low
        return matrix

    height, width = images.shape[1:3]
    return np.einsum("yh,xw,nhwc->nyxc", weights(height), weights(width), images.astype(np.float64))


@given(images_of_any_shape, st.integers(1, 9))
def test_bilinear_weighs_the_four_neighbours_by_distance(images, size_px):
    found = resized(images, size_px)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, bilinear_reference(images, size_px), rtol=1e-5, atol=1e-3)


def test_nearest_takes_the_pixel_under_the_new_centre(rng):
    images = rng.integers(0, 256, (2, 6, 9, 3), dtype=np.uint8)

    found = resized(images, 3, "nearest")

    # Centres of thirds: rows 1, 3, 5 of 6 (0.5 rounds up) and columns 1, 4, 7 of 9.
    np.testing.assert_array_equal(found, images[:, 1::2, 1::3])


def test_bicubic_keeps_a_straight_ramp_straight():
    """Keys's kernel reproduces polynomials up to the second degree away from the border."""
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))[None, :, :, None].repeat(3, axis=3)

    found = resized(ramp, 32, "bicubic")

    expected = 10 * ((np.arange(32) + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(found[0, 16, 4:-4, 0], expected[4:-4], atol=0.05)


@pytest.mark.parametrize(
    ("resize", "pillow"),
    [("bilinear-antialias", Image.Resampling.BILINEAR), ("bicubic-antialias", Image.Resampling.BICUBIC)],
)
def test_antialiased_shrinking_equals_pillow(resize, pillow, rng):
    images = rng.integers(0, 256, (1, 20, 28, 3), dtype=np.uint8)

    found = resized(images, 7, resize)

    planes = [Image.fromarray(images[0, :, :, channel].astype(np.float32)) for channel in range(3)]
    expected = np.stack([np.asarray(plane.resize((7, 7), pillow)) for plane in planes], axis=-1)
    np.testing.assert_allclose(found[0], expected, atol=0.01)


def test_antialias_changes_a_shrunk_image_and_not_an_enlarged_one(rng):
    images = rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)

    assert np.abs(resized(images, 3, "bilinear-antialias") - resized(images, 3, "bilinear")).max() > 1
    np.testing.assert_allclose(resized(images, 16, "bilinear-antialias"), resized(images, 16, "bilinear"), atol=1e-3)


@pytest.mark.parametrize("resize", RESIZERS)
@pytest.mark.parametrize("crop", CROPS)
def test_images_of_the_right_size_keep_their_pixels(resize, crop, rng):
    images = rng.integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)

    np.testing.assert_array_equal(resized(images, 5, resize, crop), images)


@given(st.integers(1, 7), st.integers(1, 7))
def test_crop_takes_the_centred_square(height, width):
    images = np.arange(height * width * 3, dtype=np.uint8).reshape(1, height, width, 3)
    side = min(height, width)

    found = resized(images, side, crop="crop")

    top, left = (height - side) // 2, (width - side) // 2
    np.testing.assert_array_equal(found, images[:, top : top + side, left : left + side])


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (11, 20), (16, 16)])
def test_crop_equals_the_smart_resize_of_keras(shape, rng):
    import keras

    images = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)

    found = resized(images, 6, crop="crop")

    expected = keras.preprocessing.image.smart_resize(images.astype(np.float32), (6, 6), interpolation="bilinear")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("resize", RESIZERS)
def test_grey_images_become_three_equal_channels(resize, crop, rng):
    grey = rng.integers(0, 256, (2, 8, 6, 1), dtype=np.uint8)

    found = resized(grey, 5, resize, crop)

    assert found.shape == (2, 5, 5, 3)
    np.testing.assert_allclose(found, resized(grey.repeat(3, axis=3), 5, resize, crop), atol=1e-3)


@pytest.mark.parametrize("crop", CROPS)
def test_images_whose_size_is_known_only_when_they_come_are_resized_the_same(crop, rng):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def traced(images):
        return View(5, "bilinear", crop, ()).resize_images(images)

    for shape in [(9, 6), (6, 9), (5, 5)]:
        images = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)

        np.testing.assert_allclose(traced(images), resized(images, 5, crop=crop), atol=1e-3)


def test_resizing_does_not_change_the_callers_array(rng):
    images = rng.integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    before = images.copy()

    for size_px in (5, 8):
        resized(images, size_px)

    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("resize", RESIZERS)
@pytest.mark.parametrize("crop", CROPS)
def test_known_names_of_resizing_are_taken(resize, crop):
    check_resizing(resize, crop)


def test_unknown_names_of_resizing_are_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown resize 'bilinear_antialias'\. Did you mean 'bilinear-anti"):
        check_resizing("bilinear_antialias", "squash")
    with pytest.raises(UnknownNameError, match=r"Unknown crop 'squish'\. Did you mean 'squash'\?"):
        check_resizing("bilinear", "squish")


def test_a_view_is_written_in_one_line():
    assert str(View(224, "bilinear", "squash", ("unit", "caffe"))) == "224px bilinear squash unit>caffe"
