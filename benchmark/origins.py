"""The changes between two rows, or between a row and now, which explain a difference."""

import math
from collections.abc import Mapping
from typing import Any

VERSIONS = {
    "keras_version": "Keras", "tensorflow_version": "TensorFlow", "openvino_version": "OpenVINO",
    "keras_hub_version": "KerasHub",
    "pillow_version": "Pillow",
    "python_version": "Python",
}  # fmt: skip
MACHINE = {
    "platform": "platform", "cpu": "processor", "cpu_vectors": "vectors", "cpu_count": "cores", "gpu": "GPU",
}  # fmt: skip
# Columns that identify what a number was made from, with names for readers. Hashes are not shown.
INPUTS = {"dataset_fingerprint": "the images", "weights": "weights", "weights_sha256": "the weights' values"}
DEFINITION = {
    "registry_sha256": "the registry entry",
    "pooling": "pooling",
    "network_sha256": "the network",
    "feature_version": "version of the features",
    "split_version": "version of the splits",
}
_HASHES = frozenset({"dataset_fingerprint", "weights_sha256", "registry_sha256", "network_sha256"})
# It is empty without a GPU. Any other empty column was not recorded by the version that wrote the row.
_EMPTY_IS_KNOWN = frozenset({"gpu"})

Row = Mapping[Any, Any]


def what_changed(before: Row, after: Row, columns: Mapping[str, str]) -> list[str]:
    """The columns in which two rows differ, as parts of a sentence: `Keras 3.14.0 then 3.15.1`.

    Args:
        before: The earlier row.
        after: The later row, or what is known of a cell now.
        columns: The columns to compare, with names for readers. Those that one of the two does not know are left out.
    """
    return [
        f"{name} changed" if column in _HASHES else f"{name} {_shown(before[column])} then {_shown(after[column])}"
        for column, name in columns.items()
        if _is_known(column, before) and _is_known(column, after) and before[column] != after[column]
    ]


def _is_known(column: str, row: Row) -> bool:
    value = row.get(column)
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is not None and not is_nan and (value != "" or column in _EMPTY_IS_KNOWN)


def _shown(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.9g}"
    return "none" if value == "" else value
