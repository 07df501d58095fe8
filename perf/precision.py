"""How exact the features of both engines and of Keras's `predict` are, for all networks of Keras Applications.

The reference is the same network in float64. The weights are random, and each BatchNorm divides by the root mean square
of what reaches it: otherwise values grow from layer to layer until the smallest difference in rounding decides the
features, in `predict` as well.
"""

import argparse
import functools
import importlib
import sys
import tempfile
from typing import Any, NamedTuple

import numpy as np
from engines import QUICK_MODELS, all_models, find_backbone
from measuring import (
    Figures,
    Target,
    in_fresh_process,
    markdown_table,
    measured_once,
    run_script,
    say,
    script_options,
)
from numpy.typing import NDArray

from benchmark.backbones.build import build_backbone
from benchmark.datasets import array_source
from benchmark.features.engine import extract_features
from benchmark.features.engines import OPENVINO, TENSORFLOW, CompiledNetwork
from benchmark.features.graph import FrozenNetwork
from benchmark.preprocessing import resolve_mode
from benchmark.registry import Backbone

NAME = "precision"
ENGINES = (TENSORFLOW, OPENVINO)
PREDICT = "predict"
N_IMAGES = 8
SIZE_PX = 96  # the layers are those of any size
MOST_FROM_PREDICT = 1e-5
# Two ways to round are as exact as each other if neither is this much farther from the reference.
MOST_OVER_PREDICT = 1.5

Features = NDArray[np.float32]


class Errors(NamedTuple):
    """Largest relative errors of feature vectors: the norm of the difference over the norm of the reference.

    Attributes:
        backbone: The network.
        size_px: Side of its input.
        from_predict: Of each engine's features, from those of `predict`.
        from_float64: Of those of each engine and of `predict`, from those of the network in float64.
    """

    backbone: str
    size_px: int
    from_predict: dict[str, float]
    from_float64: dict[str, float]

    @property
    def label(self) -> str:
        """Name and size for a table."""
        return f"{self.backbone} {self.size_px}"


def measure_network(model: str) -> dict[str, Any]:
    """The errors of `NAME` or `NAME@SIZE`, on random images."""
    import keras

    backbone, size_px = find_backbone(model, "random")
    keras.utils.set_random_seed(0)
    network = build_backbone(backbone, size_px)
    images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, size_px, size_px, 3), dtype=np.uint8)
    preprocess = importlib.import_module(f"keras.applications.{backbone.preprocess}").preprocess_input
    pixels = preprocess(images.astype(np.float32))
    _redraw_constants(network)
    _scale_norms(network, pixels)
    features = {engine: _features_of(engine, network, backbone, images) for engine in ENGINES}
    features[PREDICT] = network.predict(pixels, verbose=0)
    reference = _in_float64(network).predict(pixels.astype(np.float64), batch_size=1, verbose=0)
    assert reference.dtype == np.float64
    return Errors(
        backbone.name,
        size_px,
        {engine: largest_relative_error(features[engine], features[PREDICT]) for engine in ENGINES},
        {name: largest_relative_error(of_name, reference) for name, of_name in features.items()},
    )._asdict()


def _redraw_constants(network: Any) -> None:
    """Give each weight that starts as a constant, such as a bias, random values of a trained network's size.

    Otherwise the comparison would not notice a layer: ConvNeXt's branches start with a factor of 1e-6, and a BatchNorm
    that has seen nothing changes nothing.
    """
    rng = np.random.default_rng(0)

    def redraw(weights: NDArray[Any]) -> NDArray[Any]:
        is_constant = weights.dtype.kind == "f" and weights.ndim == 1 and np.ptp(weights) == 0
        if not is_constant:
            return weights
        drawn = rng.normal(0, 0.1, weights.shape) if weights[0] == 0 else rng.uniform(0.5, 1.5, weights.shape)
        return drawn.astype(weights.dtype)

    for layer in network.layers:
        layer.set_weights([redraw(weights) for weights in layer.get_weights()])
        _finalize(layer)


