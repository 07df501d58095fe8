"""The classifier of a cell that trains more than a head, before it has learned anything."""

import time
from dataclasses import dataclass
from typing import Any

from benchmark.backbones.build import build_backbone, build_untrained, weights_sha256
from benchmark.backbones.networks import NETWORKS
from benchmark.datasets import ArrayImages, Dataset
from benchmark.features.cache import BuildFacts
from benchmark.features.graph import FrozenBackbone
from benchmark.strategies.classifier import Classifier, Cut
from benchmark.strategies.dense import dense_layers
from benchmark.sweep.cells import FINETUNE, Cell

RGB = 3


@dataclass(frozen=True)
class Learner:
    """A classifier and what is known of its network.

    Attributes:
        classifier: Body with the weights to start from, and an untrained head.
        facts: Of the body.
        feature_dim: Width of what the head sees; None where the body holds the classifier.
        size_px: Side of the input.
    """

    classifier: Classifier
    facts: BuildFacts
    feature_dim: int | None
    size_px: int

    def freeze(self, cut: Cut) -> FrozenBackbone:
        """The network up to a cut, frozen with the weights it has now."""
        return FrozenBackbone(self.classifier.front(cut), self.size_px)


def make_learner(cell: Cell, dataset: Dataset) -> Learner:
    """The untrained classifier of a cell; its head, and without pretrained weights its body, drawn from the seed.

    Args:
        cell: Of strategy finetune or scratch.
        dataset: Says how many classes, and how many channels a network of its own gets.
    """
    import keras

    n_channels = dataset.images.pixels.shape[-1] if isinstance(dataset.images, ArrayImages) else RGB
    started = time.perf_counter()
    body = _body(cell, n_channels, len(dataset.class_names))
    build_s = time.perf_counter() - started
    keras.utils.set_random_seed(cell.seed)
    head = [] if cell.network else dense_layers(cell.dense, len(dataset.class_names))
    classifier = Classifier(body, head, is_pretrained=cell.strategy == FINETUNE)
    flops_g = FrozenBackbone(body, cell.input_size_px).flops_g()
    facts = BuildFacts(build_s, int(body.count_params()), flops_g, weights_sha256(cell.backbone, body))
    return Learner(classifier, facts, None if cell.network else int(body.outputs[0].shape[-1]), cell.input_size_px)


def _body(cell: Cell, n_channels: int, n_classes: int) -> Any:
    import keras

    if cell.network:
        keras.utils.clear_session()
        keras.utils.set_random_seed(cell.seed)
        return NETWORKS[cell.network].build((cell.input_size_px, cell.input_size_px, n_channels), n_classes)
    if cell.strategy == FINETUNE:
        return build_backbone(cell.backbone, cell.input_size_px)
    return build_untrained(cell.backbone, cell.input_size_px, cell.seed)
