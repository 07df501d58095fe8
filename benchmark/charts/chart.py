"""What a chart is, and the head that all have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.charts.labels import shorten, wrap
from benchmark.charts.style import current_theme

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Text

DATASET_CHARACTERS = 40
# A text may be a little wider in a file than when it was measured.
SAFE = 0.97
LONGEST_NAME = 80  # characters, far more than fit below an image


@dataclass(frozen=True)
class Chart:
    """A figure with its title, a text that stands in for it, and its data.

    Attributes:
        title: What stands above the figure: the dataset and what is shown of it.
        figure: As wide as all others; pyplot does not keep it. An artist's URL is its tooltip, which SVG files show.
        alt: One or two sentences with the numbers that matter.
        data: What the figure shows and what it has no room for, one row per setting; None if it cannot be a table.
    """

    title: str
    figure: "Figure"
    alt: str
    data: pd.DataFrame | None = None


def make_chart(
    figure: "Figure", dataset: str, shown: str, alt: str, *,
    legend: Sequence["Artist"] = (), data: pd.DataFrame | None = None,
) -> Chart:  # fmt: skip
    """Write the title, and below it the legend, at the upper left of a figure.

    Args:
        figure: Whose axes are complete.
        dataset: As the ledger writes it.
        shown: The rest of the title, without a full stop.
        alt: See `Chart`.
        legend: Its entries.
        data: See `Chart`.
    """
    title = f"{shorten(dataset, DATASET_CHARACTERS)}: {shown}"
    text = wrap(title, current_theme().title_characters, n_lines=4)
    if not legend:
        figure.suptitle(text, x=0.01, ha="left", fontsize=current_theme().title_pt, fontweight="bold")
        return Chart(title, figure, alt, data)
    room_in = current_theme().width_in - 0.2
    longest = int((room_in - 0.46) / current_theme().text_in(1))
    for entry in legend:
        entry.set_label(wrap(str(entry.get_label()), longest))
    widths_in = [0.46 + current_theme().text_in(max(map(len, str(entry.get_label()).split("\n")))) for entry in legend]
    n_columns = len(legend) if sum(widths_in) < room_in else max(1, int(room_in / max(widths_in)))
    _grow(figure, (text.count("\n") + -(-len(legend) // n_columns) - 1) * 1.2 * current_theme().line_in)
    # The legend has the title, because Matplotlib draws a legend outside of the axes over a figure's title.
    figure.legend(
        handles=list(legend), ncols=n_columns,
        title=text, title_fontproperties={"weight": "bold", "size": current_theme().title_pt}, loc="outside upper left",
        alignment="left", frameon=False, columnspacing=1.2, handlelength=1.4, borderaxespad=0.2,
    )  # fmt: skip
    return Chart(title, figure, alt, data)


def _grow(part: "Figure | SubFigure", more_in: float) -> None:
    """Make a figure higher, so that more lines of text take nothing from its axes."""
    figure = part.figure
    figure.set_figheight(figure.get_figheight() + max(0.0, more_in))


def label_x(axes: "Axes", *lines: str) -> None:
    """Write below an axis what it shows; long lines are wrapped."""
    theme = current_theme()
    text = "\n".join(wrap(line, theme.axis_characters, n_lines=5) for line in lines if line)
    _grow(axes.figure, (text.count("\n") - axes.get_xlabel().count("\n")) * theme.line_in)
    # A narrow figure has the names of its rows to the left, and then no room around the middle of the axis.
    axes.set_xlabel(text, loc="right" if theme.is_narrow else "center")


def write_fitting(text: "Text", pattern: str, name: str, room_in: float) -> None:
    """Write a name in a pattern, no wider than `room_in`: a longer name loses its middle."""
    assert text.figure is not None
    room_px = SAFE * room_in * text.figure.dpi
    length = min(len(name), LONGEST_NAME)
    while True:
        text.set_text(pattern.format(shorten(name, length)))
        width_px = text.get_window_extent().width
        if width_px <= room_px or length <= 1:
            return
        length = max(1, min(length - 1, int(length * room_px / width_px)))
