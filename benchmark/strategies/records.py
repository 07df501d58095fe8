"""What goes into a head and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


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


@dataclass(frozen=True)
class FittedHead:
    """A trained head.

    Attributes:
        scores: From `(n, d)` features to `(n, k)` float32; the greatest is the predicted class.
        are_probabilities: Whether the scores are a probabilistic model's.
        n_params: Numbers that were trained; zero for `knn`.
        epochs: Passes over the training features; None where the solver has no epochs.
        history: Learning curves and choices.
    """

    scores: Callable[[Features], Features]
    are_probabilities: bool
    n_params: int
    epochs: int | None = None
    history: tuple[HistoryPoint, ...] = field(default=())
