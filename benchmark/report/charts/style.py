"""What a chart is, and how all charts look."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.charts.labels import shorten
from benchmark.preprocessing import MODES
from benchmark.report.tables import Table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# More rows than this no chart of bars can show; the table below it has them all.
MAX_ROWS = 40
ROW_PX = 26
LABEL_CHARACTERS = 40

INK, MUTED, GRID, SURFACE = "#1d2530", "#667085", "#e4e7ec", "#ffffff"
# Told apart with any kind of colour vision: M. Okabe and K. Ito, "Color Universal Design" (2008).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#000000")
MODE_COLOURS = dict(zip(MODES, PALETTE, strict=True))
OTHER_COLOUR = "#7f7f7f"  # of a mode that this version does not know
# What the page puts in the place of these colours on a dark ground.
DARK_COLOURS = {
    INK: "#e6e9ee", MUTED: "#98a2b3", GRID: "#303844", SURFACE: "#1b2129",
    "#0072b2": "#3f9fdc", "#009e73": "#1fb98d", "#d55e00": "#f0762a", "#cc79a7": "#dc9bc0", "#56b4e9": "#8fd0f5",
    "#000000": "#fffffe",
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """A chart with what stands in for it.

    Attributes:
        name: Of its kind.
        title: What it shows.
        finding: Its main finding, in sentences.
        figure: plotly's JSON.
        table: Its data.
    """

    name: str
    title: str
    finding: str
    figure: str
    table: Table


def mode_colour(mode: object) -> str:
    """The colour of a preprocessing mode, the same in every chart."""
    return MODE_COLOURS.get(str(mode), OTHER_COLOUR)


def name_rows(figure: "Figure", names: Sequence[str]) -> None:
    """Write the names of a chart's rows beside them, the first on top."""
    texts = [escaped(shorten(name, LABEL_CHARACTERS)) for name in names]
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(names))), ticktext=texts,
        range=[len(names) - 0.4, -0.6], showgrid=False, automargin=True,
    )  # fmt: skip


def style_figure(figure: "Figure", *, height: int) -> None:
    """Give a chart of so many pixels the look of the page."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True, "ticklabelstandoff": 6}
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        margin={"l": 8, "r": 16, "t": 8, "b": 8},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "xanchor": "left",
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
            "traceorder": "normal",
        },
        hoverlabel={"bgcolor": SURFACE, "bordercolor": MUTED, "font": {"color": INK, "size": 13}, "align": "left"},
        xaxis=axis,
        yaxis=axis,
    )


def escaped(text: object) -> str:
    """A name as plotly takes it, which reads a little HTML in its texts."""
    return html.escape(str(text), quote=False)
