"""The head of most tutorials: hidden layers with dropout, trained by Keras's `fit` on the features as they are."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.options import DenseOptions
from benchmark.strategies.feeding import untuned
from benchmark.strategies.outcome import Features, FittedHead, HeadData, check_loss, history_points

SCORED_AT_ONCE = 8192
NO_ROW = -1  # fills the last batch of an epoch


def fit_dense(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Dense(relu) -> Dropout -> Dense(softmax), trained by Adam on the features as they are: most tutorials' head.

    Training stops early on the validation loss and keeps the best weights. If the maximum number of epochs ends it
    first, the result has a warning.

    Raises:
        DivergedError: The loss became infinite or NaN.
    """
    import keras
    import tensorflow as tf

    n_steps = -(-len(data.train) // options.batch_size)
    model = _model(data.train.shape[1], data.n_classes, n_steps, options)
    _start_over(model, data, seed, options)
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=options.patience, restore_best_weights=True)
    curves = model.fit(
        _batches(data, seed, options, n_steps),
        validation_data=untuned(tf.data.Dataset.from_tensors((data.val, data.val_labels))),
        epochs=options.epochs,
        steps_per_epoch=n_steps,
        callbacks=[stopping],
        shuffle=False,  # `_batches` does it
        verbose=0,
    ).history

    # The model is used again for the next seed, so the scores hold on to weights of their own.
    weights = model.get_weights()
    epochs = [dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)]
    for number, logs in enumerate(epochs, start=1):
        check_loss(f"the head, epoch {number},", logs, options.learning_rate)
    return FittedHead(
        scores=lambda features: _scores(weights, features),
        are_probabilities=True,
        epochs=len(epochs),
        history=tuple(point for number, logs in enumerate(epochs, 1) for point in history_points("head", number, logs)),
        weights=tuple(weights),
        warning="" if stopping.stopped_epoch else f"training ended at the maximum of {options.epochs} epochs",
    )


def dense_layers(options: DenseOptions, n_classes: int, seed: int = 0) -> list[Any]:
    """The Keras layers of the head, untrained.

    Args:
        options: Widths and dropout.
        n_classes: Number of classes.
        seed: Of dropout.
    """
    import keras

    hidden = [keras.layers.Dense(width, activation="relu") for width in options.widths]
    return [
        *hidden,
        keras.layers.Dropout(options.dropout, seed=seed),
        keras.layers.Dense(n_classes, activation="softmax"),
    ]


@functools.lru_cache(maxsize=1)
def _model(n_features: int, n_classes: int, n_steps: int, options: DenseOptions) -> Any:
    """A compiled model, kept for the next seed, since tracing its steps takes longer than many a training.

    TensorFlow does a whole epoch in one call: a step is so short that a return to Python takes as long.
    """
    import keras

    model = keras.Sequential([keras.layers.Input((n_features,)), *dense_layers(options, n_classes)])
    model.compile(
        optimizer=keras.optimizers.Adam(options.learning_rate),
        loss="sparse_categorical_crossentropy",
        # Not by name: Keras would make its variables while TensorFlow traces a step, which then traces it again.
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=n_steps,
        jit_compile=False,  # XLA compiles for longer than the training takes
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _start_over(model: Any, data: HeadData, seed: int, options: DenseOptions) -> None:
    """Give the model fresh weights, dropout and optimiser, drawn from the seed, whatever it was trained on before."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = dense_layers(options, data.n_classes, seed)
    fresh = keras.Sequential([keras.layers.Input((data.train.shape[1],)), *layers])
    for variable, value in zip(model.variables, fresh.variables, strict=True):
        variable.assign(value)
    for variable in model.optimizer.variables:
        if variable.name != "learning_rate":
            variable.assign(keras.ops.zeros_like(variable))


def _batches(data: HeadData, seed: int, options: DenseOptions, n_steps: int) -> Any:
    """The `tf.data.Dataset` of the batches of all epochs, each epoch in an order of its own.

    TensorFlow gathers them from the features in memory: a Python generator would take as long as the steps.
    """
    import tensorflow as tf

    n = len(data.train)
    features, labels = tf.constant(data.train), tf.constant(data.train_labels)

    def batches_of_epoch(epoch: Any) -> Any:
        order = tf.random.experimental.stateless_shuffle(tf.range(n), [seed, epoch])
        filled = tf.pad(order, [[0, n_steps * options.batch_size - n]], constant_values=NO_ROW)
        return tf.data.Dataset.from_tensor_slices(tf.reshape(filled, (n_steps, options.batch_size)))

    def gather(rows: Any) -> tuple[Any, Any]:
        rows = rows[rows != NO_ROW]
        return tf.gather(features, rows), tf.gather(labels, rows)

    epochs = tf.data.Dataset.range(options.epochs, output_type=tf.int32)
    return untuned(epochs.flat_map(batches_of_epoch).map(gather).prefetch(2))


def _scores(weights: list[NDArray[np.float32]], features: Features) -> Features:
    """Softmax probabilities `(n, k)`, in blocks that keep memory flat."""
    from scipy.special import softmax

    *hidden_layers, (kernel, bias) = zip(weights[::2], weights[1::2], strict=True)
    blocks = []
    for start in range(0, len(features), SCORED_AT_ONCE):
        hidden = features[start : start + SCORED_AT_ONCE]
        for hidden_kernel, hidden_bias in hidden_layers:
            hidden = np.maximum(hidden @ hidden_kernel + hidden_bias, 0.0)
        blocks.append(softmax(hidden @ kernel + bias, axis=1))
    return np.concatenate(blocks)
