"""Finetune and scratch: a whole network is trained, or the layers of it above a frozen part."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Images, OnProgress, array_source
from benchmark.metrics import accuracy
from benchmark.options import Augmentation, Stage
from benchmark.preprocessing import View, apply_steps, match_channels
from benchmark.strategies.classifier import Classifier, Cut
from benchmark.strategies.feeding import fixed_batches
from benchmark.strategies.outcome import Outcome
from benchmark.strategies.stages import EpochProgress, StageModel, Task, train_in_stages

FLIPS = {"horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}
FULL_RANGE = (0.0, 255.0)

Activations = Callable[[Cut], NDArray[np.float32]]


@dataclass(frozen=True)
class Pixels:
    """How images become the network's input.

    Attributes:
        images: All images.
        view: How they are prepared.
        augmentation: Random changes while training, between resizing and the steps of the mode.
        on_progress: Called while images are decoded.
    """

    images: Images
    view: View
    augmentation: Augmentation
    on_progress: OnProgress | None = None


def run_training(
    classifier: Classifier,
    pixels: Pixels,
    task: Task,
    stages: Sequence[Stage],
    *,
    activations: Activations | None,
    checkpoint: Path,
    on_epoch: EpochProgress | None = None,
) -> Outcome:
    """Train a classifier in stages, score the test images.

    If a stage does not train the lower layers and no augmentation changes the images, the lower layers' output is
    computed once, by `activations`, and only the upper layers are trained on it.

    Args:
        classifier: Untrained head, and a body with the weights to start from.
        pixels: The images.
        task: Labels and splits.
        stages: How to train.
        activations: From a cut to the lower layers' output for all images `(n, *shape)` float32; None to train
            the whole network in every stage.
        checkpoint: File for `train_in_stages`.
        on_epoch: Called before each epoch.
    """
    models = _Models(classifier, pixels, stages, activations)
    params_trainable = classifier.most_trainable([stage.unfreeze for stage in stages])
    last, history = train_in_stages(
        stages, models.of_stage, classifier.variables, task, checkpoint=checkpoint, on_epoch=on_epoch
    )
    seconds = [point.value for point in history if point.metric == "seconds"]
    started = time.perf_counter()
    score = _scorer(last)
    scores = score(task.split.test)
    predicted = {name: score(getattr(task.split, name)).argmax(axis=1) for name in ("train", "val")}
    return Outcome(
        scores=scores,
        are_probabilities=True,
        train_accuracy=accuracy(task.labels[task.split.train], predicted["train"]),
        val_accuracy=accuracy(task.labels[task.split.val], predicted["val"]),
        params_total=classifier.n_params(),
        params_trainable=params_trainable,
        epochs=len(seconds),
        history=tuple(history),
        train_s=sum(seconds),
        eval_s=time.perf_counter() - started,
    )


class _Models:
    """The models of the stages, all of one classifier."""

    def __init__(
        self, classifier: Classifier, pixels: Pixels, stages: Sequence[Stage], activations: Activations | None
    ) -> None:
        self._classifier = classifier
        self._pixels = pixels
        self._stages = stages
        self._activations = activations if not pixels.augmentation.label() else None

    def of_stage(self, index: int) -> StageModel:
        """The model of a stage, its trainable layers chosen."""
        self._classifier.unfreeze(self._stages[index].unfreeze)
        if self._activations is None:
            return self._whole()
        # A layer that an earlier stage trained no longer gives what is in the cache.
        cut = self._classifier.cut_below(*(stage.unfreeze for stage in self._stages[: index + 1]))
        if cut is None:
            return self._whole()
        return StageModel(self._classifier.tail(cut), array_source(self._activations(cut)))

    def _whole(self) -> StageModel:
        import keras

        pixels = self._pixels
        source = pixels.images.source(pixels.view, pixels.on_progress)
        n_channels = self._classifier.body.inputs[0].shape[-1]
        inputs = keras.Input(source.shape, dtype=source.dtype)
        x = keras.layers.Lambda(lambda images: match_channels(images, n_channels))(inputs)
        for layer in _augmentation_layers(pixels.augmentation):
            x = layer(x)
        x = keras.layers.Lambda(lambda images: apply_steps(pixels.view.steps, images))(x)
        return StageModel(self._classifier.whole(inputs, x), source)


def _augmentation_layers(augmentation: Augmentation) -> list[Any]:
    """Layers from pixels `(n, height, width, channels)` float32 in 0..255 to changed ones of the same shape and range.

    They do nothing outside training. Pixels from outside the image repeat its border, since a black border would
    tell the network by how much an image was moved.
    """
    from keras import layers

    chosen = []
    if augmentation.flip != "none":
        chosen.append(layers.RandomFlip(FLIPS[augmentation.flip]))
    if augmentation.rotation:
        chosen.append(layers.RandomRotation(augmentation.rotation, fill_mode="nearest"))
    if augmentation.translation:
        shift = augmentation.translation
        chosen.append(layers.RandomTranslation(shift, shift, fill_mode="nearest"))
    if augmentation.zoom:
        chosen.append(layers.RandomZoom(augmentation.zoom, fill_mode="nearest"))
    if augmentation.brightness:
        chosen.append(layers.RandomBrightness(augmentation.brightness, value_range=FULL_RANGE))
    if augmentation.contrast:
        chosen.append(layers.RandomContrast(augmentation.contrast, value_range=FULL_RANGE))
    return chosen


def _scorer(trained: StageModel) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """From positions of images to their probabilities `(n, k)`.

    Not `predict` of Keras, which traces the network once per step that TensorFlow does in one call, and again for every
    number of steps and images.
    """
    import tensorflow as tf

    signature = tf.TensorSpec((None, *trained.source.shape), trained.source.dtype)
    score = tf.function(
        lambda inputs: trained.model(inputs, training=False), input_signature=[signature], autograph=False
    )

    def scores(positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.concatenate([score(batch).numpy() for batch in fixed_batches(trained.source, None, positions)])

    return scores
