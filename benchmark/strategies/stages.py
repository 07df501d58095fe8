"""Training in stages by Keras's `fit` and callbacks: what finetune and scratch share."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from benchmark.datasets import Source, Split
from benchmark.options import BALANCED, Stage
from benchmark.strategies.checkpoint import Checkpoint, assign_all, load_checkpoint, save_checkpoint, values_of
from benchmark.strategies.feeding import batches, fixed_batches
from benchmark.strategies.outcome import HistoryPoint, check_loss, history_points

# Steps that TensorFlow does in one call: fewer returns to Python, which cost small networks half their time.
STEPS_PER_EXECUTION = 16
LARGEST_DRAW = 2**31

# What Keras's callbacks know between two epochs.
STOPPING_FACTS = ("best", "best_epoch", "wait", "stopped_epoch")
REDUCING_FACTS = ("best", "wait", "cooldown_counter")

EpochProgress = Callable[[int, int, int], None]


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


def train_in_stages(
    stages: Sequence[Stage],
    make_model: Callable[[int], StageModel],
    variables: Sequence[Any],
    task: Task,
    *,
    checkpoint: Path,
    on_epoch: EpochProgress | None = None,
) -> tuple[StageModel, list[HistoryPoint]]:
    """Train stage after stage, each from the best weights of the last.

    After every epoch `checkpoint` gets everything that the rest depends on, and all random numbers are drawn from
    seed, stage and epoch: an interrupted training resumes after its last epoch and ends with the same weights.

    Args:
        stages: What to do.
        make_model: From the index of a stage to its model, with the weights that `variables` then have.
        variables: Every variable that any stage may change.
        task: What is learned.
        checkpoint: The caller removes this file when the result is safe.
        on_epoch: Called before each epoch with the stage's index, the number of its epochs that are done, and the
            number of its epochs.

    Returns:
        The last stage's model, with its best weights, and the history: loss, accuracy, learning rate and seconds of
        every epoch, also of those before an interruption.

    Raises:
        DivergedError: The loss became infinite or NaN.
    """
    saved = load_checkpoint(checkpoint)
    history: list[HistoryPoint] = []
    n_stages_done = 0
    if saved is not None:
        assign_all(variables, saved.arrays["variables"])
        history = [HistoryPoint(*point) for point in saved.facts["history"]]
        n_stages_done = saved.facts["n_stages_done"]

    def save(n_done: int, trainer: _StageTrainer | None = None) -> None:
        facts = {"n_stages_done": n_done, "history": [astuple(point) for point in history]}
        arrays = {"variables": values_of(variables)}
        if trainer is not None:
            facts, arrays = facts | trainer.facts(), arrays | trainer.arrays()
        save_checkpoint(checkpoint, Checkpoint(facts, arrays))

    last: StageModel | None = None
    for index in range(n_stages_done, len(stages)):
        last = make_model(index)
        trainer = _StageTrainer(stages[index], index, last, task, history)
        trainer.fit(saved, functools.partial(save, index, trainer), on_epoch)
        saved = None
        save(index + 1)
    return last or make_model(len(stages) - 1), history


class _StageTrainer:
    """One stage by Keras's `fit` and callbacks; its state can be saved between any two epochs."""

    def __init__(self, stage: Stage, index: int, made: StageModel, task: Task, history: list[HistoryPoint]) -> None:
        import keras

        self._stage, self._index, self._task, self._history = stage, index, task, history
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
            # Not by name: Keras would make its variables while TensorFlow traces a step, which then traces it again.
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            steps_per_execution=STEPS_PER_EXECUTION,
            jit_compile=False,  # XLA compiles for longer and runs more slowly on a CPU
        )
        self._model.optimizer.build(self._model.trainable_variables)

    def fit(self, saved: Checkpoint | None, save: Callable[[], None], on_epoch: EpochProgress | None) -> None:
        """Do the stage, or what is left of it, and leave the model with its best weights.

        Args:
            saved: From before an interruption; None to begin.
            save: Called after each epoch.
            on_epoch: Called before each epoch.
        """
        import keras

        if saved is not None and "n_epochs_done" not in saved.facts:
            saved = None  # it was interrupted between two stages
        if saved is not None:
            self._n_done = saved.facts["n_epochs_done"]
            assign_all(self._model.optimizer.variables, saved.arrays["optimizer"])
            self._restore_callbacks(saved)
            if self._n_done >= self._stage.epochs or self._stopping.stopped_epoch > 0:
                self._model.set_weights(self._stopping.best_weights)
                return

        def begin_training(_: Any) -> None:
            if saved is not None:
                self._restore_callbacks(saved)  # Keras resets them when it begins

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
        split, targets = self._task.split, self._task.targets
        self._model.fit(
            batches(self._source, targets, self._order, len(split.train), self._stage.batch_size),
            validation_data=fixed_batches(self._source, targets, split.val),
            epochs=self._stage.epochs,
            initial_epoch=self._n_done,
            callbacks=[self._stopping, self._reducing, keeper],
            class_weight=_class_weights(self._stage, self._task),
            shuffle=False,  # `_order` does it
            verbose=0,
        )

    def facts(self) -> dict[str, Any]:
        """Plain values of the checkpoint."""
        return {
            "n_epochs_done": self._n_done,
            "stopping": {name: getattr(self._stopping, name) for name in STOPPING_FACTS},
            "reducing": {name: getattr(self._reducing, name) for name in REDUCING_FACTS},
        }

    def arrays(self) -> dict[str, list[np.ndarray]]:
        """Arrays of the checkpoint."""
        return {"optimizer": values_of(self._model.optimizer.variables), "best": list(self._stopping.best_weights)}

    def _restore_callbacks(self, saved: Checkpoint) -> None:
        for callback, values in ((self._stopping, "stopping"), (self._reducing, "reducing")):
            for name, value in saved.facts[values].items():
                setattr(callback, name, value)
        self._stopping.best_weights = list(saved.arrays["best"])

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
        check_loss(f"stage {self._index + 1}, epoch {epoch + 1}", logs, self._stage.learning_rate)
        metrics = {name: logs[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        metrics |= {"learning_rate": self._rate, "seconds": time.perf_counter() - self._epoch_started}
        self._history += history_points(f"stage {self._index + 1}", epoch + 1, metrics)
        self._n_done = epoch + 1


def _optimizer(stage: Stage) -> Any:
    import keras

    if stage.optimizer == "sgd":
        return keras.optimizers.SGD(stage.learning_rate, momentum=stage.momentum)
    return keras.optimizers.Adam(stage.learning_rate)


def _class_weights(stage: Stage, task: Task) -> dict[int, float] | None:
    """Weight by class number; None if all weigh the same."""
    asked = stage.class_weights
    if asked is None:
        return None
    if isinstance(asked, str):  # balanced
        labels = task.labels[task.split.train]
        classes = np.unique(labels)
        # Keras wants a weight of every class, also of one without images.
        weights = np.ones(len(task.class_names))
        weights[classes] = compute_class_weight(BALANCED, classes=classes, y=labels)
        return dict(enumerate(weights.tolist()))
    named = dict(asked)
    return {number: named.get(name, 1.0) for number, name in enumerate(task.class_names)}
