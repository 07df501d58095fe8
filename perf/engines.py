"""Images a second of the extraction engines, beside the same network in other libraries.

Our engines get uint8 images of the network's size, preprocess them, and check, hash and write the features; every
other contestant gets float32 pixels that are preprocessed already. All run in one process, in turn.
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
from typing import IO, Any

import numpy as np
from measuring import Contestant, Figures, Race, Target, markdown_table, race, run_script, say, script_options
from numpy.typing import NDArray

from benchmark.backbones.build import build_backbone
from benchmark.datasets import array_source
from benchmark.features.engine import extract_features
from benchmark.features.engines import ENGINES, OPENVINO, TENSORFLOW, CompiledNetwork
from benchmark.features.extractor import BATCH_SIZE, Extractor
from benchmark.features.graph import FrozenNetwork
from benchmark.preprocessing import resolve_mode
from benchmark.registry import Backbone, get_backbone, load_registry

SMALL_MODEL = "MobileNetV2@96"
QUICK_MODELS = ("MobileNetV2@32", "ConvNeXtTiny@32")
TIMM_NAMES = {
    "ConvNeXtBase": "convnext_base",
    "ConvNeXtLarge": "convnext_large",
    "ConvNeXtSmall": "convnext_small",
    "ConvNeXtTiny": "convnext_tiny",
    "ConvNeXtXLarge": "convnext_xlarge",
    "DenseNet121": "densenet121",
    "DenseNet169": "densenet169",
    "DenseNet201": "densenet201",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNet": "mobilenetv1_100",
    "MobileNetV2": "mobilenetv2_100",
    "MobileNetV3Large": "mobilenetv3_large_100",
    "MobileNetV3Small": "mobilenetv3_small_100",
    "NASNetLarge": "nasnetalarge",
    "ResNet101": "resnet101",
    "ResNet152": "resnet152",
    "ResNet50": "resnet50",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "xception",
    **{f"EfficientNetB{number}": f"efficientnet_b{number}" for number in range(8)},
    **{
        f"EfficientNetV2{size}": f"tf_efficientnetv2_{size.lower()}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
    },
}

BARE_OPENVINO = "OpenVINO"
OWN = {TENSORFLOW: "engine tensorflow", OPENVINO: "engine openvino"}
OVER_BEST = 0.95
OVER_TENSORFLOW = {SMALL_MODEL: 1.5}
LARGEST_RELATIVE_ERROR = 1e-5

LONGEST_REASON = 200
N_POOL = 32  # different images; a round repeats them

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
        images: `(N_POOL, size_px, size_px, 3)` uint8 in 0..255.
        pixels: `(N_POOL, size_px, size_px, 3)` float32: the same, preprocessed by Keras.
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
        usual: The engine that `auto` takes for it.
        relative_errors: By engine, the largest of all images, of its features against those of Keras's `predict`.
        left_out: Why an optional contestant did not take part, by its name.
    """

    backbone: str
    size_px: int
    race: Race
    usual: str
    relative_errors: dict[str, float]
    left_out: dict[str, str]

    @property
    def over_best(self) -> float:
        """The rate of the engine that `auto` takes over the best of all contestants, the median of the rounds."""
        own = self.race.rates[OWN[self.usual]]
        best = [max(rates) for rates in zip(*self.race.rates.values(), strict=True)]
        return statistics.median(rate / most for rate, most in zip(own, best, strict=True))

    @property
    def label(self) -> str:
        """Name and size for a table."""
        return f"{self.backbone} {self.size_px}"


def make_subject(model: str, weights: str) -> Subject:
    """The network of `NAME` or `NAME@SIZE` and random images for it."""
    name, _, size = model.partition("@")
    backbone = get_backbone(load_registry(), name).model_copy(update={"weights": weights})
    size_px = int(size or backbone.input_size_px)
    network = build_backbone(backbone, size_px)
    if weights == "random":
        _enliven(network)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N_POOL, size_px, size_px, 3), dtype=np.uint8)
    preprocess = importlib.import_module(f"keras.applications.{backbone.preprocess}").preprocess_input
    pixels = preprocess(images.astype(np.float32))
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


