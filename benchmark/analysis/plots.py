"""Pictures of a leaderboard: one file a plot and dataset."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.preprocessing import MODES
from benchmark.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
WIDTH_IN = 9.0
BAR_HEIGHT_IN = 0.26
DPI = 110


def save_plots(
    leaderboard: pd.DataFrame, folder: Path, *, only: Sequence[str] | None = None, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Draw the plots of every dataset and return the files written.

    Args:
        leaderboard: What `make_leaderboard` gives.
        folder: Where the files go, `<plot>-<dataset>.<format>`.
        only: Names of `PLOTS`; all where it is None.
        formats: Of `FORMATS`.

    Raises:
        BenchmarkError: There is nothing to draw.
        UnknownNameError: A plot or format is unknown.
    """
    import matplotlib as mpl
    import seaborn as sns

    for name in only or ():
        if name not in PLOTS:
            raise UnknownNameError("plot", name, PLOTS)
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError("format", name, FORMATS)
    if leaderboard.empty:
        raise BenchmarkError("The ledger has no finished run to draw.")
    mpl.use("agg")
    paths = []
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"), sns.color_palette("colorblind"):
        for dataset, table in leaderboard.groupby("dataset"):
            for name in only or PLOTS:
                figure = PLOTS[name](_with_labels(table))
                stem = f"{name}-{_file_name(str(dataset))}"
                paths += [_save(figure, folder / f"{stem}.{suffix}") for suffix in formats]
    return paths


def _file_name(dataset: str) -> str:
    return re.sub(r"[^\w.-]+", "_", dataset).strip("_")


def _with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """What a bar or point is called: the backbone, and whatever else differs besides the mode."""
    table = table.reset_index(drop=True)
    labels = table["backbone"].astype(str)
    for column, unit in (("input_size_px", " px"), ("head", ""), ("strategy", ""), ("precision", ""), ("resize", "")):
        if table[column].nunique() > 1:
            labels += ", " + table[column].astype(str) + unit
    # Of settings that differ in none of these, the number keeps the bars apart.
    repeats = table.assign(label=labels).groupby(["label", "mode"]).cumcount()
    labels += repeats.map(lambda number: f" ({number + 1})" if number else "")
    return table.assign(label=labels)


def _save(figure: "Figure", path: Path) -> Path:
    import matplotlib.pyplot as plt

    # No date in the file, so that the same ledger gives the same bytes.
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    with write_whole(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=DPI, bbox_inches="tight", metadata=metadata)
    plt.close(figure)
    return path


def plot_accuracy(table: pd.DataFrame) -> "Figure":
    """Accuracy bars with 95 % intervals, one colour a mode; a dashed line marks the best."""
    figure, axes = _bar_figure(table, 1)
    _bars(axes[0], table, "accuracy")
    _intervals(axes[0], table)
    best = table["accuracy"].max()
    axes[0].axvline(best, linestyle="--", linewidth=1, color="0.35")
    axes[0].set(xlim=(0, 1), xlabel=f"test accuracy, 95 % interval (best {best:.3f})", ylabel="")
    _legend_outside(axes[0])
    return figure


