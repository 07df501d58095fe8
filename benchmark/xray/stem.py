"""What a network does to a pixel before its first convolution, found by feeding it images of one colour each."""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.xray.affine import AffineMap, Colours, probe_affine

# Of a network that takes any size.
ANY_SIZE_PX = 64
IMAGE_RANK = 4

# A network may compute in bfloat16, which keeps three digits.
GRAPH_TOLERANCE = 1e-2


@dataclass(frozen=True)
class BuiltInLayer:
    """A layer of the network that scales or normalises pixels before the first convolution.

    Attributes:
        name: Of the layer.
        kind: `Rescaling` or `Normalization`.
        numbers: `scale` and `offset`, or `mean` and `variance`, one number or one a channel.
        is_in_weights: Whether the numbers are weights, not part of the architecture.
    """

    name: str
    kind: str
    numbers: dict[str, tuple[float, ...]]
    is_in_weights: bool


@dataclass(frozen=True)
class Graph:
    """What a network does to a pixel before its first convolution.

    Attributes:
        input_px: Height and width of the images it was fed.
        layers: Its built-in layers, in the order in which pixels pass them.
        built_in: Map of a pixel up to the first convolution.
        first_layer: Name of that convolution, or of a dense layer that comes before any.
        first_kind: Its class.
    """

    input_px: tuple[int, int]
    layers: tuple[BuiltInLayer, ...]
    built_in: AffineMap
    first_layer: str
    first_kind: str


def look_into(network: Any, name: str) -> Graph:
    """What a network does to a pixel before its first convolution, found by feeding it images of one colour each.

    Args:
        network: A Keras model of RGB images; not changed.
        name: Names it in errors.

    Raises:
        BenchmarkError: It has no single input of float RGB images, or no convolution that pixels reach.
        NotAffineError: It does more to pixels than scale, mix and shift their channels.
    """
    shape = _image_shape(network, name)
    passes: list[_Pass] = []

    def answers(colours: Colours) -> Any:
        fed = [_run_to_first_kernel(network, np.broadcast_to(colour, shape), name) for colour in colours]
        passes.extend(fed)
        return np.stack([one.arrived for one in fed])

    found = probe_affine(answers, f"What {name} does before its first convolution", tolerance=GRAPH_TOLERANCE)
    first = passes[0].first_layer
    if not found.width.any():
        raise BenchmarkError(f"{name}: what reaches {first.name} does not depend on the pixels.")
    layers = tuple(_described(layer) for layer in passes[0].built_in)
    return Graph((shape[1], shape[2]), layers, _without_repeats(found), first.name, type(first).__name__)


def _image_shape(network: Any, name: str) -> tuple[int, int, int, int]:
    """Shape of a batch of one image that the network takes."""
    import keras

    inputs = getattr(network, "inputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in inputs]
    if len(shapes) != 1 or len(shapes[0]) != IMAGE_RANK or shapes[0][-1] not in (3, None):
        taken = " and ".join(str(shape[1:]) for shape in shapes) or "nothing"
        raise BenchmarkError(f"{name} has no single input of RGB images (height, width, 3): it takes {taken}.")
    dtype = keras.backend.standardize_dtype(inputs[0].dtype)
    if "float" not in dtype:
        raise BenchmarkError(
            f"{name} takes pixels of type {dtype}, which cuts off fractions: feed it pixels in 0..255 as they are, "
            "mode raw; no other mode can be right."
        )
    n, height, width, _ = shapes[0]
    return n or 1, height or ANY_SIZE_PX, width or ANY_SIZE_PX, 3


@dataclass(frozen=True)
class _Pass:
    """One colour on its way: the first convolution it comes to, what of it arrives `(d,)`, the built-in layers."""

    first_layer: Any
    arrived: Any
    built_in: tuple[Any, ...]


class _Reached(BaseException):
    """Ends a pass at the first convolution; no `Exception`, because Keras wraps those in others of its own."""

    def __init__(self, layer: Any, arrived: Any) -> None:
        self.layer = layer
        self.arrived = arrived


def _run_to_first_kernel(network: Any, images: Colours, name: str) -> _Pass:
    """Images of one colour sent to the first convolution, or dense layer, that they come to."""
    from keras import layers

    passed = []

    def stop(layer: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        raise _Reached(layer, np.asarray(inputs, np.float32))

    def note(layer: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        passed.append(layer)
        return type(layer).call(layer, inputs, *arguments, **options)

    kernels = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Conv2DTranspose, layers.Dense)
    with (
        _calls_replaced(_layers_of(network, kernels), stop),
        _calls_replaced(_layers_of(network, (layers.Rescaling, layers.Normalization)), note),
    ):
        try:
            network(np.array(images), training=False)
        except _Reached as reached:
            return _Pass(reached.layer, _one_pixel(reached.arrived), tuple(passed))
    raise BenchmarkError(f"{name} has neither a convolution nor a dense layer that its images reach.")


def _one_pixel(arrived: Any) -> Any:
    """The middle of a map `(n, height, width, d)`, because padding may come first; all of what has another rank."""
    if arrived.ndim != IMAGE_RANK:
        return arrived[0].ravel()
    _, height, width, _ = arrived.shape
    return arrived[0, height // 2, width // 2]


def _layers_of(network: Any, kinds: tuple[type, ...]) -> list[Any]:
    """The layers of these kinds in a network and in the networks inside it, each once."""
    found: dict[int, Any] = {}
    for layer in getattr(network, "layers", ()):
        found |= {id(inner): inner for inner in [layer, *_layers_of(layer, kinds)] if isinstance(inner, kinds)}
    return list(found.values())


@contextmanager
def _calls_replaced(layers: Iterable[Any], call: Callable[..., Any]) -> Iterator[None]:
    """Let `call(layer, inputs)` do the work of these layers."""
    # Into the instance's dictionary: Keras would track what is set as an attribute.
    for layer in layers:
        vars(layer)["call"] = functools.partial(call, layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["call"]


def _described(layer: Any) -> BuiltInLayer:
    if type(layer).__name__ == "Rescaling":
        numbers, is_in_weights = {"scale": layer.scale, "offset": layer.offset}, False
    else:
        numbers, is_in_weights = {"mean": layer.mean, "variance": layer.variance}, layer.input_mean is None
    plain = {key: tuple(np.asarray(value, np.float64).ravel().tolist()) for key, value in numbers.items()}
    return BuiltInLayer(layer.name, type(layer).__name__, plain, is_in_weights)


def _without_repeats(found: AffineMap) -> AffineMap:
    """The map with each different output once: patches of an image repeat those of a pixel."""
    if len(found.offset) <= len(found.matrix.T):
        return found
    _, first = np.unique(np.column_stack([found.matrix, found.offset]).round(6), axis=0, return_index=True)
    rows = np.sort(first)
    return AffineMap(found.matrix[rows], found.offset[rows])
