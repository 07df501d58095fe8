"""Learning curves: loss and accuracy over the epochs of every stage."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import count_of, described, shorten, wrap
from benchmark.charts.records import Picture
from benchmark.charts.style import (
    FAINT,
    INK,
    SMALL_PT,
    add_head,
    as_dataset,
    in_order,
    mode_colour,
    new_figure,
    swatches,
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
PALE = frozenset({"double"})  # yellow, which white paper swallows


def draw_curves(evidence: Evidence, dataset: str) -> Picture:
    """Loss and accuracy over epochs, a row of panels a way of training, one colour a mode.

    A line is the mean of the seeds that were still training, the band of the validation split goes from the lowest
    seed to the highest. A vertical line stands where a stage begins, after the longest run of the one before.
    """
    settings = evidence.settings(dataset)
    points = _curve_points(evidence, settings)
    labels = [label for label in settings["label"].unique() if label in set(points["label"])]
    shown = labels[:MAX_PANELS]
    figure, axes = new_figure(0.9 + PANEL_IN * len(shown), len(shown), 2)
    for row, label in zip(axes, shown, strict=True):
        some = points[points["label"] == label]
        for panel, metric in zip(row, METRICS, strict=True):
            _panel(panel, some[some["metric"] == metric], metric)
        row[0].set_title(wrap(label, 90, n_lines=1), loc="left", fontweight="bold")
    for panel in axes[-1]:
        panel.set_xlabel("epoch, over all stages (band: range over seeds)")
    part = f", the best {len(shown)} of {len(labels)}" if len(shown) < len(labels) else ""
    add_head(figure, f"{as_dataset(dataset)}: learning curves{part}", [*swatches(points["mode"]), *_line_handles()])
    return Picture(figure, _alt(dataset, settings, points, len(labels)))


def _curve_points(evidence: Evidence, settings: pd.DataFrame) -> pd.DataFrame:
    """Loss and accuracy a run, stage, epoch and split, with `x`, the epoch counted over all stages.

    Raises:
        NothingToDrawError: There are none.
    """
    history = evidence.history
    is_curve = history["metric"].isin(METRICS) & history["split"].isin(SPLITS) & (history["epoch"] > 0)
    runs = evidence.runs_of(settings)[["folder", "run_id", "label", "mode", "place"]]
    points = history[is_curve].merge(runs, on=["folder", "run_id"])
    if points.empty:
        raise NothingToDrawError("no finished run has learning curves: a dense head, finetune and scratch have them")
    # In the order they were done, not of their names.
    lengths = points.groupby(["label", "stage"], sort=False)["epoch"].max()
    begins = lengths.groupby(level="label").cumsum() - lengths
    return points.join(begins.rename("begin"), on=["label", "stage"]).assign(x=lambda table: table.epoch + table.begin)


def _panel(axes: "Axes", points: pd.DataFrame, metric: str) -> None:
    from matplotlib import patheffects
    from matplotlib.ticker import MaxNLocator

    for mode, split in itertools.product(reversed(in_order(points["mode"])), SPLITS):  # native above the others
        some = points[(points["mode"] == mode) & (points["split"] == split)]
        outline = [patheffects.withStroke(linewidth=2.2, foreground="0.35")] if mode in PALE else None
        for _, rows in some.groupby("stage"):
            by_epoch = rows.groupby("x")["value"]
            means = by_epoch.mean()
            axes.plot(
                means.index, means, color=mode_colour(mode), linestyle=SPLITS[split], linewidth=1.4,
                marker="o" if len(means) <= FEW_EPOCHS else None, markersize=3, path_effects=outline,
            )  # fmt: skip
            if split == "val":
                axes.fill_between(
                    means.index, by_epoch.min(), by_epoch.max(), color=mode_colour(mode), alpha=0.18, lw=0
                )
    begins = points.groupby("stage")["begin"].first().sort_values()
    if len(begins) > 1:
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top + STAGE_ROOM * (top - bottom))
        for stage, begin in begins.items():
            axes.axvline(begin + 0.5, color=FAINT, linewidth=0.9)
            axes.annotate(
                shorten(str(stage), 16), (begin + 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -3),
                textcoords="offset points", va="top", fontsize=SMALL_PT, color=INK,
            )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.02)
    axes.set_ylabel(metric)


def _line_handles() -> "list[Artist]":
    from matplotlib.lines import Line2D

    names = {"train": "training", "val": "validation"}
    return [Line2D([], [], color=INK, linestyle=SPLITS[split], label=name) for split, name in names.items()]


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
