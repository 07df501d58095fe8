"""The head of most tutorials: a hidden layer with dropout, trained by Keras on the features as they are."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmark.options import DenseOptions
from benchmark.strategies.records import Features, FittedHead, HeadData, HistoryPoint

SCORED_AT_ONCE = 8192


def fit_dense(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Dense(relu) -> Dropout -> Dense(softmax), trained by Adam on the features as they are: most tutorials' head.

    Training stops early on the validation loss and keeps the best weights.
    """
    import keras

    trainer = _trainer(data.train.shape[1], data.n_classes, options)
    trainer.start_over(seed)
    model = trainer.model
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=options.patience, restore_best_weights=True)
    callbacks = keras.callbacks.CallbackList([stopping, keras.callbacks.History()], model=model)
    rng = np.random.default_rng(seed)

    model.stop_training = False
    callbacks.on_train_begin()
    train, val = trainer.on_device(data.train, data.train_labels), trainer.on_device(data.val, data.val_labels)
    for epoch in range(options.epochs):
        curves = trainer.train_epoch(*train, rng.permutation(len(data.train)))
        curves |= {f"val_{name}": value for name, value in trainer.evaluate(*val).items()}
        callbacks.on_epoch_end(epoch, curves)
        if model.stop_training:
            break
    callbacks.on_train_end()

    # The model is used again for the next seed, so the scores hold on to weights of their own.
    weights = model.get_weights()
    return FittedHead(
        scores=lambda features: _scores(weights, features),
        are_probabilities=True,
        n_params=int(model.count_params()),
        epochs=len(model.history.epoch),
        history=tuple(_learning_curves(model.history.history)),
    )


def dense_layers(options: DenseOptions, n_classes: int) -> list[Any]:
    """The Keras layers of the head, untrained."""
    import keras

    hidden = [keras.layers.Dense(width, activation="relu") for width in options.widths]
    return [
        *hidden,
        keras.layers.Dropout(options.dropout, seed=0),
        keras.layers.Dense(n_classes, activation="softmax"),
    ]


@functools.lru_cache(maxsize=1)
def _trainer(n_features: int, n_classes: int, options: DenseOptions) -> "_Trainer":
    """Kept for the next seed, since tracing the steps takes longer than many a training."""
    return _Trainer(n_features, n_classes, options)


class _Trainer:
    """A Keras model and its steps, whole epochs to one call of TensorFlow.

    `Model.fit` does the same in twice the time: such a step is so short that feeding it takes as long as doing it.
    """

    def __init__(self, n_features: int, n_classes: int, options: DenseOptions) -> None:
        import keras
        import tensorflow as tf

        self.model = keras.Sequential([keras.layers.Input((n_features,)), *dense_layers(options, n_classes)])
        self._optimizer = keras.optimizers.Adam(options.learning_rate)
        self._optimizer.build(self.model.trainable_variables)
        self._loss = keras.losses.SparseCategoricalCrossentropy()
        self._batch_size = options.batch_size
        examples = [tf.TensorSpec((None, n_features), tf.float32), tf.TensorSpec((None,), tf.int64)]
        self._train_epoch = tf.function(
            self._trace_epoch, input_signature=[*examples, tf.TensorSpec((None,), tf.int64)], autograph=False
        )
        self._evaluate = tf.function(self._trace_evaluation, input_signature=examples)

    def start_over(self, seed: int) -> None:
        """Fresh weights, dropout and optimiser, all drawn from the seed, whatever the model was trained on before."""
        import keras

        keras.utils.set_random_seed(seed)
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                if layer.rate:  # one that drops nothing draws nothing
                    layer.seed_generator.state.assign(keras.random.SeedGenerator(seed).state)
            else:
                layer.kernel.assign(layer.kernel_initializer.clone()(layer.kernel.shape))
                layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
        for variable in self._optimizer.variables:
            if variable.name != "learning_rate":
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def on_device(self, features: Features, labels: NDArray[np.int64]) -> tuple[Any, Any]:
        """Features `(n, d)` and labels `(n,)` as tensors."""
        import tensorflow as tf

        return tf.constant(features), tf.constant(labels)

    def train_epoch(self, features: Any, labels: Any, order: NDArray[np.int64]) -> dict[str, float]:
        """Loss and accuracy while each image is passed once, in that order."""
        loss, accuracy = self._train_epoch(features, labels, order)
        return {"accuracy": float(accuracy), "loss": float(loss)}

    def evaluate(self, features: Any, labels: Any) -> dict[str, float]:
        """Loss and accuracy of the images, without dropout."""
        loss, accuracy = self._evaluate(features, labels)
        return {"accuracy": float(accuracy), "loss": float(loss)}

    def _trace_epoch(self, features: Any, labels: Any, order: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        n_images = tf.shape(order)[0]

        def step(start: Any, loss_sum: Any, n_right: Any) -> tuple[Any, Any, Any]:
            rows = order[start : start + self._batch_size]
            x, y = tf.gather(features, rows), tf.gather(labels, rows)
            with tf.GradientTape() as tape:
                probabilities = self.model(x, training=True)
                loss = self._loss(y, probabilities)
            variables = self.model.trainable_variables
            self._optimizer.apply(tape.gradient(loss, variables), variables)
            n_rows = tf.cast(tf.shape(rows)[0], tf.float32)
            return start + self._batch_size, loss_sum + loss * n_rows, n_right + _count_right(y, probabilities)

        _, loss_sum, n_right = tf.while_loop(
            lambda start, *_: start < n_images, step, (0, 0.0, 0.0), parallel_iterations=1
        )
        n = tf.cast(n_images, tf.float32)
        return loss_sum / n, n_right / n

    def _trace_evaluation(self, features: Any, labels: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        probabilities = self.model(features, training=False)
        n = tf.cast(tf.shape(labels)[0], tf.float32)
        return self._loss(labels, probabilities), _count_right(labels, probabilities) / n


def _count_right(labels: Any, probabilities: Any) -> Any:
    import tensorflow as tf

    is_right = tf.equal(tf.argmax(probabilities, axis=1), labels)
    return tf.reduce_sum(tf.cast(is_right, tf.float32))


def _scores(weights: list[np.ndarray], features: Features) -> Features:
    """Softmax probabilities `(n, k)`, in blocks that keep memory flat."""
    *hidden_layers, (kernel, bias) = zip(weights[::2], weights[1::2], strict=True)
    blocks = []
    for start in range(0, len(features), SCORED_AT_ONCE):
        hidden = features[start : start + SCORED_AT_ONCE]
        for hidden_kernel, hidden_bias in hidden_layers:
            hidden = np.maximum(hidden @ hidden_kernel + hidden_bias, 0.0)
        blocks.append(softmax(hidden @ kernel + bias, axis=1))
    return np.concatenate(blocks)


def _learning_curves(curves: dict[str, list[float]]) -> list[HistoryPoint]:
    points = []
    for key, values in curves.items():
        split = "val" if key.startswith("val_") else "train"
        metric = key.removeprefix("val_")
        points += [HistoryPoint("head", epoch, split, metric, float(value)) for epoch, value in enumerate(values, 1)]
    return points
