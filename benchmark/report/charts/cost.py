"""Where the time goes."""

from typing import Any

import pandas as pd

from benchmark.analysis.loading import SETTING
from benchmark.charts.labels import name_settings
from benchmark.ledger import BESIDE_OTHERS
from benchmark.report.charts.style import (
    MAX_ROWS,
    PALETTE,
    ROW_PX,
    SURFACE,
    Chart,
    escaped,
    name_rows,
    style_figure,
)
from benchmark.report.tables import Table, make_table
from benchmark.report.wording import MISSING_VALUE, duration

PHASES = {
    "load_s": "loading", "build_s": "building", "extract_s": "extracting", "train_s": "training", "eval_s": "scoring",
}  # fmt: skip


def cost_chart(rows: pd.DataFrame, done: pd.DataFrame, dataset: str) -> Chart | None:
    """Wall seconds of each setting, by phase; None where no time was kept.

    Args:
        rows: The leaderboard of one dataset.
        done: Its finished runs.
        dataset: Its name.
    """
    from plotly import graph_objects as go

    # Jobs that shared the machine took longer than alone.
    done = done[~done["cpu"].astype(str).str.endswith(BESIDE_OTHERS)]
    # The leaderboard's means of some phases make room for the means of all.
    settings = rows.drop(columns=[*PHASES, "wall_s"], errors="ignore").assign(name=name_settings(rows))
    means = done.groupby(list(SETTING), dropna=False)[[*PHASES, "wall_s"]].mean().reset_index()
    timed = settings.merge(means, on=list(SETTING)).dropna(subset="wall_s")
    timed = timed.sort_values("wall_s", ascending=False, kind="stable").reset_index(drop=True)
    if timed.empty:
        return None
    shown = timed.head(MAX_ROWS).fillna(dict.fromkeys(PHASES, 0.0))
    figure = go.Figure()
    for (column, phase), colour in zip(PHASES.items(), PALETTE, strict=False):
        figure.add_bar(
            x=shown[column].tolist(), y=list(range(len(shown))), orientation="h", name=phase,
            marker={"color": colour, "line": {"color": SURFACE, "width": 0.5}},
            hovertext=[_hover(row, column) for row in shown.to_dict("records")],
            hovertemplate="%{hovertext}<extra></extra>",
        )  # fmt: skip
    style_figure(figure, height=120 + ROW_PX * len(shown))
    figure.update_layout(barmode="stack", bargap=0.35)
    name_rows(figure, [f"{name} · {mode}" for name, mode in zip(shown["name"], shown["mode"], strict=True)])
    figure.update_xaxes(title="wall time, s")
    return Chart("cost", "Where the time goes", _finding(timed, len(shown)), figure.to_json(), _table(timed, dataset))


def _table(timed: pd.DataFrame, dataset: str) -> Table:
    numbers = {"Wall, s": timed["wall_s"]}
    numbers |= {f"{phase.capitalize()}, s": timed[column] for column, phase in PHASES.items()}
    texts = {heading: column.map("{:.1f}".format).replace("nan", MISSING_VALUE) for heading, column in numbers.items()}
    return make_table(
        pd.DataFrame({"Setting": timed["name"], "Mode": timed["mode"], **texts}),
        f"Wall time on {dataset}, mean of the seeds",
        numbers=numbers,
        row_header="Setting",
    )


def _hover(row: dict[Any, Any], column: str) -> str:
    return (
        f"<b>{escaped(row['name'])}</b><br>mode {escaped(row['mode'])}<br>"
        f"{PHASES[column]}: {duration(row[column])}<br>in all: {duration(row['wall_s'])}"
    )


def _finding(timed: pd.DataFrame, n_shown: int) -> str:
    slowest, fastest = timed.iloc[0], timed.iloc[-1]
    finding = f"{slowest['name']}, {slowest['mode']} takes longest: {duration(slowest['wall_s'])}"
    phases = slowest[list(PHASES)].astype(float).fillna(0.0)
    if phases.sum():
        longest = str(phases.idxmax())
        finding += f", {100 * phases[longest] / phases.sum():.0f} % of it {PHASES[longest]}"
    finding += "."
    if len(timed) > 1:
        finding += f" {fastest['name']}, {fastest['mode']} is quickest: {duration(fastest['wall_s'])}."
    return finding + (f" The {n_shown} slowest are drawn; the table has all." if n_shown < len(timed) else "")
