"""Modes against `keras.applications.*.preprocess_input` and plain NumPy; resizing against NumPy, Pillow and Keras."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.preprocessing import (
    CROPS,
    MODES,
    NATIVE_MODES,
    RESIZERS,
    Normalisation,
    View,
    apply_steps,
    check_resizing,
    line_of,
    match_channels,
    resolve_mode,
)

# One module of keras.applications for each native mode.
KERAS_MODULE = {"caffe": "vgg16", "tf": "mobilenet_v2", "torch": "densenet", "raw": "efficientnet"}
KERAS_PAIRS = [(mode, native) for native in KERAS_MODULE for mode in MODES]
# As CLIP has them.
OF_ITS_OWN = Normalisation(mean=[0.4815, 0.4578, 0.4082], std=[0.2686, 0.2613, 0.2758])
PAIRS = [(mode, native) for native in (*NATIVE_MODES, OF_ITS_OWN) for mode in MODES]

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
    elif kind == "torch" or isinstance(kind, Normalisation):
        torch = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]
        statistics = torch if kind == "torch" else zip(kind.mean, kind.std, strict=True)
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


# Channels


def test_grey_images_become_three_equal_channels_and_colours_their_luminance(rng):
    import tensorflow as tf

    grey = rng.integers(0, 256, (2, 4, 4, 1), dtype=np.uint8)
    colour = rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)

    assert np.array_equal(match_channels(tf.constant(grey), 3), np.repeat(grey, 3, axis=-1))
    assert np.array_equal(match_channels(tf.constant(colour), 3), colour)
    luminance = colour @ np.array([[0.299], [0.587], [0.114]])
    np.testing.assert_allclose(match_channels(tf.constant(colour), 1), luminance, atol=0.1)


# A network's own normalisation


def test_a_normalisation_standardises_pixels_between_0_and_1(rng):
    pixels = rng.integers(0, 256, (2, 3, 3, 3)).astype(np.float32)

    found = apply_steps(resolve_mode("native", OF_ITS_OWN), pixels)

    np.testing.assert_allclose(found, (pixels / 255 - OF_ITS_OWN.mean) / OF_ITS_OWN.std, rtol=1e-5, atol=1e-6)


def test_modes_with_other_normalisations_have_other_views():
    other = OF_ITS_OWN.model_copy(update={"std": (0.2686, 0.2613, 0.2759)})

    views = {str(View(224, "bilinear", "squash", resolve_mode("native", one))) for one in (OF_ITS_OWN, other, "torch")}

    assert len(views) == 3


# Modes as lines


@pytest.mark.parametrize("native", [*NATIVE_MODES, OF_ITS_OWN])
@pytest.mark.parametrize("mode", MODES)
def test_a_line_does_what_the_steps_do(mode, native, rng):
    steps = resolve_mode(mode, native)
    pixels = rng.integers(0, 256, (2, 5, 5, 3)).astype(np.float32)

    line = line_of(steps, 3)

    found = (pixels[..., ::-1] if line.is_swapped else pixels) * line.scale + line.offset
    np.testing.assert_allclose(found, apply_steps(steps, pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step", ["raw", "unit", "tf"])
def test_grey_networks_have_lines_too(step):
    line = line_of((step,), 1)

    values = np.array([[0.0], [100.0], [255.0]])
    np.testing.assert_allclose(values * line.scale + line.offset, apply_steps((step,), values), rtol=1e-6)
    assert not line.is_swapped


def test_a_mode_of_colours_is_refused_for_grey_networks():
    with pytest.raises(BenchmarkError, match="mode caffe is for RGB networks"):
        line_of(("caffe",), 1)


# Views


@pytest.mark.parametrize("resize", RESIZERS)
@pytest.mark.parametrize("crop", [*CROPS, 0.875])
def test_known_names_of_resizing_are_taken(resize, crop):
    check_resizing(resize, crop)


def test_unknown_names_of_resizing_are_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown resize 'bilinear_antialias'\. Did you mean 'bilinear-anti"):
        check_resizing("bilinear_antialias", "squash")
    with pytest.raises(UnknownNameError, match=r"Unknown crop 'squish'\. Did you mean 'squash'\?"):
        check_resizing("bilinear", "squish")


def test_a_view_is_written_in_one_line():
    view = View(224, "bilinear", 0.875, ("unit", "caffe"))

    assert str(view) == "224px bilinear 0.875 unit>caffe"
    assert str(view.before_mode) == "224px bilinear 0.875"
