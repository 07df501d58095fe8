"""How accurate the settings of a dataset are, and how much the seed changes that."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.charts.bar_rows import (
    BAR_LOOK,
    GAP_IN,
    HEAD_IN,
    MAX_BARS,
    SMALL_GAP_IN,
    Rows,
    best_labels,
    draw_bars,
    in_rows,
    modes_shown,
    part_shown,
    write_at_ends,
)
from benchmark.charts.chart import Chart, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError, best_ranked, in_one_mode
from benchmark.charts.labels import accuracy_text, described
from benchmark.charts.style import INK, PAPER, in_order, mode_colours, new_figure, swatches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_IN = 0.25
TINY_PT = 7.0


def draw_accuracy(evidence: Evidence, dataset: str) -> Chart:
    """Accuracy of every setting with its 95 % interval, one colour per mode; points if there are too many for bars.

    A dashed line marks the best that is ranked, a dotted one chance.
    """
    settings = evidence.settings(dataset)
    labels = best_labels(settings)
    shown = in_rows(settings, labels)
    are_bars = len(shown) <= MAX_BARS
    rows = Rows.grouped(shown["label"].tolist()) if are_bars else Rows.grouped(labels, bar_in=ROW_IN, gap_in=0.02)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    if are_bars:
        _bars(axes, shown, rows)
    else:
        _points(axes, shown, rows)
    rows.dress(axes)
    best, last = best_ranked(settings), settings.iloc[-1]
    axes.axvline(best["accuracy"], linestyle="--", linewidth=1, color=INK, zorder=0.5)
    chance = float(evidence.done.loc[evidence.done["dataset"] == dataset, "chance"].mean())
    if not np.isnan(chance):
        axes.axvline(chance, linestyle=":", linewidth=1.2, color=INK, zorder=3)
    note = "" if np.isnan(chance) else f", dotted: chance, {chance:.3f}"
    lines = f"dashed: best in mode {best['mode']}, {best['accuracy']:.3f}{note}"
    axes.set_xlabel(f"test accuracy with 95 % interval\n({lines})")
    alt = f"Test accuracy of {count_of(len(settings), 'setting')} on {dataset}. Best: {accuracy_text(best)}."
    if len(settings) > 1:
        alt += f" Worst: {described(last)}, {last['accuracy']:.3f}."
    title = f"accuracy{part_shown(shown, settings)}"
    return make_chart(figure, dataset, title, alt, legend=swatches(shown["mode"]))


def _bars(axes: "Axes", shown: pd.DataFrame, rows: Rows) -> None:
    tips = shown.apply(accuracy_text, axis=1).tolist()
    draw_bars(axes, rows, shown["accuracy"], tips, hue=shown["mode"], palette=mode_colours(shown["mode"]))
    axes.hlines(rows.places, shown["accuracy_low"], shown["accuracy_high"], color=INK, linewidth=1.6)
    texts = shown["accuracy"].map("{:.3f}".format).tolist()
    write_at_ends(axes, shown["accuracy_high"].tolist(), rows.places.tolist(), texts, size=TINY_PT)
    axes.set(xlim=(0, 1.09), xticks=np.linspace(0, 1, 6))


def _points(axes: "Axes", shown: pd.DataFrame, rows: Rows) -> None:
    import seaborn as sns

    modes = in_order(shown["mode"])
    colours = mode_colours(modes)
    # A little apart, so that equal accuracies do not hide each other.
    shift = (shown["mode"].map(modes.index) + 0.5) / len(modes) - 0.5
    places = shown["label"].map(rows.middles) + 0.75 * ROW_IN * shift
    axes.hlines(places, shown["accuracy_low"], shown["accuracy_high"], color=shown["mode"].map(colours), linewidth=1.2)
    sns.scatterplot(
        x=shown["accuracy"], y=places, hue=shown["mode"], palette=colours, s=17, legend=False, zorder=3, ax=axes,
        **BAR_LOOK,
    )  # fmt: skip
    axes.collections[-1].set_urls(shown.apply(accuracy_text, axis=1).tolist())
    middles = np.array(list(rows.middles.values()))
    for edge in (middles[1:] + middles[:-1]) / 2:
        axes.axhline(edge, color="0.9", linewidth=0.6, zorder=0)
    axes.set_xlim(0, 1)


def draw_seeds(evidence: Evidence, dataset: str) -> Chart:
    """Box plot of the accuracy over seeds or folds, every run a point; settings with a single run are left out.

    If there are many settings, each is shown in one mode.
    """
    import seaborn as sns

    settings = evidence.settings(dataset)
    settings = settings[settings["n_seeds"] > 1]
    if settings.empty:
        raise NothingToDrawError("every setting was run with one seed only")
    has_one_mode = len(settings) > MAX_BARS
    if has_one_mode:
        settings = in_one_mode(settings)
    shown = in_rows(settings, best_labels(settings))
    rows = Rows.grouped(shown["label"].tolist(), gap_in=GAP_IN if shown["mode"].nunique() > 1 else SMALL_GAP_IN)
    runs = evidence.runs_of(shown)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    places = {"x": runs["accuracy"].to_numpy(), "ax": axes, **rows.look, "y": rows.places[runs["place"]]}
    sns.boxplot(
        hue=runs["mode"].to_numpy(), palette=mode_colours(shown["mode"]), showfliers=False, showcaps=False,
        linecolor=INK, linewidth=0.8, medianprops={"linewidth": 1.6}, **places,
    )  # fmt: skip
    axes.scatter(places["x"], places["y"], s=12, facecolor=PAPER, edgecolor=INK, linewidth=0.8, zorder=4)
    tips = runs["label"] + ", mode " + runs["mode"] + ", seed " + runs["seed"].astype(int).astype(str) + ": "
    axes.collections[-1].set_urls((tips + runs["accuracy"].map("{:.4f}".format)).tolist())
    rows.dress(axes)
    axes.set_xlabel("test accuracy; one point per run, the box from the first to the third quartile")
    ranges = runs.groupby("place")["accuracy"].agg(lambda accuracies: accuracies.max() - accuracies.min())
    widest = shown.iloc[int(ranges.to_numpy().argmax())]
    alt = (
        f"Accuracy over seeds of {count_of(len(shown), 'setting')} on {dataset}. The median range is "
        f"{ranges.median():.4f}; the widest is {ranges.max():.4f}, {described(widest)}."
    )
    title = f"accuracy over seeds{part_shown(shown, settings)}{modes_shown(shown) if has_one_mode else ''}"
    return make_chart(figure, dataset, title, alt, legend=swatches(shown["mode"]))
