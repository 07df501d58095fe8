"""Small networks trained from scratch, as published reports and tutorials describe them.

Each is a builder of the registry: from `input_shape` (height, width, channels) and `n_classes` to an untrained Keras
model from pixels in [0, 1] to softmax probabilities `(n, n_classes)`. The order in which the layers are made is the
order in which they draw their initial weights.
"""

import functools
from collections.abc import Callable
from typing import Any


def _network(hidden_layers: Callable[[Any], list[Any]]) -> Callable[..., Any]:
    """A builder of a sequential model of these layers and a softmax over the classes."""

    @functools.wraps(hidden_layers)
    def build(input_shape: tuple[int, int, int], n_classes: int) -> Any:
        import keras

        layers = [*hidden_layers(keras.layers), keras.layers.Dense(n_classes, activation="softmax")]
        return keras.Sequential([keras.layers.Input(input_shape), *layers])

    return build


@_network
def simple_cnn(layers: Any) -> list[Any]:
    """Two 3x3 convolutions with pooling, then Dense 512."""
    return [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(512, activation="relu"),
    ]


@_network
def conv_bn(layers: Any) -> list[Any]:
    """Three blocks of convolution, BatchNorm, ReLU, pooling and dropout, then Dense 128."""
    blocks = []
    for filters in (32, 64, 128):
        blocks += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
        ]
    return [*blocks, layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.5)]


@_network
def lenet5(layers: Any) -> list[Any]:
    """LeNet-5 with max pooling: two 5x5 convolutions, Dense 120 and 84, all tanh (after LeCun et al. 1998)."""
    return [
        layers.Conv2D(6, 5, activation="tanh"),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 5, activation="tanh"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(120, activation="tanh"),
        layers.Dense(84, activation="tanh"),
    ]


@_network
def small_cnn(layers: Any) -> list[Any]:
    """One 3x3 convolution with average pooling, then Dense 100."""
    return [
        layers.Conv2D(32, 3, activation="relu", kernel_initializer="he_uniform"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(100, activation="relu"),
    ]


@_network
def two_conv(layers: Any) -> list[Any]:
    """Two 3x3 convolutions with pooling, dropout, then Dense 128."""
    return [
        layers.Conv2D(32, 3, activation="relu", kernel_initializer="he_uniform"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(128, activation="relu"),
    ]


@_network
def two_conv_bn(layers: Any) -> list[Any]:
    """`two_conv` with BatchNorm after each convolution and after the dense layer."""
    return [
        layers.Conv2D(32, 3, activation="relu", kernel_initializer="he_uniform"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu", kernel_initializer="he_uniform"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.4),
        layers.Dense(128, activation="relu", kernel_initializer="he_uniform"),
        layers.BatchNormalization(),
    ]


@_network
def separable_net(layers: Any) -> list[Any]:
    """A convolution of stride 2, five separable blocks with swish and BatchNorm, then Dense 128."""

    def block(convolution: Any) -> list[Any]:
        return [convolution, layers.BatchNormalization(), layers.Activation("swish")]

    blocks = []
    for filters, stride in ((64, 1), (128, 2), (256, 2), (256, 1), (512, 1)):
        blocks += block(layers.SeparableConv2D(filters, 3, strides=stride, padding="same", use_bias=False))
    stem = block(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False))
    return [*stem, *blocks, layers.GlobalAveragePooling2D(), layers.Dense(128, activation="swish")]
