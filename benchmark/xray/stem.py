"""The stem of a network: how it changes a pixel before its first convolution, measured with images of one colour."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.backbones.identity import inner_layers
from benchmark.errors import BenchmarkError
from benchmark.preprocessing import Step
from benchmark.xray.affine import AffineMap, Colours, probe_affine
from benchmark.xray.verdicts import contradicted

# The side of the images for a network that takes any size.
ANY_SIZE_PX = 64
IMAGE_RANK = 4

# A network may compute in bfloat16, which keeps three digits.
STEM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class BuiltInLayer:
    """A layer of the network that scales or normalises pixels before the first convolution.

    Attributes:
        name: Of the layer.
        kind: `Rescaling` or `Normalization`.
        numbers: `scale` and `offset`, or `mean` and `variance`, one number or one per channel.
        is_in_weights: Whether the numbers are weights, not part of the architecture.
    """

    name: str
    kind: str
    numbers: dict[str, tuple[float, ...]]
    is_in_weights: bool


@dataclass(frozen=True)
class Stem:
    """How a network changes a pixel before its first convolution.

    Attributes:
        input_px: Height and width of the images used.
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

    def contradicts(self, native: Step) -> str:
        """The mode that the network's own layers show instead of this one; empty if this one may be right."""
        rescales = any(layer.kind == "Rescaling" for layer in self.layers)
        return contradicted(native, self.built_in, rescales=rescales)


def probe_stem(network: Any, name: str) -> Stem:
    """The stem of a Keras model of RGB images, which is not changed; `name` is for errors.

    Raises:
        BenchmarkError: It has no single input of float RGB images, or no convolution that pixels reach.
        NotAffineError: It does more to pixels than scale, mix and shift their channels.
    """
    shape = _image_shape(network, name)
    reached = _run_to_first_kernel(network, np.zeros(shape, np.float32), name)
    found = probe_affine(
        lambda colours: [_run_to_first_kernel(network, np.broadcast_to(one, shape), name).pixel for one in colours],
        f"What {name} does before its first convolution",
        tolerance=STEM_TOLERANCE,
    )
    if not found.width.any():
        raise BenchmarkError(f"{name}: what reaches {reached.layer.name} does not depend on the pixels.")
    if len(found.offset) > found.matrix.shape[1]:
        # A patch of an image repeats the outputs of its pixels: each different one is kept once.
        _, once = np.unique(np.column_stack([found.matrix, found.offset]).round(6), axis=0, return_index=True)
        found = found.select(np.sort(once))
    return Stem(
        input_px=(shape[1], shape[2]),
        layers=tuple(map(_describe, reached.passed)),
        built_in=found,
        first_layer=reached.layer.name,
        first_kind=type(reached.layer).__name__,
    )


def _image_shape(network: Any, name: str) -> tuple[int, int, int, int]:
    """Shape of a batch of one image for the network."""
    import keras

    inputs = getattr(network, "inputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in inputs]
    if len(shapes) != 1 or len(shapes[0]) != IMAGE_RANK or shapes[0][-1] not in (3, None):
        taken = " and ".join(str(shape[1:]) for shape in shapes) or "nothing"
        raise BenchmarkError(f"{name} has no single input of RGB images (height, width, 3): it takes {taken}.")
    dtype = keras.backend.standardize_dtype(inputs[0].dtype)
    if "float" not in dtype:
        raise BenchmarkError(
            f"{name} takes pixels of type {dtype}, which cuts off fractions: feed it unchanged pixels in 0..255, mode "
            "raw; no other mode can be right."
        )
    n, height, width, _ = shapes[0]
    return n or 1, height or ANY_SIZE_PX, width or ANY_SIZE_PX, 3


class _Reached(BaseException):
    """Ends a forward pass at the first convolution; not an `Exception`, because Keras wraps those in its own.

    Attributes:
        layer: The convolution or dense layer.
        pixel: The values that arrive there, `(d,)`: from the middle of a feature map, because padding may come first.
        passed: The built-in layers on the way.
    """

    def __init__(self, layer: Any, inputs: Any, passed: list[Any]) -> None:
        arrived = np.asarray(inputs, np.float32)[0]
        is_map = arrived.ndim == IMAGE_RANK - 1
        self.pixel = arrived[arrived.shape[0] // 2, arrived.shape[1] // 2] if is_map else arrived.ravel()
        self.layer = layer
        self.passed = passed


def _run_to_first_kernel(network: Any, images: Colours, name: str) -> _Reached:
    """The point at which images of one colour reach the first convolution or dense layer."""
    from keras import layers

    kernels = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Conv2DTranspose, layers.Dense)
    kinds = (*kernels, layers.Rescaling, layers.Normalization)
    watched = [layer for layer in _all_layers(network) if isinstance(layer, kinds)]
    passed: list[Any] = []

    def call(layer: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(layer, kernels):
            raise _Reached(layer, inputs, passed)
        passed.append(layer)
        return type(layer).call(layer, inputs, *arguments, **options)

    for layer in watched:
        # Written into the instance's dictionary: Keras would track what is set as an attribute.
        vars(layer)["call"] = functools.partial(call, layer)
    try:
        network(np.array(images), training=False)
    except _Reached as reached:
        return reached
    finally:
        for layer in watched:
            vars(layer).pop("call", None)  # a shared layer is listed twice
    raise BenchmarkError(f"{name} has neither a convolution nor a dense layer that its images reach.")


def _all_layers(network: Any) -> Iterator[Any]:
    """The layers of a network, also those that a layer made for itself, such as the patches of a transformer."""
    yield from inner_layers(network)
    # Keras lists them under no public name.
    yield from network._flatten_layers(include_self=False, recursive=True)


def _describe(layer: Any) -> BuiltInLayer:
    if type(layer).__name__ == "Rescaling":
        numbers, is_in_weights = {"scale": layer.scale, "offset": layer.offset}, False
    else:
        numbers, is_in_weights = {"mean": layer.mean, "variance": layer.variance}, layer.input_mean is None
    plain = {key: tuple(np.asarray(value, np.float64).ravel().tolist()) for key, value in numbers.items()}
    return BuiltInLayer(layer.name, type(layer).__name__, plain, is_in_weights)
