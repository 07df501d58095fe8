"""How something is trained, as a recipe says it: strategies, heads, stages and augmentation."""

import itertools
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator

from benchmark.errors import check_known

# 32 bits are what TensorFlow and NumPy take everywhere.
Positive = Annotated[int, Field(ge=1, lt=2**31)]
# Every epoch has an order of the images in memory.
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]

PROBE, FINETUNE, SCRATCH, CLASSIFY = "probe", "finetune", "scratch", "classify"
STRATEGIES = {
    PROBE: "the backbone is frozen; a head is trained on its features, which are extracted once",
    FINETUNE: "the head first, then the backbone's last layers at a lower rate, in stages",
    SCRATCH: "random weights, everything is trained",
    CLASSIFY: "nothing is trained: the network's own classifier names the class of each image",
}

ALL_LAYERS = "all"
BALANCED = "balanced"


class Record(BaseModel):
    """A frozen record that refuses unknown keys and values of the wrong type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def label(self, *names: str, usual: "Record | None" = None) -> str:
        """What differs from the usual, as the ledger writes it: `units=512,dropout=0.0`; empty if nothing does.

        Args:
            names: Only these options; all if none is named.
            usual: The options that go without saying; the defaults if None.
        """
        usual = usual or type(self)()
        options = self.model_dump(include=set(names) or None)
        return ",".join(f"{name}={value}" for name, value in options.items() if value != getattr(usual, name))


class DenseOptions(Record):
    """The head `dense` and how a probe trains it.

    Attributes:
        units: Width of the hidden layer, or of each of several; 0 for none, so that the features go straight to
            the classes.
        dropout: Share of the last hidden layer's outputs dropped while training.
        epochs: Of a probe: the maximum, which is meant not to be reached; training stops early on the validation loss.
        patience: Of a probe: epochs without a better validation loss before it stops.
        batch_size: Of a probe: images per step.
        learning_rate: Of a probe: Adam's.
    """

    units: Annotated[int, Field(ge=0, lt=2**31)] | Annotated[tuple[Positive, ...], Field(strict=False)] = 256
    dropout: Share = 0.2
    epochs: Epochs = 1000
    patience: Positive = 20
    batch_size: Positive = 256
    learning_rate: Rate = 1e-3

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        if isinstance(self.units, tuple):
            return self.units
        return (self.units,) if self.units else ()

    def n_params(self, feature_dim: int, n_classes: int) -> int:
        """Parameters of the head on features of that width."""
        sizes = (feature_dim, *self.widths, n_classes)
        return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))


# What went without saying in rows of `runs.csv` up to feature version 4.
DENSE_OPTIONS_BEFORE = DenseOptions(epochs=20, patience=3)


class Augmentation(Record):
    """Random changes of training images, new ones in each epoch; strengths as Keras's layers take them.

    Attributes:
        flip: Mirrored or not.
        rotation: At most this share of a full turn, either way.
        translation: At most this share of the side, in both directions.
        zoom: At most this share in or out.
        brightness: At most this share of the range 0..255, up or down.
        contrast: At most this share, up or down.
    """

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    rotation: Share = 0.0
    translation: Share = 0.0
    zoom: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0


NO_AUGMENTATION = Augmentation()


def _as_pairs(weights: Any) -> Any:
    """A table as sorted pairs: cells are compared and hashed, which a dictionary cannot be."""
    return tuple(sorted(weights.items())) if isinstance(weights, dict) else weights


ClassWeights = Annotated[tuple[tuple[str, Rate], ...], BeforeValidator(_as_pairs), PlainSerializer(dict)]


class Stage(Record):
    """One stage of training.

    Attributes:
        unfreeze: Which layers of the backbone are trained beside the head: the last N (0 for none), the last share
            of them, those from the layer of that name on, or `all`.
        epochs: The maximum.
        learning_rate: Of the optimiser.
        optimizer: Adam, or stochastic gradient descent.
        momentum: Of `sgd`.
        batch_size: Images per step.
        patience: Epochs without a better validation loss before the stage ends; None to do all epochs.
        reduce_patience: Epochs without a better validation loss before the learning rate falls; None for never.
        reduce_factor: The learning rate is then multiplied by it.
        label_smoothing: Share of the target spread evenly over the classes.
        class_weights: Weight of a class's images in the loss, 1 where a class is not named; `balanced` weighs
            each class as its rarity in the training split.
    """

    unfreeze: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | str = 0
    epochs: Epochs = 10
    learning_rate: Rate = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: Share = 0.9
    batch_size: Positive = 64
    patience: Positive | None = None
    reduce_patience: Positive | None = None
    reduce_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    label_smoothing: Share = 0.0
    class_weights: Literal["balanced"] | ClassWeights | None = None

    def check_classes(self, class_names: Collection[str]) -> None:
        """Refuse class weights of classes that do not exist.

        Raises:
            UnknownNameError: One names such a class.
        """
        for name, _ in self.class_weights if isinstance(self.class_weights, tuple) else ():
            check_known("class in class_weights", name, class_names)

    @field_validator("unfreeze")
    @classmethod
    def _is_no_empty_name(cls, value: Any) -> Any:
        if value == "":
            raise ValueError('give a number of layers, a share, a layer\'s name, or "all"')
        return value


USUAL_STAGES = {
    # The head first, then the last layers, more slowly.
    FINETUNE: (
        Stage(unfreeze=0, epochs=5, learning_rate=1e-3),
        Stage(unfreeze=20, epochs=5, learning_rate=1e-5),
    ),
    SCRATCH: (Stage(unfreeze=ALL_LAYERS, epochs=20, learning_rate=1e-3, patience=5),),
}


def stages_label(stages: tuple[Stage, ...]) -> str:
    """What the stages do, as the ledger writes it: `0,epochs=5 + 20,learning_rate=1e-05`; `unfreeze` comes first."""
    parts = []
    for stage in stages:
        others = stage.model_dump(exclude_defaults=True, exclude={"unfreeze"})
        parts.append(",".join([str(stage.unfreeze), *(f"{name}={value}" for name, value in others.items())]))
    return " + ".join(parts)
