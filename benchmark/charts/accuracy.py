"""How accurate the settings of a dataset are, and how much the seed changes that."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.analysis.presentation import UNBALANCED
from benchmark.charts.bar_rows import (
    BAR_IN,
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
    write_in_column,
)
from benchmark.charts.chart import Chart, label_x, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError, best_ranked, in_one_mode
from benchmark.charts.labels import accuracy_text, described, name_settings
from benchmark.charts.style import INK, PAPER, in_order, mode_colours, new_figure, swatches, with_halo
from benchmark.options import CLASSIFY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

ROW_IN = 0.25
MIN_BOXED = 8  # runs; the quartiles of fewer say less than the points themselves
MARK = {"marker": "D", "s": 20, "facecolor": PAPER, "edgecolor": INK, "linewidth": 0.9, "zorder": 4}


def draw_accuracy(evidence: Evidence, dataset: str) -> Chart:
    """Accuracy of every setting with its 95 % interval, one colour per mode; points if there are too many for bars.

    A dashed line marks the best that is ranked, a dotted one chance. Where the classes are uneven, a diamond is the
    mean of the classes' accuracies.
    """
    settings = evidence.settings(dataset)
    labels = best_labels(settings)
    shown = in_rows(settings, labels)
    are_bars = len(shown) <= MAX_BARS
    rows = Rows.grouped(shown["label"].tolist()) if are_bars else Rows.grouped(labels, bar_in=ROW_IN, gap_in=0.02)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    places = _bars(axes, shown, rows) if are_bars else _points(axes, shown, rows)
    rows.dress(axes)
    best, last = best_ranked(settings), settings.iloc[-1]
    axes.axvline(best["accuracy"], linestyle="--", linewidth=1, color=INK, zorder=0.5)
    chance = evidence.chance(dataset)
    if not np.isnan(chance):
        axes.axvline(chance, linestyle=":", linewidth=1.2, color=INK, zorder=3)
    note = "" if np.isnan(chance) else f"; dotted: chance, {chance:.3f}"
    notes = [f"dashed: best in mode {best['mode']}, {best['accuracy']:.3f}{note}"]
    # Of the classes that a classifier knows, most do not occur: nothing follows from their number.
    if chance > UNBALANCED / settings.loc[settings["strategy"] != CLASSIFY, "n_classes"].max():
        axes.scatter(shown["balanced_accuracy"], places, **MARK)
        notes.append("classes are uneven: chance is always the most frequent one; diamond: mean over classes")
    label_x(axes, "test accuracy with 95 % interval", *notes)
    alt = f"Test accuracy of {count_of(len(settings), 'setting')} on {dataset}. Best: {accuracy_text(best)}."
    if len(settings) > 1:
        alt += f" Worst: {described(last)}, {last['accuracy']:.3f}."
    title = f"accuracy{part_shown(shown, settings)}"
    return make_chart(figure, dataset, title, alt, legend=swatches(shown["mode"]))


def _bars(axes: "Axes", shown: pd.DataFrame, rows: Rows) -> "NDArray[np.float64]":
    """Draw bars and return their places."""
    tips = shown.apply(accuracy_text, axis=1).tolist()
    draw_bars(axes, rows, shown["accuracy"], tips, hue=shown["mode"], palette=mode_colours(shown["mode"]))
    axes.hlines(
        rows.places, shown["accuracy_low"], shown["accuracy_high"], color=INK, linewidth=1.6, zorder=3, **with_halo()
    )
    write_in_column(axes, rows.places.tolist(), shown["accuracy"].map("{:.3f}".format).tolist())
    axes.set(xlim=(0, 1), xticks=np.linspace(0, 1, 6))
    return rows.places


def _points(axes: "Axes", shown: pd.DataFrame, rows: Rows) -> "NDArray[np.float64]":
    """Draw points and return their places."""
    import seaborn as sns

    modes = in_order(shown["mode"])
    colours = mode_colours(modes)
    # A little apart, so that equal accuracies do not hide each other.
    shift = (shown["mode"].map(modes.index) + 0.5) / len(modes) - 0.5
    places = shown["label"].map(rows.middles) + 0.75 * ROW_IN * shift
    axes.hlines(
        places, shown["accuracy_low"], shown["accuracy_high"], color=shown["mode"].map(colours), linewidth=1.2,
        **with_halo(INK, width=1.8),
    )  # fmt: skip
    sns.scatterplot(
        x=shown["accuracy"], y=places, hue=shown["mode"], palette=colours, s=17, legend=False, zorder=3, ax=axes,
        **BAR_LOOK,
    )  # fmt: skip
    axes.collections[-1].set_urls(shown.apply(accuracy_text, axis=1).tolist())
    middles = np.array(list(rows.middles.values()))
    for edge in (middles[1:] + middles[:-1]) / 2:
        axes.axhline(edge, color="0.9", linewidth=0.6, zorder=0)
    axes.set_xlim(0, 1)
    return places.to_numpy()


def draw_seeds(evidence: Evidence, dataset: str) -> Chart:
    """The accuracy of every seed or fold, a point each; settings with a single run are left out.

    A tick is the median. A box, where there are runs enough for quartiles, or else a line spans the points. If there
    are many settings, each is shown in one mode.
    """
    settings = evidence.settings(dataset)
    settings = settings[settings["n_seeds"] > 1]
    if settings.empty:
        raise NothingToDrawError("every setting was run with one seed only")
    settings = settings.assign(label=name_settings(settings))
    has_one_mode = len(settings) > MAX_BARS
    if has_one_mode:
        settings = in_one_mode(settings)
    shown = in_rows(settings, best_labels(settings))
    rows = Rows.grouped(shown["label"].tolist(), gap_in=GAP_IN if shown["mode"].nunique() > 1 else SMALL_GAP_IN)
    runs = evidence.runs_of(shown)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    are_boxed = _runs_over_seeds(axes, shown, runs, rows)
    rows.dress(axes)
    box = "; box: from the first to the third quartile" if are_boxed else ""
    label_x(axes, f"test accuracy; one point per run, the line is the median{box}")
    ranges = runs.groupby("place")["accuracy"].agg(lambda accuracies: accuracies.max() - accuracies.min())
    widest = shown.iloc[int(ranges.to_numpy().argmax())]
    alt = (
        f"Accuracy over seeds of {count_of(len(shown), 'setting')} on {dataset}. The median range is "
        f"{ranges.median():.4f}; the widest is {ranges.max():.4f}, {described(widest)}."
    )
    title = f"accuracy over seeds{part_shown(shown, settings)}{modes_shown(shown) if has_one_mode else ''}"
    return make_chart(figure, dataset, title, alt, legend=swatches(shown["mode"]))


def _runs_over_seeds(axes: "Axes", shown: pd.DataFrame, runs: pd.DataFrame, rows: Rows) -> bool:
    """Draw every run of these settings, and return whether there are boxes."""
    import seaborn as sns

    palette = mode_colours(shown["mode"])
    is_boxed = (shown["n_seeds"] >= MIN_BOXED)[runs["place"]].to_numpy()
    if is_boxed.any():
        some = runs[is_boxed]
        sns.boxplot(
            **{**rows.look, "y": rows.places[some["place"]]}, x=some["accuracy"].to_numpy(), ax=axes,
            hue=some["mode"].to_numpy(), palette=palette, showfliers=False, showcaps=False, linecolor=INK,
            linewidth=0.8, boxprops={"alpha": 0.35}, medianprops={"linewidth": 0},
        )  # fmt: skip
    spans = runs[~is_boxed].groupby("place")["accuracy"].agg(["min", "max"])
    axes.hlines(
        rows.places[spans.index], spans["min"], spans["max"], color=shown["mode"].map(palette)[spans.index],
        linewidth=2, **with_halo(INK, width=2.6),
    )  # fmt: skip
    medians = runs.groupby("place")["accuracy"].median()
    half = 0.4 * BAR_IN
    axes.vlines(medians, rows.places - half, rows.places + half, color=INK, linewidth=1.6, zorder=3)
    sns.scatterplot(
        x=runs["accuracy"], y=rows.places[runs["place"]], hue=runs["mode"], palette=palette, s=24, legend=False,
        zorder=4, ax=axes, **BAR_LOOK,
    )  # fmt: skip
    tips = runs["label"] + ", mode " + runs["mode"] + ", seed " + runs["seed"].astype(int).astype(str) + ": "
    axes.collections[-1].set_urls((tips + runs["accuracy"].map("{:.4f}".format)).tolist())
    return bool(is_boxed.any())
