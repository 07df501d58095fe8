"""What wrong preprocessing costs."""

import itertools
from typing import Any

import pandas as pd

from benchmark.analysis.ablation import HARMFUL, HARMLESS, HELPFUL, SAME_AS_NATIVE, UNCLEAR
from benchmark.charts.labels import count_of, name_settings
from benchmark.report.charts.style import (
    INK,
    MAX_ROWS,
    MUTED,
    ROW_PX,
    SURFACE,
    Chart,
    escaped,
    mode_colour,
    name_rows,
    style_figure,
)
from benchmark.report.tables import ablation_table
from benchmark.report.wording import percent, points

VERDICTS = (HARMFUL, UNCLEAR, HARMLESS, HELPFUL)


def ablation_chart(rows: pd.DataFrame, dataset: str) -> Chart | None:
    """Accuracy in each wrong mode and in native, joined by a line; None without any.

    Args:
        rows: The ablation of one dataset.
        dataset: Its name.
    """
    from plotly import graph_objects as go

    wrong_modes = rows[rows["verdict"] != SAME_AS_NATIVE]
    if wrong_modes.empty:
        return None
    named = wrong_modes.assign(name=name_settings(wrong_modes))
    shown = named.sort_values("accuracy_lost", ascending=False, kind="stable").head(MAX_ROWS).reset_index(drop=True)
    places = list(range(len(shown)))
    wrong, native = (100 * shown["accuracy"]).tolist(), (100 * shown["accuracy_native"]).tolist()
    figure = go.Figure()
    figure.add_scatter(
        x=[end for ends in zip(wrong, native, itertools.repeat(None)) for end in ends],
        y=[end for place in places for end in (place, place, None)],
        mode="lines", line={"color": MUTED, "width": 2}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    hover = [_hover(row) for row in shown.to_dict("records")]
    for mode, some in shown.groupby("mode", sort=False):
        figure.add_scatter(
            x=(100 * some["accuracy"]).tolist(), y=some.index.tolist(), mode="markers", name=escaped(mode),
            marker={"size": 12, "color": mode_colour(mode), "line": {"color": INK, "width": 0.8}},
            hovertext=[hover[place] for place in some.index], hovertemplate="%{hovertext}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=native, y=places, mode="markers", name="native",
        marker={"size": 12, "color": SURFACE, "symbol": "diamond", "line": {"color": INK, "width": 1.6}},
        hovertext=hover, hovertemplate="%{hovertext}<extra></extra>",
    )  # fmt: skip
    style_figure(figure, height=120 + ROW_PX * len(shown))
    name_rows(figure, [f"{name} · {mode}" for name, mode in zip(shown["name"], shown["mode"], strict=True)])
    figure.update_xaxes(title="test accuracy, %")
    return Chart(
        "ablation", "What wrong preprocessing costs", _finding(named, len(shown)), figure.to_json(),
        ablation_table(rows, dataset),
    )  # fmt: skip


def _hover(row: dict[Any, Any]) -> str:
    interval = (
        "" if pd.isna(row["lost_low"]) else f" (95 %: {100 * row['lost_low']:+.1f} to {100 * row['lost_high']:+.1f})"
    )
    return (
        f"<b>{escaped(row['name'])}</b><br>{escaped(row['mode'])}: {percent(row['accuracy'])}<br>"
        f"native: {percent(row['accuracy_native'])}<br>lost: {points(row['accuracy_lost'])}{interval}<br>"
        f"{row['verdict']}"
    )


def _finding(named: pd.DataFrame, n_shown: int) -> str:
    worst = named.nlargest(1, "accuracy_lost").iloc[0]
    counts = named["verdict"].value_counts()
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts)
    cost = (
        f"Mode {worst['mode']} costs {worst['name']} most: {points(worst['accuracy_lost'])}, from "
        f"{percent(worst['accuracy_native'])} in native to {percent(worst['accuracy'])}."
        if worst["accuracy_lost"] > 0
        else "No mode is worse than native here."
    )
    rest = f" The {n_shown} most harmful are drawn; the table has all." if n_shown < len(named) else ""
    return f"{cost} Of {count_of(len(named), 'wrong mode')}: {verdicts}.{rest}"
