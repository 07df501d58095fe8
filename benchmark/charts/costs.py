"""What the settings of a dataset cost: parameters, time and memory."""

import numpy as np
import pandas as pd

from benchmark.analysis.formats import count_of, duration_text
from benchmark.analysis.loading import SETTING, are_times_comparable
from benchmark.charts.bar_rows import (
    BAR_LOOK,
    HEAD_IN,
    SMALL_GAP_IN,
    Rows,
    best_labels,
    draw_bars,
    in_rows,
    modes_shown,
    part_shown,
    room_at_ends,
    write_at_ends,
    write_in_column,
)
from benchmark.charts.chart import Chart, label_x, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError, in_one_mode, of_one_machine
from benchmark.charts.labels import described
from benchmark.charts.style import FAINT, INK, PAPER, hollow_marker, logarithmic_x, mode_colours, new_figure, swatches

POINT_SIZE = 40  # area in square points
PHASES = {"load_s": "load", "build_s": "build", "extract_s": "extract", "train_s": "train", "eval_s": "evaluate"}
MEMORIES = {"peak_rss_mib": ("process", "#4C6A92"), "peak_device_mib": ("GPU", "#B3C7DE")}


def draw_efficiency(evidence: Evidence, dataset: str) -> Chart:
    """Accuracy per million parameters, logarithmic, one mode per row; hollow is what remains without chance."""
    import seaborn as sns

    settings = in_one_mode(evidence.settings(dataset))
    settings = settings[settings["efficiency"] > 0]  # a logarithmic axis has no place for others
    if settings.empty:
        raise NothingToDrawError("no finished run has an efficiency")
    shown = in_rows(settings, best_labels(settings, by="efficiency"))
    rows = Rows.grouped(shown["label"].tolist(), gap_in=SMALL_GAP_IN)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    texts = list(map(_efficiency_text, shown["efficiency"], shown["params_total"]))
    whole = shown["efficiency"]
    above = shown["efficiency_above_chance"].where(shown["efficiency_above_chance"] > 0)
    has_above = above.notna()
    if has_above.any():
        places = rows.places[has_above]
        axes.hlines(places, above[has_above], whole[has_above], color=FAINT, linewidth=1, zorder=1)
        axes.scatter(above[has_above], places, s=26, facecolor=PAPER, edgecolor=INK, linewidth=0.8, zorder=2)
    sns.scatterplot(
        x=whole, y=rows.places, hue=shown["mode"], palette=mode_colours(shown["mode"]), s=POINT_SIZE, legend=False,
        zorder=3, ax=axes, **BAR_LOOK,
    )  # fmt: skip
    tips = [f"{described(row)}: {text}" for (_, row), text in zip(shown.iterrows(), texts, strict=True)]
    axes.collections[-1].set_urls(tips)
    write_in_column(axes, rows.places.tolist(), texts)
    rows.dress(axes)
    # What is hardly above chance is off the axis, as otherwise it would press the others together.
    logarithmic_x(axes, max(float(above.fillna(whole).min()), float(whole.min()) / 10), float(whole.max()))
    label_x(axes, "test accuracy per million parameters, head included, logarithmic")
    first = shown.iloc[0]
    hollow = hollow_marker("above chance only", markersize=5)
    return make_chart(
        figure,
        dataset,
        f"efficiency{part_shown(shown, settings)}{modes_shown(shown)}",
        f"Accuracy per million parameters of {count_of(len(shown), 'setting')} on {dataset}. Highest: "
        f"{described(first)}, {first['efficiency']:.3g} with {first['params_total'] / 1e6:.3g} million parameters.",
        legend=[*swatches(shown["mode"]), *([hollow] if has_above.any() else [])],
    )


def _efficiency_text(efficiency: float, n_parameters: float) -> str:
    return f"{efficiency:.3g}  ({n_parameters / 1e6:.3g} M)"


def draw_time(evidence: Evidence, dataset: str) -> Chart:
    """Wall time of a run stacked by phase, mean of the seeds, one mode per row; without jobs that ran beside others.

    Of several machines, that of most settings is shown.
    """
    import seaborn as sns
    from matplotlib.patches import Patch

    timed, where = of_one_machine(_timed(evidence, dataset), "label")
    settings = in_one_mode(timed)
    shown = in_rows(settings, best_labels(settings, by="total_s", ascending=True))
    unit, size_s = _time_unit(shown["total_s"].max())
    rows = Rows.grouped(shown["label"].tolist(), gap_in=SMALL_GAP_IN)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    colours = dict(zip(PHASES, sns.color_palette("viridis_r", len(PHASES)), strict=True))
    ends = shown[list(PHASES)].fillna(0.0).cumsum(axis=1) / size_s
    totals = shown["total_s"].map(duration_text)
    for phase in reversed(PHASES):  # a stack: each bar covers the begin of the longer one before
        times = shown[phase].fillna(0.0).map(duration_text)
        tips = (shown["label"] + ", " + PHASES[phase] + ": " + times + " of " + totals).tolist()
        draw_bars(axes, rows, ends[phase], tips, color=colours[phase], linewidth=0)
    write_at_ends(axes, (shown["total_s"] / size_s).tolist(), rows.places.tolist(), totals.tolist())
    rows.dress(axes)
    axes.set_xlim(0, shown["total_s"].max() / size_s * room_at_ends())
    label_x(axes, f"wall time of a run, {unit} (reused features count with the time that they took)")
    first, last = shown.iloc[0], shown.iloc[-1]
    phases = last[list(PHASES)].astype(float).fillna(0.0)
    longest = str(phases.idxmax())
    share = 100 * phases[longest] / phases.sum() if phases.sum() else 0
    return make_chart(
        figure,
        dataset,
        f"wall time{where}{part_shown(shown, settings)}{modes_shown(shown)}",
        f"Wall time by phase of {count_of(len(shown), 'setting')} on {dataset}. Fastest: {first['label']}, "
        f"{totals.iloc[0]}; slowest: {last['label']}, {totals.iloc[-1]}, "
        f"{share:.0f} % of it in phase {PHASES[longest]}.",
        legend=[Patch(color=colours[phase], label=name) for phase, name in PHASES.items()],
        data=timed.sort_values("total_s", ascending=False, kind="stable", ignore_index=True),
    )


def _timed(evidence: Evidence, dataset: str) -> pd.DataFrame:
    """The settings of a dataset with the mean seconds of each phase and `total_s`.

    Raises:
        NothingToDrawError: None was timed.
    """
    phases = list(PHASES)
    comparable = are_times_comparable(evidence.done)
    timed = _with_means(evidence.done[comparable], evidence.settings(dataset), phases).dropna(subset=phases, how="all")
    if timed.empty:
        raise NothingToDrawError("no finished run has its phases timed while it ran alone on its machine")
    return timed.assign(total_s=timed[phases].sum(axis=1))


def draw_memory(evidence: Evidence, dataset: str) -> Chart:
    """Peak memory of a run, mean of the seeds, one mode per row; of the process and, where measured, of the GPU."""
    from matplotlib.patches import Patch

    settings = _with_means(evidence.done, in_one_mode(evidence.settings(dataset)), list(MEMORIES))
    measured = [column for column in MEMORIES if settings[column].notna().any()]
    if not measured:
        raise NothingToDrawError("no finished run has its memory measured")
    settings = settings.dropna(subset=measured, how="all")
    shown = in_rows(settings, best_labels(settings, by=measured[0], ascending=True))
    largest = float(np.nanmax(shown[measured].to_numpy()))
    unit, size_mib, pattern = ("GiB", 1024, "{:.2f}") if largest >= 2048 else ("MiB", 1, "{:,.0f}")
    # One bar per setting and kind of memory.
    bars = shown[["label", *measured]].melt("label", measured, "kind", ignore_index=False).sort_index(kind="stable")
    rows = Rows.grouped(bars["label"].tolist(), gap_in=SMALL_GAP_IN)
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    sizes = bars["value"] / size_mib
    texts = sizes.map(pattern.format).where(sizes.notna(), "not measured")
    names, colours = ({column: MEMORIES[column][part] for column in measured} for part in (0, 1))
    tips = (bars["label"] + ", " + bars["kind"].map(names) + ": " + texts + f" {unit}").tolist()
    draw_bars(axes, rows, sizes, tips, hue=bars["kind"].to_numpy(), palette=colours)
    write_at_ends(axes, sizes.fillna(0.0).tolist(), rows.places.tolist(), texts.tolist())
    rows.dress(axes)
    axes.set_xlim(0, largest / size_mib * room_at_ends())
    label_x(axes, f"peak memory of a run, {unit}")
    entries = [Patch(facecolor=colours[column], edgecolor=INK, linewidth=0.4, label=names[column]) for column in names]
    first, last = shown.iloc[0], shown.iloc[-1]
    return make_chart(
        figure,
        dataset,
        f"peak memory{part_shown(shown, settings)}{modes_shown(shown)}",
        f"Peak memory of {count_of(len(shown), 'setting')} on {dataset}. Least: {first['label']}, "
        f"{first[measured[0]]:,.0f} MiB; most: {last['label']}, {last[measured[0]]:,.0f} MiB.",
        legend=entries if len(measured) > 1 else (),
    )


def _with_means(runs: pd.DataFrame, settings: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The settings with the means of these columns over their runs among these."""
    means = runs.groupby(list(SETTING), dropna=False)[columns].mean().reset_index()
    return settings.drop(columns=columns, errors="ignore").merge(means, on=list(SETTING), how="left")


def _time_unit(longest_s: float) -> tuple[str, float]:
    """Seconds, minutes or hours, with their length in seconds, so that the longest time is a small number."""
    if longest_s < 300:
        return "s", 1
    return ("minutes", 60) if longest_s < 3 * 3600 else ("hours", 3600)
