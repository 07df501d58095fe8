"""One stage of training, by Keras's `fit` and callbacks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from benchmark.datasets import Source, Split
from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.options import BALANCED, Stage
from benchmark.strategies.checkpoint import Standing, assign_all, values_of
from benchmark.strategies.feeding import batches, fixed_batches
from benchmark.strategies.records import HistoryPoint

# Steps that TensorFlow does in one call: fewer returns to Python, which cost small networks half their time.
STEPS_PER_EXECUTION = 16
LARGEST_DRAW = 2**31

# What Keras's callbacks know between two epochs.
STOPPING_FACTS = ("best", "best_epoch", "wait", "stopped_epoch")
REDUCING_FACTS = ("best", "wait", "cooldown_counter")

EpochProgress = Callable[[int, int, int], None]


class DivergedError(BenchmarkError):
    """The loss is no longer a number."""

    error_type = "diverged"


@dataclass(frozen=True)
class StageModel:
    """What one stage trains.

    Attributes:
        model: A Keras model from the source's inputs to probabilities, its trainable layers chosen.
        source: Of its inputs.
    """

    model: Any
    source: Source


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        labels: `(n,)` of all images.
        class_names: In the order of the labels.
        split: Which image is in which split.
        seed: Of the order of the images, dropout and augmentation.
    """

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    split: Split
    seed: int

    @property
    def targets(self) -> NDArray[np.float32]:
        """`(n, k)`, one-hot."""
        return np.eye(len(self.class_names), dtype=np.float32)[self.labels]


@dataclass
class TrainingLog:
    """What a training has to show so far.

    Attributes:
        history: Loss, accuracy, learning rate and seconds of every epoch.
        n_epochs: Epochs done, over all stages.
        train_s: Seconds they took, also those before an interruption.
    """

    history: list[HistoryPoint] = field(default_factory=list)
    n_epochs: int = 0
    train_s: float = 0.0

    def add_epoch(self, stage: str, epoch: int, logs: dict[str, float], rate: float, seconds: float) -> None:
        """Take over what Keras says of an epoch."""
        for split, prefix in (("train", ""), ("val", "val_")):
            self.history += [
                HistoryPoint(stage, epoch, split, name, float(logs[prefix + name])) for name in ("loss", "accuracy")
            ]
        self.history.append(HistoryPoint(stage, epoch, "train", "learning_rate", rate))
        self.history.append(HistoryPoint(stage, epoch, "train", "seconds", seconds))
        self.n_epochs += 1
        self.train_s += seconds


