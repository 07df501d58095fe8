"""Weights and data downloaded ahead of time."""

from benchmark.backbones.sources import weights_file
from benchmark.isolation import call_silently_in_child
from benchmark.plan.cells import DatasetRequest
from benchmark.registry import Backbone


def fetch_dataset(request: DatasetRequest) -> str:
    """Download a dataset and describe it.

    Raises:
        BenchmarkError: It cannot be downloaded or used.
    """
    dataset = request.load()
    return f"{len(dataset):,} images, {len(dataset.class_names)} classes, fingerprint {dataset.fingerprint[:12]}"


def fetch_backbone(backbone: Backbone, size_px: int) -> str:
    """Download a backbone's weights and say where they are.

    Raises:
        BenchmarkError: They cannot be downloaded.
    """
    path = weights_file(backbone)
    if path is not None:
        return str(path)
    if backbone.weights == "imagenet":
        call_silently_in_child(fetch_imagenet_weights, backbone, size_px)
        return "in Keras's cache"
    return "needs no file"


def fetch_imagenet_weights(backbone: Backbone, size_px: int) -> None:
    """Build a backbone once: only Keras knows which file it needs, and downloads it then.

    Raises:
        DownloadError: It cannot be downloaded.
    """
    from benchmark.backbones.build import build_backbone

    build_backbone(backbone, size_px)
