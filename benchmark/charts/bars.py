"""Bars: accuracy, efficiency, time and memory of the settings of a dataset."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.loading import SETTING
from benchmark.charts.evidence import Evidence, NothingToDrawError, in_one_mode
from benchmark.charts.labels import count_of, described
from benchmark.charts.records import Picture
from benchmark.charts.rows import (
    HEAD_IN,
    MAX_BARS,
    SMALL_GAP_IN,
    Rows,
    best_labels,
    in_rows,
    modes_shown,
    part_shown,
    write_at_end,
)
from benchmark.charts.style import (
    INK,
    add_head,
    as_dataset,
    in_order,
    mode_colour,
    new_figure,
    swatches,
)
from benchmark.ledger import BESIDE_OTHERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_IN = 0.25
TINY_PT = 7.0

PHASES = {"load_s": "load", "build_s": "build", "extract_s": "extract", "train_s": "train", "eval_s": "evaluate"}
MEMORIES = {"peak_rss_mib": "process", "peak_device_mib": "GPU"}


@dataclass(frozen=True)
class Unit:
    """What a quantity is shown in."""

    name: str
    size: float


def draw_accuracy(evidence: Evidence, dataset: str) -> Picture:
    """Accuracy of every setting with its 95 % interval, one colour a mode; bars, or points where bars are too many.

    A dashed line marks the best, a dotted one chance.
    """
    settings = evidence.settings(dataset)
    labels = best_labels(settings)
    shown = in_rows(settings, labels)
    are_bars = len(shown) <= MAX_BARS
    rows = Rows.grouped(shown["label"].tolist()) if are_bars else Rows.grouped(labels, bar_in=ROW_IN, gap_in=0.02)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    if are_bars:
        _accuracy_bars(axes, shown, rows)
    else:
        _accuracy_points(axes, shown, rows)
    best = shown["accuracy"].max()
    axes.axvline(best, linestyle="--", linewidth=1, color=INK, zorder=0.5)
    chance = float(evidence.done.loc[evidence.done["dataset"] == dataset, "chance"].mean())
    if not np.isnan(chance):
        axes.axvline(chance, linestyle=":", linewidth=1.2, color=INK, zorder=3)
    note = "" if np.isnan(chance) else f", dotted: chance, {chance:.3f}"
    axes.set_xlabel(f"test accuracy with 95 % interval (dashed: the best, {best:.3f}{note})")
    add_head(figure, f"{as_dataset(dataset)}: accuracy{part_shown(shown, settings)}", swatches(shown["mode"]))
    return Picture(figure, _accuracy_alt(dataset, settings))


def _accuracy_bars(axes: "Axes", shown: pd.DataFrame, rows: Rows) -> None:
    colours = [mode_colour(mode) for mode in shown["mode"]]
    axes.barh(rows.places, shown["accuracy"], height=rows.bar_in, color=colours, edgecolor=INK, linewidth=0.4)
    axes.hlines(rows.places, shown["accuracy_low"], shown["accuracy_high"], color=INK, linewidth=1.6)
    for place, accuracy, high in zip(rows.places, shown["accuracy"], shown["accuracy_high"], strict=True):
        write_at_end(axes, high, place, f"{accuracy:.3f}", size=TINY_PT)
    axes.set_xlim(0, 1.09)
    axes.set_xticks(np.linspace(0, 1, 6))
    rows.dress(axes)


def _accuracy_points(axes: "Axes", shown: pd.DataFrame, rows: Rows) -> None:
    modes = in_order(shown["mode"])
    for number, mode in enumerate(modes):
        points = shown[shown["mode"] == mode]
        # A little apart, so that equal accuracies do not hide each other.
        places = points["label"].map(rows.middles) + 0.75 * ROW_IN * ((number + 0.5) / len(modes) - 0.5)
        axes.hlines(places, points["accuracy_low"], points["accuracy_high"], color=mode_colour(mode), linewidth=1.2)
        axes.scatter(points["accuracy"], places, s=17, color=mode_colour(mode), edgecolor=INK, linewidth=0.4, zorder=3)
    middles = np.array(list(rows.middles.values()))
    for edge in (middles[1:] + middles[:-1]) / 2:
        axes.axhline(edge, color="0.9", linewidth=0.6, zorder=0)
    axes.set_xlim(0, 1)
    rows.dress(axes)


def _accuracy_alt(dataset: str, settings: pd.DataFrame) -> str:
    best, worst = settings.iloc[0], settings.iloc[-1]
    text = (
        f"Test accuracy of {count_of(len(settings), 'setting')} on {dataset}. Best: {described(best)}, "
        f"{best['accuracy']:.3f} ({best['accuracy_low']:.3f} to {best['accuracy_high']:.3f})."
    )
    return text if len(settings) == 1 else f"{text} Worst: {described(worst)}, {worst['accuracy']:.3f}."


def draw_efficiency(evidence: Evidence, dataset: str) -> Picture:
    """Accuracy a million parameters, one mode a row; the pale part is what chance alone would give."""
    settings = in_one_mode(evidence.settings(dataset)).dropna(subset=["efficiency"])
    if settings.empty:
        raise NothingToDrawError("no finished run has an efficiency")
    labels = best_labels(settings, by="efficiency")
    shown = in_rows(settings, labels)
    rows = Rows.grouped(labels, gap_in=SMALL_GAP_IN)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    colours = [mode_colour(mode) for mode in shown["mode"]]
    above = shown["efficiency_above_chance"].fillna(shown["efficiency"])
    axes.barh(rows.places, shown["efficiency"], height=rows.bar_in, color=colours, alpha=0.35)
    axes.barh(rows.places, above, height=rows.bar_in, color=colours, edgecolor=INK, linewidth=0.4)
    for place, value, params in zip(rows.places, shown["efficiency"], shown["params_total"], strict=True):
        write_at_end(axes, value, place, f"{value:.3g}  ({params / 1e6:.3g} M)")
    axes.set_xlim(0, shown["efficiency"].max() * 1.26)
    axes.set_xlabel("test accuracy per million parameters, head included (pale: the part that chance gives)")
    rows.dress(axes)
    title = f"{as_dataset(dataset)}: efficiency{part_shown(shown, settings)}{modes_shown(shown)}"
    add_head(figure, title, swatches(shown["mode"]))
    first = shown.iloc[0]
    return Picture(
        figure,
        f"Accuracy per million parameters of {count_of(len(shown), 'setting')} on {dataset}. Highest: "
        f"{described(first)}, {first['efficiency']:.3g} with {first['params_total'] / 1e6:.3g} million parameters.",
    )


def draw_time(evidence: Evidence, dataset: str) -> Picture:
    """Wall time of a run stacked by phase, mean of the seeds, one mode a row; without jobs that ran beside others."""
    import seaborn as sns

    phases = list(PHASES)
    # Jobs that shared the machine took longer than alone.
    was_alone = ~evidence.done["cpu"].astype(str).str.endswith(BESIDE_OTHERS)
    settings = _with_means(evidence.done[was_alone], in_one_mode(evidence.settings(dataset)), phases)
    settings = settings.dropna(subset=phases, how="all").assign(total=lambda rows: rows[phases].sum(axis=1))
    if settings.empty:
        raise NothingToDrawError("no finished run has its phases timed, alone on its machine")
    labels = best_labels(settings, by="total", ascending=True)
    shown = in_rows(settings, labels)
    unit = time_unit(shown["total"].max())
    rows = Rows.grouped(labels, gap_in=SMALL_GAP_IN)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    ends = np.zeros(len(shown))
    handles = []
    for (column, name), colour in zip(PHASES.items(), sns.color_palette("viridis_r", len(PHASES)), strict=True):
        lengths = (shown[column].fillna(0.0) / unit.size).to_numpy()
        handles.append(
            axes.barh(rows.places, lengths, left=ends, height=rows.bar_in, color=colour, linewidth=0, label=name)
        )
        ends = ends + lengths
    for place, end, total in zip(rows.places, ends, shown["total"], strict=True):
        write_at_end(axes, end, place, as_duration(total))
    axes.set_xlim(0, ends.max() * 1.14)
    axes.set_xlabel(f"wall time of a run, {unit.name} (each phase as measured when it was really done)")
    rows.dress(axes)
    title = f"{as_dataset(dataset)}: wall time{part_shown(shown, settings)}{modes_shown(shown)}"
    add_head(figure, title, handles)
    first, last = shown.iloc[0], shown.iloc[-1]
    text = f"Wall time by phase of {count_of(len(shown), 'setting')} on {dataset}. "
    return Picture(
        figure,
        f"{text}Fastest: {first['label']}, {as_duration(first['total'])}; "
        f"slowest: {last['label']}, {as_duration(last['total'])}.",
    )


def draw_memory(evidence: Evidence, dataset: str) -> Picture:
    """Peak memory of a run, mean of the seeds, one mode a row; of the process and, where measured, of the GPU."""
    settings = _with_means(evidence.done, in_one_mode(evidence.settings(dataset)), list(MEMORIES))
    measured = [column for column in MEMORIES if settings[column].notna().any()]
    settings = settings.dropna(subset=measured, how="all")
    if not measured:
        raise NothingToDrawError("no finished run has its memory measured")
    labels = best_labels(settings, by=measured[0], ascending=True)
    shown = in_rows(settings, labels)
    largest = float(np.nanmax(shown[measured].to_numpy()))
    unit = Unit("GiB", 1024) if largest >= 2048 else Unit("MiB", 1)
    rows = Rows.grouped([label for label in labels for _ in measured], gap_in=SMALL_GAP_IN)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    handles = []
    for number, column in enumerate(measured):
        places = rows.places[number :: len(measured)]
        sizes = (shown[column] / unit.size).to_numpy()
        colour = ("#4C6A92", "#B3C7DE")[list(MEMORIES).index(column)]
        handles.append(
            axes.barh(
                places, sizes, height=rows.bar_in, color=colour, edgecolor=INK, linewidth=0.4, label=MEMORIES[column]
            )
        )
        for place, size in zip(places, sizes, strict=True):
            text = "not measured" if np.isnan(size) else f"{size:.2f}" if unit.size > 1 else f"{size:,.0f}"
            write_at_end(axes, np.nan_to_num(size), place, text)
    axes.set_xlim(0, largest / unit.size * 1.12)
    axes.set_xlabel(f"peak memory of a run, {unit.name}")
    rows.dress(axes)
    title = f"{as_dataset(dataset)}: peak memory{part_shown(shown, settings)}{modes_shown(shown)}"
    add_head(figure, title, handles if len(measured) > 1 else ())
    first, last = shown.iloc[0], shown.iloc[-1]
    return Picture(
        figure,
        f"Peak memory of {count_of(len(shown), 'setting')} on {dataset}. Least: {first['label']}, "
        f"{first[measured[0]]:,.0f} MiB; most: {last['label']}, {last[measured[0]]:,.0f} MiB.",
    )


def _with_means(runs: pd.DataFrame, settings: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The settings with the means of these columns over their runs among these."""
    means = runs.groupby(list(SETTING), dropna=False)[columns].mean().reset_index()
    return settings.drop(columns=columns, errors="ignore").merge(means, on=list(SETTING), how="left")


def time_unit(longest_s: float) -> Unit:
    """Seconds, minutes or hours, so that the longest time is a small number."""
    if longest_s < 300:
        return Unit("s", 1)
    return Unit("minutes", 60) if longest_s < 3 * 3600 else Unit("hours", 3600)


def as_duration(seconds: float) -> str:
    """A time in two or three digits: `0.42 s`, `41.3 s`, `12.5 min`, `3.1 h`."""
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
