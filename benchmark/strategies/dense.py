"""The head of most tutorials: a hidden layer with dropout, trained by Keras on the features as they are."""

import functools
from typing import Any

import numpy as np
from scipy.special import softmax

from benchmark.recipes import DenseOptions
from benchmark.strategies.records import Features, FittedHead, HeadData, HistoryPoint

SCORED_AT_ONCE = 8192
STEPS_PER_EXECUTION = 16


def fit_dense(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Dense(relu) -> Dropout -> Dense(softmax) trained by Adam on the features as they are: most tutorials' head.

    Training stops early on the validation loss and keeps the best weights.
    """
    import keras

    model = _compiled_model(data.train.shape[1], data.n_classes, options)
    _start_over(model, seed)
    log = model.fit(
        data.train,
        data.train_labels,
        validation_data=(data.val, data.val_labels),
        epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks=[keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True)],
        verbose=0,
    )
    # The model is used again for the next seed, so the scores hold on to weights of their own.
    weights = model.get_weights()
    return FittedHead(
        scores=lambda features: _scores(weights, features),
        are_probabilities=True,
        n_params=int(model.count_params()),
        epochs=len(log.epoch),
        history=tuple(_learning_curves(log.history)),
    )


@functools.lru_cache(maxsize=1)
def _compiled_model(n_features: int, n_classes: int, options: DenseOptions) -> Any:
    """The untrained model. Kept for the next seed, since compiling its steps takes longer than many a training."""
    import keras

    model = keras.Sequential(
        [
            keras.layers.Input((n_features,)),
            keras.layers.Dense(options.units, activation="relu"),
            keras.layers.Dropout(options.dropout, seed=0),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(options.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
        jit_compile=False,  # XLA takes longer to compile than such a network to train
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _start_over(model: Any, seed: int) -> None:
    """Fresh weights, dropout and optimiser, all drawn from the seed, whatever the model was trained on before."""
    import keras

    keras.utils.set_random_seed(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(keras.random.SeedGenerator(seed).state)
        else:
            layer.kernel.assign(layer.kernel_initializer.clone()(layer.kernel.shape))
            layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
    for variable in model.optimizer.variables:
        if variable.name != "learning_rate":
            variable.assign(np.zeros(variable.shape, variable.dtype))


def _scores(weights: list[np.ndarray], features: Features) -> Features:
    """Softmax probabilities `(n, k)` of the two layers, in blocks that keep memory flat."""
    hidden_kernel, hidden_bias, kernel, bias = weights
    blocks = []
    for start in range(0, len(features), SCORED_AT_ONCE):
        hidden = np.maximum(features[start : start + SCORED_AT_ONCE] @ hidden_kernel + hidden_bias, 0.0)
        blocks.append(softmax(hidden @ kernel + bias, axis=1))
    return np.concatenate(blocks)


def _learning_curves(curves: dict[str, list[float]]) -> list[HistoryPoint]:
    points = []
    for key, values in curves.items():
        split = "val" if key.startswith("val_") else "train"
        metric = key.removeprefix("val_")
        points += [HistoryPoint("head", epoch, split, metric, float(value)) for epoch, value in enumerate(values, 1)]
    return points
