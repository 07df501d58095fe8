"""Weights and data downloaded ahead of time."""

from benchmark.backbones.sources import weights_file
from benchmark.isolation import call_silently_in_child
from benchmark.options import CLASSIFY
from benchmark.plan.cells import Cell, DatasetRequest


def fetch_dataset(request: DatasetRequest) -> str:
    """Download a dataset and describe it.

    Raises:
        BenchmarkError: It cannot be downloaded or used.
    """
    dataset = request.load()
    return f"{len(dataset):,} images, {len(dataset.class_names)} classes, fingerprint {dataset.fingerprint[:12]}"


def fetch_backbone(cell: Cell) -> str:
    """Download the weights of a cell's backbone, for its strategy, and say where they are.

    Raises:
        BenchmarkError: They cannot be downloaded.
    """
    path = weights_file(cell.backbone)
    if path is not None:
        return str(path)
    if cell.backbone.weights == "imagenet":
        call_silently_in_child(fetch_imagenet_weights, cell)
        return "in Keras's cache"
    return "needs no file"


def fetch_imagenet_weights(cell: Cell) -> None:
    """Build a cell's network once: only Keras knows which file it needs, and downloads it then.

    Raises:
        DownloadError: It cannot be downloaded.
    """
    from benchmark.backbones.build import build_backbone, build_whole

    build = build_whole if cell.strategy == CLASSIFY else build_backbone
    build(cell.backbone, cell.input_size_px)
