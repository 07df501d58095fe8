"""Images a second of the extraction engines, beside the same network in other libraries.

Our engines get uint8 images of the network's size, preprocess them, and check, hash and write the features; every
other contestant gets float32 pixels that are preprocessed already. All run in turn in one run (those of the largest
networks one after the other, for lack of memory), each in a process of its own, because in one process the libraries'
pools of threads take the cores from each other.
"""

import argparse
import functools
import importlib
import multiprocessing
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from measuring import (
    Contestant,
    Figures,
    Race,
    Target,
    markdown_table,
    measured_once,
    race,
    run_script,
    say,
    script_options,
)
from numpy.typing import NDArray

from benchmark.backbones.build import build_backbone
from benchmark.datasets import array_source
from benchmark.features.engine import extract_features
from benchmark.features.engines import OPENVINO, TENSORFLOW, CompiledNetwork
from benchmark.features.extractor import BATCH_SIZE
from benchmark.features.graph import FrozenNetwork
from benchmark.preprocessing import resolve_mode
from benchmark.provenance import usable_cpus
from benchmark.registry import Backbone, get_backbone, load_registry

NAME = "engines"
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

# Five of these at once take more than 24 GiB, so their contestants run one after the other.
APART = (
    "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge", "EfficientNetB4", "EfficientNetB5", "EfficientNetB6",
    "EfficientNetB7", "EfficientNetV2L", "EfficientNetV2M", "NASNetLarge",
)  # fmt: skip

BARE_OPENVINO = "OpenVINO"
OWN = {TENSORFLOW: "engine tensorflow", OPENVINO: "engine openvino"}
OVER_BEST = 0.95
OVER_TENSORFLOW = {SMALL_MODEL: 1.5}

LONGEST_REASON = 200
SLOW_PASS_S = 20  # what the first pass prepares is little of one that takes longer
N_POOL = 32  # different images; a round repeats them

Pixels = NDArray[np.float32]
Features = NDArray[np.float32]
Extract = Callable[[Pixels], Features]
Measure = Callable[[NDArray[Any]], float]


@dataclass(frozen=True)
class Prepared:
    """A contestant, ready to run.

    Attributes:
        measure: Images a second on an array of images; what is left out of the time is done before.
        pool: `N_POOL` images to repeat.
        n_uncounted: Images of a round that its rate leaves out.
    """

    measure: Measure
    pool: NDArray[Any]
    n_uncounted: int = 0


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
        left_out: Why an optional contestant did not take part, by its name.
    """

    backbone: str
    size_px: int
    race: Race
    usual: str
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


def find_backbone(model: str, weights: str) -> tuple[Backbone, int]:
    """The registry record of `NAME` or `NAME@SIZE`, and its size."""
    name, _, size = model.partition("@")
    backbone = get_backbone(load_registry(), name).model_copy(update={"weights": weights})
    return backbone, int(size or backbone.input_size_px)


def make_subject(model: str, weights: str) -> Subject:
    """The network of `NAME` or `NAME@SIZE` and random images for it."""
    backbone, size_px = find_backbone(model, weights)
    network = build_backbone(backbone, size_px)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N_POOL, size_px, size_px, 3), dtype=np.uint8)
    preprocess = importlib.import_module(f"keras.applications.{backbone.preprocess}").preprocess_input
    pixels = preprocess(images.astype(np.float32))
    return Subject(backbone, size_px, network, images, pixels)


def prepare_own(model: str, weights: str, engine: str) -> Prepared:
    """One of our engines. Its first batch, which compiles, is not counted."""
    subject = make_subject(model, weights)
    network = CompiledNetwork(engine, FrozenNetwork(subject.network, subject.size_px), 3, "float32")
    extractor = network.extractor(resolve_mode("native", subject.backbone.native_mode))

    def extract(images: NDArray[np.uint8], file: IO[bytes]) -> float:
        return extract_features(extractor, array_source(images), len(images), file).images_per_s

    def measure(images: NDArray[np.uint8]) -> float:
        with tempfile.TemporaryFile() as file:
            return extract(images, file)

    with tempfile.TemporaryFile() as file:
        extract(subject.images, file)
    return Prepared(measure, subject.images, BATCH_SIZE)


def prepare_openvino(model: str, weights: str) -> Prepared:
    """The network exported by Keras, in OpenVINO's own asynchronous queue with its own settings for throughput."""
    import openvino

    subject = make_subject(model, weights)
    with tempfile.TemporaryDirectory() as folder:
        subject.network.export(folder, format="tf_saved_model", verbose=False)
        core = openvino.Core()
        converted = core.read_model(folder)  # `convert_model` starts processes that report the use of it
        converted.reshape([BATCH_SIZE, *subject.pixels.shape[1:]])
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        queue = openvino.AsyncInferQueue(core.compile_model(converted, "CPU", settings))
    found: dict[int, Features] = {}
    queue.set_callback(lambda request, number: found.__setitem__(number, request.get_output_tensor(0).data.copy()))

    def extract(pixels: Pixels) -> Features:
        found.clear()
        for number, start in enumerate(range(0, len(pixels), BATCH_SIZE)):
            queue.start_async([pixels[start : start + BATCH_SIZE]], number)
        queue.wait_all()
        return np.concatenate([found[number] for number in sorted(found)])

    return Prepared(timed(extract), subject.pixels)


