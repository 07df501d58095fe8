"""How much the seed moves the accuracy."""

import pandas as pd

from benchmark.charts.evidence import Evidence, NothingToDrawError, in_one_mode
from benchmark.charts.labels import count_of, described
from benchmark.charts.records import Picture
from benchmark.charts.rows import (
    GAP_IN,
    HEAD_IN,
    MAX_BARS,
    SMALL_GAP_IN,
    Rows,
    best_labels,
    in_rows,
    modes_shown,
    part_shown,
)
from benchmark.charts.style import (
    INK,
    add_head,
    as_dataset,
    mode_colour,
    new_figure,
    swatches,
)


def draw_seeds(evidence: Evidence, dataset: str) -> Picture:
    """Box-plot of the accuracy over seeds or folds, every run a point; settings with a single run are left out.

    Where the settings are many, each has one mode.
    """
    settings = evidence.settings(dataset)
    settings = settings[settings["n_seeds"] > 1]
    if settings.empty:
        raise NothingToDrawError("every setting was done with one seed only")
    has_one_mode = len(settings) > MAX_BARS
    if has_one_mode:
        settings = in_one_mode(settings)
    labels = best_labels(settings)
    shown = in_rows(settings, labels)
    rows = Rows.grouped(shown["label"].tolist(), gap_in=GAP_IN if shown["mode"].nunique() > 1 else SMALL_GAP_IN)
    runs = evidence.runs_of(shown)
    runs = runs.assign(row_place=rows.places[runs["place"]])
    figure, ((axes,),) = new_figure(HEAD_IN + rows.height_in)
    boxes = axes.boxplot(
        [accuracies.to_numpy() for _, accuracies in runs.groupby("place")["accuracy"]], positions=rows.places,
        widths=rows.bar_in, orientation="horizontal", patch_artist=True, showfliers=False, showcaps=False,
        manage_ticks=False, medianprops={"color": INK, "linewidth": 1.6}, boxprops={"linewidth": 0.8},
        whiskerprops={"linewidth": 0.8},
    )  # fmt: skip
    for box, mode in zip(boxes["boxes"], shown["mode"], strict=True):
        box.set_facecolor(mode_colour(mode))
    axes.scatter(runs["accuracy"], runs["row_place"], s=12, facecolor="white", edgecolor=INK, linewidth=0.8, zorder=4)
    axes.set_xlabel("test accuracy; a point a run, the box from the first to the third quartile")
    rows.dress(axes)
    title = f"{as_dataset(dataset)}: accuracy over seeds{part_shown(shown, settings)}"
    add_head(figure, title + (modes_shown(shown) if has_one_mode else ""), swatches(shown["mode"]))
    return Picture(figure, _alt(dataset, shown, runs))


def _alt(dataset: str, shown: pd.DataFrame, runs: pd.DataFrame) -> str:
    ranges = runs.groupby("place")["accuracy"].agg(lambda accuracies: accuracies.max() - accuracies.min())
    widest = shown.iloc[int(ranges.to_numpy().argmax())]
    return (
        f"Accuracy over seeds of {count_of(len(shown), 'setting')} on {dataset}. The range is {ranges.median():.4f} in "
        f"the median; the widest is {ranges.max():.4f}, {described(widest)}."
    )
