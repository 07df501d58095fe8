"""Which classes are mistaken for which, and which are hard."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.analysis.presentation import UNBALANCED
from benchmark.charts.bar_rows import BAR_LOOK, modes_shown, room_at_ends, write_at_ends
from benchmark.charts.chart import Chart, label_x, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError, in_one_mode
from benchmark.charts.labels import described, fit, name_settings, shorten, shorten_apart
from benchmark.charts.style import blank_figure, current_theme, heat_map, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL_IN = 0.3  # the least width of a cell with a number
MAX_MISTAKES = 12
MAX_SETTINGS, MAX_NARROW = 5, 3
MAX_CLASSES = 40
CLASS_SHARE = 0.15  # of the width of a figure, for the names of classes beside a map
SHORT_CHARACTERS = 5
EASY_PERCENT = 80.0  # the colours begin there or below, so that small differences stay pale


def draw_confusion(evidence: Evidence, dataset: str) -> Chart:
    """The share of each true class that was called each class, over all seeds of the best setting.

    Where cells are too small for numbers the shares are colours only, and the most frequent mistakes are listed below.
    If the classes are uneven, their names are followed by their numbers of test images.
    """
    runs = evidence.shown_runs(dataset)
    shares = _shares(evidence, runs)
    mistakes = _mistakes(shares)
    sizes = _sizes(evidence, runs)
    width_in = current_theme().width_in
    if len(shares) * CELL_IN <= 0.72 * width_in:
        figure, ((axes,),) = new_figure(2.2 + 0.38 * len(shares))
        _confusion_map(axes, shares, sizes, annotated=True)
    else:
        listed = mistakes.head(MAX_MISTAKES)
        heights_in = [0.89 * width_in, 0.6 + 0.25 * max(len(listed), 1)]
        figure = blank_figure(sum(heights_in))
        # Two figures, because the left ends of their axes need not be aligned.
        parts = figure.subfigures(2, 1, height_ratios=heights_in, squeeze=False)
        above, below = (part.subplots() for part in parts[:, 0])
        _confusion_map(above, shares, sizes, annotated=False)
        _mistake_bars(below, listed)
    who = described(runs.iloc[0])
    seeds = count_of(len(runs), "run")
    title = f"what each class is called, by {who} ({seeds})"
    return make_chart(figure, dataset, title, _confusion_alt(dataset, who, shares, mistakes))


def _shares(evidence: Evidence, runs: pd.DataFrame) -> pd.DataFrame:
    """`(k, k)` shares, one row per true class; NaN for a class without test images.

    Raises:
        NothingToDrawError: The ledger has no confusion counts of these runs.
    """
    keys = ["folder", "run_id"]
    counts = evidence.confusion.merge(runs[keys], on=keys)
    if counts.empty:
        raise NothingToDrawError("the ledger has no confusion counts of the best setting")
    in_order_of_labels = evidence.per_class.merge(runs[keys], on=keys)["class_name"].unique().tolist()
    others = sorted({*counts["true_class"], *counts["predicted_class"]} - set(in_order_of_labels))
    names = [*in_order_of_labels, *others]
    table = counts.pivot_table(index="true_class", columns="predicted_class", values="count", aggfunc="sum")
    table = table.reindex(index=names, columns=names).fillna(0.0)
    return table.div(table.sum(axis=1).replace(0.0, np.nan), axis=0)


def _mistakes(shares: pd.DataFrame) -> pd.Series:
    """The shares off the diagonal that are not zero, by true and predicted class, the largest first."""
    table = shares.to_numpy(copy=True)
    np.fill_diagonal(table, 0.0)
    pairs = pd.MultiIndex.from_product([shares.index, shares.columns])
    off = pd.Series(table.ravel(), index=pairs)
    return off[off > 0].sort_values(ascending=False, kind="stable")


def _sizes(evidence: Evidence, runs: pd.DataFrame) -> "pd.Series[int]":
    """Test images of each class in the first of these runs, if the classes are uneven; else empty."""
    rows = evidence.per_class.merge(runs[["folder", "run_id"]].head(1), on=["folder", "run_id"])
    sizes = rows.set_index("class_name")["support"].astype(int)
    return sizes if len(sizes) and sizes.max() > UNBALANCED * sizes.mean() else sizes.iloc[:0]


def _named(classes: Sequence[str], sizes: "pd.Series[int]", share: float) -> list[str]:
    """Names of classes in this share of a figure's width, with their test images where these are known."""
    width = int(share * current_theme().width_in / current_theme().text_in(1))
    return [
        f"{name} ({sizes[full]:,})" if full in sizes.index else name
        for full, name in zip(classes, shorten_apart(classes, width), strict=True)
    ]


