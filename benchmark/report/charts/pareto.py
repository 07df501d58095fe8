"""Accuracy against parameters."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmark.charts.labels import count_of, name_settings, shorten
from benchmark.charts.scatter import pareto_front, round_ticks
from benchmark.report.charts.style import INK, MUTED, Chart, escaped, mode_colour, style_figure
from benchmark.report.naming import name_ways
from benchmark.report.tables import Table, make_table
from benchmark.report.wording import between, millions, percent

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Beyond so many points their intervals hide one another.
MAX_INTERVALS = 30
MAX_NAMES = 12
NAME_CHARACTERS = 24
# About the room that a name takes, as shares of the axes.
NAME_WIDTH = 0.12
NAME_HEIGHT = 0.04
MAX_TOLD = 5
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")


def pareto_chart(rows: pd.DataFrame, dataset: str) -> Chart | None:
    """Accuracy against parameters, with the line of those that nothing smaller or equal beats; None without counts.

    Args:
        rows: The leaderboard of one dataset.
        dataset: Its name.
    """
    from plotly import graph_objects as go

    settings = rows[rows["params_total"] > 0].reset_index(drop=True)
    if settings.empty:
        return None
    settings = settings.assign(
        name=name_settings(settings),
        way=name_ways(settings),
        millions=settings["params_total"] / 1e6,
    )
    is_front = settings.index.isin(pareto_front(settings["millions"].to_numpy(), settings["accuracy"].to_numpy()))
    front = settings[is_front].sort_values("millions")
    figure = go.Figure()
    figure.add_scatter(
        x=front["millions"].tolist(), y=(100 * front["accuracy"]).tolist(), mode="lines", name="Pareto front",
        line={"color": MUTED, "width": 1.5, "dash": "dot"}, hoverinfo="skip",
    )  # fmt: skip
    symbols = {way: SYMBOLS[number % len(SYMBOLS)] for number, way in enumerate(sorted(set(settings["way"])))}
    for mode, some in settings.groupby("mode", sort=False):
        figure.add_scatter(**_points(some, str(mode), symbols, with_intervals=len(settings) <= MAX_INTERVALS))
        # What the legend shows of them; its own points have several symbols.
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=escaped(mode), legendgroup=mode, marker=_marker(mode)
        )
    _name_points(figure, settings)
    style_figure(figure, height=440)
    _scale(figure, settings["millions"])
    figure.update_yaxes(title="test accuracy, %")
    return Chart(
        "pareto",
        "Accuracy and parameters",
        _finding(settings, front) + _key(symbols),
        figure.to_json(),
        _table(settings, is_front.tolist(), dataset),
    )


def _scale(figure: "Figure", parameters: pd.Series) -> None:
    """The logarithmic axis of parameters, with room for the names at its ends."""
    room = max(parameters.max() / parameters.min(), 4.0) ** 0.12
    low, high = parameters.min() / room, parameters.max() * room
    ticks = round_ticks(low, high)
    figure.update_xaxes(
        type="log", title="parameters, millions (head included)", range=[math.log10(low), math.log10(high)],
        tickmode="array", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks],
    )  # fmt: skip


def _table(settings: pd.DataFrame, is_front: Sequence[bool], dataset: str) -> Table:
    return make_table(
        pd.DataFrame(
            {
                "Setting": settings["name"],
                "Mode": settings["mode"],
                "Params, M": settings["millions"].map("{:.2f}".format),
                "Accuracy, %": (100 * settings["accuracy"]).map("{:.2f}".format),
                "On the front": ["yes" if on_front else "no" for on_front in is_front],
            }
        ),
        f"Parameters and test accuracy on {dataset}",
        numbers={"Params, M": settings["millions"], "Accuracy, %": settings["accuracy"]},
        row_header="Setting",
    )


def _points(some: pd.DataFrame, mode: str, symbols: dict[str, str], *, with_intervals: bool) -> dict[str, Any]:
    accuracy = 100 * some["accuracy"]
    trace = {
        "x": some["millions"].tolist(),
        "y": accuracy.tolist(),
        "mode": "markers",
        "name": escaped(mode),
        "legendgroup": mode,
        "showlegend": False,
        "marker": _marker(mode) | {"symbol": [symbols[way] for way in some["way"]]},
        "hovertext": [_setting_hover(row) for row in some.to_dict("records")],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }  # fmt: skip
    if with_intervals:
        trace["error_y"] = {
            "type": "data", "symmetric": False, "array": (100 * some["accuracy_high"] - accuracy).tolist(),
            "arrayminus": (accuracy - 100 * some["accuracy_low"]).tolist(), "color": MUTED, "thickness": 1, "width": 3,
        }  # fmt: skip
    return trace


def _marker(mode: object) -> dict[str, Any]:
    return {"size": 11, "color": mode_colour(mode), "line": {"color": INK, "width": 0.8}}


def _setting_hover(row: dict[Any, Any]) -> str:
    return (
        f"<b>{escaped(row['name'])}</b><br>mode {escaped(row['mode'])}<br>"
        f"accuracy {percent(row['accuracy'])} (95 %: {between(row['accuracy_low'], row['accuracy_high'])})<br>"
        f"{millions(row['params_total'])} parameters<br>{count_of(int(row['n_seeds']), 'seed')}"
    )


def _name_points(figure: "Figure", settings: pd.DataFrame) -> None:
    """The names of backbones at their best points, of points that lie together the best one's only."""
    places: list[tuple[float, float]] = []
    span = math.log10(settings["millions"].max() / settings["millions"].min()) or 1.0, settings["accuracy"].max() or 1.0
    for row in settings.sort_values("accuracy", ascending=False).drop_duplicates("backbone").to_dict("records"):
        x, y = math.log10(row["millions"]), row["accuracy"]
        is_covered = any(
            abs(x - left) < NAME_WIDTH * span[0] and abs(y - low) < NAME_HEIGHT * span[1] for left, low in places
        )
        if is_covered or len(places) == MAX_NAMES:
            continue
        places.append((x, y))
        figure.add_annotation(
            x=x, y=100 * y, text=escaped(shorten(row["backbone"], NAME_CHARACTERS)), showarrow=False, yshift=16,
            font={"color": INK, "size": 12},
        )  # fmt: skip


def _finding(settings: pd.DataFrame, front: pd.DataFrame) -> str:
    best = front.nlargest(MAX_TOLD, "accuracy").sort_values("params_total").to_dict("records")
    named = "; ".join(
        f"{row['name']}, {row['mode']} ({millions(row['params_total'])}, {percent(row['accuracy'])})" for row in best
    )
    rest = f"; and {len(front) - MAX_TOLD} smaller ones" if len(front) > MAX_TOLD else ""
    return (
        f"Of {count_of(len(settings), 'setting')}, {len(front)} {'is' if len(front) == 1 else 'are'} beaten by nothing "
        f"smaller or equal: {named}{rest}."
    )


def _key(symbols: dict[str, str]) -> str:
    """What the symbols mean, where there are several."""
    named = "; ".join(f"{symbol.replace('-', ' ')}: {way}" for way, symbol in symbols.items())
    return f" Symbols are heads or strategies: {named}." if len(symbols) > 1 else ""
