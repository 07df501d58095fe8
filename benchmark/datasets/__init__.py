"""Datasets: a name turned into images, labels and splits with a fingerprint."""

from benchmark.datasets.catalog import check_dataset_name, known_shape, list_datasets, load_dataset, load_local_dataset
from benchmark.datasets.folder import Progress
from benchmark.datasets.records import ArrayImages, Dataset, FileImages, Images, Partition, RecordImages, partition

__all__ = [
    "ArrayImages",
    "Dataset",
    "FileImages",
    "Images",
    "Partition",
    "Progress",
    "RecordImages",
    "check_dataset_name",
    "known_shape",
    "list_datasets",
    "load_dataset",
    "load_local_dataset",
    "partition",
]
