"""Images a second of the extraction engine beside other ways to run the same network.

The engine gets uint8 images larger than the network's input and resizes, preprocesses and hashes; every other
contestant gets float32 pixels that are resized and preprocessed already. All run in one process, in turn.
"""

import argparse
import gc
import importlib
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Contestant, Figures, Race, Target, markdown_table, race, run_script, say, script_options
from numpy.typing import NDArray

from benchmark.backbones.build import build_backbone
from benchmark.datasets import ArrayImages
from benchmark.features.engine import BATCH_SIZE, BATCHES_IN_FLIGHT, extract_features
from benchmark.features.graph import FrozenNetwork
from benchmark.preprocessing import View, resolve_mode
from benchmark.registry import Backbone, get_backbone, load_registry

MODELS = (
    "MobileNetV2", "ResNet50", "VGG16", "EfficientNetB0", "DenseNet121", "InceptionV3", "ConvNeXtTiny",
    "MobileNetV2@96",
)  # fmt: skip
QUICK_MODELS = ("MobileNetV2@32", "ConvNeXtTiny@32")
TIMM_NAMES = {
    "MobileNetV2": "mobilenetv2_100",
    "ResNet50": "resnet50",
    "VGG16": "vgg16",
    "EfficientNetB0": "efficientnet_b0",
    "DenseNet121": "densenet121",
    "InceptionV3": "inception_v3",
    "ConvNeXtTiny": "convnext_tiny",
}

ENGINE, PREDICT, FUNCTION, FROZEN = "engine", "predict", "tf.function", "frozen graph"
OVER_FROZEN = 0.9
OVER_PREDICT = {"MobileNetV2": 1.3, "EfficientNetB0": 1.3, "ResNet50": 1.1, "ConvNeXtTiny": 4.0}
LARGEST_RELATIVE_ERROR = 1e-5

LONGEST_REASON = 200
N_POOL = 32  # different images; a round repeats them
EXTRA_PX = 32  # images are larger than the network's input, so that the engine has to resize them
BARE_BATCH_SIZES = (16, 32)
PREDICT_BATCH_SIZE = 32  # the default of Keras

Pixels = NDArray[np.float32]
Features = NDArray[np.float32]
Extract = Callable[[Pixels], Features]
Measure = Callable[[NDArray[Any]], float]


@dataclass(frozen=True)
class Subject:
    """A network and the images it is measured on.

    Attributes:
        backbone: Its registry record.
        size_px: Side of the network's input.
        network: The Keras model that gives features.
        images: `(N_POOL, size_px + EXTRA_PX, size_px + EXTRA_PX, 3)` uint8 in 0..255.
        pixels: `(N_POOL, size_px, size_px, 3)` float32: the same, resized and preprocessed by Keras.
    """

    backbone: Backbone
    size_px: int
    network: Any
    images: NDArray[np.uint8]
    pixels: Pixels


@dataclass(frozen=True)
class Result:
    """What one network's race gave.

    Attributes:
        backbone: Its name.
        size_px: Side of its input.
        race: The rates.
        relative_error: The largest of all images, of the engine's features against those of `predict`.
        left_out: Why an optional contestant did not take part, by its name.
    """

    backbone: str
    size_px: int
    race: Race
    relative_error: float
    left_out: dict[str, str]

    @property
    def label(self) -> str:
        """Name and size for a table."""
        return f"{self.backbone} {self.size_px}"


def make_subject(model: str, weights: str) -> Subject:
    """The network of `NAME` or `NAME@SIZE` and random images for it."""
    import tensorflow as tf

    name, _, size = model.partition("@")
    backbone = get_backbone(load_registry(), name).model_copy(update={"weights": weights})
    size_px = int(size or backbone.input_size_px)
    network = build_backbone(backbone, size_px)
    if weights == "random":
        _enliven(network)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N_POOL, size_px + EXTRA_PX, size_px + EXTRA_PX, 3), dtype=np.uint8)
    preprocess = importlib.import_module(f"keras.applications.{backbone.preprocess}").preprocess_input
    pixels = preprocess(tf.image.resize(images, (size_px, size_px)).numpy())
    return Subject(backbone, size_px, network, images, pixels)