def _confusion_map(axes: "Axes", shares: pd.DataFrame, sizes: "pd.Series[int]", *, annotated: bool) -> None:
    from matplotlib.colors import PowerNorm

    percent = 100 * shares
    notes = percent.map(lambda value: f"{value:.0f}" if value > 0.5 else "") if annotated else False
    step = -(-len(shares) // int(3 * current_theme().width_in))
    names = _named(shares.index.tolist(), sizes.iloc[:0], CLASS_SHARE)
    rows = _named(shares.index.tolist(), sizes, CLASS_SHARE)
    heat_map(
        axes, percent.set_axis(rows).set_axis(names, axis=1), "percent of the true class", ticks=[0, 5, 20, 50, 100],
        cmap="Blues", norm=PowerNorm(0.5, 0, 100), annot=notes, fmt="", linewidths=0.5 if annotated else 0,
        rasterized=not annotated, xticklabels=step, yticklabels=step,
    )  # fmt: skip
    axes.tick_params(length=0 if step == 1 else 2, labelsize=current_theme().small_pt)
    if not annotated:
        axes.tick_params(axis="x", rotation=90)
    elif max(map(len, names)) > SHORT_CHARACTERS:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    note = "" if step == 1 else f" (every {step}th is named)"
    label_x(axes, f"called{note}")
    axes.set_ylabel("true class (test images)" if len(sizes) else "true class")


def _mistake_bars(axes: "Axes", mistakes: pd.Series) -> None:
    import seaborn as sns

    percent = (100 * mistakes).tolist()
    width = int(0.17 * current_theme().width_in / current_theme().text_in(1))
    names = [f"{shorten(str(true), width)} → {shorten(str(called), width)}" for true, called in mistakes.index]
    places = list(range(len(names)))
    # Not the names: two of them may be the same once they are shortened.
    sns.barplot(
        x=percent, y=places, orient="h", native_scale=True, width=0.7, color="#6BAED6", saturation=1, ax=axes,
        **BAR_LOOK,
    )  # fmt: skip
    write_at_ends(axes, percent, places, [f"{share:.0f} %" for share in percent])
    axes.set_yticks(places, names, fontsize=current_theme().small_pt)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    longest = max(percent, default=100.0)
    axes.set(xlim=(0, longest * room_at_ends()), ylim=(len(names) - 0.4, -0.6), ylabel="")
    label_x(axes, "most frequent mistakes, percent of the true class")


def _confusion_alt(dataset: str, who: str, shares: pd.DataFrame, mistakes: pd.Series) -> str:
    text = f"Confusion matrix of {who} on the {len(shares)} classes of {dataset}."
    hits = pd.Series(np.diag(shares), index=shares.index).dropna()
    text += f" Hardest class: {hits.idxmin()}, {100 * hits.min():.0f} % right."
    if mistakes.empty:
        return f"{text} There is no mistake."
    true, called = mistakes.index[0]
    return f"{text} Most frequent mistake: {true} called {called}, {100 * mistakes.iloc[0]:.0f} %."


def draw_per_class(evidence: Evidence, dataset: str) -> Chart:
    """Recall of each class under each of the best backbones and heads, the hardest class first.

    If the classes are uneven, their names are followed by their numbers of test images.
    """
    columns = _columns(evidence, dataset)
    runs = evidence.runs_of(columns)[["folder", "run_id", "place"]]
    recalls = evidence.per_class.merge(runs, on=["folder", "run_id"])
    recalls = recalls[recalls["support"] > 0]
    if recalls.empty:
        raise NothingToDrawError("the ledger has no per-class metrics of the best settings")
    table = recalls.pivot_table(index="class_name", columns="place", values="recall")
    table = table.loc[table.mean(axis=1).sort_values(kind="stable").index]
    shown = 100 * table.head(MAX_CLASSES)
    figure, ((axes,),) = new_figure(2.0 + 0.27 * len(shown))
    lowest = min(EASY_PERCENT, float(np.nanmin(shown.to_numpy())))
    settings = [columns.iloc[int(place)] for place in shown.columns]
    has_one_mode = columns["mode"].nunique() == 1
    width = max(8, int(0.62 * current_theme().width_in / current_theme().text_in(1)) // len(columns))
    names = [fit(setting["label"] if has_one_mode else described(setting), width) for setting in settings]
    sizes = _sizes(evidence, runs)
    labels = _named(shown.index.tolist(), sizes, 1.8 * CLASS_SHARE)
    heat_map(
        axes, shown.set_axis(labels).set_axis(names, axis=1), "percent named correctly", cmap="YlGnBu", vmin=lowest,
        vmax=100, annot=True, fmt=".0f", yticklabels=True,
    )  # fmt: skip
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, labelsize=current_theme().small_pt)
    axes.set_ylabel("class (test images)" if len(sizes) else "")
    part = f", the {len(shown)} hardest of {len(table)}" if len(shown) < len(table) else ""
    hardest, easiest = table.index[0], table.index[-1]
    return make_chart(
        figure,
        dataset,
        f"share of each class named correctly{part}{modes_shown(columns)}",
        f"Percent of each of {count_of(len(table), 'class')} of {dataset} named correctly by "
        f"{count_of(len(columns), 'setting')}. Hardest: {hardest}, {100 * table.loc[hardest].mean():.0f} on average; "
        f"easiest: {easiest}, {100 * table.loc[easiest].mean():.0f}.",
    )


def _columns(evidence: Evidence, dataset: str) -> pd.DataFrame:
    """The best labels, each in mode native or its best, or the setting of the chosen run."""
    settings = evidence.settings(dataset)
    if evidence.run_id is not None:
        return settings.iloc[[evidence.shown_runs(dataset)["place"].iloc[0]]].reset_index(drop=True)
    n_shown = MAX_NARROW if current_theme().is_narrow else MAX_SETTINGS
    columns = in_one_mode(settings).head(n_shown)
    return columns.assign(label=name_settings(columns)).reset_index(drop=True)
