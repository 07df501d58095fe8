"""Weights and data downloaded ahead of time."""

from benchmark.backbones.sources import weights_file
from benchmark.isolation import call_silently_in_child
from benchmark.plan.cells import DatasetRequest
from benchmark.registry import Backbone

# Where the files of these weights are.
KEPT_BY = {"imagenet": "Keras's cache", "preset": "its folder, or KerasHub's cache"}


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
    if backbone.weights in KEPT_BY:
        call_silently_in_child(build_once, backbone, size_px)
        return f"in {KEPT_BY[backbone.weights]}"
    return "needs no file"


def build_once(backbone: Backbone, size_px: int) -> None:
    """Build a backbone: only Keras or KerasHub knows which files it needs, and downloads them then.

    Raises:
        DownloadError: It cannot be downloaded.
    """
    from benchmark.backbones.build import build_backbone

    build_backbone(backbone, size_px)
