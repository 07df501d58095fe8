"""The classifier of a cell of strategy finetune or scratch, before it is trained."""

import time

from benchmark.backbones.build import arrays_sha256, build_backbone, build_untrained, weights_sha256
from benchmark.datasets import Dataset
from benchmark.features.cache import BuildFacts
from benchmark.features.graph import FrozenNetwork
from benchmark.options import FINETUNE
from benchmark.plan.cells import Cell
from benchmark.strategies.classifier import Classifier
from benchmark.strategies.dense import dense_layers


def build_classifier(cell: Cell, dataset: Dataset) -> tuple[Classifier, BuildFacts]:
    """The untrained classifier of a cell of strategy finetune or scratch, and what is known of its body.

    The seed draws the head and, without pretrained weights, the body. The dataset determines the number of classes and,
    of a network with its own classifier, of channels.
    """
    n_classes = len(dataset.class_names)
    started = time.perf_counter()
    if cell.strategy == FINETUNE:
        classifier = pretrained_classifier(cell, n_classes)
    else:
        classifier = untrained_classifier(cell, dataset.images.n_channels, n_classes)
    body = classifier.body
    build_s = time.perf_counter() - started
    frozen = FrozenNetwork(body, cell.input_size_px)
    sha256 = weights_sha256(cell.backbone, body) if cell.strategy == FINETUNE else arrays_sha256(body)
    return classifier, BuildFacts(build_s, frozen.params, frozen.flops_g(), sha256, frozen.weights_mib)


def pretrained_classifier(cell: Cell, n_classes: int) -> Classifier:
    """The backbone of a cell with its pretrained weights, below a dense head that is drawn from the seed."""
    import keras

    body = build_backbone(cell.backbone, cell.input_size_px)
    keras.utils.set_random_seed(cell.seed)
    return Classifier(body, dense_layers(cell.dense, n_classes), is_pretrained=True)


def untrained_classifier(cell: Cell, n_channels: int, n_classes: int) -> Classifier:
    """The classifier of a cell of strategy finetune or scratch, with all its weights drawn from the seed.

    The images have `n_channels` channels, which matters for networks with their own classifier only.
    """
    body = build_untrained(cell.backbone, cell.input_size_px, cell.seed, n_channels=n_channels, n_classes=n_classes)
    head = [] if cell.backbone.has_classifier else dense_layers(cell.dense, n_classes)
    return Classifier(body, head, is_pretrained=cell.strategy == FINETUNE)
