"""Accuracy against parameters, with the Pareto front."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.formats import count_of
from benchmark.analysis.loading import SETTING
from benchmark.charts.bar_rows import modes_shown
from benchmark.charts.chart import Chart, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError, in_one_mode
from benchmark.charts.labels import accuracy_text, described, shorten, with_telling_options
from benchmark.charts.naming import POINT_SIZE, write_names
from benchmark.charts.style import (
    INK,
    current_theme,
    hollow_marker,
    in_order,
    logarithmic_x,
    mode_colours,
    new_figure,
    swatches,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MARKERS = "osD^vPX*<>"
MAX_POINTS = 80
MAX_IN_TEXT = 5
WAY_CHARACTERS = 60
SMALL_SIZE = 24  # area in square points
FRONT = "Pareto front"
LEAST_RANGE = 0.05  # of accuracy, so that chance differences stay small


def draw_pareto(evidence: Evidence, dataset: str) -> Chart:
    """Accuracy against parameters, logarithmic; the line joins ranked settings that none as small or smaller beats.

    Wrong modes have small points and are never on the line: what a mistake gives is nothing to choose. The names
    stand at each backbone's best ranked point. If there are many settings, each is shown in one mode.
    """
    import seaborn as sns

    data = _sized(evidence, dataset)
    front = data[data["is_front"]].sort_values("millions")
    has_one_mode = len(data) > MAX_POINTS
    points = pd.concat([in_one_mode(data), front]).drop_duplicates(list(SETTING)) if has_one_mode else data
    figure, ((axes,),) = new_figure(_height_in(len(points)))
    ways = dict(zip(sorted(points["way"].unique()), itertools.cycle(MARKERS)))
    drawn = points.sort_values(
        "mode", key=lambda modes: -modes.map(in_order(modes).index), kind="stable"
    )  # native above the others
    sns.scatterplot(
        drawn, x="millions", y="accuracy", hue="mode", palette=mode_colours(points["mode"]), style="way", markers=ways,
        size="is_ranked", sizes={True: POINT_SIZE, False: SMALL_SIZE}, edgecolor=INK, linewidth=0.6,
        zorder=3, legend=False, ax=axes,
    )  # fmt: skip
    tips = drawn.apply(accuracy_text, axis=1) + drawn["millions"].map(", {:.2f} M parameters".format)
    axes.collections[-1].set_urls(tips.tolist())
    (line,) = axes.plot(front["millions"], front["accuracy"], color=INK, linewidth=1.2, zorder=1, label=FRONT)
    _scale(axes, points)
    title = f"accuracy and size{modes_shown(points) if has_one_mode else ''}"
    legend = [*swatches(points["mode"]), *_marker_handles(ways), line]
    chart = make_chart(figure, dataset, title, _alt(dataset, data, front), legend=legend, data=data)
    write_names(figure, axes, _named(points, front), points, "accuracy", [front])
    return chart


def _height_in(n_points: int) -> float:
    if current_theme().is_narrow:
        return 3.6
    return 5.6 if n_points <= 24 else 7.6


def _sized(evidence: Evidence, dataset: str) -> pd.DataFrame:
    """The settings of a dataset with `millions` of parameters, `way` of training, and whether each `is_front`.

    Raises:
        NothingToDrawError: No setting has its parameters counted.
    """
    settings = evidence.settings(dataset)
    settings = settings[settings["params_total"] > 0].reset_index(drop=True)
    if settings.empty:
        raise NothingToDrawError("no finished run has its parameters counted")
    millions = settings["params_total"] / 1e6
    is_ranked = settings["rank"].notna()
    ranked = settings.index[is_ranked]
    front = ranked[pareto_front(millions[ranked].to_numpy(), settings.loc[ranked, "accuracy"].to_numpy())]
    ways = with_telling_options(settings)[["strategy", "head"]].fillna("").agg(" ".join, axis=1)
    return settings.assign(millions=millions, way=ways, is_ranked=is_ranked, is_front=settings.index.isin(front))


def _marker_handles(ways: Mapping[str, str]) -> list["Artist"]:
    """Legend entries of the markers, if there are several."""
    handles = [hollow_marker(shorten(way, WAY_CHARACTERS), ways[way]) for way in ways]
    return handles if len(handles) > 1 else []


def _alt(dataset: str, data: pd.DataFrame, front: pd.DataFrame) -> str:
    best = front.nlargest(MAX_IN_TEXT, "accuracy").sort_values("millions")
    names = "; ".join(
        f"{described(row)} ({row['millions']:.3g} M, {row['accuracy']:.3f})" for _, row in best.iterrows()
    )
    rest = f"; and {len(front) - len(best)} smaller ones" if len(front) > len(best) else ""
    return (
        f"Test accuracy against millions of parameters of {count_of(len(data), 'setting')} on {dataset}. "
        f"On the Pareto front: {names}{rest}."
    )


def _scale(axes: "Axes", points: pd.DataFrame) -> None:
    logarithmic_x(axes, float(points["millions"].min()), float(points["millions"].max()))
    worst, best = points["accuracy"].min(), points["accuracy"].max()
    margin = 0.12 * max(best - worst, LEAST_RANGE)
    axes.set_ylim(worst - margin, best + margin)
    axes.set_ylabel("test accuracy")


def _named(points: pd.DataFrame, front: pd.DataFrame) -> pd.DataFrame:
    """The best ranked point of each backbone, those on the front first."""
    ranked_first = points.sort_values(["is_ranked", "accuracy"], ascending=False, kind="stable")
    best = ranked_first.drop_duplicates("backbone")
    best = best.assign(is_front=best.index.isin(front.index))
    return best.sort_values(["is_front", "accuracy"], ascending=False, kind="stable")


def pareto_front(costs: NDArray[np.float64], gains: NDArray[np.float64]) -> list[int]:
    """Positions of the points that no other point beats by being better at no greater cost, or cheaper and as good.

    Args:
        costs: `(n,)`, less is better.
        gains: `(n,)`, more is better.
    """
    return [
        index
        for index, (cost, gain) in enumerate(zip(costs, gains, strict=True))
        if not np.any((costs <= cost) & (gains >= gain) & ((costs < cost) | (gains > gain)))
    ]
