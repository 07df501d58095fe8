"""How all charts look: width, type, colours, and heat maps."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.preprocessing import MODES

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The width of a README on GitHub is about 830 px: text there is then as large as it is here in print.
WIDTH_IN = 8.3
TITLE_PT = 10.0
TEXT_PT = 9.0
SMALL_PT = 8.0

# Told apart with any kind of colour vision: M. Okabe and K. Ito, "Color Universal Design" (2008).
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
MODE_COLOURS = dict(zip(MODES, OKABE_ITO, strict=True))
OTHER_COLOUR = "#7F7F7F"  # of a mode that this version does not know
INK, FAINT, GRID, PAPER = "#333333", "#999999", "#cccccc", "#ffffff"
ON_CELL = "#fffffe"  # white text on a coloured cell, which stays white on a dark page
WRONG, RIGHT = "#B2182B", "#2166AC"  # answers
# What a dark page shows instead of a colour that would be too dark there.
ON_DARK = {
    "#0072B2": "#3F9FDC", "#009E73": "#1FB98D", "#D55E00": "#F0762A", "#CC79A7": "#DC9BC0", "#56B4E9": "#8FD0F5",
    "#000000": "#FFFFFE", WRONG: "#F4877B", RIGHT: "#7FB8EE",
}  # fmt: skip
# For characters that Matplotlib's own font lacks; those that are installed are used.
FURTHER_FONTS = (
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari",
    "WenQuanYi Zen Hei", "Arial Unicode MS", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic",
)  # fmt: skip


@contextmanager
def theme() -> Iterator[None]:
    """Figures made and written in this context all have one style."""
    import matplotlib as mpl
    import seaborn as sns
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    own = {
        "font.family": ["DejaVu Sans", *(name for name in FURTHER_FONTS if name in installed)],
        "font.size": TEXT_PT,
        "axes.titlesize": TEXT_PT,
        "axes.labelsize": TEXT_PT,
        "legend.fontsize": TEXT_PT,
        "xtick.labelsize": SMALL_PT,
        "ytick.labelsize": TEXT_PT,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
        "grid.color": GRID,
        "axes.edgecolor": GRID,
        "grid.linewidth": 0.7,
        "axes.linewidth": 0.8,
        "text.parse_math": False,  # a dollar in a name is a dollar
        # The parts of an SVG file are named by their content alone, so one page can hold several files.
        "svg.hashsalt": "backbone-benchmark",
        "figure.constrained_layout.h_pad": 0.06,
        "figure.constrained_layout.w_pad": 0.06,
    }
    context = {**sns.axes_style("whitegrid"), **sns.plotting_context("paper"), **own}
    with mpl.rc_context(context), warnings.catch_warnings():
        # A character that no installed font has is drawn as a box.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        # seaborn 0.13's boxplot still passes Matplotlib the older name of an option.
        warnings.filterwarnings("ignore", r"vert: bool (was|will be) deprecated")
        yield


def mode_colour(mode: str) -> str:
    """The colour of a mode, the same in every chart."""
    return MODE_COLOURS.get(mode, OTHER_COLOUR)


def mode_colours(modes: Iterable[str]) -> dict[str, str]:
    """The palette of these modes for seaborn, in their usual order."""
    return {mode: mode_colour(mode) for mode in in_order(modes)}


def in_order(modes: Iterable[str]) -> list[str]:
    """The distinct modes in their usual order; unknown ones last."""
    present = set(modes)
    return [mode for mode in MODES if mode in present] + sorted(present - set(MODES))


def new_figure(height_in: float, n_rows: int = 1, n_columns: int = 1) -> tuple["Figure", "NDArray[np.object_]"]:
    """A figure as wide as all others, `height_in` inches high, and its axes `(n_rows, n_columns)`."""
    figure = blank_figure(height_in)
    axes: NDArray[np.object_] = figure.subplots(n_rows, n_columns, squeeze=False)
    return figure, axes


def blank_figure(height_in: float) -> "Figure":
    """A figure as wide as all others, `height_in` inches high, without axes."""
    # Not pyplot, which would keep every figure and look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def settle(figure: "Figure") -> None:
    """Fix the layout: otherwise each rendering would move the parts a little."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def swatches(modes: Iterable[str]) -> list["Artist"]:
    """Legend entries of these modes."""
    from matplotlib.patches import Patch

    return [Patch(facecolor=mode_colour(mode), edgecolor=INK, linewidth=0.4, label=mode) for mode in in_order(modes)]


def heat_map(
    axes: "Axes", table: pd.DataFrame, quantity: str, *, ticks: Sequence[float] | None = None, **options: Any
) -> None:
    """A coloured cell per number, and the scale of the colours beside it.

    Args:
        axes: To draw on.
        table: Numbers; its index and columns are the names that are written.
        quantity: What the numbers are, for the scale.
        ticks: Of the scale.
        options: For `seaborn.heatmap`.
    """
    import seaborn as sns

    look = {"linewidths": 0.8, "linecolor": PAPER, "annot_kws": {"size": SMALL_PT}}
    scale = {"label": quantity, "fraction": 0.05, "pad": 0.02, "ticks": ticks}
    sns.heatmap(table, ax=axes, cbar_kws=scale, **{**look, **options})
    for text in axes.texts:
        if text.get_color() == "w":
            text.set_color(ON_CELL)
    axes.tick_params(length=0, labelrotation=0)
    axes.set(xlabel="", ylabel="")