def _enliven(network: Any) -> None:
    """Give each weight that starts as a constant, such as a BatchNorm's, random values of a trained network's size.

    Otherwise the comparison of features would not notice a layer: ConvNeXt's branches start with a factor of 1e-6,
    and a BatchNorm that has seen nothing changes nothing.
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
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def engine_measure(subject: Subject) -> tuple[Measure, Callable[[NDArray[np.uint8]], Features]]:
    """The engine's own steady rate on images, and the features it wrote for them."""
    frozen = FrozenNetwork(subject.network, subject.size_px)
    view = View(subject.size_px, "bilinear", "squash", resolve_mode("native", subject.backbone.native_mode))

    def measure(images: NDArray[np.uint8]) -> float:
        with tempfile.TemporaryFile() as file:
            return extract_features(frozen, ArrayImages(images), view, file).images_per_s

    def features(images: NDArray[np.uint8]) -> Features:
        with tempfile.TemporaryFile() as file:
            extract_features(frozen, ArrayImages(images), view, file)
            file.seek(0)
            return np.load(file)

    return measure, features


def bare_function(subject: Subject) -> Extract:
    """The model as it is, in a `tf.function`."""
    import tensorflow as tf

    return tf.function(lambda pixels: subject.network(pixels, training=False))


def frozen_graph(subject: Subject) -> Extract:
    """The model as it is, its weights turned into constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec((None, *subject.pixels.shape[1:]), tf.float32)
    frozen = convert_variables_to_constants_v2(bare_function(subject).get_concrete_function(signature))
    return lambda pixels: frozen(tf.constant(pixels))[0]


def onnx_session(subject: Subject) -> Extract:
    """The model exported to ONNX, in ONNX Runtime on the processor.

    Raises:
        ImportError: onnxruntime or tf2onnx is not installed.
        Exception: ONNX has no counterpart for some operation; ConvNeXt's, for one.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        subject.network.export(path, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (only_input,) = session.get_inputs()
    return lambda pixels: session.run(None, {only_input.name: pixels})[0]


def timm_network(subject: Subject) -> Extract:
    """The network of the same name in timm on PyTorch, eager, channels last, random weights.

    Raises:
        ImportError: timm is not installed.
    """
    import timm
    import torch

    network = timm.create_model(TIMM_NAMES[subject.backbone.name], pretrained=False, num_classes=0)
    network = network.eval().to(memory_format=torch.channels_last)

    def extract(pixels: Pixels) -> Features:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()

    return extract


BARE: dict[str, Callable[[Subject], Extract]] = {FUNCTION: bare_function, FROZEN: frozen_graph}
OPTIONAL: dict[str, Callable[[Subject], Extract]] = {"ONNX Runtime": onnx_session, "timm": timm_network}


def timed(extract: Extract) -> Measure:
    """A function that gives the images a second of extracting all of an array."""

    def measure(pixels: NDArray[Any]) -> float:
        started = time.perf_counter()
        extract(pixels)
        return len(pixels) / (time.perf_counter() - started)

    return measure


def in_batches(extract: Extract, batch_size: int) -> Extract:
    """The same, batch by batch."""

    def extract_all(pixels: Pixels) -> Features:
        batches = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
        return np.concatenate([np.asarray(extract(batch)) for batch in batches])

    return extract_all


def warm_contestant(
    name: str, measure: Measure, pool: NDArray[Any], *, rate: float, seconds: float, step: int, n_more: int = 0
) -> Contestant:
    """A contestant whose rounds take about `seconds`, and at least one step.

    Args:
        name: As the figures show it.
        measure: Images a second on an array of images.
        pool: Images to repeat.
        rate: Images a second that it is expected to reach.
        seconds: How long a round should take.
        step: The number of images of a round is a multiple of this,
        n_more: plus this number.
    """
    n_images = max(1, round(rate * seconds / step)) * step + n_more
    images = np.resize(pool, (n_images, *pool.shape[1:]))
    return Contestant(name, lambda: measure(images))


