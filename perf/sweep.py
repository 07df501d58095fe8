"""What a sweep costs beyond its passes over the images, and what the same probe costs in the way of most tutorials.

Both sides start from an empty feature cache and are timed from the start of their process to its end.
"""

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import (
    Figures,
    SweepRun,
    Target,
    in_fresh_process,
    markdown_table,
    run_script,
    run_sweep,
    say,
    script_options,
)

from benchmark.backbones.sources import weights_file
from benchmark.datasets import load_dataset, split_dataset
from benchmark.options import DenseOptions
from benchmark.recipes import Grid
from benchmark.registry import get_backbone, load_registry

BACKBONE, DATASET = "MobileNetV2-dogs", "fashion_mnist"
# Six that differ: this backbone's `native` is `tf`, which would share its pass.
MODES = ("native", "unit", "raw", "caffe", "torch", "bgr")
HEADS = ("linear", "ridge", "knn", "dense")
SEEDS = (0, 1, 2, 3, 4)
QUICK_MODES, QUICK_HEADS, QUICK_SEEDS = ("native", "raw"), ("linear", "dense"), (0, 1)
TUTORIAL_SEED = 0
TUTORIAL_BATCH_SIZE = 32

MOST_OVER_PASSES = 2.0
LEAST_OVER_OURS = 8.0


@dataclass(frozen=True)
class SweepCost:
    """What a sweep cost.

    Attributes:
        n_cells: Cells done.
        n_passes: Passes over the images.
        clock_s: Seconds of the whole command.
        extract_s: Seconds of the passes.
        train_s: By head, seconds to train it in all its cells.
        eval_s: Seconds to score, all cells.
    """

    n_cells: int
    n_passes: int
    clock_s: float
    extract_s: float
    train_s: dict[str, float]
    eval_s: float


@dataclass(frozen=True)
class ProbeCost:
    """What one probe cost and gave, done in one of two ways.

    Attributes:
        name: As the figures show it.
        clock_s: Seconds of its whole process.
        accuracy: Of the test images.
        epochs: Passes over the training images or features.
        parts_s: Seconds of its parts.
    """

    name: str
    clock_s: float
    accuracy: float
    epochs: int
    parts_s: dict[str, float]

    @property
    def work_s(self) -> float:
        """All parts: without starting Python, importing TensorFlow and planning."""
        return sum(self.parts_s.values())


@dataclass(frozen=True)
class TutorialResult:
    """What the tutorial's process measured itself: accuracy of the test images, and seconds of its parts."""

    accuracy: float
    parts_s: dict[str, float]


def run_in_clean_cache(options: argparse.Namespace, **axes: tuple[Any, ...]) -> SweepRun:
    """Run the public command with an empty feature cache; only the weights file is there already.

    Args:
        options: Size and limit.
        axes: Modes, heads and seeds.
    """
    weights = weights_file(get_backbone(load_registry(), BACKBONE))
    assert weights is not None, f"{BACKBONE} has a weights file"
    chosen = {"backbones": BACKBONE, "datasets": DATASET, "input-size": options.input_size, "limit": options.limit}
    lists = {name: ",".join(map(str, values)) for name, values in axes.items()}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        (cache / weights.parent.name).mkdir(parents=True)
        shutil.copy(weights, cache / weights.parent.name)
        return run_sweep({**chosen, **lists}, Path(folder) / "results", cache=cache)


def measure_sweep(options: argparse.Namespace) -> SweepCost:
    """The cost of many modes, heads and seeds."""
    modes, heads, seeds = (QUICK_MODES, QUICK_HEADS, QUICK_SEEDS) if options.quick else (MODES, HEADS, SEEDS)
    say(f"sweep of {len(modes)} modes, {len(heads)} heads, {len(seeds)} seeds")
    run = run_in_clean_cache(options, modes=modes, heads=heads, seeds=seeds)
    passes = run.runs[run.runs["features_cached"] == 0]
    assert len(passes) == len(modes), f"{len(passes)} passes for {len(modes)} modes"
    train_s = {str(head): float(seconds) for head, seconds in run.runs.groupby("head")["train_s"].sum().items()}
    extract_s, eval_s = float(passes["extract_s"].sum()), float(run.runs["eval_s"].sum())
    return SweepCost(len(run.runs), len(passes), run.clock_s, extract_s, train_s, eval_s)


