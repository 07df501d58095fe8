"""A network frozen into one graph, from uint8 images over resizing, mode and layers to features."""

from typing import Any

from benchmark.preprocessing import View, apply_steps


class FrozenNetwork:
    """A Keras model with its weights turned into constants, so that TensorFlow can fold them.

    Freezing folds each BatchNorm into the convolution before it. One frozen network serves all views: the graph of
    each view calls it, and TensorFlow inlines the call.

    Attributes:
        output_shape: Of the output for one image: `(d,)` for features. float32, whatever the layers compute in.
        feature_dim: Width `d` of the features, or channels of a feature map.
        params: Number of the model's weights.
    """

    def __init__(self, network: Any, size_px: int) -> None:
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        rewritten = use_depthwise_convolutions(network)
        self._input_shape = (size_px, size_px, network.inputs[0].shape[-1])
        signature = tf.TensorSpec((None, *self._input_shape), tf.float32)
        function = tf.function(
            lambda pixels: tf.cast(tf.nest.flatten(rewritten(pixels, training=False))[0], tf.float32)
        )
        # Not public, but TensorFlow has no other way to freeze a function; tests check that it still works.
        self._frozen = convert_variables_to_constants_v2(function.get_concrete_function(signature))
        self.output_shape = tuple(int(side) for side in network.outputs[0].shape[1:])
        self.feature_dim = self.output_shape[-1]
        self.params = int(network.count_params())

    def features(self, pixels: Any) -> Any:
        """Features `(n, d)` of preprocessed pixels `(n, size_px, size_px, 3)`, as a tensor."""
        return self._frozen(pixels)[0]

    def extractor(self, view: View, shape: tuple[int, ...], dtype: str) -> Any:
        """One graph from images `(n, *shape)` to features `(n, d)`.

        Args:
            view: How to prepare the images.
            shape: Height, width and channels (one or three).
            dtype: uint8, or float32 for images in 0..255 that are resized already.
        """
        import tensorflow as tf

        def extract(images: Any) -> Any:
            pixels = view.resize_images(images, self._input_shape[-1])
            return self.features(apply_steps(view.steps, pixels))

        return tf.function(extract, input_signature=[tf.TensorSpec((None, *shape), dtype)])

    def flops_g(self) -> float:
        """Floating-point operations of one image in 1e9, a multiply-add counted as two, by TensorFlow's profiler."""
        import tensorflow as tf

        profiler = tf.compat.v1.profiler
        options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
        with tf.Graph().as_default() as graph:
            # The profiler needs the batch size, which the frozen graph leaves open.
            one_image = tf.compat.v1.placeholder(tf.float32, (1, *self._input_shape))
            inputs = {self._frozen.inputs[0].op.name: one_image}
            tf.graph_util.import_graph_def(self._frozen.graph.as_graph_def(), input_map=inputs, name="")
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
        return keras.layers.DepthwiseConv2D(**{name: config[name] for name in names})

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


def set_precision(precision: str) -> None:
    """Let TensorFlow's graph optimiser compute in bfloat16 from now on, or not.

    Args:
        precision: `bfloat16` or `float32`. Inputs, outputs and constants stay float32.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": precision == "bfloat16"})
