"""Weights and data downloaded ahead of time."""

from benchmark.backbones.sources import weights_file
from benchmark.isolation import call_silently_in_child
from benchmark.options import CLASSIFY
from benchmark.plan.cells import Cell, DatasetRequest

# Where the files of these weights are.
KEPT_BY = {"imagenet": "Keras's cache", "preset": "its folder, or KerasHub's cache"}


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
    if cell.backbone.weights in KEPT_BY:
        call_silently_in_child(build_once, cell)
        return f"in {KEPT_BY[cell.backbone.weights]}"
    return "needs no file"


def build_once(cell: Cell) -> None:
    """Build a cell's network: only Keras or KerasHub knows which files it needs, and downloads them then.

    Raises:
        DownloadError: It cannot be downloaded.
    """
    from benchmark.backbones.build import build_backbone, build_whole

    build = build_whole if cell.strategy == CLASSIFY else build_backbone
    build(cell.backbone, cell.input_size_px)
