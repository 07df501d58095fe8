"""Rows of bars: which settings have one, where the bars are, and what is written beside them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.charts.labels import fit
from benchmark.charts.style import INK, PAPER, current_theme, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BARS = 64
MAX_ROWS = 48
BAR_IN = 0.18
GAP_IN = 0.12
SMALL_GAP_IN = 0.05
HEAD_IN = 1.1  # title, legend and axis
BAR_LOOK = {"edgecolor": INK, "linewidth": 0.4}


def best_labels(settings: pd.DataFrame, *, by: str = "accuracy", ascending: bool = False) -> list[str]:
    """At most `MAX_ROWS` labels, sorted by the best value that any of their settings has."""
    values = settings.groupby("label")[by].agg("min" if ascending else "max")
    return [str(label) for label in values.sort_values(ascending=ascending, kind="stable").index[:MAX_ROWS]]


def in_rows(settings: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """The settings with these labels, in the order of the labels and modes."""
    modes = in_order(settings["mode"])
    place = settings["label"].map({label: number for number, label in enumerate(labels)})
    order = settings.assign(row=place, column=settings["mode"].map(modes.index)).dropna(subset=["row"])
    return order.sort_values(["row", "column"], ignore_index=True)


def part_shown(shown: pd.DataFrame, settings: pd.DataFrame) -> str:
    """The part of a title that says that not every label has a row; empty if every one has."""
    n_shown, n_all = shown["label"].nunique(), settings["label"].nunique()
    return f", the best {n_shown} of {n_all}" if n_shown < n_all else ""


def modes_shown(shown: pd.DataFrame) -> str:
    """The part of a title that names the mode of rows with one mode each."""
    modes = shown["mode"].unique()
    return f", mode {modes[0]}" if len(modes) == 1 else ", each in mode native or its best"


@dataclass(frozen=True)
class Rows:
    """The places of bars in groups, in inches from the top.

    Seaborn's categories are all of one height, and leave a gap for each mode that a group does not have.

    Attributes:
        places: `(n,)` of each bar's middle.
        middles: Of each group, by its label.
        height_in: Of all.
    """

    places: NDArray[np.float64]
    middles: dict[str, float]
    height_in: float

    @classmethod
    def grouped(cls, labels: Sequence[str], *, bar_in: float = BAR_IN, gap_in: float = GAP_IN) -> "Rows":
        """Bars one below the other, in groups that are at least as high as their labels.

        Args:
            labels: Of each bar; bars of one group next to each other.
            bar_in: From one bar of a group to the next.
            gap_in: Between groups.
        """
        places: list[float] = []
        middles: dict[str, float] = {}
        top = gap_in / 2
        for label, number in Counter(labels).items():
            n_lines = fit(label, current_theme().label_characters).count("\n") + 1
            height = max(bar_in * number, current_theme().line_in * n_lines)
            middles[label] = top + height / 2
            places += [middles[label] + bar_in * (index - (number - 1) / 2) for index in range(number)]
            top += height + gap_in
        return cls(np.array(places), middles, top - gap_in / 2)

    @property
    def look(self) -> dict[str, Any]:
        """Options of seaborn's categorical plots: horizontal, one mark per place."""
        # Seaborn's unit of width is the smallest distance between places, and 1 if there is one place only.
        unit = np.diff(self.places).min() if len(self.places) > 1 else 1.0
        return {
            "y": self.places, "orient": "h", "native_scale": True, "dodge": False, "legend": False, "saturation": 1,
            "width": 0.88 * BAR_IN / unit,
        }  # fmt: skip

    def dress(self, axes: "Axes") -> None:
        """Name the groups on an axis, the first at the top; long names are wrapped, longer ones lose their middle."""
        names = [fit(label, current_theme().label_characters) for label in self.middles]
        axes.set_yticks(list(self.middles.values()), names)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set(ylabel="", ylim=(self.height_in, 0))


def draw_bars(axes: "Axes", rows: Rows, lengths: pd.Series, tips: Sequence[str], **look: Any) -> None:
    """A bar per row, by seaborn.

    Args:
        axes: To draw on.
        rows: Of the bars.
        lengths: `(n,)`.
        tips: `(n,)` tooltips.
        look: For `seaborn.barplot`: `hue` with `palette`, or `color`.
    """
    import seaborn as sns
    from matplotlib.patches import Rectangle

    n_before = len(axes.patches)
    sns.barplot(x=lengths.to_numpy(), errorbar=None, ax=axes, **{**rows.look, **BAR_LOOK, **look})
    for bar in axes.patches[n_before:]:
        if isinstance(bar, Rectangle):
            middle = bar.get_y() + bar.get_height() / 2
            bar.set_url(tips[int(np.abs(rows.places - middle).argmin())])


def write_at_ends(axes: "Axes", ends: Sequence[float], places: Sequence[float], texts: Sequence[str]) -> None:
    """Write texts to the right of bars."""
    for end, place, text in zip(ends, places, texts, strict=True):
        axes.annotate(
            text, (end, place), xytext=(3, 0), textcoords="offset points", va="center", color=INK,
            fontsize=current_theme().small_pt, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip


def room_at_ends() -> float:
    """How much longer than the longest bar an axis must be for the texts at the ends."""
    return 1.5 if current_theme().is_narrow else 1.14


def write_in_column(axes: "Axes", places: Sequence[float], texts: Sequence[str]) -> None:
    """Write texts one below the other, to the right of the axes, where no line crosses them."""
    for place, text in zip(places, texts, strict=True):
        axes.annotate(
            text, (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=current_theme().small_pt, color=INK,
        )  # fmt: skip
