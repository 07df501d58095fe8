"""Accuracy against parameters, with the Pareto front."""

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.charts.evidence import Evidence, NothingToDrawError, in_one_mode
from benchmark.charts.labels import count_of, described, shorten, with_telling_options
from benchmark.charts.records import Picture
from benchmark.charts.rows import modes_shown
from benchmark.charts.style import (
    FAINT,
    INK,
    SMALL_PT,
    add_head,
    as_dataset,
    in_order,
    mode_colour,
    new_figure,
    settle,
    swatches,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*<>"
MAX_POINTS = 80
MAX_NAMES = 45
NAME_CHARACTERS = 28
POINT_SIZE = 46  # area in square points
POINTS_PER_INCH = 72
LEAST_RANGE = 0.05  # of accuracy, so that chance differences stay small


def draw_pareto(evidence: Evidence, dataset: str) -> Picture:
    """Accuracy against parameters, logarithmic; the line joins what nothing as small or smaller beats.

    The names stand at each backbone's best point. Where the settings are many, each has one mode.
    """
    settings = evidence.settings(dataset)
    has_one_mode = len(settings) > MAX_POINTS
    if has_one_mode:
        settings = in_one_mode(settings)
    points = settings[settings["params_total"] > 0]
    if points.empty:
        raise NothingToDrawError("no finished run has its parameters counted")
    ways = with_telling_options(points)[["strategy", "head"]].fillna("").agg(" ".join, axis=1)
    points = points.assign(millions=points["params_total"] / 1e6, way=ways).reset_index(drop=True)
    figure, ((axes,),) = new_figure(5.6 if len(points) <= 24 else 7.6)
    handles = _draw_points(axes, points)
    front = points.iloc[pareto_front(points["millions"].to_numpy(), points["accuracy"].to_numpy())]
    front = front.sort_values("millions")
    (line,) = axes.plot(front["millions"], front["accuracy"], color=INK, linewidth=1.2, zorder=1, label="Pareto front")
    _scale(axes, points)
    title = f"{as_dataset(dataset)}: accuracy and size{modes_shown(points) if has_one_mode else ''}"
    add_head(figure, title, [*swatches(points["mode"]), *handles, line])
    _write_names(figure, axes, points, front)
    names = "; ".join(
        f"{described(row)} ({row['millions']:.3g} M, {row['accuracy']:.3f})" for _, row in front.iterrows()
    )
    return Picture(
        figure,
        f"Test accuracy against millions of parameters of {count_of(len(points), 'setting')} on {dataset}. "
        f"On the Pareto front: {names}.",
    )


def _draw_points(axes: "Axes", points: pd.DataFrame) -> list["Artist"]:
    """One colour a mode, one marker a way of training; what the legend shows of the markers."""
    from matplotlib.lines import Line2D

    ways = sorted(points["way"].unique())
    handles: list[Artist] = []
    for number, way in enumerate(ways):
        marker = MARKERS[number % len(MARKERS)]
        some = points[points["way"] == way]
        for mode in reversed(in_order(some["mode"])):  # what is drawn last lies above
            rows = some[some["mode"] == mode]
            axes.scatter(
                rows["millions"], rows["accuracy"], s=POINT_SIZE, marker=marker, color=mode_colour(mode), edgecolor=INK,
                linewidth=0.6, zorder=3,
            )  # fmt: skip
        handles.append(
            Line2D([], [], linestyle="", marker=marker, color="white", markeredgecolor=INK, label=shorten(way, 40))
        )
    return handles if len(ways) > 1 else []


def _scale(axes: "Axes", points: pd.DataFrame) -> None:
    axes.set_xscale("log")
    low, high = points["millions"].min(), points["millions"].max()
    room = max(high / low, 4.0) ** 0.14
    axes.set_xlim(low / room, high * room)
    worst, best = points["accuracy"].min(), points["accuracy"].max()
    margin = 0.12 * max(best - worst, LEAST_RANGE)
    axes.set_ylim(worst - margin, best + margin)
    ticks = round_ticks(*axes.get_xlim())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="parameters, millions (head included, logarithmic)", ylabel="test accuracy")


def round_ticks(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 times powers of ten from `low` to `high`, or what is between the two."""
    powers = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    numbers = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    inside = [number for number in numbers if low <= number <= high]
    if len(inside) > 8:
        inside = [number for number in inside if f"{number:e}"[0] == "1"]
    return inside or [float(np.sqrt(low * high))]


def _write_names(figure: "Figure", axes: "Axes", points: pd.DataFrame, front: pd.DataFrame) -> None:
    """Each backbone's name near its best point, where no name covers another, a point or the front.

    Those on the front are placed first; a name for which there is no room is left out.
    """
    import textalloc

    best = points.loc[points.groupby("backbone")["accuracy"].idxmax()]
    best = best.assign(is_front=best.index.isin(front.index))
    best = best.sort_values(["is_front", "accuracy"], ascending=False, kind="stable").head(MAX_NAMES)
    # The layout must be the last one: the places are found in pixels.
    settle(figure)
    radius_px = POINT_SIZE**0.5 / 2 * figure.dpi / POINTS_PER_INCH
    # It prints where it finds no room at all.
    with contextlib.redirect_stdout(io.StringIO()):
        _, _, names, _ = textalloc.allocate(
            axes, best["millions"].to_numpy(), best["accuracy"].to_numpy(),
            [shorten(name, NAME_CHARACTERS) for name in best["backbone"]],
            x_scatter=points["millions"].to_numpy(), y_scatter=points["accuracy"].to_numpy(),
            scatter_sizes=[radius_px] * len(points), text_scatter_sizes=[radius_px] * len(best),
            x_lines=[front["millions"].to_numpy()], y_lines=[front["accuracy"].to_numpy()],
            textsize=SMALL_PT, textcolor=INK, linecolor=FAINT, linewidth=0.7, margin=0.003, min_distance=0.004,
            max_distance=0.4, nbr_candidates=400, draw_all=False, avoid_label_lines_overlap=True,
            avoid_crossing_label_lines=True, zorder=4,
        )  # fmt: skip
    n_left_out = sum(name is None for name in names)
    if n_left_out:
        axes.set_xlabel(f"{axes.get_xlabel()}; {count_of(n_left_out, 'name')} left out")


def pareto_front(costs: NDArray[np.float64], gains: NDArray[np.float64]) -> list[int]:
    """Positions of the points that no other point beats: none is at most as costly and better, or cheaper and as good.

    Args:
        costs: `(n,)`, less is better.
        gains: `(n,)`, more is better.
    """
    return [
        index
        for index, (cost, gain) in enumerate(zip(costs, gains, strict=True))
        if not np.any((costs <= cost) & (gains >= gain) & ((costs < cost) | (gains > gain)))
    ]