def bare_contestant(name: str, extract: Extract, pixels: Pixels, seconds: float) -> Contestant:
    """A contestant that takes the batch size which was faster after warming up."""
    measures = {batch_size: timed(in_batches(extract, batch_size)) for batch_size in BARE_BATCH_SIZES}
    for batch_size, measure in measures.items():
        measure(pixels[:batch_size])
    rates = {batch_size: measure(pixels) for batch_size, measure in measures.items()}
    fastest = max(rates, key=lambda batch_size: rates[batch_size])
    say(f"  {name}: {rates[fastest]:.1f} images/s when warm, in batches of {fastest}")
    return warm_contestant(name, measures[fastest], pixels, rate=rates[fastest], seconds=seconds, step=N_POOL)


def engine_contestant(subject: Subject, seconds: float) -> tuple[Contestant, Features]:
    """The engine, and its features of the subject's images. Its first batch, which compiles, is not counted."""
    measure, features_of = engine_measure(subject)
    features, rate = features_of(subject.images), measure(subject.images)
    say(f"  {ENGINE}: {rate:.1f} images/s when warm, in batches of {BATCH_SIZE}, {BATCHES_IN_FLIGHT} at once")
    step = BATCH_SIZE * BATCHES_IN_FLIGHT
    budget = {"rate": rate, "seconds": seconds, "step": step, "n_more": BATCH_SIZE}
    return warm_contestant(ENGINE, measure, subject.images, **budget), features


def predict_contestant(subject: Subject, seconds: float) -> tuple[Contestant, Features]:
    """`model.predict` with its default batch size, and its features of the subject's pixels."""

    def predict(pixels: Pixels) -> Features:
        return subject.network.predict(pixels, verbose=0)

    measure = timed(predict)
    features, rate = predict(subject.pixels), measure(subject.pixels)
    say(f"  {PREDICT}: {rate:.1f} images/s when warm, in batches of {PREDICT_BATCH_SIZE}")
    budget = {"rate": rate, "seconds": seconds, "step": PREDICT_BATCH_SIZE}
    return warm_contestant(PREDICT, measure, subject.pixels, **budget), features


def optional_contestants(subject: Subject, seconds: float) -> tuple[list[Contestant], dict[str, str]]:
    """The optional contestants that are installed and can run the network, and why each other one is left out."""
    contestants, left_out = [], {}
    for name, make in OPTIONAL.items():
        try:
            contestants.append(bare_contestant(name, make(subject), subject.pixels, seconds))
        except Exception as error:  # noqa: BLE001 - whatever a rival fails of must not end the comparison
            left_out[name] = textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST_REASON, placeholder=" …")
            say(f"  {name} is left out: {left_out[name]}")
    return contestants, left_out


def largest_relative_error(features: Features, reference: Features) -> float:
    """The largest, over the images, of the norm of the difference over the norm of the reference."""
    difference = np.linalg.norm(features.astype(np.float64) - reference, axis=1)
    return float(np.max(difference / np.linalg.norm(reference.astype(np.float64), axis=1)))


def measure_model(model: str, *, weights: str, seconds: float, n_rounds: int) -> Result:
    """The race of all contestants on one network."""
    say(model)
    subject = make_subject(model, weights)
    engine, features = engine_contestant(subject, seconds)
    predict, reference = predict_contestant(subject, seconds)
    bare = [bare_contestant(name, make(subject), subject.pixels, seconds) for name, make in BARE.items()]
    optional, left_out = optional_contestants(subject, seconds)
    outcome = race([engine, predict, *bare, *optional], n_rounds)
    error = largest_relative_error(features, reference)
    rates = ", ".join(f"{name} {outcome.rate(name):.1f}" for name in outcome.rates)
    say(f"  {rates} images/s; relative error {error:.1e}")
    return Result(subject.backbone.name, subject.size_px, outcome, error, left_out)


