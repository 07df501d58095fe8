"""The classifier of a cell that trains more than a head, before it has learned anything."""

import time
from dataclasses import dataclass

from benchmark.backbones.build import build_backbone, build_untrained, weights_sha256
from benchmark.datasets import Dataset
from benchmark.features.cache import BuildFacts
from benchmark.features.graph import FrozenNetwork
from benchmark.options import FINETUNE
from benchmark.plan.cells import Cell
from benchmark.strategies.classifier import Classifier, Cut
from benchmark.strategies.dense import dense_layers


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

    def freeze(self, cut: Cut) -> FrozenNetwork:
        """The network up to a cut, frozen with the weights it has now."""
        return FrozenNetwork(self.classifier.front(cut), self.size_px)


def make_learner(cell: Cell, dataset: Dataset) -> Learner:
    """The untrained classifier of a cell; its head, and without pretrained weights its body, drawn from the seed.

    Args:
        cell: Of strategy finetune or scratch.
        dataset: Says how many classes, and how many channels a network with its own classifier gets.
    """
    import keras

    n_classes = len(dataset.class_names)
    started = time.perf_counter()
    if cell.strategy == FINETUNE:
        body = build_backbone(cell.backbone, cell.input_size_px)
        keras.utils.set_random_seed(cell.seed)
        classifier = Classifier(body, dense_layers(cell.dense, n_classes), is_pretrained=True)
    else:
        classifier = untrained_classifier(cell, dataset.images.n_channels, n_classes, is_pretrained=False)
        body = classifier.body
    build_s = time.perf_counter() - started
    flops_g = FrozenNetwork(body, cell.input_size_px).flops_g()
    facts = BuildFacts(build_s, int(body.count_params()), flops_g, weights_sha256(cell.backbone, body))
    feature_dim = None if cell.backbone.has_classifier else int(body.outputs[0].shape[-1])
    return Learner(classifier, facts, feature_dim, cell.input_size_px)


def untrained_classifier(cell: Cell, n_channels: int, n_classes: int, *, is_pretrained: bool) -> Classifier:
    """The classifier of a cell with all its weights drawn from the seed.

    Args:
        cell: The cell.
        n_channels: Of the images, for a network with its own classifier.
        n_classes: Number of classes.
        is_pretrained: Whether it stands for one with pretrained weights.
    """
    body = build_untrained(cell.backbone, cell.input_size_px, cell.seed, n_channels=n_channels, n_classes=n_classes)
    head = [] if cell.backbone.has_classifier else dense_layers(cell.dense, n_classes)
    return Classifier(body, head, is_pretrained=is_pretrained)
