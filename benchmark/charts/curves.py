"""Learning curves: loss and accuracy over the epochs of every stage."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.charts.chart import Chart, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import described, shorten, wrap
from benchmark.charts.style import (
    FAINT,
    INK,
    YELLOW,
    current_theme,
    in_order,
    mode_colours,
    new_figure,
    swatches,
    with_halo,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

METRICS = ("loss", "accuracy")
SPLITS: Mapping[str, Any] = {"train": (0, (3, 1.5)), "val": "-"}  # the split's line
MAX_PANELS = 12
PANEL_IN = 1.9
FEW_EPOCHS = 3
STAGE_ROOM = 0.14  # of the axis, for the stages' names


def draw_curves(evidence: Evidence, dataset: str) -> Chart:
    """Loss and accuracy over epochs, one row of panels per way of training, one colour per mode.

    A line is the mean of the seeds that were still training; the band of the validation split goes from the lowest
    seed to the highest. Of several modes only the first, usually native, has its training drawn. A vertical line marks
    the begin of a stage, after the longest run of the one before.
    """
    settings = evidence.settings(dataset)
    points = _curve_points(evidence, settings)
    labels = [label for label in settings["label"].unique() if label in set(points["label"])]
    shown = labels[:MAX_PANELS]
    figure, axes = new_figure(0.9 + PANEL_IN * len(shown), len(shown), 2)
    modes = in_order(points["mode"])
    for row, label in zip(axes, shown, strict=True):
        # The training of every mode beside its validation would hide both.
        some = points[(points["label"] == label) & ((points["split"] == "val") | (points["mode"] == modes[0]))]
        for panel, metric in zip(row, METRICS, strict=True):
            _panel(panel, some[some["metric"] == metric], metric)
        title = wrap(label, int(0.9 * current_theme().title_characters), n_lines=1)
        row[0].set_title(title, loc="left", fontweight="bold")
    figure.supxlabel("epoch, over all stages (band: range over seeds)", fontsize=current_theme().text_pt)
    figure.align_ylabels()
    part = f", the best {len(shown)} of {len(labels)}" if len(shown) < len(labels) else ""
    alt = _alt(dataset, settings, points, len(labels))
    legend = [*swatches(points["mode"]), *_line_handles(modes)]
    return make_chart(figure, dataset, f"learning curves{part}", alt, legend=legend)


def _curve_points(evidence: Evidence, settings: pd.DataFrame) -> pd.DataFrame:
    """Loss and accuracy by run, stage, epoch and split, with `x`, the epoch counted over all stages.

    Raises:
        NothingToDrawError: No run has any.
    """
    history = evidence.history
    is_curve = history["metric"].isin(METRICS) & history["split"].isin(SPLITS) & (history["epoch"] > 0)
    runs = evidence.runs_of(settings)[["folder", "run_id", "label", "mode", "place"]]
    points = history[is_curve].merge(runs, on=["folder", "run_id"])
    if points.empty:
        raise NothingToDrawError("no finished run has learning curves: a dense head, finetune and scratch have them")
    # In the order of training, not of their names.
    lengths = points.groupby(["label", "stage"], sort=False)["epoch"].max()
    begins = lengths.groupby(level="label").cumsum() - lengths
    return points.join(begins.rename("begin"), on=["label", "stage"]).assign(x=lambda table: table.epoch + table.begin)


def _panel(axes: "Axes", points: pd.DataFrame, metric: str) -> None:
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator

    modes = in_order(points["mode"])[::-1]  # native above the others
    for (split, _), rows in points.groupby(["split", "stage"]):
        is_val, is_short = split == "val", rows["x"].nunique() <= FEW_EPOCHS
        sns.lineplot(
            rows, x="x", y="value", hue="mode", hue_order=modes, palette=mode_colours(modes), legend=False, ax=axes,
            linestyle=SPLITS[str(split)], linewidth=1.4, errorbar=("pi", 100) if is_val else None,
            err_kws={"alpha": 0.18, "linewidth": 0}, marker="o" if is_short else None, markersize=3, markeredgewidth=0,
        )  # fmt: skip
    for line in axes.lines:
        if str(line.get_color()) == YELLOW:
            line.set(**with_halo("0.35", width=2.2))
    begins = points.groupby("stage")["begin"].first().sort_values()
    if len(begins) > 1:
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top + STAGE_ROOM * (top - bottom))
        for stage, begin in begins.items():
            axes.axvline(begin + 0.5, color=FAINT, linewidth=0.9)
            axes.annotate(
                shorten(str(stage), 16), (begin + 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -3),
                textcoords="offset points", va="top", fontsize=current_theme().small_pt, color=INK,
            )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(3 if current_theme().is_narrow else 6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.02)
    axes.set(xlabel="", ylabel=metric)


def _line_handles(modes: list[str]) -> "list[Artist]":
    from matplotlib.lines import Line2D

    names = {"train": f"training in {modes[0]}" if len(modes) > 1 else "training", "val": "validation"}
    return [Line2D([], [], color=INK, linestyle=SPLITS[str(split)], label=name) for split, name in names.items()]


def _alt(dataset: str, settings: pd.DataFrame, points: pd.DataFrame, n_labels: int) -> str:
    accuracy = points[(points["metric"] == "accuracy") & (points["split"] == "val")]
    text = (
        f"Learning curves on {dataset}: loss and accuracy in training and validation of "
        f"{count_of(n_labels, 'way')} of training in {count_of(len(in_order(points['mode'])), 'mode')}."
    )
    if accuracy.empty:
        return text
    peaks = accuracy.groupby(["place", "x"])["value"].mean()
    place, epoch = peaks.index[int(peaks.to_numpy().argmax())]
    best = settings.iloc[place]
    return f"{text} Highest validation accuracy: {peaks.max():.3f} in epoch {epoch:.0f}, {described(best)}."