def plot_pareto(table: pd.DataFrame) -> "Figure":
    """Accuracy against parameters, logarithmic; the line joins what nothing smaller or equal beats."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    figure, axes = plt.subplots(figsize=(WIDTH_IN, 5))
    points = table.assign(millions=table["params_total"] / 1e6)
    sns.scatterplot(
        points, x="millions", y="accuracy", hue="mode", hue_order=_modes(table), palette=_mode_colours(), style="head",
        s=80, ax=axes,
    )  # fmt: skip
    front = pareto_front(points["millions"].to_numpy(), points["accuracy"].to_numpy())
    ordered = points.iloc[front].sort_values("millions")
    axes.plot(ordered["millions"], ordered["accuracy"], color="0.35", linewidth=1.2, zorder=0, label="Pareto front")
    for _, best in points.loc[points.groupby("backbone")["accuracy"].idxmax()].iterrows():
        axes.annotate(
            best["backbone"], (best["millions"], best["accuracy"]), xytext=(0, 9), textcoords="offset points",
            ha="center", fontsize=9,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.15)
    ticks = _apart(np.unique(points["millions"]))
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="parameters, millions (head included, logarithmic)", ylabel="test accuracy")
    axes.legend()
    _legend_outside(axes)
    return figure


def _apart(values: np.ndarray, share: float = 0.1) -> list[float]:
    """The ascending values without those nearer to the one before than a share of the logarithmic axis."""
    nearest = (values[-1] / values[0]) ** share
    kept: list[float] = []
    for value in values.tolist():
        if not kept or value / kept[-1] >= nearest:
            kept.append(value)
    return kept


def plot_cost(table: pd.DataFrame) -> "Figure":
    """Wall time and peak memory bars, one colour a mode."""
    figure, axes = _bar_figure(table, 2)
    for axis, column, text in zip(axes, ("wall_s", "peak_rss_mib"), ("wall time, s", "peak memory, MiB"), strict=True):
        _bars(axis, table, column)
        axis.set(xlabel=text, ylabel="")
    axes[1].set_yticklabels([])
    axes[0].get_legend().remove()
    _legend_outside(axes[1])
    return figure


PLOTS: dict[str, Callable[[pd.DataFrame], "Figure"]] = {
    "accuracy": plot_accuracy,
    "pareto": plot_pareto,
    "cost": plot_cost,
}


def pareto_front(costs: np.ndarray, gains: np.ndarray) -> list[int]:
    """Positions of the points that no other point beats: none is at most as costly and better, or cheaper and as good.

    Args:
        costs: `(n,)`, less is better.
        gains: `(n,)`, more is better.
    """
    return [
        index
        for index, (cost, gain) in enumerate(zip(costs, gains, strict=True))
        if not np.any((costs <= cost) & (gains >= gain) & ((costs < cost) | (gains > gain)))
    ]


def _bar_figure(table: pd.DataFrame, n_columns: int) -> tuple["Figure", Any]:
    import matplotlib.pyplot as plt

    height = 1.2 + BAR_HEIGHT_IN * len(table)
    figure, axes = plt.subplots(1, n_columns, figsize=(WIDTH_IN, max(height, 2.4)), squeeze=False, layout="tight")
    return figure, axes[0]


def _bars(axes: "Axes", table: pd.DataFrame, column: str) -> None:
    import seaborn as sns

    sns.barplot(
        table, x=column, y="label", hue="mode", order=_labels(table), hue_order=_modes(table), palette=_mode_colours(),
        ax=axes,
    )  # fmt: skip


def _labels(table: pd.DataFrame) -> list[str]:
    best = table.groupby("label")["accuracy"].max().sort_values(ascending=False)
    return [str(label) for label in best.index]


def _modes(table: pd.DataFrame) -> list[str]:
    present = set(table["mode"])
    return [mode for mode in MODES if mode in present]


def _mode_colours() -> dict[str, Any]:
    """A mode has the same colour in every picture, whichever others stand beside it."""
    import seaborn as sns

    return dict(zip(MODES, sns.color_palette("colorblind", len(MODES)), strict=True))


def _intervals(axes: "Axes", table: pd.DataFrame) -> None:
    """Error bars on the bars, which seaborn draws a mode at a time in the order of the labels."""
    ends = zip(table["accuracy_low"], table["accuracy_high"], strict=True)
    by_bar = dict(zip(zip(table["mode"], table["label"], strict=True), ends, strict=True))
    labels = _labels(table)
    for container, mode in zip(axes.containers, _modes(table), strict=False):
        for patch in container:
            # seaborn draws no bar where a mode is missing; bars lie at the whole numbers of their labels.
            label = labels[round(patch.get_y() + patch.get_height() / 2)]
            if (mode, label) in by_bar:
                low, high = by_bar[mode, label]
                middle = patch.get_y() + patch.get_height() / 2
                axes.hlines(middle, low, high, color="0.15", linewidth=1.4)


def _legend_outside(axes: "Axes") -> None:
    import seaborn as sns

    if axes.get_legend() is None:
        axes.legend()
    sns.move_legend(axes, "upper left", bbox_to_anchor=(1.01, 1), frameon=False)