def own_extractor(subject: Subject, engine: str) -> Extractor:
    """The network by one of our engines."""
    network = CompiledNetwork(engine, FrozenNetwork(subject.network, subject.size_px), 3, "float32")
    return network.extractor(resolve_mode("native", subject.backbone.native_mode))


def openvino_queue(subject: Subject) -> Extract:
    """The network exported by Keras, in OpenVINO's own asynchronous queue with its own settings for throughput."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        subject.network.export(folder, format="tf_saved_model", verbose=False)
        model = openvino.convert_model(folder)
        model.reshape([BATCH_SIZE, *subject.pixels.shape[1:]])
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        queue = openvino.AsyncInferQueue(openvino.compile_model(model, "CPU", settings))
    found: dict[int, Features] = {}
    queue.set_callback(lambda request, number: found.__setitem__(number, request.get_output_tensor(0).data.copy()))

    def extract(pixels: Pixels) -> Features:
        found.clear()
        for number, start in enumerate(range(0, len(pixels), BATCH_SIZE)):
            queue.start_async([pixels[start : start + BATCH_SIZE]], number)
        queue.wait_all()
        return np.concatenate([found[number] for number in sorted(found)])

    return extract


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


# Those whose library is not installed, or cannot run a network, are left out.
RIVALS: dict[str, Callable[[Subject], Extract]] = {
    BARE_OPENVINO: openvino_queue,
    "ONNX Runtime": lambda subject: in_batches(onnx_session(subject)),
    "timm": lambda subject: in_batches(timm_network(subject)),
}


def timed(extract: Extract) -> Measure:
    """A function that gives the images a second of extracting all of an array."""

    def measure(pixels: NDArray[Any]) -> float:
        started = time.perf_counter()
        extract(pixels)
        return len(pixels) / (time.perf_counter() - started)

    return measure


def in_batches(extract: Extract) -> Extract:
    """The same, batch by batch."""

    def extract_all(pixels: Pixels) -> Features:
        batches = [pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE)]
        return np.concatenate([np.asarray(extract(batch)) for batch in batches])

    return extract_all


def warm_contestant(name: str, measure: Measure, pool: NDArray[Any], *, seconds: float, n_more: int = 0) -> Contestant:
    """A contestant whose rounds take about `seconds`, and at least one batch for each core.

    Args:
        name: As the figures show it.
        measure: Images a second on an array of images.
        pool: Images to repeat.
        seconds: How long a round should take.
        n_more: Images beyond that.
    """
    measure(pool)
    rate = measure(pool)
    n_images = max(1, round(rate * seconds / N_POOL)) * N_POOL + n_more
    images = np.resize(pool, (n_images, *pool.shape[1:]))
    say(f"  {name}: {rate:.1f} images/s when warm, {n_images} images a round")
    return Contestant(name, lambda: measure(images))


def own_contestant(subject: Subject, engine: str, seconds: float) -> tuple[Contestant, Features]:
    """One of our engines, and its features of the subject's images. Its first batch, which compiles, is not counted."""
    extractor = own_extractor(subject, engine)

    def extract(images: NDArray[np.uint8], file: IO[bytes]) -> float:
        return extract_features(extractor, array_source(images), len(images), file).images_per_s

    def measure(images: NDArray[np.uint8]) -> float:
        with tempfile.TemporaryFile() as file:
            return extract(images, file)

    with tempfile.TemporaryFile() as file:
        extract(subject.images, file)
        file.seek(0)
        features = np.load(file)
    return warm_contestant(OWN[engine], measure, subject.images, seconds=seconds, n_more=BATCH_SIZE), features


