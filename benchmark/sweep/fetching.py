"""Weights and data brought ahead of time."""

import multiprocessing
import os
from typing import Any

from benchmark.backbones.sources import weights_file
from benchmark.datasets import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.registry import Backbone
from benchmark.sweep.cells import DatasetRequest


def fetch_dataset(request: DatasetRequest) -> str:
    """Bring a dataset and say what it is.

    Raises:
        BenchmarkError: It cannot be brought or used.
    """
    dataset = load_dataset(request.name, classes=request.classes, max_bad_images=request.max_bad_images)
    return f"{len(dataset):,} images, {len(dataset.class_names)} classes, fingerprint {dataset.fingerprint[:12]}"


def fetch_backbone(backbone: Backbone, size_px: int) -> str:
    """Bring a backbone's weights and say where they are.

    Raises:
        BenchmarkError: They cannot be brought.
    """
    path = weights_file(backbone)
    if path is not None:
        return str(path)
    if backbone.weights == "imagenet":
        _download_imagenet_weights(backbone, size_px)
        return "in Keras's cache"
    return "needs no file"


def _download_imagenet_weights(backbone: Backbone, size_px: int) -> None:
    # Only Keras knows which file it wants, and Keras is imported in processes of its own.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_build_once, args=(backbone, size_px, sender), daemon=True)
    child.start()
    sender.close()
    try:
        error = receiver.recv()
    except EOFError:
        error = BenchmarkError(f"The process that fetches {backbone.name} ended without a word.")
    child.join()
    if error is not None:
        raise error


def _build_once(backbone: Backbone, size_px: int, sender: Any) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from benchmark.backbones.build import build_backbone

    try:
        build_backbone(backbone, size_px)
        sender.send(None)
    except BenchmarkError as error:
        sender.send(error)
