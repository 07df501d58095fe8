"""Rows of bars: which settings have one, where they stand, and what is written beside them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.charts.labels import fit
from benchmark.charts.style import INK, SMALL_PT, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BARS = 64
MAX_ROWS = 48
BAR_IN = 0.18
GAP_IN = 0.12
SMALL_GAP_IN = 0.05
LINE_IN = 0.16
HEAD_IN = 1.1  # title, legend and axis
LABEL_CHARACTERS = 34


def best_labels(settings: pd.DataFrame, *, by: str = "accuracy", ascending: bool = False) -> list[str]:
    """At most `MAX_ROWS` labels, by the best value that any of their settings has."""
    values = settings.groupby("label")[by].agg("min" if ascending else "max")
    return [str(label) for label in values.sort_values(ascending=ascending, kind="stable").index[:MAX_ROWS]]


def in_rows(settings: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """The settings with these labels, in the order of the labels and modes."""
    modes = in_order(settings["mode"])
    place = settings["label"].map({label: number for number, label in enumerate(labels)})
    order = settings.assign(row=place, column=settings["mode"].map(modes.index)).dropna(subset=["row"])
    return order.sort_values(["row", "column"], ignore_index=True)


def part_shown(shown: pd.DataFrame, settings: pd.DataFrame) -> str:
    """What a title says if not every label has a row; else nothing."""
    n_shown, n_all = shown["label"].nunique(), settings["label"].nunique()
    return f", the best {n_shown} of {n_all}" if n_shown < n_all else ""


def modes_shown(shown: pd.DataFrame) -> str:
    """What a title says of rows with one mode each."""
    modes = shown["mode"].unique()
    return f", mode {modes[0]}" if len(modes) == 1 else ", each in mode native or its best"


@dataclass(frozen=True)
class Rows:
    """Where bars in groups stand, in inches from the top.

    Attributes:
        places: `(n,)` of each bar's middle.
        middles: Of each group, by its label.
        height_in: Of all.
        bar_in: Of a bar.
    """

    places: NDArray[np.float64]
    middles: dict[str, float]
    height_in: float
    bar_in: float

    @classmethod
    def grouped(cls, labels: Sequence[str], *, bar_in: float = BAR_IN, gap_in: float = GAP_IN) -> "Rows":
        """Bars one below the other, in groups that are as high as their labels at least.

        Args:
            labels: Of each bar; bars of one group next to each other.
            bar_in: From one bar of a group to the next.
            gap_in: Between groups.
        """
        places: list[float] = []
        middles: dict[str, float] = {}
        top = gap_in / 2
        for label, number in Counter(labels).items():
            height = max(bar_in * number, LINE_IN * (fit(label, LABEL_CHARACTERS).count("\n") + 1))
            middles[label] = top + height / 2
            places += [middles[label] + bar_in * (index - (number - 1) / 2) for index in range(number)]
            top += height + gap_in
        return cls(np.array(places), middles, top - gap_in / 2, 0.88 * bar_in)

    def dress(self, axes: "Axes") -> None:
        """Name the groups on an axis, the first at the top."""
        label_rows(axes, list(self.middles.values()), list(self.middles))
        axes.set_ylim(self.height_in, 0)


def label_rows(axes: "Axes", places: Sequence[float], labels: Sequence[str]) -> None:
    """Name the rows of an axis; long names are wrapped, and still longer ones lose their middle."""
    axes.set_yticks(places, [fit(label, LABEL_CHARACTERS) for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylabel("")


def write_at_end(axes: "Axes", x: float, y: float, text: str, *, size: float = SMALL_PT) -> None:
    """Write a number to the right of a bar."""
    axes.annotate(
        text, (x, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=size, color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip
