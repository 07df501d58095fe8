"""A network and its head: which layers are trained, and where the network can be cut below them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.errors import BenchmarkError, check_known
from benchmark.options import ALL_LAYERS

Unfreeze = int | float | str


class UnfreezeError(BenchmarkError):
    """A stage asks for more layers than the network has."""


@dataclass(frozen=True)
class Cut:
    """A tensor that is the only input of all layers above it.

    Attributes:
        name: Of the layer whose output it is.
        tensor: The symbolic tensor.
    """

    name: str
    tensor: Any


class Classifier:
    """A body and a head. All models made from it share their layers and so their weights.

    Args:
        body: A Keras model from preprocessed pixels to features, or to probabilities if `head` is empty.
        head: Layers from features to probabilities.
        is_pretrained: Whether the body has pretrained weights. Its BatchNorm then stays in inference mode, since
            statistics of small batches would destroy what it has learned.
    """

    def __init__(self, body: Any, head: Sequence[Any], *, is_pretrained: bool) -> None:
        import keras

        # A Sequential model does not show its graph.
        is_graph = not isinstance(body, keras.Sequential)
        self.body = body if is_graph else keras.Model(body.inputs[0], body.outputs[0], name=body.name)
        self.head = tuple(head)
        self._is_pretrained = is_pretrained
        self._build_head()

    def _build_head(self) -> None:
        shape = self.body.outputs[0].shape
        for layer in self.head:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    @property
    def layers(self) -> list[Any]:
        """The body's layers as Keras lists them, without the pooling that this project adds."""
        import keras

        pools = keras.layers
        kinds = (
            pools.GlobalAveragePooling2D,
            pools.GlobalMaxPooling2D,
            pools.GlobalAveragePooling1D,
            pools.GlobalMaxPooling1D,
        )
        layers = list(self.body.layers)
        is_pooled = isinstance(layers[-1], kinds)
        return layers[:-1] if is_pooled else layers

    @property
    def variables(self) -> list[Any]:
        """Every variable of body and head, each once."""
        return [*self.body.variables, *itertools.chain.from_iterable(layer.variables for layer in self.head)]

    @property
    def feature_dim(self) -> int | None:
        """Width of what the head sees; None for a body with its own classifier."""
        return int(self.body.outputs[0].shape[-1]) if self.head else None

    def unfreeze(self, unfreeze: Unfreeze) -> None:
        """Make these layers of the body trainable, and no others.

        Raises:
            UnfreezeError: The body has fewer layers.
            UnknownNameError: It has no layer of that name.
        """
        layers = self.layers
        first = first_unfrozen(unfreeze, [layer.name for layer in layers], self.body.name)
        for position, layer in enumerate(layers):
            layer.trainable = position >= first

    def n_params(self) -> int:
        """Parameters of body and head."""
        return int(self.body.count_params()) + sum(int(layer.count_params()) for layer in self.head)

    def n_trainable(self) -> int:
        """Trainable parameters, head included."""
        variables = itertools.chain.from_iterable(one.trainable_variables for one in (*self.layers, *self.head))
        return sum(math.prod(variable.shape) for variable in variables)

    def most_trainable(self, unfreezes: Sequence[Unfreeze]) -> int:
        """Trainable parameters of the stage that has the most."""
        counts = []
        for unfreeze in unfreezes:
            self.unfreeze(unfreeze)
            counts.append(self.n_trainable())
        return max(counts)

    def cut_below(self, *unfreezes: Unfreeze) -> Cut | None:
        """The last cut below every layer that one of the stages trains; None if there is no such cut.

        Its value for an image never changes, so it can be computed once.
        """
        import keras

        names = [layer.name for layer in self.layers]
        first = min(first_unfrozen(unfreeze, names, self.body.name) for unfreeze in unfreezes)
        operations = self.body.operations
        position = len(operations) if first == len(names) else operations.index(self.layers[first])
        tensors = _single_tensors(operations, self.body.outputs[0])
        cuts = [(operation, tensor) for end, (operation, tensor) in tensors.items() if end < position]
        if not cuts or isinstance(cuts[-1][0], keras.layers.InputLayer):
            return None
        operation, tensor = cuts[-1]
        return Cut(operation.name, tensor)

    def is_output(self, cut: Cut) -> bool:
        """Whether the cut lies between body and head, so that its value is the features."""
        return cut.tensor is self.body.outputs[0]

    def front(self, cut: Cut) -> Any:
        """The model from preprocessed pixels to the cut."""
        import keras

        return keras.Model(self.body.inputs[0], cut.tensor)

    def tail(self, cut: Cut) -> Any:
        """The model from the cut to probabilities."""
        import keras

        inputs = keras.Input(cut.tensor.shape[1:])
        upper = None if self.is_output(cut) else keras.Model(cut.tensor, self.body.outputs[0])
        return keras.Model(inputs, self._with_head(upper, inputs))

    def whole(self, inputs: Any, pixels: Any) -> Any:
        """The model from `inputs` to probabilities.

        Args:
            inputs: A symbolic input.
            pixels: The preprocessed pixels, computed from `inputs`.
        """
        import keras

        # A model of its own: that of the body may be frozen as a whole.
        return keras.Model(inputs, self._with_head(keras.Model(self.body.inputs[0], self.body.outputs[0]), pixels))

    def _with_head(self, body: Any | None, x: Any) -> Any:
        if body is not None:
            x = _in_inference_mode(body)(x) if self._is_pretrained else body(x)
        for layer in self.head:
            x = layer(x)
        return x


def _in_inference_mode(body: Any) -> Any:
    """A layer that calls a model in inference mode, although its weights are trained.

    `body(x, training=False)` in a functional graph is not enough: Keras (3.15) passes the outer model's `training` on
    to nested models all the same.
    """
    import keras

    class InferenceMode(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def call(self, x: Any) -> Any:
            return self.body(x, training=False)

    return InferenceMode()


def first_unfrozen(unfreeze: Unfreeze, names: Sequence[str], network: str) -> int:
    """Position of the first trainable layer; the number of layers if none is.

    Args:
        unfreeze: A number of layers counted from the end, a share of them, a layer's name, or `all`.
        names: Of all layers.
        network: Its name, for the message.

    Raises:
        UnfreezeError: There are fewer layers.
        UnknownNameError: There is no layer of that name.
    """
    if unfreeze == ALL_LAYERS:
        return 0
    if isinstance(unfreeze, str):
        check_known(f"layer of {network}", unfreeze, names)
        return list(names).index(unfreeze)
    n_layers = round(unfreeze * len(names)) if isinstance(unfreeze, float) else unfreeze
    if n_layers > len(names):
        raise UnfreezeError(
            f'unfreeze = {unfreeze}: {network} has only {len(names)} layers. Give a smaller number, or "all".'
        )
    return len(names) - n_layers


def _single_tensors(operations: Sequence[Any], output: Any) -> dict[int, tuple[Any, Any]]:
    """Positions in the graph's order after which only one tensor is still needed, with that tensor and its maker."""
    makers: dict[int, tuple[int, Any, Any]] = {}
    last_use: dict[int, int] = {}
    for position, operation in enumerate(operations):
        for tensor in _listed(operation.output):
            makers[id(tensor)] = (position, operation, tensor)
        for tensor in _listed(operation.input) if position else ():
            last_use[id(tensor)] = position
    last_use[id(output)] = len(operations)
    single = {}
    for position in range(len(operations)):
        alive = [key for key, (made, _, _) in makers.items() if made <= position < last_use.get(key, made)]
        if len(alive) == 1:
            _, operation, tensor = makers[alive[0]]
            single[position] = (operation, tensor)
    return single


def _listed(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