def rivals_of(subject: Subject, seconds: float) -> tuple[list[Contestant], dict[str, str]]:
    """The rivals that are installed and can run the network, and why each other one is left out."""
    contestants, left_out = [], {}
    for name, make in RIVALS.items():
        try:
            contestants.append(warm_contestant(name, timed(make(subject)), subject.pixels, seconds=seconds))
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
    reference = subject.network.predict(subject.pixels, verbose=0)
    own = {engine: own_contestant(subject, engine, seconds) for engine in ENGINES}
    rivals, left_out = rivals_of(subject, seconds)
    outcome = race([*(contestant for contestant, _ in own.values()), *rivals], n_rounds)
    errors = {engine: largest_relative_error(features, reference) for engine, (_, features) in own.items()}
    rates = ", ".join(f"{name} {outcome.rate(name):.1f}" for name in outcome.rates)
    say(f"  {rates} images/s; relative errors {errors}")
    return Result(subject.backbone.name, subject.size_px, outcome, subject.backbone.usual_engine, errors, left_out)


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
    targets = [Target(f"{result.label}, auto over the best of all", result.over_best, OVER_BEST)]
    if least := OVER_TENSORFLOW.get(f"{result.backbone}@{result.size_px}"):
        ratio = result.race.ratio(OWN[result.usual], OWN[TENSORFLOW])
        targets.append(Target(f"{result.label}, auto over TensorFlow", ratio, least))
    return targets + [
        Target(
            f"{result.label}, largest relative error of a feature vector, {engine}",
            error,
            at_most=LARGEST_RELATIVE_ERROR,
        )
        for engine, error in result.relative_errors.items()
    ]


def _text(results: list[Result], options: argparse.Namespace) -> str:
    names = list(dict.fromkeys(name for result in results for name in result.race.rates))
    header = ["backbone, px", *names, "auto", "auto / best", "openvino / tensorflow", "relative error of openvino"]
    rows = [
        [
            result.label,
            *(f"{result.race.rate(name):.1f}" if name in result.race.rates else "–" for name in names),
            result.usual,
            f"{result.over_best:.2f}",
            f"{result.race.ratio(OWN[OPENVINO], OWN[TENSORFLOW]):.2f}",
            f"{result.relative_errors[OPENVINO]:.1e}",
        ]
        for result in results
    ]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Images a second, float32, {options.weights} weights, batches of {BATCH_SIZE}: medians of {options.rounds} "
        "rounds in which every contestant runs once. Ratios are medians of the rounds' own ratios. Our engines take "
        "uint8 images and preprocess them, the others take pixels that are preprocessed already; OpenVINO and ONNX "
        f"Runtime run what Keras's own `export` writes.{_notes(results)}"
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
                "auto": result.usual,
                "auto_over_best": result.over_best,
                "relative_errors": result.relative_errors,
                "left_out": result.left_out,
            }
            for result in results
        ]
    }


def all_models() -> list[str]:
    """The networks of Keras Applications in the registry, and a small input."""
    return [*(name for name, entry in load_registry().items() if entry.weights == "imagenet"), SMALL_MODEL]


def measure_engines(options: argparse.Namespace) -> Figures:
    """The races of the chosen networks."""
    models = [name.strip() for name in options.models.split(",")] if options.models else all_models()
    results = measure_models(models, weights=options.weights, seconds=options.seconds, n_rounds=options.rounds)
    targets = tuple(target for result in results for target in targets_of(result))
    title = "Engines: images a second, side by side"
    return Figures("engines", title, _text(results, options), _numbers(results), targets)


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--models", help="NAME or NAME@SIZE, comma separated; all of Keras Applications if absent")
    parser.add_argument("--seconds", type=float, help="length of a contestant's round; 2 if absent")
    parser.add_argument("--rounds", type=int, help="rounds in which every contestant runs once; 5 if absent")
    parser.add_argument(
        "--weights",
        choices=("random", "imagenet"),
        default="random",
        help="speed does not depend on them; Keras has to have, or to download, the second",
    )
    options = parser.parse_args()
    if options.quick and not options.models:
        options.models = ",".join(QUICK_MODELS)
    options.seconds = options.seconds or (0.1 if options.quick else 2.0)
    options.rounds = options.rounds or (2 if options.quick else 5)
    return run_script(measure_engines, options)


if __name__ == "__main__":
    sys.exit(main())