def measure_our_probe(options: argparse.Namespace) -> ProbeCost:
    """One pass in the right mode, then the dense head, by the public command."""
    say("the probe, by benchmark run")
    run = run_in_clean_cache(options, modes=("native",), heads=("dense",), seeds=(TUTORIAL_SEED,))
    (row,) = run.runs.to_dict("records")
    parts_s = {name: float(row[name]) for name in ("load_s", "build_s", "extract_s", "train_s", "eval_s")}
    return ProbeCost("benchmark run", run.clock_s, float(row["accuracy"]), int(row["epochs"]), parts_s)


def measure_tutorial(options: argparse.Namespace) -> ProbeCost:
    """The same probe by `model.fit` through the frozen backbone, in a process of its own."""
    say(f"the probe, by model.fit for {options.epochs} epochs")
    started = time.perf_counter()
    result = in_fresh_process(fit_through_backbone, options.limit, options.input_size, options.epochs)
    clock_s = time.perf_counter() - started
    return ProbeCost("model.fit", clock_s, result.accuracy, options.epochs, result.parts_s)


def fit_through_backbone(limit: int, size_px: int, n_epochs: int) -> TutorialResult:
    """Train the dense head of most tutorials with `model.fit`: each image passes the backbone in every epoch.

    Args:
        limit: Images of the dataset, over all splits.
        size_px: Side of the network's input.
        n_epochs: Of training.
    """
    import keras

    started = time.perf_counter()
    dataset = load_dataset(DATASET, limit=limit)
    split = split_dataset(dataset, seed=TUTORIAL_SEED, val_fraction=Grid().val_fraction)
    model = _tutorial_model(size_px, len(dataset.class_names))
    parts = {
        name: _image_stream(dataset.images.pixels[chosen], dataset.labels[chosen], size_px, is_shuffled=name == "train")
        for name, chosen in asdict(split).items()
    }
    built = time.perf_counter()
    keras.utils.set_random_seed(TUTORIAL_SEED)
    # The stream shuffles itself; Keras would warn that it cannot.
    model.fit(parts["train"], validation_data=parts["val"], epochs=n_epochs, shuffle=False, verbose=0)
    trained = time.perf_counter()
    _, accuracy = model.evaluate(parts["test"], verbose=0)
    evaluated = time.perf_counter()
    seconds = {"build_s": built - started, "train_s": trained - built, "eval_s": evaluated - trained}
    return TutorialResult(float(accuracy), seconds)


def _tutorial_model(size_px: int, n_classes: int) -> Any:
    import keras

    from benchmark.backbones.build import build_backbone

    head = DenseOptions()
    backbone = build_backbone(get_backbone(load_registry(), BACKBONE), size_px)  # ends in global average pooling
    inputs = keras.Input((size_px, size_px, 3))
    x = backbone(inputs, training=False)
    x = keras.layers.Dense(head.units, activation="relu")(x)
    x = keras.layers.Dropout(head.dropout)(x)
    model = keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))
    optimizer = keras.optimizers.Adam(head.learning_rate)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _image_stream(pixels: Any, labels: Any, size_px: int, *, is_shuffled: bool) -> Any:
    """Batches of images, made RGB, resized and preprocessed on the fly, as often as they are asked for."""
    import keras
    import tensorflow as tf

    resize = keras.layers.Resizing(size_px, size_px)
    module = get_backbone(load_registry(), BACKBONE).preprocess
    preprocess = importlib.import_module(f"keras.applications.{module}").preprocess_input

    def prepare(images: Any, classes: Any) -> Any:
        return preprocess(resize(tf.image.grayscale_to_rgb(images))), classes

    stream = tf.data.Dataset.from_tensor_slices((pixels, labels))
    if is_shuffled:
        stream = stream.shuffle(len(labels), seed=TUTORIAL_SEED)
    prepared = stream.batch(TUTORIAL_BATCH_SIZE).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return prepared.prefetch(tf.data.AUTOTUNE)


