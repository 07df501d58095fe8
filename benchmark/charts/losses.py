"""The accuracy that a wrong preprocessing costs: every mode against native, as points and as a map."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.ablation import HARMFUL, HARMLESS, HELPFUL, SAME_AS_NATIVE, UNCLEAR
from benchmark.analysis.formats import count_of
from benchmark.charts.bar_rows import HEAD_IN, MAX_ROWS, Rows, write_in_column
from benchmark.charts.chart import Chart, label_x, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import fit, name_settings
from benchmark.charts.style import (
    INK,
    PAPER,
    current_theme,
    heat_map,
    hollow_marker,
    in_order,
    mode_colours,
    new_figure,
    swatches,
    with_halo,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_PAIRS = 24
POINT_SIZE = 46  # area in square points
# The colours span at least this range, so that chance differences stay pale.
LEAST_RANGE_POINTS = 5.0


def _losses(evidence: Evidence, dataset: str) -> pd.DataFrame:
    """The ablation of a dataset, the most harmful first, with the column `label`.

    Raises:
        NothingToDrawError: It is empty.
    """
    table = evidence.ablation[evidence.ablation["dataset"] == dataset]
    if table.empty:
        raise NothingToDrawError("no setting was run both in mode native and in another one with the same seed")
    named = table.assign(label=name_settings(table))
    return named.sort_values("accuracy_lost", ascending=False, ignore_index=True)


def draw_ablation(evidence: Evidence, dataset: str) -> Chart:
    """How much a wrong mode changes the accuracy against native, the most harmful pairs first.

    A point is the difference in points of accuracy, its line the 95 % interval. It is hollow where the verdict is
    unclear. Beside it stand the accuracy in mode native and in the wrong one.
    """
    data = _losses(evidence, dataset)
    losses = data[data["verdict"] != SAME_AS_NATIVE]
    if losses.empty:
        raise NothingToDrawError("every mode that was tried does the same as native")
    shown = losses.head(MAX_PAIRS)
    rows = Rows.grouped((shown["label"] + ": " + shown["mode"]).tolist())
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    axes.axvline(0, color=INK, linewidth=1.2, zorder=1)
    axes.hlines(rows.places, -100 * shown["lost_high"], -100 * shown["lost_low"], color=INK, linewidth=1.4, zorder=2)
    _points_of_change(axes, shown, rows)
    rows.dress(axes)
    texts = [f"{a:.3f} → {b:.3f}" for a, b in zip(shown["accuracy_native"], shown["accuracy"], strict=True)]
    write_in_column(axes, rows.places.tolist(), texts)
    label_x(
        axes, "change of test accuracy against native, points, with 95 % interval", "right: accuracy, native → mode"
    )
    part = f", the {len(shown)} most harmful of {len(losses)} wrong modes" if len(shown) < len(losses) else ""
    title, alt = f"every mode against native{part}", _ablation_alt(dataset, losses)
    return make_chart(
        figure, dataset, title, alt, legend=[*swatches(shown["mode"]), *_verdict_handles(shown)], data=data
    )


def _points_of_change(axes: "Axes", shown: pd.DataFrame, rows: Rows) -> None:
    """Draw the differences, those that are unclear hollow."""
    import seaborn as sns

    colours = shown["mode"].map(mode_colours(shown["mode"]))
    sns.scatterplot(
        x=-100 * shown["accuracy_lost"], y=rows.places, s=POINT_SIZE, color=INK, linewidth=1.6, zorder=3, legend=False,
        ax=axes,
    )  # fmt: skip
    points = axes.collections[-1]
    is_unclear = shown["verdict"] == UNCLEAR
    points.set_facecolor(colours.where(~is_unclear, PAPER).tolist())
    points.set_edgecolor(colours.tolist())
    points.set(**with_halo(INK, width=2.6))  # yellow is seen on white
    points.set_urls(shown.apply(_tip, axis=1).tolist())


def _verdict_handles(shown: pd.DataFrame) -> "list[Artist]":
    """The legend entry of hollow points, if there are any."""
    is_shown = (shown["verdict"] == UNCLEAR).any()
    return [hollow_marker("unclear", markersize=6, markeredgewidth=1.6)] if is_shown else []


def _tip(loss: pd.Series) -> str:
    low, high = 100 * loss["lost_low"], 100 * loss["lost_high"]
    interval = "" if pd.isna(low) else f" (95 %: {low:+z.1f} to {high:+z.1f})"
    return (
        f"{loss['label']}, mode {loss['mode']}: {loss['accuracy']:.3f}, native: {loss['accuracy_native']:.3f}, "
        f"lost: {100 * loss['accuracy_lost']:z.1f} points{interval}, {loss['verdict']}"
    )


def _ablation_alt(dataset: str, losses: pd.DataFrame) -> str:
    worst = losses.iloc[0]
    counts = losses["verdict"].value_counts()
    verdicts = ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in (HARMFUL, UNCLEAR, HARMLESS, HELPFUL) if verdict in counts
    )
    return (
        f"Accuracy of {count_of(len(losses), 'wrong mode')} against native on {dataset}: {verdicts}. "
        f"Largest difference: {worst['label']} in mode {worst['mode']}, {worst['accuracy']:.3f} "
        f"instead of {worst['accuracy_native']:.3f}."
    )


def draw_ablation_heatmap(evidence: Evidence, dataset: str) -> Chart:
    """Points of accuracy that every backbone loses in every mode; white is no difference, orange is lost."""
    losses = _losses(evidence, dataset)
    modes = in_order(losses["mode"])
    points = 100 * losses.pivot_table(index="label", columns="mode", values="accuracy_lost", sort=False)[modes]
    labels = points.max(axis=1).sort_values(ascending=False, kind="stable").index[:MAX_ROWS]
    sure = losses[losses["verdict"].isin({HARMFUL, HELPFUL})].groupby(["label", "mode"]).size().unstack(fill_value=0)
    names = [fit(label, current_theme().label_characters) for label in labels]
    n_lines = max(name.count("\n") + 1 for name in names)
    figure, ((axes,),) = new_figure(HEAD_IN + (0.1 + current_theme().line_in * n_lines) * max(len(labels), 3))
    is_sure = sure.reindex(index=labels, columns=modes, fill_value=0).to_numpy() > 0
    _map(axes, points.loc[labels].set_axis(names), is_sure)
    part = f", the {len(labels)} most harmed of {len(points)}" if len(labels) < len(points) else ""
    worst = losses.iloc[0]
    harmless = [mode for mode in modes if losses.loc[losses["mode"] == mode, "accuracy_lost"].max() < 0.01]
    text = (
        f"Points lost on {dataset} by {count_of(len(points), 'setting')} in {count_of(len(modes), 'mode')}. "
        f"Most: {100 * worst['accuracy_lost']:.1f}, {worst['label']} in mode {worst['mode']}."
    )
    text += f" No setting loses a point in: {', '.join(harmless)}." if harmless else ""
    return make_chart(figure, dataset, f"points of accuracy lost in a wrong mode{part}", text)


def _map(axes: "Axes", points: pd.DataFrame, is_sure: np.ndarray) -> None:
    limit = max(LEAST_RANGE_POINTS, float(np.nanmax(points.abs().to_numpy())))
    axes.set_facecolor("0.82")  # of cells that were not run
    shown = points.round(1) + 0.0  # no minus zero
    heat_map(axes, shown, "points lost", cmap="PuOr_r", vmin=-limit, vmax=limit, annot=True, fmt=".1f")
    # seaborn writes the cells that have a value, row by row.
    for text, sure in zip(axes.texts, is_sure[points.notna().to_numpy()], strict=True):
        text.set_fontweight("bold" if sure else "normal")
    gaps = "; grey: not run" if points.isna().any(axis=None) else ""
    label_x(axes, f"mode (bold: the 95 % interval excludes zero{gaps})")
