"""Fine-tuning from cached activations beside training through the whole model, and scratch beside a plain `model.fit`.

Seconds are those of an epoch after the first, which compiles.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Figures, Target, in_fresh_process, markdown_table, run_script, say, script_options

from benchmark.datasets import Dataset, load_dataset, split_dataset
from benchmark.options import ALL_LAYERS, DenseOptions, Stage
from benchmark.preprocessing import View, resolve_mode
from benchmark.recipes import Grid
from benchmark.registry import get_backbone, load_registry

BACKBONE, DATASET, NETWORK, SEED = "MobileNetV2-dogs", "fashion_mnist", "two_conv_bn", 0
N_LAYERS = 20
BATCH_SIZE = 64

LEAST_OVER_WHOLE = 3.0
LARGEST_DIFFERENCE = 0.003
LEAST_OVER_FIT = 0.95


@dataclass(frozen=True)
class Training:
    """What one way of training cost and gave.

    Attributes:
        name: As the figures show it.
        epoch_s: Median seconds of an epoch, the first of each stage left out.
        extract_s: Seconds to compute the activations once.
        accuracy: Of the test images.
    """

    name: str
    epoch_s: float
    extract_s: float
    accuracy: float


def finetune(limit: int, size_px: int, n_epochs: int, *, is_cached: bool) -> Training:
    """Train the head, then the last layers of the backbone at a lower rate.

    Args:
        limit: Images of the dataset, over all splits.
        size_px: Side of the network's input.
        n_epochs: Of each stage.
        is_cached: From activations that are computed once, or through the whole model.
    """
    import keras

    from benchmark.backbones.build import build_backbone
    from benchmark.features.engine import extract_features
    from benchmark.features.engines import TENSORFLOW, CompiledNetwork
    from benchmark.features.graph import FrozenNetwork
    from benchmark.options import NO_AUGMENTATION
    from benchmark.strategies.classifier import Classifier, Cut
    from benchmark.strategies.dense import dense_layers
    from benchmark.strategies.finetune import Pixels, run_training
    from benchmark.strategies.stages import Task

    dataset = load_dataset(DATASET, limit=limit)
    split = split_dataset(dataset, seed=SEED, val_fraction=Grid().val_fraction)
    backbone = get_backbone(load_registry(), BACKBONE)
    body = build_backbone(backbone, size_px)
    keras.utils.set_random_seed(SEED)
    classifier = Classifier(body, dense_layers(DenseOptions(units=0), len(dataset.class_names)), is_pretrained=True)
    view = View(size_px, "bilinear", "squash", resolve_mode("native", backbone.native_mode))
    extract_s = []

    def activations(cut: Cut) -> np.ndarray:
        path = Path(folder) / f"{cut.name}.npy"
        with path.open("wb") as file:
            frozen = FrozenNetwork(classifier.front(cut), size_px)
            network = CompiledNetwork(TENSORFLOW, frozen, dataset.images.n_channels, "float32")
            extractor, source = network.extractor(view.steps), dataset.images.source(view)
            extract_s.append(extract_features(extractor, source, len(dataset), file).extract_s)
        return np.load(path, mmap_mode="r")

    stages = (
        Stage(unfreeze=0, epochs=n_epochs, learning_rate=1e-3, batch_size=BATCH_SIZE),
        Stage(unfreeze=N_LAYERS, epochs=n_epochs, learning_rate=1e-4, batch_size=BATCH_SIZE),
    )
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_training(
            classifier,
            Pixels(dataset.images, view, NO_AUGMENTATION),
            Task(dataset.labels, dataset.class_names, split, SEED),
            stages,
            activations=activations if is_cached else None,
            checkpoint=Path(folder) / "checkpoint.npz",
        )
    accuracy = float(np.mean(outcome.scores.argmax(axis=1) == dataset.labels[split.test]))
    name = "tail, from cached activations" if is_cached else "whole model"
    return Training(name, _epoch_s(outcome.history, "stage 2"), sum(extract_s), accuracy)


def _untrained_network(dataset: Dataset) -> Any:
    from benchmark.backbones.build import build_untrained

    entry, n_channels = get_backbone(load_registry(), NETWORK), dataset.images.pixels.shape[-1]
    return build_untrained(entry, entry.input_size_px, SEED, n_channels=n_channels, n_classes=len(dataset.class_names))


def train_network(limit: int, n_epochs: int) -> Training:
    """Train a small network from scratch as a sweep does."""
    from benchmark.options import NO_AUGMENTATION
    from benchmark.strategies.classifier import Classifier
    from benchmark.strategies.finetune import Pixels, run_training
    from benchmark.strategies.stages import Task

    dataset = load_dataset(DATASET, limit=limit)
    split = split_dataset(dataset, seed=SEED, val_fraction=Grid().val_fraction)
    network = _untrained_network(dataset)
    stages = (Stage(unfreeze=ALL_LAYERS, epochs=n_epochs, batch_size=BATCH_SIZE),)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_training(
            Classifier(network, [], is_pretrained=False),
            Pixels(dataset.images, View(network.input_shape[1], "bilinear", "squash", ("unit",)), NO_AUGMENTATION),
            Task(dataset.labels, dataset.class_names, split, SEED),
            stages,
            activations=None,
            checkpoint=Path(folder) / "checkpoint.npz",
        )
    accuracy = float(np.mean(outcome.scores.argmax(axis=1) == dataset.labels[split.test]))
    return Training("strategy `scratch`", _epoch_s(outcome.history, "stage 1"), 0.0, accuracy)


def fit_network(limit: int, n_epochs: int) -> Training:
    """Train the same network by `model.fit` on float arrays, with Keras's own defaults."""
    import keras

    dataset = load_dataset(DATASET, limit=limit)
    split = split_dataset(dataset, seed=SEED, val_fraction=Grid().val_fraction)
    pixels = dataset.images.pixels / np.float32(255)
    model = _untrained_network(dataset)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds: list[float] = []
    timer = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda _epoch, _logs: seconds.append(-time.perf_counter()),
        on_epoch_end=lambda _epoch, _logs: seconds.append(seconds.pop() + time.perf_counter()),
    )
    val = (pixels[split.val], dataset.labels[split.val])
    model.fit(
        pixels[split.train], dataset.labels[split.train], validation_data=val, batch_size=BATCH_SIZE, epochs=n_epochs,
        callbacks=[timer], verbose=0,
    )  # fmt: skip
    _, accuracy = model.evaluate(pixels[split.test], dataset.labels[split.test], verbose=0)
    return Training("`model.fit` on arrays", statistics.median(seconds[1:] or seconds), 0.0, float(accuracy))


