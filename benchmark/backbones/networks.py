"""Small networks trained from scratch, as published reports and tutorials describe them.

Each function takes `input_shape` (height, width, channels) and `n_classes` and returns an untrained Keras model from
pixels in [0, 1] to softmax probabilities `(n, n_classes)`.
"""

from typing import Any

InputShape = tuple[int, int, int]


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
