"""How all charts look: width, type, colours, heat maps, and axes of sizes."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.errors import check_known
from benchmark.preprocessing import MODES

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """What differs between charts for a screen and for a paper.

    Attributes:
        width_in: Of every figure, inches.
        title_pt: Size of the title's type.
        text_pt: Of labels.
        small_pt: Of numbers at ticks and on marks, and of captions.
        dpi: Of PNG files.
        label_characters: At most, in a line of the names of rows.
        n_images: In a row of a gallery.
    """

    width_in: float
    title_pt: float
    text_pt: float
    small_pt: float
    dpi: int
    label_characters: int
    n_images: int

    @property
    def title_characters(self) -> int:
        """How many fit into the width, in bold."""
        return int(self.width_in / (0.0092 * self.title_pt))

    def text_in(self, n_characters: float) -> float:
        """The width of so many characters of a label, inches; on average, with a little room."""
        return 0.0079 * self.text_pt * n_characters

    @property
    def is_narrow(self) -> bool:
        """Whether there is room for the numbers that matter only."""
        return self.width_in < 5

    @property
    def axis_characters(self) -> int:
        """At most, in a line below an axis."""
        return int(0.75 * self.width_in / self.text_in(1))

    @property
    def line_in(self) -> float:
        """The height of a line of a label."""
        return 0.0178 * self.text_pt


THEMES = {
    # The width of a README on GitHub is about 830 px: text there is then as large as it is here in print.
    "screen": Theme(
        width_in=8.3, title_pt=10.0, text_pt=9.0, small_pt=8.0, dpi=125, label_characters=34, n_images=6
    ),
    # A column of a paper set in two is 85 to 89 mm wide, and journals ask for 8 pt type and 300 dots per inch.
    "paper": Theme(width_in=3.4, title_pt=8.0, text_pt=8.0, small_pt=8.0, dpi=300, label_characters=20, n_images=3),
}  # fmt: skip
_current: ContextVar[Theme] = ContextVar("theme", default=THEMES["screen"])

# Told apart with any kind of colour vision: M. Okabe and K. Ito, "Color Universal Design" (2008).
YELLOW = "#F0E442"  # which is hardly seen on white
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", YELLOW, "#000000")
MODE_COLOURS = dict(zip(MODES, OKABE_ITO, strict=True))
OTHER_COLOUR = "#7F7F7F"  # of a mode that this version does not know
INK, FAINT, GRID, PAPER = "#333333", "#999999", "#cccccc", "#ffffff"
MINUS = "\N{MINUS SIGN}"
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


def current_theme() -> Theme:
    """The theme of the figures that are being made."""
    return _current.get()


@contextmanager
def theme(name: str = "screen") -> Iterator[None]:
    """Figures made and written in this context all have one style.

    Args:
        name: One of `THEMES`.

    Raises:
        UnknownNameError: The theme does not exist.
    """
    import matplotlib as mpl
    import seaborn as sns
    from matplotlib.font_manager import get_font_names

    check_known("theme", name, THEMES)
    chosen = THEMES[name]
    installed = set(get_font_names())
    own = {
        "font.family": ["DejaVu Sans", *(name for name in FURTHER_FONTS if name in installed)],
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), chosen.text_pt),
        "xtick.labelsize": chosen.small_pt,
        "ytick.labelsize": chosen.text_pt,
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
    token = _current.set(chosen)
    with mpl.rc_context(context), warnings.catch_warnings():
        # A character that no installed font has is drawn as a box.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        # seaborn 0.13's boxplot still passes Matplotlib the older name of an option.
        warnings.filterwarnings("ignore", r"vert: bool (was|will be) deprecated")
        try:
            yield
        finally:
            _current.reset(token)


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


def new_figure(
    height_in: float, n_rows: int = 1, n_columns: int = 1, *, height_ratios: Sequence[float] | None = None
) -> tuple["Figure", "NDArray[np.object_]"]:
    """A figure as wide as all others, `height_in` inches high, and its axes `(n_rows, n_columns)`."""
    figure = blank_figure(height_in)
    axes: NDArray[np.object_] = figure.subplots(n_rows, n_columns, squeeze=False, height_ratios=height_ratios)
    return figure, axes


def blank_figure(height_in: float) -> "Figure":
    """A figure as wide as all others, `height_in` inches high, without axes."""
    # Not pyplot, which would keep every figure and look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(current_theme().width_in, height_in), dpi=current_theme().dpi, layout="constrained")
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


def hollow_marker(label: str, marker: str = "o", **look: Any) -> "Artist":
    """A legend entry: a marker that is not filled."""
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, linestyle="", color=PAPER, markeredgecolor=INK, label=label, **look)


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

    cells = {"linewidths": 0.8, "linecolor": PAPER, "annot_kws": {"size": current_theme().small_pt}}
    scale = {"label": quantity, "fraction": 0.05, "pad": 0.02, "ticks": ticks}
    sns.heatmap(table, ax=axes, cbar_kws=scale, **{**cells, **options})
    for text in axes.texts:
        if text.get_color() == "w":
            text.set_color(ON_CELL)
        text.set_text(text.get_text().replace("-", MINUS))
    axes.tick_params(length=0, labelrotation=0)
    axes.set(xlabel="", ylabel="")


def with_halo(colour: str = PAPER, *, width: float = 3.2) -> dict[str, Any]:
    """Options of a line that is seen on any colour: it has an edge, `width` points wide with the line."""
    from matplotlib.patheffects import withStroke

    return {"path_effects": [withStroke(linewidth=width, foreground=colour)]}


def logarithmic_x(axes: "Axes", low: float, high: float) -> None:
    """A logarithmic axis with room around what lies from `low` to `high`, and with few, round numbers."""
    _logarithmic(axes, "x", low, high)


def logarithmic_y(axes: "Axes", low: float, high: float) -> None:
    """The same upwards."""
    _logarithmic(axes, "y", low, high)


def _logarithmic(axes: "Axes", which: Literal["x", "y"], low: float, high: float) -> None:
    room = max(high / low, 4.0) ** 0.14
    limits = low / room, high * room
    ticks = round_ticks(*limits, n_most=4 if current_theme().is_narrow else 8)
    is_x = which == "x"
    axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
    (axes.set_xticks if is_x else axes.set_yticks)(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def round_ticks(low: float, high: float, *, n_most: int = 8) -> list[float]:
    """At most so many numbers from `low` to `high`: 1, 2 and 5 times powers of ten, or powers of ten if there are many.

    If there are less than three, other round numbers too; if there is none, the geometric mean.
    """
    powers = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    numbers = [digit * 10.0**power for power in powers for digit in range(1, 10)]
    inside = [number for number in numbers if low <= number <= high]
    usual = [number for number in inside if f"{number:e}"[0] in "125"]
    if len(usual) < 3:
        return inside[:: -(-len(inside) // n_most)] if inside else [float(np.sqrt(low * high))]
    return usual if len(usual) <= n_most else [number for number in usual if f"{number:e}"[0] == "1"]
