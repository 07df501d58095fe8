"""A contact sheet: test images in rows, each with what it is called, what it was taken for, and what it is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmark.analysis.formats import count_of
from benchmark.analysis.mistakes import LABEL_COLUMN, described_run, score_word
from benchmark.charts.chart import DATASET_CHARACTERS, Chart, write_fitting
from benchmark.charts.gallery import read_test_image
from benchmark.charts.labels import shorten, wrap
from benchmark.charts.style import FAINT, INK, OKABE_ITO, THEMES, WRONG, blank_figure, theme
from benchmark.escaping import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmark.datasets import Dataset

SCREEN = THEMES["screen"]
N_COLUMNS = 5
# Of one sheet; beyond it, Matplotlib's pictures have no room.
MOST_IMAGES = 600
# Inches.
MARGIN, GAP = 0.1, 0.12
TILE = (SCREEN.width_in - 2 * MARGIN - (N_COLUMNS - 1) * GAP) / N_COLUMNS
FIRST_LINE, LINE = 0.17, 0.15  # from the image to the foot of the first letters, and from line to line
ROW = TILE + FIRST_LINE + 2 * LINE + 0.18
# Sharp on a screen with twice the resolution, and small enough for hundreds of photos.
THUMBNAIL_PX = 256
FRAME = OKABE_ITO[1]


def draw_sheet(mistakes: pd.DataFrame, dataset: "Dataset", row: Mapping[Any, Any]) -> Chart:
    """The mistakes of a run as a sheet, in their order; no more than `MOST_IMAGES`.

    Under each image stand its name without its folder, the predicted class and the true one with their scores.
    Captions are cut to the width of their image. An image whose label is likely to be wrong has a frame.

    Args:
        mistakes: Rows of the table of `make_mistakes`, at least one.
        dataset: Of the run, as `load_tested` returns it.
        row: Of the run.
    """
    shown = mistakes.head(MOST_IMAGES)
    title = (
        f"{shorten(printable(row['dataset']), DATASET_CHARACTERS)}: {count_of(len(shown), 'mistake')} with name, "
        f"predicted class, true class and {score_word(row)}, by {printable(described_run(row))}"
    )
    if LABEL_COLUMN in shown and shown[LABEL_COLUMN].any():
        title += "; framed: the label is likely wrong"
    text = wrap(title, SCREEN.title_characters, n_lines=3)
    top_in = MARGIN + 0.19 * (text.count("\n") + 1)
    height_in = top_in + ROW * -(-len(shown) // N_COLUMNS) + MARGIN
    with theme():
        figure = blank_figure(height_in)
        figure.set_layout_engine("none")
        figure.text(
            MARGIN / SCREEN.width_in, 1 - MARGIN / height_in, text, va="top", fontsize=SCREEN.title_pt,
            fontweight="bold",
        )  # fmt: skip
        for place, (index, mistake) in enumerate(shown.iterrows()):
            across, down = place % N_COLUMNS, place // N_COLUMNS
            corner = MARGIN + across * (TILE + GAP), top_in + down * ROW
            _add(figure, corner, _thumbnail(read_test_image(dataset, int(str(index)))), mistake)
    first = shown.iloc[0]
    alt = f"Surest mistake: {printable(first['true_class'])} called {printable(first['predicted_class'])}."
    return Chart(title, figure, alt)


def _add(figure: "Figure", corner: tuple[float, float], pixels: NDArray[np.uint8], mistake: pd.Series) -> None:
    """Add one image with its caption; `corner` is its upper left one, in inches from that of the figure."""
    from matplotlib.patches import Rectangle

    left, top = corner
    height_in = figure.get_figheight()
    width_in = SCREEN.width_in
    box = (left / width_in, 1 - (top + TILE) / height_in, TILE / width_in, TILE / height_in)
    axes = figure.add_axes(box)
    axes.set_axis_off()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    if mistake.get(LABEL_COLUMN):
        figure.add_artist(Rectangle(box[:2], *box[2:], fill=False, edgecolor=FRAME, linewidth=2))
    lines = (
        ("{}", mistake["image"].rpartition("/")[2], FAINT),
        (f"{{}}{_in_brackets(mistake['predicted_score'])}", mistake["predicted_class"], WRONG),
        (f"true: {{}}{_in_brackets(mistake['true_score'])}", mistake["true_class"], INK),
    )
    for number, (pattern, name, colour) in enumerate(lines):
        y = 1 - (top + TILE + FIRST_LINE + number * LINE) / height_in
        text = figure.text(left / width_in, y, "", fontsize=SCREEN.small_pt, color=colour)
        write_fitting(text, pattern, printable(name), TILE)


def _in_brackets(score: float) -> str:
    return "" if pd.isna(score) else f" ({score:.3f})"


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image at most as large as a sheet shows it."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return np.asarray(image)
