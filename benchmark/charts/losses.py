"""The accuracy that a wrong preprocessing costs: every mode against native, as bars and as a map."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.ablation import HARMFUL, HARMLESS, HELPFUL, NATIVE, SAME_AS_NATIVE, UNCLEAR
from benchmark.analysis.formats import count_of
from benchmark.analysis.loading import SETTING
from benchmark.charts.bar_rows import HEAD_IN, LABEL_CHARACTERS, LINE_IN, MAX_ROWS, Rows, draw_bars, write_at_ends
from benchmark.charts.chart import Chart, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import fit
from benchmark.charts.style import INK, heat_map, in_order, mode_colours, new_figure, swatches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PAIRS = 16
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
    labels = evidence.settings(dataset)[[*SETTING, "label"]]
    return table.merge(labels, on=list(SETTING)).sort_values("accuracy_lost", ascending=False, ignore_index=True)


def draw_ablation(evidence: Evidence, dataset: str) -> Chart:
    """Accuracy in a wrong mode and in the native one, the most harmful pairs first.

    The line on a wrong mode's bar is the 95 % interval of the paired difference, drawn from the end of native's.
    """
    data = _losses(evidence, dataset)
    losses = data[data["verdict"] != SAME_AS_NATIVE]
    if losses.empty:
        raise NothingToDrawError("every mode that was tried does the same as native")
    shown = losses.head(MAX_PAIRS)
    names = shown["label"] + ": " + shown["mode"]
    rows = Rows.grouped(names.repeat(2).tolist())
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    bars = pd.Series(shown[["accuracy", "accuracy_native"]].to_numpy().ravel())
    modes = [mode for wrong in shown["mode"] for mode in (wrong, NATIVE)]
    tips = shown.apply(_tip, axis=1).repeat(2).tolist()
    draw_bars(axes, rows, bars, tips, hue=np.array(modes), palette=mode_colours(modes))
    low, high = ((shown["accuracy_native"] - shown[side]).clip(0, 1) for side in ("lost_high", "lost_low"))
    axes.hlines(rows.places[::2], low, high, color=INK, linewidth=1.6)
    # The interval is NaN where there is none.
    ends = pd.concat([shown[["accuracy", "accuracy_native"]], high], axis=1).max(axis=1)
    texts = list(map(_loss_text, shown["accuracy_lost"], shown["relative_gain"]))
    write_at_ends(axes, ends.tolist(), list(rows.middles.values()), texts)
    rows.dress(axes)
    axes.set(xlim=(0, 1.32), xticks=np.linspace(0, 1, 6))
    axes.set_xlabel("test accuracy; line: 95 % interval of the difference, paired with native", loc="left")
    part = f", the {len(shown)} most harmful of {len(losses)} wrong modes" if len(shown) < len(losses) else ""
    title, alt = f"every mode against native{part}", _ablation_alt(dataset, losses)
    return make_chart(figure, dataset, title, alt, legend=swatches(modes), data=data)


def _loss_text(lost: float, relative_gain: float) -> str:
    """Points lost, and the relative gain of native."""
    points = f"{-100 * lost:+.1f} points".replace("-0.0", "0.0").replace("+0.0", "0.0")
    gain = f", native {100 * relative_gain:+.0f} %" if abs(relative_gain) >= 0.005 else ""
    return (points + gain).replace("-", "−")


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
    names = [fit(label, LABEL_CHARACTERS) for label in labels]
    n_lines = max(name.count("\n") + 1 for name in names)
    figure, ((axes,),) = new_figure(HEAD_IN + (0.1 + LINE_IN * n_lines) * max(len(labels), 3))
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
    axes.set(xlabel=f"mode (bold: the 95 % interval excludes zero{gaps})")
