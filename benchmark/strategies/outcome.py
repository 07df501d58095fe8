"""What goes into a head, and what training one, or a whole network, gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


class DivergedError(BenchmarkError):
    """The loss is no longer a number."""

    error_type = "diverged"


def check_loss(what: str, logs: Mapping[str, float], learning_rate: float) -> None:
    """Refuse the losses of an epoch if they are not finite; `what` is trained.

    Raises:
        DivergedError: They are not.
    """
    if not (np.isfinite(logs["loss"]) and np.isfinite(logs["val_loss"])):
        raise DivergedError(
            f"The loss of {what} is {logs['loss']:g} (validation {logs['val_loss']:g}): try a smaller learning_rate "
            f"than {learning_rate:g}."
        )


@dataclass(frozen=True)
class HeadData:
    """What a head may look at.

    Attributes:
        train: `(n, d)` features to fit.
        train_labels: `(n,)`.
        val: `(m, d)` features to choose by.
        val_labels: `(m,)`.
        n_classes: Number of classes `k`.
    """

    train: Features
    train_labels: Labels
    val: Features
    val_labels: Labels
    n_classes: int


@dataclass(frozen=True)
class HistoryPoint:
    """One number of one epoch of one stage of training; also a choice that was made, as epoch 0."""

    stage: str
    epoch: int
    split: str
    metric: str
    value: float


def history_points(stage: str, epoch: int, logs: Mapping[str, float]) -> list[HistoryPoint]:
    """The numbers that Keras logs at the end of an epoch; those that begin with `val_` are of the validation split."""
    return [
        HistoryPoint(stage, epoch, "val" if key.startswith("val_") else "train", key.removeprefix("val_"), float(value))
        for key, value in logs.items()
    ]


@dataclass(frozen=True)
class FittedHead:
    """A trained head.

    Attributes:
        scores: From `(n, d)` features to `(n, k)` float32; the greatest is the predicted class.
        are_probabilities: Whether the scores are a probabilistic model's.
        epochs: Passes over the training features; None where the solver has no epochs.
        history: Learning curves and choices.
        warning: Why the head may be worse than it could be; empty if nothing speaks for it.
        weights: Kernel `(d, width)` and bias `(width,)` of each dense layer from the features as they are to the
            logits, with rectifiers between the layers; empty where no such layers give the probabilities.
    """

    scores: Callable[[Features], Features]
    are_probabilities: bool
    epochs: int | None = None
    history: tuple[HistoryPoint, ...] = ()
    warning: str = ""
    weights: tuple[NDArray[np.float32], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What training and testing gave, whatever the strategy.

    Attributes:
        scores: `(n, k)` float32 of the test images; the greatest is the predicted class.
        are_probabilities: Whether the scores are a probabilistic model's.
        train_accuracy: 0..1; None for `knn`, which finds each training image itself, and if nothing was trained.
        val_accuracy: 0..1; None if nothing was trained.
        params_total: Parameters of backbone and head, or of the network with its own classifier.
        params_trainable: Those that were trained.
        epochs: Passes over the training images or features; None where the solver has no epochs.
        history: Learning curves and choices.
        train_s: Seconds to train, reading the features included.
        eval_s: Seconds to score validation, training and test images.
        warning: Why the result may be worse than it could be; empty if nothing speaks for it.
        weights: What was trained: of a probe, `FittedHead.weights`; of a network, all its variables. Empty if they are
            not kept.
    """

    scores: Features
    are_probabilities: bool
    train_accuracy: float | None
    val_accuracy: float | None
    params_total: int
    params_trainable: int
    epochs: int | None
    history: tuple[HistoryPoint, ...]
    train_s: float
    eval_s: float
    warning: str = ""
    weights: tuple[NDArray[np.float32], ...] = ()
