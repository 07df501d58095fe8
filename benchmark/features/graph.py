"""A network frozen into one graph, from resized uint8 images over the mode and the layers to features."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.preprocessing import match_channels, swap_channels
from benchmark.storage import MIB

# TensorFlow copies constants up to 18 times: those of ConvNeXtXLarge, 1.3 GiB, take more than 24 GiB.
LARGEST_FROZEN_MIB = 1024.0
# Numbers of a weight that is written as a variable of its own.
LEAST_OF_OWN = 2**15
NO_FLOAT16 = "float16 needs a GPU that TensorFlow can use: choose --precision bfloat16 or float32."


class FrozenNetwork:
    """A Keras model that extracts: its weights are constants, and one of it serves all modes.

    TensorFlow gets them as constants of its graph, so that it folds each BatchNorm into the convolution before it.
    Constants take several times the memory of the weights, so they are made only where TensorFlow extracts, and not of
    networks of more than `LARGEST_FROZEN_MIB`, whose weights stay variables.

    Attributes:
        output_shape: Of the output for one image: `(d,)` for features. float32, whatever the layers compute in.
        n_channels: Channels of its input.
        params: Number of the model's weights.
        weights_mib: MiB of them.
    """

    def __init__(self, network: Any, size_px: int) -> None:
        self._network = use_depthwise_convolutions(network)
        self.n_channels = int(network.inputs[0].shape[-1])
        self._input_shape = (size_px, size_px, self.n_channels)
        self.output_shape = tuple(int(side) for side in network.outputs[0].shape[1:])
        self.params = int(network.count_params())
        self.weights_mib = sum(weights.nbytes for weights in network.get_weights()) / MIB

    @functools.cached_property
    def _frozen(self) -> Any:
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        # Not public, but TensorFlow has no other way to freeze a function; tests check that it still works.
        with tf.init_scope():  # it is first needed while another graph is traced
            return convert_variables_to_constants_v2(self._concrete(None))

    def _concrete(self, n_images: int | None) -> Any:
        """The network as a concrete function of so many preprocessed images, its weights still variables."""
        import tensorflow as tf

        signature = tf.TensorSpec((n_images, *self._input_shape), tf.float32)
        return tf.function(self._apply).get_concrete_function(signature)

    def _apply(self, pixels: Any) -> Any:
        import tensorflow as tf

        return tf.cast(tf.nest.flatten(self._network(pixels, training=False))[0], tf.float32)

    def features(self, pixels: Any) -> Any:
        """Features `(n, d)` of preprocessed pixels `(n, size_px, size_px, 3)`, as a tensor."""
        return self._apply(pixels) if self.weights_mib > LARGEST_FROZEN_MIB else self._frozen(pixels)[0]

    def function(self, n_channels: int, *, is_swapped: bool) -> Any:
        """One graph from resized images, and the scale and offset of a mode, to features `(n, d)`.

        Args:
            n_channels: Of the images `(n, size_px, size_px, n_channels)` uint8: one or three.
            is_swapped: Whether the mode swaps channels.
        """
        return self._function(self.features, n_channels, is_swapped=is_swapped)

    def save(self, folder: Path, n_channels: int, *, is_swapped: bool) -> None:
        """Write what `function` computes as a SavedModel, whose inputs are `images`, `scale` and `offset`.

        Small weights are parts of one variable, since TensorFlow writes a thousand variables for seconds. Large ones
        stay variables, since OpenVINO copies parts but reads whole variables from the file.
        """
        import keras
        import tensorflow as tf

        def is_small(weights: Any) -> bool:
            return bool(weights.dtype == "float32" and math.prod(weights.shape) < LEAST_OF_OWN)

        small = [weights for weights in self._network.variables if is_small(weights)]
        large = [weights.value for weights in self._network.variables if not is_small(weights)]
        sizes = [math.prod(weights.shape) for weights in small]
        together = tf.Variable(np.concatenate([np.zeros(0, np.float32), *(np.ravel(one.numpy()) for one in small)]))

        def apply(pixels: Any) -> Any:
            parts = tf.split(together, sizes) if small else []
            values = [(one, tf.reshape(part, one.shape)) for one, part in zip(small, parts, strict=True)]
            with keras.StatelessScope(state_mapping=values):
                return self._apply(pixels)

        module = tf.Module()
        module.weights = [together, *large]
        concrete = self._function(apply, n_channels, is_swapped=is_swapped).get_concrete_function()
        tf.saved_model.save(module, str(folder), signatures=concrete)

    def _function(self, network: Callable[[Any], Any], n_channels: int, *, is_swapped: bool) -> Any:
        import tensorflow as tf

        def extract(images: Any, scale: Any, offset: Any) -> Any:
            pixels = match_channels(images, self.n_channels)
            return network((swap_channels(pixels) if is_swapped else pixels) * scale + offset)

        shape = (None, *self._input_shape[:2], n_channels)
        numbers = (tf.TensorSpec((self.n_channels,), tf.float32, name) for name in ("scale", "offset"))
        return tf.function(extract, input_signature=[tf.TensorSpec(shape, tf.uint8, "images"), *numbers])

    def flops_g(self) -> float:
        """Floating-point operations of one image in 1e9, a multiply-add counted as two, by TensorFlow's profiler."""
        import tensorflow as tf

        profiler = tf.compat.v1.profiler
        options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
        graph = self._concrete(1).graph
        return float(profiler.profile(graph, options=options.build()).total_float_ops) / 1e9


def use_depthwise_convolutions(network: Any) -> Any:
    """The same network with a `DepthwiseConv2D` for each convolution that has one channel per group.

    ConvNeXt builds its depthwise layers as `Conv2D(groups=channels)`, which TensorFlow runs several times slower
    on a CPU. Networks without such layers are returned as they are.
    """
    import keras

    def is_depthwise(layer: Any) -> bool:
        return type(layer) is keras.layers.Conv2D and 1 < layer.groups == layer.filters == layer.input.shape[-1]

    def replace(layer: Any) -> Any:
        if not is_depthwise(layer):
            return layer.__class__.from_config(layer.get_config())
        names = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias", "name")
        config = layer.get_config()
        return keras.layers.DepthwiseConv2D(**{name: config[name] for name in names}, dtype=layer.dtype_policy)

    if not any(is_depthwise(layer) for layer in network.layers):
        return network
    rewritten = keras.models.clone_model(network, clone_function=replace)
    for old, new in zip(network.layers, rewritten.layers, strict=True):
        weights = old.get_weights()
        if is_depthwise(old):
            weights[0] = weights[0].transpose(0, 1, 3, 2)  # (h, w, 1, channels) -> (h, w, channels, 1)
        new.set_weights(weights)
        if hasattr(new, "finalize_state"):
            new.finalize_state()
    return rewritten


@contextmanager
def keras_precision(precision: str, *, has_gpu: bool) -> Iterator[None]:
    """Inside, Keras builds networks that compute in this precision on a GPU; their weights stay float32.

    On a processor, networks are float32, and the engines compute in another precision.

    Raises:
        BenchmarkError: float16 without a GPU that TensorFlow can use.
    """
    import keras

    if precision == "float16" and not has_gpu:
        raise BenchmarkError(NO_FLOAT16)
    policy = f"mixed_{precision}" if has_gpu and precision != "float32" else "float32"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def set_precision(precision: str) -> None:
    """Let TensorFlow's graph optimiser compute in bfloat16 on the processor from now on, or not.

    Args:
        precision: `bfloat16` or `float32`. Inputs, outputs and constants stay float32.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": precision == "bfloat16"})
