"""What a wrong preprocessing costs: every mode against native, as bars and as a map."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis.ablation import HARMFUL, HARMLESS, HELPFUL, NATIVE, SAME_AS_NATIVE
from benchmark.analysis.loading import SETTING
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.labels import count_of, fit
from benchmark.charts.records import Picture
from benchmark.charts.rows import HEAD_IN, LABEL_CHARACTERS, LINE_IN, MAX_ROWS, Rows, write_at_end
from benchmark.charts.style import (
    INK,
    add_head,
    as_dataset,
    heat_map,
    in_order,
    mode_colour,
    new_figure,
    swatches,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PAIRS = 16
# The colours reach at least so far, so that chance differences stay pale.
LEAST_RANGE_POINTS = 5.0


def _losses(evidence: Evidence, dataset: str) -> pd.DataFrame:
    """The ablation of a dataset, the most harmful first, with the column `label`.

    Raises:
        NothingToDrawError: There is none.
    """
    table = evidence.ablation[evidence.ablation["dataset"] == dataset]
    if table.empty:
        raise NothingToDrawError("no setting was done both in mode native and in another one with the same seed")
    labels = evidence.settings(dataset)[[*SETTING, "label"]]
    return table.merge(labels, on=list(SETTING)).sort_values("accuracy_lost", ascending=False, ignore_index=True)


def draw_ablation(evidence: Evidence, dataset: str) -> Picture:
    """Accuracy in a wrong mode and in the native one, the most harmful pairs first.

    The line on a wrong mode's bar is the 95 % interval of the paired difference, drawn from the end of native's.
    """
    losses = _losses(evidence, dataset)
    losses = losses[losses["verdict"] != SAME_AS_NATIVE]
    if losses.empty:
        raise NothingToDrawError("every mode that was tried does the same as native")
    shown = losses.head(MAX_PAIRS)
    names = [f"{row.label}: {row.mode}" for row in shown.itertuples()]
    rows = Rows.grouped([name for name in names for _ in range(2)])
    wrong, right = rows.places[::2], rows.places[1::2]
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    look = {"height": rows.bar_in, "edgecolor": INK, "linewidth": 0.4}
    axes.barh(wrong, shown["accuracy"], color=[mode_colour(mode) for mode in shown["mode"]], **look)
    axes.barh(right, shown["accuracy_native"], color=mode_colour(NATIVE), **look)
    low, high = ((shown["accuracy_native"] - shown[side]).clip(0, 1) for side in ("lost_high", "lost_low"))
    axes.hlines(wrong, low, high, color=INK, linewidth=1.6)
    # An interval that was not found has no end.
    ends = pd.concat([shown[["accuracy", "accuracy_native"]], high], axis=1).max(axis=1)
    texts = map(_loss_text, shown["accuracy_lost"], shown["relative_gain"])
    for name, end, text in zip(names, ends, texts, strict=True):
        write_at_end(axes, end, rows.middles[name], text)
    axes.set_xlim(0, 1.32)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel("test accuracy; line: 95 % interval of the difference, paired with native", loc="left")
    rows.dress(axes)
    n_all = len(losses)
    part = f", the {len(shown)} most harmful of {n_all} wrong modes" if len(shown) < n_all else ""
    add_head(figure, f"{as_dataset(dataset)}: every mode against native{part}", swatches([NATIVE, *shown["mode"]]))
    return Picture(figure, _ablation_alt(dataset, losses))


def _loss_text(lost: float, relative_gain: float) -> str:
    """Points lost, and what native gains in proportion."""
    points = f"{-100 * lost:+.1f} points".replace("-0.0", "0.0").replace("+0.0", "0.0")
    gain = f", native {100 * relative_gain:+.0f} %" if abs(relative_gain) >= 0.005 else ""
    return (points + gain).replace("-", "−")


def _ablation_alt(dataset: str, losses: pd.DataFrame) -> str:
    worst = losses.iloc[0]
    counts = losses["verdict"].value_counts()
    verdicts = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in (HARMFUL, HARMLESS, HELPFUL))
    return (
        f"Accuracy of {count_of(len(losses), 'wrong mode')} against native on {dataset}: {verdicts}. "
        f"Largest difference: {worst['label']} in mode {worst['mode']}, {worst['accuracy']:.3f} "
        f"instead of {worst['accuracy_native']:.3f}."
    )


def draw_ablation_heatmap(evidence: Evidence, dataset: str) -> Picture:
    """Points of accuracy that every backbone loses in every mode; white is no difference, orange is lost."""
    losses = _losses(evidence, dataset)
    modes = in_order(losses["mode"])
    points = 100 * losses.pivot_table(index="label", columns="mode", values="accuracy_lost", sort=False)[modes]
    labels = points.max(axis=1).sort_values(ascending=False, kind="stable").index[:MAX_ROWS]
    is_sure = losses["verdict"].isin({HARMFUL, HELPFUL})
    sure = losses[is_sure].groupby(["label", "mode"]).size().unstack(fill_value=0)
    shown = points.loc[labels]
    n_lines = max(fit(label, LABEL_CHARACTERS).count("\n") + 1 for label in labels)
    figure, ((axes,),) = new_figure(HEAD_IN + (0.1 + LINE_IN * n_lines) * max(len(labels), 3))
    _map(axes, shown, sure.reindex(index=labels, columns=modes, fill_value=0).to_numpy() > 0)
    part = f", the {len(labels)} most harmed of {len(points)}" if len(labels) < len(points) else ""
    add_head(figure, f"{as_dataset(dataset)}: points of accuracy lost in a wrong mode{part}")
    worst = losses.iloc[0]
    harmless = [mode for mode in modes if losses.loc[losses["mode"] == mode, "accuracy_lost"].max() < 0.01]
    text = (
        f"Points lost on {dataset} by {count_of(len(points), 'setting')} in {count_of(len(modes), 'mode')}. "
        f"Most: {100 * worst['accuracy_lost']:.1f}, {worst['label']} in mode {worst['mode']}."
    )
    return Picture(figure, f"{text} Nobody loses a point in: {', '.join(harmless)}." if harmless else text)


def _map(axes: "Axes", points: pd.DataFrame, is_sure: np.ndarray) -> None:
    limit = max(LEAST_RANGE_POINTS, float(np.nanmax(points.abs().to_numpy())))
    axes.set_facecolor("0.82")  # of cells that were not done
    shown = points.round(1) + 0.0  # no minus zero
    heat_map(axes, shown, "points lost", cmap="PuOr_r", vmin=-limit, vmax=limit, annot=True, fmt=".1f")
    # seaborn writes the cells that have a value, row by row.
    for text, sure in zip(axes.texts, is_sure[points.notna().to_numpy()], strict=True):
        text.set_fontweight("bold" if sure else "normal")
    axes.set_yticks(np.arange(len(points)) + 0.5, [fit(label, LABEL_CHARACTERS) for label in points.index])
    axes.set_xticks(np.arange(points.shape[1]) + 0.5, points.columns)
    gaps = "; grey: not done" if points.isna().any(axis=None) else ""
    axes.set(xlabel=f"mode (bold: the 95 % interval leaves out zero{gaps})")
