"""Datasets: a name turned into images, labels and splits with a fingerprint."""

from benchmark.datasets.catalog import DATASETS, check_dataset_name, known_shape, load_dataset, load_local_dataset
from benchmark.datasets.dataset import Dataset
from benchmark.datasets.drawing import SPLIT_VERSION
from benchmark.datasets.imagenet import ALL_CLASSES, OWN_CLASSES, imagenet_ids, imagenet_positions
from benchmark.datasets.images import ArrayImages, EncodedImages, Identities, Images, Source, array_source
from benchmark.datasets.pixels import OnProgress
from benchmark.datasets.splits import Split, check_splits, split_dataset

__all__ = [
    "ALL_CLASSES",
    "DATASETS",
    "OWN_CLASSES",
    "SPLIT_VERSION",
    "ArrayImages",
    "Dataset",
    "EncodedImages",
    "Identities",
    "Images",
    "OnProgress",
    "Source",
    "Split",
    "array_source",
    "check_dataset_name",
    "check_splits",
    "imagenet_ids",
    "imagenet_positions",
    "known_shape",
    "load_dataset",
    "load_local_dataset",
    "split_dataset",
]
