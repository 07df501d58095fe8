"""Test images on which the best setting was most confident, right or wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.mistakes import Answers, read_answers
from benchmark.charts.chart import Chart, make_chart, write_fitting
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import described
from benchmark.charts.style import RIGHT, WRONG, current_theme, new_figure
from benchmark.errors import BenchmarkError, LedgerError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmark.datasets import Dataset

N_WRONG = 12
N_RIGHT = 6
GAP_IN, HEAD_IN = 0.12, 0.5


def draw_gallery(evidence: Evidence, dataset: str) -> Chart:
    """The most confident answers of the best setting's first run: wrong ones above, right ones below.

    One wrong answer per pair of classes, one right answer per class.
    """
    run, answers = _answers(evidence, dataset)
    images = _test_images(run, answers.class_names)
    wrong, right = surest(answers, right=False, n=N_WRONG), surest(answers, right=True, n=N_RIGHT)
    n_columns = current_theme().n_images
    n_wrong_rows = -(-len(wrong) // n_columns)
    n_rows = n_wrong_rows + -(-len(right) // n_columns)
    room_in = current_theme().width_in / n_columns - GAP_IN
    figure, axes = new_figure(HEAD_IN + (room_in + 2 * current_theme().line_in + GAP_IN) * n_rows, n_rows, n_columns)
    for panel in axes.ravel().tolist():
        panel.set_axis_off()
    # The right answers start a new row.
    panels = [*axes[:n_wrong_rows].flat[: len(wrong)], *axes[n_wrong_rows:].flat[: len(right)]]
    for panel, index in zip(panels, [*wrong, *right], strict=True):
        _show(panel, read_test_image(images, index), answers, index, room_in)
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
        try:
            answers = read_answers(run)
        except LedgerError as error:
            raise NothingToDrawError(str(error), is_fixable=True) from error
        if answers is not None:
            return run, answers
    raise NothingToDrawError("the predictions of the best setting were not kept")


def _test_images(run: pd.Series, class_names: Sequence[str]) -> "Dataset":
    """The dataset of a run, from this machine.

    Raises:
        NothingToDrawError: It is not on this machine, or it has changed.
    """
    from benchmark.plan.tested import load_tested

    try:
        return load_tested(run, run["dataset_name"], class_names)
    except BenchmarkError as error:
        raise NothingToDrawError(f"it needs the images. {error}", is_fixable=True) from error


def read_test_image(dataset: "Dataset", index: int) -> NDArray[np.uint8]:
    """The test image of that number, `(height, width, 3)` or `(height, width)`."""
    (pixels,) = dataset.images.read([int(dataset.test[index])])
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _show(axes: "Axes", pixels: NDArray[np.uint8], answers: Answers, index: int, room_in: float) -> None:
    """Draw a test image and write above it its predicted class and score, and the true class if that is another."""
    said, true = (answers.name(labels[index]) for labels in (answers.predicted, answers.true))
    is_right = answers.predicted[index] == answers.true[index]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    size, lines = current_theme().small_pt, []
    title = axes.set_title("", fontsize=size, color=RIGHT if is_right else WRONG)
    score = f"{{}} ({float(answers.confidence[index]):.3f})"
    for pattern, name in [(score, said)] if is_right else [(score, said), ("true: {}", true)]:
        write_fitting(title, pattern, name, room_in)
        lines.append(title.get_text())
    title.set_text("\n".join(lines))


def _alt(dataset: str, who: str, answers: Answers, wrong: list[int]) -> str:
    share = np.mean(answers.true == answers.predicted)
    text = f"Test images of {dataset} with the answers that {who} was surest of; {100 * share:.1f} % of all are right."
    if not wrong:
        return text
    first = wrong[0]
    true, said = answers.name(answers.true[first]), answers.name(answers.predicted[first])
    return f"{text} Surest mistake: {true} called {said}, {float(answers.confidence[first]):.3f}."