def _finalize(layer: Any) -> None:
    """Let a Normalization compute with the weights that it was given."""
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def _scale_norms(network: Any, pixels: NDArray[np.float32]) -> None:
    """Let each BatchNorm divide by the root mean square of what reaches it, and subtract nothing.

    Random pixels are alike to deep layers, so that subtracting their mean, as training does, would leave rounding.
    """
    import keras

    def call_scaled(norm: Any, inputs: Any, **_: Any) -> Any:
        axes = tuple(range(inputs.ndim - 1))
        norm.moving_mean.assign(keras.ops.zeros_like(norm.moving_mean))
        norm.moving_variance.assign(keras.ops.mean(inputs**2, axes))
        return type(norm).call(norm, inputs, training=False)

    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.call = functools.partial(call_scaled, norm)
    network(pixels)
    for norm in norms:
        del norm.call


def _features_of(engine: str, network: Any, backbone: Backbone, images: NDArray[np.uint8]) -> Features:
    compiled = CompiledNetwork(engine, FrozenNetwork(network, images.shape[1]), 3, "float32")
    extractor = compiled.extractor(resolve_mode("native", backbone.native_mode))
    with tempfile.TemporaryFile() as file:
        extract_features(extractor, array_source(images), len(images), file)
        file.seek(0)
        features: Features = np.load(file)
    return features


def _in_float64(network: Any) -> Any:
    """The same network with the same weights, which computes in float64."""
    import keras

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config({**config, "dtype": "float64"} if "dtype" in config else config)

    exact = keras.models.clone_model(network, clone_function=clone)
    exact.set_weights(network.get_weights())
    for layer in exact.layers:
        _finalize(layer)
    return exact


def largest_relative_error(features: Features, reference: NDArray[Any]) -> float:
    """The largest, over the images, of the norm of the difference over the norm of the reference."""
    difference = np.linalg.norm(features.astype(np.float64) - reference, axis=1)
    return float(np.max(difference / np.linalg.norm(reference.astype(np.float64), axis=1)))


def measured(model: str) -> Errors:
    """The errors of a network; those that a run that was interrupted has found on the same code are not found again."""
    say(model)
    errors = Errors(**measured_once(NAME, {"model": model}, lambda: in_fresh_process(measure_network, model)))
    say(f"  from predict {errors.from_predict}, from float64 {errors.from_float64}")
    return errors


def targets_of(errors: Errors) -> list[Target]:
    """What the features of a network have to show."""
    return [
        target
        for engine in ENGINES
        for target in (
            Target(
                f"{errors.label}, {engine}, largest relative error from predict",
                errors.from_predict[engine],
                at_most=MOST_FROM_PREDICT,
            ),
            Target(
                f"{errors.label}, {engine}, distance from float64 over that of predict",
                errors.from_float64[engine] / errors.from_float64[PREDICT],
                at_most=MOST_OVER_PREDICT,
            ),
        )
    ]


def _text(all_errors: list[Errors]) -> str:
    header = [
        "backbone, px",
        *(f"{engine}, from predict" for engine in ENGINES),
        *(f"{name}, from float64" for name in (*ENGINES, PREDICT)),
    ]
    rows = [
        [
            errors.label,
            *(f"{errors.from_predict[engine]:.1e}" for engine in ENGINES),
            *(f"{errors.from_float64[name]:.1e}" for name in (*ENGINES, PREDICT)),
        ]
        for errors in all_errors
    ]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Over {N_IMAGES} images of random pixels, the largest norm of the difference of two feature vectors over the "
        "norm of the reference. Random weights; each BatchNorm divides by the root mean square of what reaches it."
    )


def measure_precision(options: argparse.Namespace) -> Figures:
    """The errors of the chosen networks."""
    usual = [f"{name}@{SIZE_PX}" for name in all_models() if "@" not in name]
    models = [name.strip() for name in options.models.split(",")] if options.models else usual
    all_errors = [measured(model) for model in models]
    targets = tuple(target for errors in all_errors for target in targets_of(errors))
    numbers = {"models": [errors._asdict() for errors in all_errors]}
    return Figures(
        NAME, "Precision: features beside those of the network in float64", _text(all_errors), numbers, targets
    )


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument(
        "--models", help="NAME or NAME@SIZE, comma separated; all of Keras Applications, at 96 px, if absent"
    )
    options = parser.parse_args()
    if options.quick and not options.models:
        options.models = ",".join(QUICK_MODELS)
    return run_script(measure_precision, options)


if __name__ == "__main__":
    sys.exit(main())
