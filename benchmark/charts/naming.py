"""The names of backbones beside their points, in charts over parameters."""

import contextlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.charts.chart import label_x
from benchmark.charts.labels import shorten_apart
from benchmark.charts.style import FAINT, INK, current_theme, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NAMES = 45
NAME_CHARACTERS = 28
POINT_SIZE = 46  # area in square points
POINTS_PER_INCH = 72
SIZES = "parameters, millions (head included, logarithmic)"


def write_names(
    figure: "Figure", axes: "Axes", named: pd.DataFrame, points: pd.DataFrame, height: str,
    lines: Sequence[pd.DataFrame] = (),
) -> None:  # fmt: skip
    """Write each backbone's name near its point, where it covers no other name, no point and no line.

    The first ones are placed first; those that do not fit are left out, and the label of the axis counts them.

    Args:
        figure: All of it but the names.
        axes: Of the points, `millions` of parameters to the right.
        named: The points with a name: one for each `backbone`.
        points: All of them.
        height: The column that goes up.
        lines: The points that each line joins.
    """
    import textalloc

    named = named.head(MAX_NAMES)
    # The layout must be final, because the places are found in pixels; so the note has its room before it is known.
    label_x(axes, f"{SIZES}; {count_of(len(named), 'name')} left out")
    settle(figure)
    radius_px = POINT_SIZE**0.5 / 2 * figure.dpi / POINTS_PER_INCH
    # textalloc prints a message if it finds no room at all.
    with contextlib.redirect_stdout(io.StringIO()):
        _, _, names, _ = textalloc.allocate(
            axes, named["millions"].to_numpy(), named[height].to_numpy(),
            shorten_apart(named["backbone"].tolist(), NAME_CHARACTERS),
            x_scatter=points["millions"].to_numpy(), y_scatter=points[height].to_numpy(),
            scatter_sizes=[radius_px] * len(points), text_scatter_sizes=[radius_px] * len(named),
            x_lines=[one["millions"].to_numpy() for one in lines], y_lines=[one[height].to_numpy() for one in lines],
            textsize=current_theme().small_pt, textcolor=INK, linecolor=FAINT, linewidth=0.7, margin=0.003,
            min_distance=0.004, max_distance=0.4, nbr_candidates=400, draw_all=False, avoid_label_lines_overlap=True,
            avoid_crossing_label_lines=True, zorder=4,
        )  # fmt: skip
    n_left_out = sum(name is None for name in names)
    label_x(axes, f"{SIZES}; {count_of(n_left_out, 'name')} left out" if n_left_out else SIZES)
