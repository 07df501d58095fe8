"""The frozen network of a job: built, and checked against the one that was planned."""

import time

from benchmark.backbones.build import (
    RANDOM_WEIGHTS_SEED,
    build_backbone,
    build_untrained,
    build_whole,
    weights_sha256,
)
from benchmark.backbones.builders import BuilderError
from benchmark.backbones.identity import network_sha256
from benchmark.datasets import Dataset
from benchmark.features.cache import BuildFacts
from benchmark.features.extractor import has_gpu
from benchmark.features.graph import FrozenNetwork, keras_precision
from benchmark.options import CLASSIFY
from benchmark.plan.cells import Cell


def build_frozen(cell: Cell, precision: str) -> tuple[FrozenNetwork, BuildFacts]:
    """The frozen backbone of a cell and what is known of it; of strategy `classify`, the network with its classifier.

    Args:
        cell: Its backbone, strategy and size count.
        precision: Of the arithmetic on a GPU.
    """
    build = build_whole if cell.strategy == CLASSIFY else build_backbone
    started = time.perf_counter()
    with keras_precision(precision, has_gpu=has_gpu()):
        network = build(cell.backbone, cell.input_size_px)
    frozen = FrozenNetwork(network, cell.input_size_px)
    build_s = time.perf_counter() - started
    sha256 = weights_sha256(cell.backbone, network)
    return frozen, BuildFacts(build_s, frozen.params, frozen.flops_g(), sha256, frozen.weights_mib)


def check_builder(cell: Cell, dataset: Dataset) -> None:
    """Refuse the network of a builder that is not the one of the cell's key: its code changed meanwhile.

    Raises:
        BuilderError: It changed.
    """
    if not cell.network_sha256:
        return
    network = build_untrained(
        cell.backbone,
        cell.input_size_px,
        RANDOM_WEIGHTS_SEED,
        n_channels=dataset.images.n_channels,
        n_classes=len(dataset.class_names),
    )
    if network_sha256(network) != cell.network_sha256:
        raise BuilderError(
            f"{cell.backbone.name}: builder {cell.backbone.builder!r} changed after this sweep was planned: run "
            "the same command again."
        )
