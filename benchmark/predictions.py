"""The files of predictions, true classes and trained weights: read whole and checked, or refused by name."""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import LedgerError

Classes = NDArray[np.int16]
# From the name of an array to the array.
Arrays = Callable[[str], NDArray[Any]]
_T = TypeVar("_T")


def read_predictions(path: Path) -> tuple[Classes, NDArray[np.float16]] | None:
    """Predicted classes `(n,)` of the test images and their scores `(n,)`; None if there is no such file.

    Whether all of them are classes of the dataset is for the caller, who knows it.

    Raises:
        LedgerError: The file is damaged: it has no classes, or not a score for each.
    """

    def take(arrays: Arrays) -> tuple[Classes, NDArray[np.float16]]:
        predicted, confidence = _classes(arrays("predicted")), arrays("confidence")
        if confidence.shape != predicted.shape or confidence.dtype.kind != "f" or np.isnan(confidence).any():
            raise ValueError("not every prediction has a score")
        return predicted, confidence

    return _read(path, take)


def read_true_scores(path: Path) -> NDArray[np.float16] | None:
    """The scores `(n,)` of the true classes of the test images; None if they were not kept, as in earlier versions.

    Raises:
        LedgerError: The file is damaged.
    """

    def take(arrays: Arrays) -> NDArray[np.float16] | None:
        try:
            scores = arrays("true_score")
        except KeyError:
            return None
        if scores.shape != arrays("predicted").shape or scores.dtype.kind != "f" or np.isnan(scores).any():
            raise ValueError("not every true class has a score")
        return scores

    return _read(path, take)


def read_true_labels(path: Path) -> tuple[Classes, tuple[str, ...]] | None:
    """True classes `(n,)` of the test images and the names of all classes; None if there is no such file.

    Raises:
        LedgerError: The file is damaged: it has no classes, or not a name for each.
    """

    def take(arrays: Arrays) -> tuple[Classes, tuple[str, ...]]:
        labels, names = _classes(arrays("true")), arrays("class_names")
        if names.ndim != 1 or names.dtype.kind != "U" or labels.min() < 0 or labels.max() >= len(names):
            raise ValueError("not every class has a name")
        return labels, tuple(names.tolist())

    return _read(path, take)


def read_weights(path: Path) -> list[NDArray[np.float32]] | None:
    """The arrays of a file that `np.savez` wrote without names, in their order; None if there is no such file.

    Raises:
        LedgerError: The file is damaged.
    """

    def take(arrays: Arrays) -> list[NDArray[np.float32]]:
        with zipfile.ZipFile(path) as members:
            n_arrays = len(members.namelist())
        return [arrays(f"arr_{number}") for number in range(n_arrays)]

    return _read(path, take, "its run can then be exported only after it was trained again")


def _read(
    path: Path, take: Callable[[Arrays], _T], loss: str = "its run then has no figures that need predictions"
) -> _T | None:
    if not path.exists():
        return None

    def array(name: str) -> NDArray[Any]:
        # `ZipFile.read` compares the checksum before NumPy sees a byte.
        found: NDArray[Any] = np.lib.format.read_array(io.BytesIO(members.read(f"{name}.npy")), allow_pickle=False)
        return found

    try:
        with zipfile.ZipFile(path) as members:
            return take(array)
    # What zipfile and NumPy raise for wrong bytes: also a compression that is unknown, or a shape that is too large.
    except (
        OSError, ValueError, LookupError, EOFError, RuntimeError, MemoryError, OverflowError, zipfile.BadZipFile,
        zlib.error,
    ) as error:  # fmt: skip
        raise LedgerError(
            f"{path} is damaged: {error}. Copy it again from an intact copy, or delete it: {loss}."
        ) from error


def _classes(array: NDArray[Any]) -> Classes:
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise ValueError("it does not hold one class per test image")
    if array.min() < np.iinfo(np.int16).min or array.max() > np.iinfo(np.int16).max:
        raise ValueError("it holds numbers that are no classes")
    return array.astype(np.int16, copy=False)