def measure_models(models: list[str], *, weights: str, seconds: float, n_rounds: int) -> list[Result]:
    """The races of all networks, one after the other, each begun with nothing of the last one in memory."""
    import keras

    results = []
    for model in models:
        results.append(measure_model(model, weights=weights, seconds=seconds, n_rounds=n_rounds))
        keras.backend.clear_session()
        gc.collect()
    return results


def targets_of(result: Result) -> list[Target]:
    """What a network's race has to show."""
    targets = [Target(f"{result.label}, engine over frozen graph", result.race.ratio(ENGINE, FROZEN), OVER_FROZEN)]
    if result.backbone in OVER_PREDICT:
        ratio = result.race.ratio(ENGINE, PREDICT)
        targets.append(Target(f"{result.label}, engine over predict", ratio, OVER_PREDICT[result.backbone]))
    what = f"{result.label}, largest relative error of a feature vector"
    return [*targets, Target(what, result.relative_error, at_most=LARGEST_RELATIVE_ERROR)]


def _text(results: list[Result], options: argparse.Namespace) -> str:
    names = list(dict.fromkeys(name for result in results for name in result.race.rates))
    header = ["backbone, px", *names, "engine / frozen graph", "engine / predict", "relative error"]
    rows = [
        [
            result.label,
            *(f"{result.race.rate(name):.1f}" if name in result.race.rates else "–" for name in names),
            f"{result.race.ratio(ENGINE, FROZEN):.2f}",
            f"{result.race.ratio(ENGINE, PREDICT):.2f}",
            f"{result.relative_error:.1e}",
        ]
        for result in results
    ]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Images a second, float32, {options.weights} weights: medians of {options.rounds} rounds in which every "
        "contestant runs once. Ratios are medians of the rounds' own ratios. The engine takes uint8 images of "
        f"{EXTRA_PX} px more than the network's input, the others take pixels that are resized and preprocessed "
        f"already.{_notes(results)}"
    )


def _notes(results: list[Result]) -> str:
    """Which optional contestants are left out, of which networks, and why."""
    labels: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for reason in result.left_out.items():
            labels.setdefault(reason, []).append(result.label)
    notes = [f"{name} is left out of {', '.join(of)} ({why})." for (name, why), of in labels.items()]
    return "".join(f"\n\n{note}" for note in notes)


def _numbers(results: list[Result]) -> dict[str, Any]:
    return {
        "models": [
            {
                "backbone": result.backbone,
                "size_px": result.size_px,
                "images_per_s": {name: statistics.median(rates) for name, rates in result.race.rates.items()},
                "images_per_s_by_round": result.race.rates,
                "engine_over_frozen_graph": result.race.ratio(ENGINE, FROZEN),
                "engine_over_predict": result.race.ratio(ENGINE, PREDICT),
                "relative_error": result.relative_error,
                "left_out": result.left_out,
            }
            for result in results
        ]
    }


def measure_extraction(options: argparse.Namespace) -> Figures:
    """The races of the chosen networks."""
    models = [name.strip() for name in options.models.split(",")]
    results = measure_models(models, weights=options.weights, seconds=options.seconds, n_rounds=options.rounds)
    targets = tuple(target for result in results for target in targets_of(result))
    title = "Extraction: images a second, side by side"
    return Figures("extraction", title, _text(results, options), _numbers(results), targets)


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--models", help=f"NAME or NAME@SIZE, comma separated; {', '.join(MODELS)} if absent")
    parser.add_argument("--seconds", type=float, help="length of a contestant's round; 2 if absent")
    parser.add_argument("--rounds", type=int, help="rounds in which every contestant runs once; 5 if absent")
    parser.add_argument(
        "--weights",
        choices=("random", "imagenet"),
        default="random",
        help="speed does not depend on them; Keras has to have, or to download, the second",
    )
    options = parser.parse_args()
    options.models = options.models or ",".join(QUICK_MODELS if options.quick else MODELS)
    options.seconds = options.seconds or (0.1 if options.quick else 2.0)
    options.rounds = options.rounds or (2 if options.quick else 5)
    return run_script(measure_extraction, options)


if __name__ == "__main__":
    sys.exit(main())
