"""What a chart is, and the head that all have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.charts.labels import shorten, wrap
from benchmark.charts.style import TITLE_PT, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

TITLE_CHARACTERS = 92
DATASET_CHARACTERS = 40


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
    text = wrap(title, TITLE_CHARACTERS, n_lines=3)
    if not legend:
        figure.suptitle(text, x=0.01, ha="left", fontsize=TITLE_PT, fontweight="bold")
        return Chart(title, figure, alt, data)
    room_in = WIDTH_IN - 0.2
    widths_in = [0.46 + 0.071 * len(str(entry.get_label())) for entry in legend]
    # The legend has the title, because Matplotlib draws a legend outside of the axes over a figure's title.
    figure.legend(
        handles=list(legend), ncols=len(legend) if sum(widths_in) < room_in else max(1, int(room_in / max(widths_in))),
        title=text, title_fontproperties={"weight": "bold", "size": TITLE_PT}, loc="outside upper left",
        alignment="left", frameon=False, columnspacing=1.2, handlelength=1.4, borderaxespad=0.2,
    )  # fmt: skip
    return Chart(title, figure, alt, data)
