"""A run exported: its model built, written, loaded again, and compared with what the run predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import split_dataset
from benchmark.datasets.pixels import RGB
from benchmark.exporting.files import FORMATS, written
from benchmark.exporting.model import CLASSIFIER, ExportError, build_model
from benchmark.plan.cells import Cell
from benchmark.predictions import Classes
from benchmark.preprocessing import match_channels

# Test images that are predicted again, at most, and at a time; and those that the written file is run on.
MOST_CHECKED, CHECKED_AT_ONCE, RUN_AGAIN = 1000, 32, 8
# The largest allowed difference of a probability: runtimes round a resized pixel near .5 differently.
MOST_OFF = 0.01
# Two classes are about equally likely if their probabilities differ by less: then the last bits decide.
NEARLY_EQUAL = 1e-3


@dataclass(frozen=True)
class Trained:
    """What an export starts from.

    Attributes:
        cell: What was run.
        weights: What it trained; see `Outcome`.
        predicted: `(n,)`: the classes that it predicted for the test images.
        row: Its columns in `runs.csv`, for the facts in the file.
    """

    cell: Cell
    weights: Sequence[NDArray[np.float32]]
    predicted: Classes
    row: Mapping[str, Any]


class Exported(NamedTuple):
    """A model that was written.

    Attributes:
        n_checked: Test images that it was run on.
        n_test: Test images of the run.
        n_undecided: Of those checked, how many got another class than in the run because two were about equally likely.
    """

    n_checked: int
    n_test: int
    n_undecided: int


def export_run(trained: Trained, path: Path, format_name: str) -> Exported:
    """Write the model of a run to a file that is complete and checked, or not there.

    Args:
        trained: The run.
        path: The file, or for `saved_model` the folder.
        format_name: A key of `FORMATS`.

    Raises:
        ExportError: The model predicts other classes than the run, or the weights do not fit.
        DataError: The dataset cannot be used.
    """
    cell, row = trained.cell, trained.row
    dataset = cell.dataset.load(views={cell.view.before_mode})
    model = build_model(cell, dataset.images.n_channels, len(dataset.class_names), trained.weights)
    facts = {
        "harness_version": row["harness_version"],
        "class_names": dataset.class_names,
        "n_channels": dataset.images.n_channels,
        "view": {"size_px": cell.view.size_px, "resize": cell.view.resize, "crop": cell.view.crop},
        "grey_shift": dataset.grey_shift,
        "row": row,
    }
    test = split_dataset(dataset, seed=cell.seed, val_fraction=cell.val_fraction, folds=cell.folds).test
    chosen = np.unique(np.linspace(0, len(test) - 1, min(len(test), MOST_CHECKED)).round().astype(np.int64))
    take = dataset.images.source(cell.view).take
    network = model.get_layer(CLASSIFIER)
    batches = (match_channels(take(some), network.inputs[0].shape[-1]) for some in _parts(test[chosen]))
    found = np.concatenate([network.predict_on_batch(batch) for batch in batches])
    n_undecided = _compare(found, trained.predicted[chosen], cell)
    images = [np.broadcast_to(image, (1, *image.shape[:2], RGB)) for image in dataset.images.read(test[:RUN_AGAIN])]
    expected = [model.predict_on_batch(image) for image in images]
    with written(model, facts, path, format_name) as made:
        run = FORMATS[format_name].load(made)
        _check_file([run(image) for image in images], expected, format_name)
    return Exported(len(chosen), len(test), n_undecided)


def _parts(positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [positions[start : start + CHECKED_AT_ONCE] for start in range(0, len(positions), CHECKED_AT_ONCE)]


def _compare(found: NDArray[np.float32], predicted: Classes, cell: Cell) -> int:
    """The number of images whose class differs only because two were about equally likely.

    Raises:
        ExportError: Others differ too.
    """
    differs = np.flatnonzero(found.argmax(axis=1) != predicted)
    gaps = found[differs].max(axis=1) - found[differs, predicted[differs]]
    if (gaps > NEARLY_EQUAL).any():
        raise ExportError(
            f"The model was not exported: it predicts {np.count_nonzero(gaps > NEARLY_EQUAL)} of {len(found)} test "
            f"images otherwise than the run {cell}. {_why(cell)}, and export the new row."
        )
    return len(differs)


def _why(cell: Cell) -> str:
    if cell.precision != "float32":
        return f"It was trained on features in {cell.precision}, and the model computes in float32: run it in float32"
    return "Weights, data or versions have changed since: run it again with --keep-weights"


def _check_file(
    found: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]], format_name: str
) -> None:
    """Refuse a file that does not compute what its model does.

    Raises:
        ExportError: It does not.
    """
    off = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    if not off <= MOST_OFF:
        raise ExportError(
            f"The model was not exported: as {format_name}, its probabilities differ by up to {off:.3g}. Take another "
            "--format."
        )
