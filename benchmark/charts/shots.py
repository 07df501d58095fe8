"""Learning curves over training images: how accurate the settings of a dataset are with few of each class."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.analysis.loading import SETTING
from benchmark.charts.chart import Chart, label_x, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import described, name_settings, shorten
from benchmark.charts.style import INK, OKABE_ITO, PAPER, YELLOW, current_theme, hollow_marker, in_order, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# What the settings of one line have in common.
OF_LINE = [column for column in SETTING if column != "shots"]
COLOURS = [colour for colour in OKABE_ITO if colour != YELLOW]
MARKERS = "osD^vPX"
# Lengths of ink and gap of each mode's line, the first one without gaps.
DASHES: list[tuple[int, ...]] = [(), (4, 2), (1, 1), (4, 1, 1, 1), (6, 2), (2, 2), (3, 1, 1, 1, 1, 1), (8, 2)]
NAME_CHARACTERS = 60
HEIGHT_IN, NARROW_IN = 4.8, 4.2


def draw_shots(evidence: Evidence, dataset: str) -> Chart:
    """Accuracy by training images of each class, logarithmic; dotted is chance.

    A line joins the means of the draws; its band is their standard deviation to both sides. A hollow point is the same
    setting with all training images. Settings have colours, modes have dashes.
    """
    import seaborn as sns

    points = _points(evidence, dataset)
    names = points["line"].unique()  # the best first
    lines = sorted(names[: len(COLOURS)])  # so that they have the same colours on every dataset
    shown = points[points["line"].isin(lines)]
    modes = in_order(shown["mode"])
    few = shown[shown["shots"].notna()]
    runs = evidence.runs_of(few)
    runs = runs.assign(line=few["line"].to_numpy()[runs["place"]])
    figure, ((axes,),) = new_figure(NARROW_IN if current_theme().is_narrow else HEIGHT_IN)
    axes.set_xscale("log")
    sns.lineplot(
        runs, x="shots", y="accuracy", hue="line", hue_order=lines, palette=COLOURS[: len(lines)], style="mode",
        style_order=modes, dashes=DASHES[: len(modes)], errorbar="sd", err_kws={"alpha": 0.15, "linewidth": 0},
        linewidth=1.6, legend=False, ax=axes,
    )  # fmt: skip
    for line, colour, marker in zip(lines, COLOURS, MARKERS, strict=False):
        _mark(axes, shown[shown["line"] == line], colour, marker)
    chance = evidence.chance(dataset)
    _scale(axes, shown, chance)
    part = f", the best {len(lines)} of {len(names)}" if len(lines) < len(names) else ""
    backbone = f", {points['backbone'].iloc[0]}" if points["backbone"].nunique() == 1 else ""
    title = f"accuracy with few training images{backbone}{part}"
    legend = _handles(lines, modes, has_all=bool(shown["shots"].isna().any()))
    return make_chart(figure, dataset, title, _alt(dataset, points), legend=legend)


def _points(evidence: Evidence, dataset: str) -> pd.DataFrame:
    """The settings with shots, and the same with all images: with `line`, a name, and `images`, their mean per class.

    Raises:
        NothingToDrawError: No setting has shots.
    """
    settings = evidence.settings(dataset)
    numbers = settings.groupby(OF_LINE, dropna=False, sort=False).ngroup()
    points = settings[settings["shots"].notna().groupby(numbers).transform("any")].reset_index(drop=True)
    if points.empty:
        raise NothingToDrawError("no setting was run with few images of each class, such as --shots 1,5,10,25")
    ways = points.drop_duplicates(OF_LINE).assign(shots=np.nan)
    names = name_settings(ways)
    if ways["backbone"].nunique() == 1:
        names = names.str.removeprefix(f"{ways['backbone'].iloc[0]}, ")
    lines = points.drop(columns="shots").merge(ways.assign(line=names)[[*OF_LINE, "line"]], on=OF_LINE)["line"]
    n_train = evidence.runs_of(points).groupby("place")["n_train"].mean()
    images = points["shots"].fillna(n_train / points["n_classes"])
    return points.assign(line=lines, images=images).dropna(subset="images")


def _mark(axes: "Axes", points: pd.DataFrame, colour: str, marker: str) -> None:
    """The points of one line in each mode, hollow where all images were trained on, joined with the last of the few."""
    for _, of_mode in points.sort_values("images").groupby("mode"):
        few, whole = of_mode[of_mode["shots"].notna()], of_mode[of_mode["shots"].isna()]
        for some, face in ((few, colour), (whole, PAPER)):
            axes.scatter(
                some["images"], some["accuracy"], s=36, marker=marker, facecolor=face, edgecolor=colour, zorder=3
            )
            axes.collections[-1].set_urls([_tip(point) for _, point in some.iterrows()])
        end = pd.concat([few.tail(1), whole])
        axes.plot(end["images"], end["accuracy"], color=colour, linewidth=0.8, zorder=1)
        deviation = whole["accuracy_std"]
        axes.vlines(whole["images"], whole["accuracy"] - deviation, whole["accuracy"] + deviation, color=colour)


def _tip(point: pd.Series) -> str:
    deviation = "" if pd.isna(point["accuracy_std"]) else f" ± {point['accuracy_std']:.3f}"
    images = f"{point['images']:.0f} images of each class"
    return f"{described(point)}: {point['accuracy']:.3f}{deviation} ({images}, {count_of(point['n_seeds'], 'draw')})"


def _scale(axes: "Axes", points: pd.DataFrame, chance: float) -> None:
    shots = sorted(points["shots"].dropna().unique())
    whole = sorted(points.loc[points["shots"].isna(), "images"].round().unique())
    # On a second line, because their number may be near that of the most shots.
    labels = [*map("{:g}".format, shots), *map("\nall: {:g}".format, whole)]
    axes.set_xticks([*shots, *whole], labels)
    axes.minorticks_off()
    axes.grid(visible=False, axis="x")
    note = ""
    if not np.isnan(chance):
        axes.axhline(chance, linestyle=":", linewidth=1.2, color=INK, zorder=0.5)
        note = f"dotted: chance, {chance:.3f}"
    draws = "line: mean of the draws; band: one standard deviation to both sides"
    axes.set_ylabel("test accuracy")
    label_x(axes, "training images of each class, logarithmic", draws, note)


def _handles(lines: list[str], modes: list[str], *, has_all: bool) -> "list[Artist]":
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=shorten(name, NAME_CHARACTERS))
        for name, colour, marker in zip(lines, COLOURS, MARKERS, strict=False)
    ]
    for mode, dashes in zip(modes if len(modes) > 1 else (), DASHES, strict=False):
        line = Line2D([], [], color=INK, label=mode)
        line.set_dashes(dashes)
        handles.append(line)
    if has_all:
        label = "all training images, mean per class"
        handles.append(hollow_marker(label))
    return handles


def _alt(dataset: str, points: pd.DataFrame) -> str:
    few = points[points["shots"].notna()]
    ends = few[few["shots"].isin((few["shots"].min(), few["shots"].max()))].sort_values("shots", kind="stable")
    best = ends.drop_duplicates("shots")  # settings are sorted by accuracy
    texts = [f"with {point['shots']:.0f}, {point['line']}, {point['accuracy']:.3f}" for _, point in best.iterrows()]
    return (
        f"Test accuracy by training images of each class on {dataset}, {count_of(few['line'].nunique(), 'setting')} in "
        f"{count_of(few['mode'].nunique(), 'mode')}. Best: {'; '.join(texts)}."
    )