def prepare_onnx(model: str, weights: str) -> Prepared:
    """The network exported by Keras to ONNX, in ONNX Runtime on the processor.

    Raises:
        ImportError: onnxruntime or tf2onnx is not installed.
        Exception: ONNX has no counterpart for some operation; ConvNeXt's, for one.
    """
    import onnxruntime

    subject = make_subject(model, weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        subject.network(subject.pixels[:1])  # one that has not been called cannot be exported
        subject.network.export(path, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (only_input,) = session.get_inputs()
    return Prepared(timed(in_batches(lambda pixels: session.run(None, {only_input.name: pixels})[0])), subject.pixels)


def prepare_timm(model: str, weights: str) -> Prepared:
    """The network of the same name in timm on PyTorch, eager, channels last, random weights.

    Raises:
        ImportError: timm is not installed.
    """
    import timm
    import torch

    backbone, size_px = find_backbone(model, weights)
    network = timm.create_model(TIMM_NAMES[backbone.name], pretrained=False, num_classes=0)
    network = network.eval().to(memory_format=torch.channels_last)

    def extract(pixels: Pixels) -> Features:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()

    pixels = np.random.default_rng(0).standard_normal((N_POOL, size_px, size_px, 3), dtype=np.float32)
    return Prepared(timed(in_batches(extract)), pixels)


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


# Those whose library is not installed, or cannot run a network, are left out.
RIVALS: dict[str, Callable[[str, str], Prepared]] = {
    BARE_OPENVINO: prepare_openvino,
    "ONNX Runtime": prepare_onnx,
    "timm": prepare_timm,
}
PREPARE: dict[str, Callable[[str, str], Prepared]] = {
    **{name: functools.partial(prepare_own, engine=engine) for engine, name in OWN.items()},
    **RIVALS,
}


class _InProcess:
    """What the process of a contestant holds between its calls."""

    prepared: Prepared
    images: NDArray[Any]


def _prepare(name: str, model: str, weights: str) -> None:
    _InProcess.prepared = PREPARE[name](model, weights)


def _prepared(process: Executor, name: str, *, model: str, weights: str) -> Future[None]:
    """Make the contestant in this process; the result holds what that raised."""
    outcome = process.submit(_prepare, name, model, weights)
    wait([outcome])
    return outcome


def _settle(seconds: float) -> tuple[float, int]:
    """Make rounds of about so many seconds, of at least one batch for each core; the warm rate and images a round."""
    prepared = _InProcess.prepared
    # Two batches at once: OpenVINO prepares what a core needs when that core gets its first batch.
    pool = np.resize(prepared.pool, (N_POOL + prepared.n_uncounted, *prepared.pool.shape[1:]))
    started = time.perf_counter()
    rate = prepared.measure(pool)
    if time.perf_counter() - started < SLOW_PASS_S:
        rate = prepared.measure(pool)
    n_images = max(1, round(rate * seconds / N_POOL)) * N_POOL + prepared.n_uncounted
    _InProcess.images = np.resize(prepared.pool, (n_images, *prepared.pool.shape[1:]))
    return rate, n_images


def _run_round() -> float:
    return _InProcess.prepared.measure(_InProcess.images)


class _Raced(NamedTuple):
    """What a race gave: the rates, and why optional contestants did not take part."""

    race: Race
    left_out: dict[str, str]


def measure_model(model: str, *, weights: str, seconds: float, n_rounds: int) -> Result:
    """The race of all contestants on one network."""
    say(model)
    backbone, size_px = find_backbone(model, weights)
    groups = [(name,) for name in PREPARE] if backbone.name in APART else [tuple(PREPARE)]
    raced = [_race_of(names, model, weights, seconds, n_rounds) for names in groups]
    outcome = Race({name: rates for one in raced for name, rates in one.race.rates.items()})
    left_out = {name: why for one in raced for name, why in one.left_out.items()}
    rates = ", ".join(f"{name} {outcome.rate(name):.1f}" for name in outcome.rates)
    say(f"  {rates} images/s")
    return Result(backbone.name, size_px, outcome, backbone.usual_engine, left_out)


def _race_of(names: Iterable[str], model: str, weights: str, seconds: float, n_rounds: int) -> _Raced:
    contestants, left_out = [], {}
    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        processes = {name: stack.enter_context(ProcessPoolExecutor(1, spawn)) for name in names}
        with ThreadPoolExecutor(usable_cpus()) as threads:  # each takes a core and some GiB
            prepare = functools.partial(_prepared, model=model, weights=weights)
            ready = zip(processes, threads.map(prepare, processes.values(), processes), strict=True)
        for name, prepared in ready:
            error = prepared.exception()
            if error and name not in RIVALS:
                raise error
            if error:  # whatever a rival fails of must not end the comparison
                left_out[name] = textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST_REASON, placeholder=" …")
                say(f"  {name} is left out: {left_out[name]}")
        for name in [name for name in processes if name not in left_out]:
            rate, n_images = processes[name].submit(_settle, seconds).result()
            say(f"  {name}: {rate:.1f} images/s when warm, {n_images} images a round")
            contestants.append(Contestant(name, lambda process=processes[name]: process.submit(_run_round).result()))
        return _Raced(race(contestants, n_rounds), left_out)


def measured(model: str, options: argparse.Namespace) -> Result:
    """The race of a network; one that a run that was interrupted has done on the same code is not run again."""

    def measure() -> dict[str, Any]:
        return asdict(measure_model(model, weights=options.weights, seconds=options.seconds, n_rounds=options.rounds))

    how = {name: getattr(options, name) for name in ("weights", "seconds", "rounds")}
    result = measured_once(NAME, {"model": model, **how}, measure)
    return Result(**{**result, "race": Race(**result["race"])})


def targets_of(result: Result) -> list[Target]:
    """What a network's race has to show."""
    targets = [Target(f"{result.label}, auto over the best of all", result.over_best, OVER_BEST)]
    if least := OVER_TENSORFLOW.get(f"{result.backbone}@{result.size_px}"):
        ratio = result.race.ratio(OWN[result.usual], OWN[TENSORFLOW])
        targets.append(Target(f"{result.label}, auto over TensorFlow", ratio, least))
    return targets


def _text(results: list[Result], options: argparse.Namespace) -> str:
    names = list(dict.fromkeys(name for result in results for name in result.race.rates))
    header = ["backbone, px", *names, "auto", "auto / best", "openvino / tensorflow"]
    rows = [
        [
            result.label,
            *(f"{result.race.rate(name):.1f}" if name in result.race.rates else "–" for name in names),
            result.usual,
            f"{result.over_best:.2f}",
            f"{result.race.ratio(OWN[OPENVINO], OWN[TENSORFLOW]):.2f}",
        ]
        for result in results
    ]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Images a second, float32, {options.weights} weights, batches of {BATCH_SIZE}: medians of {options.rounds} "
        "rounds in which every contestant, a process of its own, runs once. Ratios are medians of the rounds' own "
        "ratios. Our engines take uint8 images and preprocess them, the others take pixels that are preprocessed "
        "already; OpenVINO and ONNX Runtime run what Keras's own `export` writes."
        f"{_notes(results)}"
    )


def _notes(results: list[Result]) -> str:
    """Which contestants ran one after the other, and which optional ones are left out, of which networks, and why."""
    labels: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for reason in result.left_out.items():
            labels.setdefault(reason, []).append(result.label)
    notes = [f"{name} is left out of {', '.join(of)} ({why})." for (name, why), of in labels.items()]
    if apart := [result.label for result in results if result.backbone in APART]:
        notes.append(f"For lack of memory, the contestants of {', '.join(apart)} ran one after the other.")
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
    results = [measured(model, options) for model in models]
    targets = tuple(target for result in results for target in targets_of(result))
    title = "Engines: images a second, side by side"
    return Figures(NAME, title, _text(results, options), _numbers(results), targets)


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--models", help="NAME or NAME@SIZE, comma separated; all of Keras Applications if absent")
    parser.add_argument("--seconds", type=float, help="length of a contestant's round; 2 if absent")
    parser.add_argument("--rounds", type=int, help="rounds in which every contestant runs once; 3 if absent")
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
    options.rounds = options.rounds or (2 if options.quick else 3)
    return run_script(measure_engines, options)


if __name__ == "__main__":
    sys.exit(main())