def _epoch_s(history: Sequence, stage: str) -> float:
    seconds = [point.value for point in history if point.stage == stage and point.metric == "seconds"]
    return statistics.median(seconds[1:] or seconds)


def measure(options: argparse.Namespace) -> Figures:
    """Both comparisons, each way in a process of its own."""
    trainings = []
    for is_cached in (True, False):
        say(f"fine-tuning, {'cached activations' if is_cached else 'whole model'}")
        arguments = (options.limit, options.input_size, options.epochs)
        trainings.append(in_fresh_process(_finetune_cached if is_cached else _finetune_whole, *arguments))
    for train in (train_network, fit_network):
        say(f"{NETWORK}: {train.__name__}")
        trainings.append(in_fresh_process(train, options.network_limit, options.epochs))
    tail, whole, ours, plain = trainings
    targets = (
        Target("seconds of an epoch through the whole model over those of the tail", whole.epoch_s / tail.epoch_s,
               at_least=LEAST_OVER_WHOLE),
        Target("difference of their accuracies", abs(whole.accuracy - tail.accuracy), at_most=LARGEST_DIFFERENCE),
        Target(f"seconds of an epoch of {NETWORK} by model.fit over ours", plain.epoch_s / ours.epoch_s,
               at_least=LEAST_OVER_FIT),
    )  # fmt: skip
    numbers = {"n_images": options.limit, "n_network_images": options.network_limit, "size_px": options.input_size,
               "trainings": [asdict(training) for training in trainings]}  # fmt: skip
    title = "Fine-tuning from cached activations, and a network from scratch"
    return Figures("finetune", title, _text(trainings, options), numbers, targets)


def _finetune_cached(limit: int, size_px: int, n_epochs: int) -> Training:
    return finetune(limit, size_px, n_epochs, is_cached=True)


def _finetune_whole(limit: int, size_px: int, n_epochs: int) -> Training:
    return finetune(limit, size_px, n_epochs, is_cached=False)


def _text(trainings: Sequence[Training], options: argparse.Namespace) -> str:
    header = ["how", "s an epoch", "activations once, s", "test accuracy"]
    rows = [[one.name, f"{one.epoch_s:.2f}", f"{one.extract_s:.1f}", f"{one.accuracy:.4f}"] for one in trainings]
    return (
        f"The last {N_LAYERS} layers of {BACKBONE} at {options.input_size} px, {options.limit:,} images of {DATASET}, "
        f"{options.epochs} epochs of the head before:\n\n{markdown_table(header, rows[:2])}\n\n"
        f"{NETWORK} from scratch, {options.network_limit:,} images:\n\n{markdown_table(header, rows[2:])}"
    )


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--limit", type=int, help="images to fine-tune on, over all splits; 10000 if absent")
    parser.add_argument("--network-limit", type=int, help="images for the network; 70000 if absent")
    parser.add_argument("--input-size", type=int, help="side of the backbone's input in px; 96 if absent")
    parser.add_argument("--epochs", type=int, help="of each stage; 3 if absent")
    options = parser.parse_args()
    options.limit = options.limit or (300 if options.quick else 10_000)
    options.network_limit = options.network_limit or (600 if options.quick else 70_000)
    options.input_size = options.input_size or (32 if options.quick else 96)
    options.epochs = options.epochs or (2 if options.quick else 3)
    return run_script(measure, options)


if __name__ == "__main__":
    sys.exit(main())
