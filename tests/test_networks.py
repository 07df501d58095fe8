"""The small networks: layers, output and parameters, counted by hand."""

import keras
import numpy as np
import pytest

from benchmark.backbones.build import build_untrained
from benchmark.backbones.builders import import_builder
from benchmark.registry import read_registry, shipped_path

REGISTRY = read_registry(shipped_path("backbones.toml"))
NETWORKS = [name for name, backbone in REGISTRY.items() if backbone.has_classifier]

# Weights and biases of the layers that have any, for 10 classes; BatchNorm has four numbers a channel.
BY_HAND = {
    "simple_cnn": ((32, 32, 3), [(9 * 3 + 1) * 32, (9 * 32 + 1) * 64, (4096 + 1) * 512, (512 + 1) * 10]),
    "conv_bn": (
        (28, 28, 1),
        [9 * 32, 4 * 32, 9 * 32 * 64, 4 * 64, 9 * 64 * 128, 4 * 128, (3 * 3 * 128 + 1) * 128, (128 + 1) * 10],
    ),
    "lenet5": (
        (28, 28, 1),
        [(25 + 1) * 6, (25 * 6 + 1) * 16, (4 * 4 * 16 + 1) * 120, (120 + 1) * 84, (84 + 1) * 10],
    ),
    "small_cnn": ((28, 28, 1), [(9 + 1) * 32, (13 * 13 * 32 + 1) * 100, (100 + 1) * 10]),
    "two_conv": ((28, 28, 1), [(9 + 1) * 32, (9 * 32 + 1) * 64, (5 * 5 * 64 + 1) * 128, (128 + 1) * 10]),
    "two_conv_bn": (
        (28, 28, 1),
        [(9 + 1) * 32, 4 * 32, (9 * 32 + 1) * 64, 4 * 64, (5 * 5 * 64 + 1) * 128, 4 * 128, (128 + 1) * 10],
    ),
    "separable_net": (
        (28, 28, 1),
        [
            9 * 32, 4 * 32,
            9 * 32 + 32 * 64, 4 * 64, 9 * 64 + 64 * 128, 4 * 128, 9 * 128 + 128 * 256, 4 * 256,
            9 * 256 + 256 * 256, 4 * 256, 9 * 256 + 256 * 512, 4 * 512,
            (512 + 1) * 128, (128 + 1) * 10,
        ],
    ),
}  # fmt: skip
LAYERS = {
    "simple_cnn": "Conv2D MaxPooling2D Conv2D MaxPooling2D Flatten Dense Dense",
    "conv_bn": "Conv2D BatchNormalization ReLU MaxPooling2D Dropout " * 3 + "Flatten Dense Dropout Dense",
    "lenet5": "Conv2D MaxPooling2D Conv2D MaxPooling2D Flatten Dense Dense Dense",
    "small_cnn": "Conv2D AveragePooling2D Flatten Dense Dense",
    "two_conv": "Conv2D MaxPooling2D Conv2D MaxPooling2D Flatten Dropout Dense Dense",
    "two_conv_bn": "Conv2D BatchNormalization MaxPooling2D Conv2D BatchNormalization MaxPooling2D "
    "Flatten Dropout Dense BatchNormalization Dense",
    "separable_net": "Conv2D BatchNormalization Activation " + "SeparableConv2D BatchNormalization Activation " * 5
    + "GlobalAveragePooling2D Dense Dense",
}  # fmt: skip


def build(name: str, shape: tuple[int, int, int], n_classes: int) -> keras.Model:
    size_px, _, n_channels = shape
    return build_untrained(REGISTRY[name], size_px, seed=0, n_channels=n_channels, n_classes=n_classes)


def test_every_network_is_checked_by_hand():
    assert set(BY_HAND) == set(LAYERS) == set(NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_layers_and_parameters_of_its_report(name):
    shape, counts = BY_HAND[name]

    network = build(name, shape, 10)

    assert [type(layer).__name__ for layer in network.layers] == LAYERS[name].split()
    assert [layer.count_params() for layer in network.layers if layer.count_params()] == counts


def test_the_published_parameter_count_of_simple_cnn_comes_out():
    assert build("simple_cnn", (32, 32, 3), 10).count_params() == 2_122_186


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_a_probability_a_class(name, rng):
    shape, _ = BY_HAND[name]

    probabilities = np.asarray(build(name, shape, 7)(rng.random((3, *shape), dtype=np.float32)))

    assert probabilities.shape == (3, 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_small_cnn_and_two_conv_start_from_he_uniform_as_their_tutorials_do():
    first = {name: build(name, (28, 28, 1), 10).layers[0] for name in ("small_cnn", "two_conv", "lenet5")}

    is_he = {name: isinstance(layer.kernel_initializer, keras.initializers.HeUniform) for name, layer in first.items()}
    assert is_he == {"small_cnn": True, "two_conv": True, "lenet5": False}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_at_its_own_size_and_its_pixels_are_scaled_to_one(name):
    record = REGISTRY[name]

    assert record.native_mode == "unit"
    assert record.input_size_px == BY_HAND[name][0][0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_described_in_a_line(name):
    assert (import_builder(REGISTRY[name]).__doc__ or "").partition("\n")[0].endswith(".")
