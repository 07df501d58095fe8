"""The shipped registry proved against Keras itself."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmark.backbones.build import application_names, build_untrained
from benchmark.backbones.builders import BuilderError
from benchmark.features.graph import FrozenNetwork
from benchmark.registry import read_registry, shipped_path

REGISTRY = read_registry(shipped_path("backbones.toml"))
APPLICATIONS = [name for name, backbone in REGISTRY.items() if backbone.weights == "imagenet"]
NETWORKS = [name for name, backbone in REGISTRY.items() if backbone.has_classifier]
OTHERS = {"MobileNetV2-dogs": "MobileNetV2", "VGG16-hed": "VGG16"}

# MobileNetV3 leaves its default input open; Keras's documentation and its ImageNet weights say 224.
SIZE_OF_AN_OPEN_INPUT_PX = 224


class InputMadeError(Exception):
    """Ends a constructor at its first layer, which knows the input's shape."""


@pytest.fixture
def free_memory() -> Iterator[None]:
    """The network of the test is dropped, so that forty of them fit one after the other."""
    import keras

    yield
    keras.backend.clear_session()  # collects garbage too


def constructor_of(name: str):
    import keras

    return getattr(keras.applications, REGISTRY[name].application)


# Names


def test_every_constructor_of_keras_is_registered_and_nothing_else_but_published_backbones_and_small_networks():
    import keras

    members = vars(keras.applications).items()
    public = {name for name, member in members if name[0].isupper() and callable(member)}

    assert len(public) == 40
    assert set(REGISTRY) == public | set(OTHERS) | set(NETWORKS)
    assert set(APPLICATIONS) == public == set(application_names())


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_entry_bears_the_name_of_its_constructor(name):
    assert REGISTRY[name].application == name


@pytest.mark.parametrize(("name", "application"), OTHERS.items())
def test_a_published_backbone_has_the_facts_of_its_application_except_its_weights_and_size(name, application):
    shared = {"application", "preprocess", "native_mode", "min_size_px", "feature_dim", "params_backbone"}

    assert REGISTRY[name].model_dump(include=shared) == REGISTRY[application].model_dump(include=shared)
    assert REGISTRY[name].weights.startswith("pypi:")


# Preprocessing


def probed_mode(preprocess_input) -> str:
    """What a function does to one pixel, named by the value it makes of it."""
    pixel = np.array([255.0, 102.0, 0.0], np.float32)
    answers = {
        "caffe": [0 - 103.939, 102 - 116.779, 255 - 123.68],
        "tf": [1.0, -0.2, -1.0],
        "torch": [(1 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0 - 0.406) / 0.225],
        "raw": [255.0, 102.0, 0.0],
    }

    found = np.asarray(preprocess_input(pixel.reshape(1, 1, 1, 3).copy())).ravel()

    matches = [mode for mode, answer in answers.items() if np.allclose(found, answer, atol=1e-4)]
    assert len(matches) == 1, f"no known mode makes {found} of {pixel}"
    return matches[0]


@pytest.mark.parametrize("name", [*APPLICATIONS, *OTHERS])
def test_the_mode_is_what_the_constructors_own_module_does_to_a_pixel(name):
    import keras

    backbone = REGISTRY[name]

    mode = probed_mode(getattr(keras.applications, backbone.preprocess).preprocess_input)

    assert backbone.native_mode == mode
    assert backbone.preprocess == constructor_of(name).__module__.rsplit(".", 1)[-1]


# Sizes


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_input_size_is_the_constructors_own_default(name, monkeypatch):
    import keras

    def stop(*, shape, **_):
        raise InputMadeError(shape)

    monkeypatch.setattr(keras.src.layers, "Input", stop)
    with pytest.raises(InputMadeError) as made:
        constructor_of(name)(include_top=True, weights=None)

    height, width, channels = made.value.args[0]
    assert height == width
    assert channels == 3
    assert REGISTRY[name].input_size_px == (height or SIZE_OF_AN_OPEN_INPUT_PX)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_refuses_one_pixel_less_than_the_minimal_size(name):
    too_small = REGISTRY[name].min_size_px - 1

    with pytest.raises(ValueError, match=f"Input size must be at least {too_small + 1}"):
        constructor_of(name)(include_top=False, weights=None, input_shape=(too_small, too_small, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_small_network_can_be_built_at_its_own_and_at_its_smallest_size(name, n_channels):
    backbone = REGISTRY[name]

    for size_px in (backbone.input_size_px, backbone.min_size_px):
        network = build_untrained(backbone, size_px, seed=0, n_channels=n_channels, n_classes=7)

        assert network.input_shape == (None, size_px, size_px, n_channels)
        assert network.output_shape == (None, 7)


def test_the_smallest_size_of_the_small_networks_leaves_lenet5_one_pixel():
    """After two 5x5 convolutions and two poolings; the others need less."""
    assert {REGISTRY[name].min_size_px for name in NETWORKS} == {((1 * 2 + 4) * 2) + 4}
    with pytest.raises(BuilderError, match="output size would be zero or negative"):
        build_untrained(REGISTRY["lenet5"].model_copy(update={"min_size_px": 1}), 15, seed=0)


# Operations


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV2-dogs", "MobileNetV3Small", "EfficientNetB0"])
@pytest.mark.usefixtures("free_memory")
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning")
def test_operations_are_those_that_tensorflow_counts_in_the_frozen_network(name):
    backbone = REGISTRY[name]
    size_px = backbone.input_size_px
    network = constructor_of(name)(include_top=False, weights=None, pooling="avg", input_shape=(size_px, size_px, 3))

    counted = FrozenNetwork(network, size_px).flops_g()

    assert counted == pytest.approx(backbone.flops_g, rel=0.01)


def test_a_multiply_add_counts_as_two_operations():
    """A 1 × 1 convolution from 3 to 5 channels on 8 × 8 pixels, then their mean."""
    import keras

    pixels = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(5, 1, use_bias=False)(pixels)
    network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(maps))

    counted = FrozenNetwork(network, 8).flops_g()

    convolution = 8 * 8 * 5 * 3 * 2
    assert convolution <= counted * 1e9 <= convolution + 8 * 8 * 5 + 5