def measure(options: argparse.Namespace) -> Figures:
    """Both comparisons."""
    sweep = measure_sweep(options)
    ours, tutorial = measure_our_probe(options), measure_tutorial(options)
    over_passes, over_ours = sweep.clock_s / sweep.extract_s, tutorial.clock_s / ours.clock_s
    targets = (
        Target("seconds of the sweep over those of its passes alone", over_passes, at_most=MOST_OVER_PASSES),
        Target("seconds of model.fit over those of benchmark run", over_ours, at_least=LEAST_OVER_OURS),
    )
    over_our_work = tutorial.work_s / ours.work_s
    numbers = {
        "n_images": options.limit,
        "size_px": options.input_size,
        "sweep": asdict(sweep),
        "probes": [asdict(ours), asdict(tutorial)],
        "tutorial_over_ours": {"clock": over_ours, "work": over_our_work},
    }
    title = "A sweep beside its passes, and a probe beside the tutorials' way"
    return Figures("sweep", title, _text(sweep, [ours, tutorial], options), numbers, targets)


def _text(sweep: SweepCost, probes: list[ProbeCost], options: argparse.Namespace) -> str:
    costs = {
        f"the whole sweep, {sweep.n_cells} cells": sweep.clock_s,
        f"its {sweep.n_passes} passes alone": sweep.extract_s,
        **{f"training `{head}`, all its cells": seconds for head, seconds in sweep.train_s.items()},
        "scoring": sweep.eval_s,
    }
    sweep_rows = [[name, f"{seconds:.1f}"] for name, seconds in costs.items()]
    probe_rows = [
        [
            probe.name,
            f"{probe.clock_s:.1f}",
            f"{probe.work_s:.1f}",
            f"{probe.accuracy:.4f}",
            str(probe.epochs),
            ", ".join(f"{name.removesuffix('_s')} {seconds:.1f}" for name, seconds in probe.parts_s.items()),
        ]
        for probe in probes
    ]
    return (
        f"{options.limit:,} images of {DATASET}, {BACKBONE} at {options.input_size} px, empty feature cache. Seconds "
        "of commands are those of whole processes, from start to end.\n\n"
        f"{markdown_table(['what', 's'], sweep_rows)}\n\n"
        "The same probe twice: the right preprocessing, the frozen backbone, Dense(256, relu), Dropout, "
        "Dense(10, softmax), the same train, validation and test images. `benchmark run` ends when the validation loss "
        f"no longer falls, `model.fit` after {options.epochs} epochs.\n\n"
        f"{markdown_table(['how', 's', 'work, s', 'test accuracy', 'epochs', 'parts of the work, s'], probe_rows)}"
    )


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--limit", type=int, help="images of the dataset, over all splits; 10000 if absent")
    parser.add_argument("--input-size", type=int, help="side of the network's input in px; the registry's if absent")
    parser.add_argument("--epochs", type=int, help="of model.fit; 10 if absent")
    options = parser.parse_args()
    options.limit = options.limit or (600 if options.quick else 10_000)
    registry_size_px = get_backbone(load_registry(), BACKBONE).input_size_px
    options.input_size = options.input_size or (32 if options.quick else registry_size_px)
    options.epochs = options.epochs or (1 if options.quick else 10)
    return run_script(measure, options)


if __name__ == "__main__":
    sys.exit(main())