class StageTrainer:
    """One stage by Keras's `fit` and callbacks, their state at hand between any two epochs."""

    def __init__(self, stage: Stage, index: int, made: StageModel, task: Task, log: TrainingLog) -> None:
        import keras

        self._stage, self._index, self._task, self._log = stage, index, task, log
        self._model, self._source = made.model, made.source
        self._n_done = 0
        self._epoch_started = 0.0
        self._rate = stage.learning_rate
        # Without a patience of its own the stage does all its epochs and still ends with the best weights.
        self._stopping = keras.callbacks.EarlyStopping(
            monitor="val_loss", mode="min", patience=stage.patience or stage.epochs, restore_best_weights=True
        )
        self._reducing = keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss", mode="min", patience=stage.reduce_patience or stage.epochs, factor=stage.reduce_factor
        )
        self._model.compile(
            optimizer=_optimizer(stage),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=stage.label_smoothing),
            metrics=["accuracy"],
            steps_per_execution=STEPS_PER_EXECUTION,
            jit_compile=False,  # XLA compiles for longer and runs more slowly on a CPU
        )
        self._model.optimizer.build(self._model.trainable_variables)

    def fit(self, standing: Standing | None, save: Callable[[], None], on_epoch: EpochProgress | None) -> None:
        """Do the stage, or what is left of it, and leave the model with its best weights.

        Args:
            standing: Where it stood when it was interrupted; None to begin.
            save: Called after each epoch.
            on_epoch: Called before each epoch.
        """
        import keras

        if standing is not None and "n_epochs_done" in standing.facts:
            self._n_done = standing.facts["n_epochs_done"]
            assign_all(self._model.optimizer.variables, standing.arrays["optimizer"])
        else:
            standing = None

        def begin_training(_: Any) -> None:
            if standing is not None:
                self._restore_callbacks(standing)

        def begin_epoch(epoch: int, _: Any) -> None:
            self._begin_epoch(epoch)
            if on_epoch:
                on_epoch(self._index, epoch, self._stage.epochs)

        def end_epoch(epoch: int, logs: Any) -> None:
            self._end_epoch(epoch, logs)
            save()

        keeper = keras.callbacks.LambdaCallback(
            on_train_begin=begin_training, on_epoch_begin=begin_epoch, on_epoch_end=end_epoch
        )
        if standing is not None and self._was_over(standing):
            self._restore_callbacks(standing)
            self._model.set_weights(self._stopping.best_weights)
            return
        split, targets = self._task.split, self._task.targets
        self._model.fit(
            batches(self._source, targets, self._order, len(split.train), self._stage.batch_size),
            validation_data=fixed_batches(self._source, targets, split.val),
            epochs=self._stage.epochs,
            initial_epoch=self._n_done,
            callbacks=[self._stopping, self._reducing, keeper],
            class_weight=_class_weights(self._stage, self._task),
            shuffle=False,  # the batches come in an order of their own
            verbose=0,
        )

    def facts(self) -> dict[str, Any]:
        """Plain values of the standing."""
        return {
            "n_epochs_done": self._n_done,
            "stopping": {name: getattr(self._stopping, name) for name in STOPPING_FACTS},
            "reducing": {name: getattr(self._reducing, name) for name in REDUCING_FACTS},
        }

    def arrays(self) -> dict[str, list[np.ndarray]]:
        """Arrays of the standing."""
        return {"optimizer": values_of(self._model.optimizer.variables), "best": list(self._stopping.best_weights)}

    def _restore_callbacks(self, standing: Standing) -> None:
        for callback, values in ((self._stopping, "stopping"), (self._reducing, "reducing")):
            for name, value in standing.facts[values].items():
                setattr(callback, name, value)
        self._stopping.best_weights = list(standing.arrays["best"])

    def _was_over(self, standing: Standing) -> bool:
        return self._n_done >= self._stage.epochs or standing.facts["stopping"]["stopped_epoch"] > 0

    def _begin_epoch(self, epoch: int) -> None:
        self._epoch_started = time.perf_counter()
        self._rate = float(values_of([self._model.optimizer.learning_rate])[0])
        draws = np.random.default_rng([self._task.seed, self._index, epoch, 1])
        for variable in self._model.variables:
            if variable.name == "seed_generator_state":  # of dropout and augmentation
                variable.assign(np.array([draws.integers(LARGEST_DRAW), 0], variable.dtype))

    def _order(self) -> NDArray[np.int64]:
        draws = np.random.default_rng([self._task.seed, self._index, self._n_done, 0])
        return draws.permutation(self._task.split.train)

    def _end_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        if not (np.isfinite(logs["loss"]) and np.isfinite(logs["val_loss"])):
            raise DivergedError(
                f"The loss of stage {self._index + 1}, epoch {epoch + 1} is {logs['loss']:g} (validation "
                f"{logs['val_loss']:g}): try a smaller learning_rate than {self._stage.learning_rate:g}."
            )
        seconds = time.perf_counter() - self._epoch_started
        self._log.add_epoch(f"stage {self._index + 1}", epoch + 1, logs, self._rate, seconds)
        self._n_done = epoch + 1


def _optimizer(stage: Stage) -> Any:
    import keras

    if stage.optimizer == "sgd":
        return keras.optimizers.SGD(stage.learning_rate, momentum=stage.momentum)
    return keras.optimizers.Adam(stage.learning_rate)


def _class_weights(stage: Stage, task: Task) -> dict[int, float] | None:
    """Weight by class number; None where all weigh the same."""
    asked = stage.class_weights
    if asked is None:
        return None
    classes = np.arange(len(task.class_names))
    if isinstance(asked, str):  # balanced
        weights = compute_class_weight(BALANCED, classes=classes, y=task.labels[task.split.train])
        return dict(enumerate(weights.tolist()))
    weights = dict(asked)
    for name in weights:
        if name not in task.class_names:
            raise UnknownNameError("class in class_weights", name, task.class_names)
    return {number: weights.get(name, 1.0) for number, name in enumerate(task.class_names)}
