"""Test images on which the best setting was most confident, right or wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.charts.chart import Chart, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import described, shorten
from benchmark.charts.style import RIGHT, SMALL_PT, WRONG, new_figure
from benchmark.errors import BenchmarkError, LedgerError
from benchmark.escaping import printable
from benchmark.ledger import Ledger, fold_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmark.datasets import Dataset

N_COLUMNS = 6
N_WRONG = 12
N_RIGHT = 6
NAME_CHARACTERS = 15


@dataclass(frozen=True)
class Answers:
    """The answers of a run on every test image.

    Attributes:
        true: `(n,)` classes.
        predicted: `(n,)` classes.
        confidence: `(n,)` scores of the predicted classes.
        class_names: In the order of the classes.
    """

    true: NDArray[np.int16]
    predicted: NDArray[np.int16]
    confidence: NDArray[np.float16]
    class_names: tuple[str, ...]

    def name(self, label: int) -> str:
        """The name of a class to show."""
        return printable(self.class_names[label])


def draw_gallery(evidence: Evidence, dataset: str) -> Chart:
    """The most confident answers of the best setting's first run: wrong ones above, right ones below.

    One wrong answer per pair of classes, one right answer per class.
    """
    run, answers = _answers(evidence, dataset)
    images = _test_images(run, answers.class_names)
    wrong, right = surest(answers, right=False, n=N_WRONG), surest(answers, right=True, n=N_RIGHT)
    n_wrong_rows = -(-len(wrong) // N_COLUMNS)
    n_rows = n_wrong_rows + -(-len(right) // N_COLUMNS)
    figure, axes = new_figure(0.6 + 1.75 * n_rows, n_rows, N_COLUMNS)
    for panel in axes.ravel().tolist():
        panel.set_axis_off()
    # The right answers start a new row.
    panels = [*axes[:n_wrong_rows].flat[: len(wrong)], *axes[n_wrong_rows:].flat[: len(right)]]
    for panel, index in zip(panels, [*wrong, *right], strict=True):
        _show(panel, _pixels(images, index), answers, index)
    who = described(run)
    word = "score" if np.isnan(run["log_loss"]) else "probability"
    title = f"surest wrong answers, then surest right ones, with {word}, by {who}"
    return make_chart(figure, dataset, title, _alt(dataset, who, answers, wrong))


def surest(answers: Answers, *, right: bool, n: int) -> list[int]:
    """Positions of at most `n` test images, the surest answer first: one per pair of true and predicted class.

    Args:
        answers: Of a run.
        right: Right answers or wrong ones.
        n: Their number.
    """
    candidates = np.flatnonzero((answers.true == answers.predicted) == right)
    ordered = candidates[np.argsort(-answers.confidence[candidates].astype(float), kind="stable")]
    pairs = np.stack([answers.true[ordered], answers.predicted[ordered]], axis=1)
    _, firsts = np.unique(pairs, axis=0, return_index=True)
    return [int(index) for index in ordered[np.sort(firsts)][:n]]


def _answers(evidence: Evidence, dataset: str) -> tuple[pd.Series, Answers]:
    """The first of the shown runs whose predictions were kept, and its answers.

    Raises:
        NothingToDrawError: No predictions were kept.
    """
    for _, run in evidence.shown_runs(dataset).iterrows():
        ledger = Ledger(Path(run["folder"]))
        try:
            predictions = ledger.read_predictions(run["run_id"])
            true = ledger.read_true_labels(run["dataset_fingerprint"], fold_of(run))
        except LedgerError as error:
            raise NothingToDrawError(str(error), is_fixable=True) from error
        if predictions is not None and true is not None:
            labels, class_names = true
            predicted = predictions[0]
            if len(labels) != len(predicted) or predicted.min() < 0 or predicted.max() >= len(class_names):
                raise NothingToDrawError(f"the predictions of run {run['run_id']} are of other images", is_fixable=True)
            return run, Answers(labels, *predictions, class_names)
    raise NothingToDrawError("the predictions of the best setting were not kept")


def _test_images(run: pd.Series, class_names: Sequence[str]) -> "Dataset":
    """The dataset of a run, from this machine.

    Raises:
        NothingToDrawError: It is not on this machine, or it has changed.
    """
    from benchmark.datasets import load_local_dataset, split_dataset

    limit = None if pd.isna(run["limit"]) else int(run["limit"])
    classes = class_names if run["classes"] else None
    try:
        images = load_local_dataset(
            run["dataset_name"],
            limit=limit,
            part=run["part"] or None,
            classes=classes,
            drop_duplicates=run["drop_duplicates"] == 1,
        )
    except BenchmarkError as error:
        raise NothingToDrawError(f"it needs the images. {error}", is_fixable=True) from error
    if images.fingerprint != run["dataset_fingerprint"]:
        raise NothingToDrawError(
            f"it needs the images, and {run['dataset_name']} has changed since run {run['run_id']}", is_fixable=True
        )
    if not fold_of(run):
        return images
    split = split_dataset(
        images, seed=int(run["seed"]), val_fraction=float(run["val_fraction"]), folds=int(run["folds"])
    )
    return replace(images, test=split.test)


def _pixels(dataset: "Dataset", index: int) -> NDArray[np.uint8]:
    """The test image of that number, `(height, width, 3)` or `(height, width)`."""
    (pixels,) = dataset.images.read([int(dataset.test[index])])
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _show(axes: "Axes", pixels: NDArray[np.uint8], answers: Answers, index: int) -> None:
    said, true = (shorten(answers.name(labels[index]), NAME_CHARACTERS) for labels in (answers.predicted, answers.true))
    is_right = answers.predicted[index] == answers.true[index]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    answer = f"{said} ({float(answers.confidence[index]):.3f})"
    axes.set_title(
        answer if is_right else f"{answer}\ntrue: {true}", fontsize=SMALL_PT,
        color=RIGHT if is_right else WRONG,
    )  # fmt: skip


def _alt(dataset: str, who: str, answers: Answers, wrong: list[int]) -> str:
    share = np.mean(answers.true == answers.predicted)
    text = f"Test images of {dataset} with the answers that {who} was surest of; {100 * share:.1f} % of all are right."
    if not wrong:
        return text
    first = wrong[0]
    true, said = answers.name(answers.true[first]), answers.name(answers.predicted[first])
    return f"{text} Surest mistake: {true} called {said}, {float(answers.confidence[first]):.3f}."
