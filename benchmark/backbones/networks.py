"""Small networks trained from scratch, as published reports and tutorials describe them.

Each function takes `input_shape` (height, width, channels) and `n_classes` and returns an untrained Keras model from
pixels in [0, 1] to softmax probabilities `(n, n_classes)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark.registry import CHECKOUT, Backbone

InputShape = tuple[int, int, int]
Build = Callable[[InputShape, int], Any]

# The smallest input that leaves `lenet5` a pixel after two 5x5 convolutions and two poolings.
MIN_SIZE_PX = 16


def simple_cnn(input_shape: InputShape, n_classes: int) -> Any:
    """Two 3x3 convolutions with pooling, then Dense 512."""
    from keras import layers

    return _sequential(
        input_shape,
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(512, activation="relu"),
        layers.Dense(n_classes, activation="softmax"),
    )


def conv_bn(input_shape: InputShape, n_classes: int) -> Any:
    """Three blocks of convolution, BatchNorm, ReLU, pooling and dropout, then Dense 128."""
    from keras import layers

    blocks = []
    for filters in (32, 64, 128):
        blocks += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
        ]
    return _sequential(
        input_shape,
        *blocks,
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(n_classes, activation="softmax"),
    )


def lenet5(input_shape: InputShape, n_classes: int) -> Any:
    """LeNet-5 with max pooling: two 5x5 convolutions, Dense 120 and 84, all tanh (after LeCun et al. 1998)."""
    from keras import layers

    return _sequential(
        input_shape,
        layers.Conv2D(6, 5, activation="tanh"),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 5, activation="tanh"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(120, activation="tanh"),
        layers.Dense(84, activation="tanh"),
        layers.Dense(n_classes, activation="softmax"),
    )


def small_cnn(input_shape: InputShape, n_classes: int) -> Any:
    """One 3x3 convolution with average pooling, then Dense 100."""
    from keras import layers

    return _sequential(
        input_shape,
        layers.Conv2D(32, 3, activation="relu", kernel_initializer="he_uniform"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(100, activation="relu"),
        layers.Dense(n_classes, activation="softmax"),
    )


def two_conv(input_shape: InputShape, n_classes: int) -> Any:
    """Two 3x3 convolutions with pooling, dropout, then Dense 128."""
    from keras import layers

    return _sequential(
        input_shape,
        layers.Conv2D(32, 3, activation="relu", kernel_initializer="he_uniform"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(128, activation="relu"),
        layers.Dense(n_classes, activation="softmax"),
    )


def two_conv_bn(input_shape: InputShape, n_classes: int) -> Any:
    """`two_conv` with BatchNorm after each convolution and after the dense layer."""
    from keras import layers

    return _sequential(
        input_shape,
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
        layers.Dense(n_classes, activation="softmax"),
    )


def separable_net(input_shape: InputShape, n_classes: int) -> Any:
    """A convolution of stride 2, five separable blocks with swish and BatchNorm, then Dense 128."""
    from keras import layers

    blocks = []
    for filters, stride in ((64, 1), (128, 2), (256, 2), (256, 1), (512, 1)):
        blocks += [
            layers.SeparableConv2D(filters, 3, strides=stride, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("swish"),
        ]
    return _sequential(
        input_shape,
        layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("swish"),
        *blocks,
        layers.GlobalAveragePooling2D(),
        layers.Dense(128, activation="swish"),
        layers.Dense(n_classes, activation="softmax"),
    )


def _sequential(input_shape: InputShape, *layers: Any) -> Any:
    import keras

    return keras.Sequential([keras.layers.Input(input_shape), *layers])


@dataclass(frozen=True)
class Network:
    """A network and the size of the images it was described for.

    Attributes:
        build: From `input_shape` and `n_classes` to an untrained Keras model.
        input_size_px: Side of the square input.
    """

    build: Build
    input_size_px: int


NETWORKS: dict[str, Network] = {
    "simple_cnn": Network(simple_cnn, 32),
    "conv_bn": Network(conv_bn, 28),
    "lenet5": Network(lenet5, 28),
    "small_cnn": Network(small_cnn, 28),
    "two_conv": Network(two_conv, 28),
    "two_conv_bn": Network(two_conv_bn, 28),
    "separable_net": Network(separable_net, 28),
}


def describe_networks() -> dict[str, str]:
    """What each network is: the first line of its docstring."""
    return {name: (network.build.__doc__ or "").splitlines()[0] for name, network in NETWORKS.items()}


def network_record(name: str) -> Backbone:
    """A registry record for a network, so that a cell names it like a backbone; its native mode is x/255.

    Args:
        name: A key of `NETWORKS`.
    """
    return Backbone(
        name=name,
        folder=CHECKOUT,
        builder=f"{__name__}:{NETWORKS[name].build.__name__}",
        mode="unit",
        input_size_px=NETWORKS[name].input_size_px,
        min_size_px=MIN_SIZE_PX,
        weights="random",
    )
