"""The model of a run: uint8 images of any size in, class probabilities out, everything between inside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.pixels import RGB
from benchmark.errors import BenchmarkError
from benchmark.exporting.resizing import resized, to_grey
from benchmark.options import PROBE, SCRATCH
from benchmark.plan.cells import Cell
from benchmark.preprocessing import line_of
from benchmark.strategies.checkpoint import assign_all
from benchmark.strategies.classifier import Classifier
from benchmark.work.classifiers import pretrained_classifier, untrained_classifier

# The layer that is the network behind the resizing, from pixels in 0..255.
CLASSIFIER = "classifier"
# Of probes: the others give scores that are no probabilities, or keep every training image.
EXPORTED_HEADS = ("linear", "dense")


class ExportError(BenchmarkError):
    """A run that cannot be exported, or a file that is not an exported model."""


def build_model(cell: Cell, n_channels: int, n_classes: int, weights: Sequence[NDArray[np.float32]]) -> Any:
    """The model of a run, made of layers and operations of Keras only.

    Args:
        cell: What was run.
        n_channels: Of the dataset's images: those of a grey dataset are grey here too.
        n_classes: Of the dataset.
        weights: What was trained; see `Outcome`.

    Returns:
        A Keras model from `(n, height, width, 3)` uint8, RGB, of any height and width, to probabilities
        `(n, n_classes)` float32. Its layer `CLASSIFIER` takes `(n, size_px, size_px, channels)` float32 in 0..255.

    Raises:
        ExportError: The weights are not those of this network.
    """
    import keras

    classifier = _trained(cell, n_channels, n_classes, weights)
    network = _from_pixels(classifier, cell)
    images = keras.Input((None, None, RGB), dtype="uint8", name="images")
    pixels = keras.ops.cast(images, "float32")
    if n_channels == 1:
        pixels = to_grey(pixels)
    pixels = _with_channels(resized(pixels, cell.view), n_channels, network.inputs[0].shape[-1])
    return keras.Model(images, network(pixels), name="model")


def _trained(cell: Cell, n_channels: int, n_classes: int, weights: Sequence[NDArray[np.float32]]) -> Classifier:
    if cell.strategy == SCRATCH:
        classifier = untrained_classifier(cell, n_channels, n_classes)
    else:
        classifier = pretrained_classifier(cell, n_classes)
    if cell.strategy == PROBE:
        classifier = Classifier(classifier.body, _dense_layers(weights), is_pretrained=True)
    variables = [variable for layer in classifier.head for variable in layer.variables]
    try:
        assign_all(variables if cell.strategy == PROBE else classifier.variables, weights)
    except ValueError as error:
        raise ExportError(
            f"The weights that were kept do not fit {cell}: {error}. Export it from another row."
        ) from error
    return classifier


def _dense_layers(weights: Sequence[NDArray[np.float32]]) -> list[Any]:
    """Untrained layers for the kernels and biases of a probe's head."""
    from keras import layers

    *hidden, last = (len(bias) for bias in weights[1::2])
    return [*(layers.Dense(width, activation="relu") for width in hidden), layers.Dense(last, activation="softmax")]


def _from_pixels(classifier: Classifier, cell: Cell) -> Any:
    """The model from resized pixels in 0..255 to probabilities, with the mode inside."""
    import keras

    n_channels = classifier.body.inputs[0].shape[-1]
    line = line_of(cell.view.steps, n_channels)
    pixels = keras.Input((cell.input_size_px, cell.input_size_px, n_channels), name="pixels")
    x = keras.ops.flip(pixels, axis=-1) if line.is_swapped else pixels
    x = keras.layers.Rescaling(line.scale.tolist(), line.offset.tolist(), name=f"mode_{cell.mode}")(x)
    body = keras.Model(classifier.body.inputs[0], classifier.body.outputs[0], name="backbone")
    body.trainable = False
    x = body(x, training=False)
    for layer in classifier.head:
        if not isinstance(layer, keras.layers.Dropout):
            x = layer(x)
    return keras.Model(pixels, x, name=CLASSIFIER)


def _with_channels(pixels: Any, given: int, needed: int) -> Any:
    """See `preprocessing.match_channels`."""
    from keras import ops

    if given > needed:
        return ops.image.rgb_to_grayscale(pixels)
    return ops.repeat(pixels, needed, axis=-1) if given < needed else pixels
