"""Which classes are mistaken for which, and which are hard."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import count_of, described, shorten, wrap
from benchmark.charts.records import Picture
from benchmark.charts.rows import label_rows, write_at_end
from benchmark.charts.style import (
    INK,
    SMALL_PT,
    add_head,
    as_dataset,
    heat_map,
    new_figure,
    new_parts,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ANNOTATED = 20
MAX_TICKS = 24
MAX_MISTAKES = 12
MAP_IN = 7.4
MAX_SETTINGS = 5
MAX_CLASSES = 40
CLASS_CHARACTERS = 18
SHORT_CHARACTERS = 5
EASY_PERCENT = 80.0  # the colours begin there or below, so that small differences stay pale


def draw_confusion(evidence: Evidence, dataset: str) -> Picture:
    """Of each true class the share that was called each class, all seeds of the best setting together.

    With more than 20 classes the shares are colours only, and the most frequent mistakes stand below.
    """
    runs = evidence.looked_at(dataset)
    shares = _shares(evidence, runs)
    mistakes = _mistakes(shares)
    if len(shares) <= MAX_ANNOTATED:
        figure, ((axes,),) = new_figure(2.2 + 0.38 * len(shares))
        _confusion_map(axes, shares, annotated=True)
    else:
        listed = mistakes.head(MAX_MISTAKES)
        figure, (above, below) = new_parts([MAP_IN, 0.6 + 0.25 * max(len(listed), 1)])
        _confusion_map(above, shares, annotated=False)
        _mistake_bars(below, listed)
    who = described(runs.iloc[0])
    seeds = count_of(len(runs), "run")
    add_head(figure, f"{as_dataset(dataset)}: what each class is called, by {who} ({seeds})")
    return Picture(figure, _confusion_alt(dataset, who, shares, mistakes))


def _shares(evidence: Evidence, runs: pd.DataFrame) -> pd.DataFrame:
    """`(k, k)` shares, a row a true class; a class without test images has no numbers.

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


def _confusion_map(axes: "Axes", shares: pd.DataFrame, *, annotated: bool) -> None:
    from matplotlib.colors import PowerNorm

    percent = 100 * shares
    notes = percent.map(lambda value: f"{value:.0f}" if value > 0.5 else "") if annotated else False
    heat_map(
        axes, percent, "percent of the true class", ticks=[0, 5, 20, 50, 100], cmap="Blues",
        norm=PowerNorm(0.5, 0, 100), annot=notes, fmt="", linewidths=0.5 if annotated else 0,
    )  # fmt: skip
    step = -(-len(shares) // MAX_TICKS)
    ticks = np.arange(0, len(shares), step)
    names = [shorten(str(name), CLASS_CHARACTERS) for name in shares.index[::step]]
    is_slanted = annotated and max(map(len, names)) > SHORT_CHARACTERS
    axes.set_xticks(
        ticks + 0.5,
        names,
        rotation=45 if is_slanted else 0 if annotated else 90,
        ha="right" if is_slanted else "center",
    )
    axes.set_yticks(ticks + 0.5, names, rotation=0)
    axes.tick_params(length=0 if step == 1 else 2, labelsize=SMALL_PT)
    if is_slanted:
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
    note = "" if step == 1 else f" (every {step}th is named)"
    axes.set(xlabel=f"called{note}", ylabel="true class")


def _mistake_bars(axes: "Axes", mistakes: pd.Series) -> None:
    places = np.arange(len(mistakes))
    axes.barh(places, 100 * mistakes, height=0.7, color="#6BAED6", edgecolor=INK, linewidth=0.4)
    for place, share in enumerate(mistakes):
        write_at_end(axes, 100 * share, place, f"{100 * share:.0f} %")
    names = [f"{shorten(str(true), 24)} → {shorten(str(called), 24)}" for true, called in mistakes.index]
    label_rows(axes, places.tolist(), names)
    axes.set_yticks(places, names, fontsize=SMALL_PT)
    axes.set_ylim(len(mistakes) - 0.4, -0.6)
    axes.set_xlim(0, 112 * max(mistakes, default=1.0))
    axes.set_xlabel("most frequent mistakes, percent of the true class")


def _confusion_alt(dataset: str, who: str, shares: pd.DataFrame, mistakes: pd.Series) -> str:
    text = f"Confusion matrix of {who} on the {len(shares)} classes of {dataset}."
    hits = pd.Series(np.diag(shares), index=shares.index).dropna()
    text += f" Hardest class: {hits.idxmin()}, {100 * hits.min():.0f} % right."
    if mistakes.empty:
        return f"{text} There is no mistake."
    true, called = mistakes.index[0]
    return f"{text} Most frequent mistake: {true} called {called}, {100 * mistakes.iloc[0]:.0f} %."


def draw_per_class(evidence: Evidence, dataset: str) -> Picture:
    """Recall of each class under the best setting of each of the best backbones and heads, the hardest class first."""
    columns = _columns(evidence, dataset)
    runs = evidence.runs_of(columns)[["folder", "run_id", "place"]]
    recalls = evidence.per_class.merge(runs, on=["folder", "run_id"])
    recalls = recalls[recalls["support"] > 0]
    if recalls.empty:
        raise NothingToDrawError("the ledger has no metrics a class of the best settings")
    table = recalls.pivot_table(index="class_name", columns="place", values="recall")
    table = table.loc[table.mean(axis=1).sort_values(kind="stable").index]
    shown = 100 * table.head(MAX_CLASSES)
    figure, ((axes,),) = new_figure(2.0 + 0.27 * len(shown))
    lowest = min(EASY_PERCENT, float(np.nanmin(shown.to_numpy())))
    heat_map(axes, shown, "percent named correctly", cmap="YlGnBu", vmin=lowest, vmax=100, annot=True, fmt=".0f")
    names = [wrap(described(columns.iloc[int(place)]), 80 // len(columns), n_lines=4) for place in shown.columns]
    axes.set_xticks(np.arange(len(names)) + 0.5, names, fontsize=SMALL_PT)
    axes.xaxis.tick_top()
    labels = [shorten(str(name), 2 * CLASS_CHARACTERS) for name in shown.index]
    axes.set_yticks(np.arange(len(shown)) + 0.5, labels)
    axes.tick_params(length=0)
    part = f", the {len(shown)} hardest of {len(table)}" if len(shown) < len(table) else ""
    add_head(figure, f"{as_dataset(dataset)}: share of each class named correctly{part}")
    hardest, easiest = table.index[0], table.index[-1]
    return Picture(
        figure,
        f"Percent of each of {count_of(len(table), 'class')} of {dataset} named correctly by "
        f"{count_of(len(columns), 'setting')}. Hardest: {hardest}, {100 * table.loc[hardest].mean():.0f} in the mean; "
        f"easiest: {easiest}, {100 * table.loc[easiest].mean():.0f}.",
    )


def _columns(evidence: Evidence, dataset: str) -> pd.DataFrame:
    """The best setting of each of the best labels, or the setting of the chosen run."""
    settings = evidence.settings(dataset)
    if evidence.run_id is not None:
        return settings.iloc[[evidence.looked_at(dataset)["place"].iloc[0]]].reset_index(drop=True)
    return settings.drop_duplicates("label").head(MAX_SETTINGS).reset_index(drop=True)
