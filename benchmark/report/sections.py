"""What a report says, section by section, ready for the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.analysis.ablation import HARMFUL, MARGIN
from benchmark.analysis.commands import Command, Commands
from benchmark.analysis.loading import SETTING
from benchmark.analysis.presentation import leaderboard_sections
from benchmark.charts.labels import count_of, name_settings
from benchmark.report.charts import Chart, ablation_chart, cost_chart, pareto_chart
from benchmark.report.material import Material
from benchmark.report.pictures import Picture, draw_pictures
from benchmark.report.tables import Table, comparison_table, leaderboard_table, records_table
from benchmark.report.wording import between, millions, percent, points

ENVIRONMENT = {
    "harness_version": "Version", "git_commit": "Commit", "keras_version": "Keras", "tensorflow_version": "TensorFlow",
    "python_version": "Python", "platform": "Platform", "cpu": "Processor", "cpu_count": "Cores", "gpu": "GPU",
}  # fmt: skip
SHORT_HASH = 12


@dataclass(frozen=True)
class Fact:
    """One line of a summary: what is asked, the answer in a few words, and what there is to say about it."""

    question: str
    answer: str
    detail: str


@dataclass(frozen=True)
class RowCommand:
    """How a row of the leaderboard is made again.

    Attributes:
        name: What the row is called.
        commands: What makes it.
    """

    name: str
    commands: Sequence[Command]


@dataclass(frozen=True)
class DatasetSection:
    """All there is to say of one dataset.

    Attributes:
        name: As the ledger writes it.
        subtitle: Its size.
        facts: The summary.
        leaderboard: Its table.
        notes: Sentences below the leaderboard.
        commands: One a row of the leaderboard, in its order.
        charts: Interactive ones.
        pictures: Still ones.
        comparison: Published and measured; None where nothing was published.
    """

    name: str
    subtitle: str
    facts: Sequence[Fact]
    leaderboard: Table
    notes: Sequence[str]
    commands: Sequence[RowCommand]
    charts: Sequence[Chart]
    pictures: Sequence[Picture]
    comparison: Table | None


def dataset_section(material: Material, dataset: str, commands: Commands) -> DatasetSection:
    """The section of one dataset.

    Args:
        material: Of the report.
        dataset: One of `material.datasets`.
        commands: Of the material's runs.
    """
    board, done, ablation, comparison = (
        table[table["dataset"] == dataset].reset_index(drop=True)
        for table in (material.board, material.done, material.ablation, material.comparison)
    )
    n_failed = int((material.failed["dataset"] == dataset).sum())
    (section, *_) = leaderboard_sections(board, comparison, {dataset: n_failed} if n_failed else {})
    charts = (
        pareto_chart(board, dataset), ablation_chart(ablation, dataset), cost_chart(board, done, dataset)
    )  # fmt: skip
    return DatasetSection(
        name=dataset,
        subtitle=_subtitle(board, done),
        facts=_facts(board, ablation),
        leaderboard=leaderboard_table(board, dataset),
        notes=section.notes,
        commands=_row_commands(board, done, commands),
        charts=[chart for chart in charts if chart is not None],
        pictures=list(draw_pictures(material.evidence, dataset)),
        comparison=comparison_table(comparison, dataset) if len(comparison) else None,
    )


def _subtitle(board: pd.DataFrame, done: pd.DataFrame) -> str:
    parts = [count_of(len(board), "setting"), count_of(len(done), "run")]
    n_test, n_classes, chance = (done[column].max() for column in ("n_test", "n_classes", "chance"))
    if pd.notna(n_classes):
        parts.append(f"{int(n_classes)} classes")
    if pd.notna(n_test):
        parts.append(f"{count_of(int(n_test), 'test image')}")
    if pd.notna(chance):
        parts.append(f"chance {percent(chance)}")
    return " · ".join(parts)


def _facts(board: pd.DataFrame, ablation: pd.DataFrame) -> list[Fact]:
    settings = board.assign(name=name_settings(board)).sort_values("accuracy", ascending=False, kind="stable")
    best = settings.iloc[0]
    n_tied = int(best["rank_last"] - best["rank_first"])
    tied = f"; not told apart from {n_tied} more" if n_tied else ""
    facts = [
        Fact(
            "Best",
            f"{best['name']}, {best['mode']}",
            f"{percent(best['accuracy'])} (95 %: {between(best['accuracy_low'], best['accuracy_high'])}){tied}",
        )
    ]
    facts.append(_damage(ablation))
    lean = (
        settings[settings["accuracy"] >= best["accuracy"] - MARGIN].sort_values("params_total", kind="stable").iloc[0]
    )
    if pd.notna(lean["params_total"]):
        facts.append(
            Fact(
                f"Smallest within {100 * MARGIN:.0f} point of the best",
                f"{lean['name']}, {lean['mode']}",
                f"{percent(lean['accuracy'])} with {millions(lean['params_total'])} parameters",
            )
        )
    return facts


def _damage(ablation: pd.DataFrame) -> Fact:
    """What the most harmful mode costs."""
    question = "Biggest preprocessing damage"
    if ablation.empty:
        return Fact(question, "not measured", "No setting was done both in mode native and in another one.")
    named = ablation.assign(name=name_settings(ablation))
    worst = named.nlargest(1, "accuracy_lost").iloc[0]
    if worst["accuracy_lost"] <= 0:
        return Fact(question, "none", f"No mode is worse than native in {count_of(len(named), 'comparison')}.")
    certainty = "" if worst["verdict"] == HARMFUL else f" ({worst['verdict']})"
    return Fact(
        question,
        f"{points(worst['accuracy_lost'])}{certainty}",
        f"{worst['name']} in mode {worst['mode']}: {percent(worst['accuracy_native'])} in native, "
        f"{percent(worst['accuracy'])} in {worst['mode']}",
    )


def _row_commands(board: pd.DataFrame, done: pd.DataFrame, commands: Commands) -> list[RowCommand]:
    by_setting: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    for row in done.to_dict("records"):
        by_setting.setdefault(tuple(row[column] for column in SETTING), []).append(row)
    names = name_settings(board) + ", " + board["mode"]
    keys = board[list(SETTING)].itertuples(index=False, name=None)
    return [RowCommand(name, commands.of_setting(by_setting[key])) for name, key in zip(names, keys, strict=True)]


def failures_table(material: Material) -> Table | None:
    """The cells whose last run failed, and why; None where there are none."""
    failed = material.failed
    if failed.empty:
        return None
    records = [
        {
            "Backbone": row["backbone"], "Dataset": row["dataset"], "Mode": row["mode"], "Head": row["head"],
            "Seed": int(row["seed"]), "Kind": row["error_type"],
            "Message": row["error_message"] or "It has no accuracy.",
        }
        for row in failed.to_dict("records")
    ]  # fmt: skip
    return records_table(records, "Cells whose last run failed", row_header="Backbone")


def environment_table(material: Material) -> Table:
    """What the rows were made with, a row an environment."""
    records: list[dict[str, Any]] = []
    for values, rows in material.runs.fillna({"cpu_count": 0}).groupby(list(ENVIRONMENT), sort=False, dropna=False):
        facts = dict(zip(ENVIRONMENT.values(), (_text(value) for value in values), strict=True))
        commit, plus, dirty = facts["Commit"].partition("+")
        facts["Commit"] = commit[:SHORT_HASH] + plus + dirty
        days = sorted(set(rows["started_utc"].str[:10]) - {""})
        records.append(
            {
                "Sweep": ", ".join(sorted(set(rows["sweep"]))),
                "Rows": len(rows),
                "Made": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "",
                **facts,
            }
        )
    return records_table(records, "What the rows were made with", row_header="Sweep")


def weights_table(material: Material) -> Table | None:
    """Where the weights of each backbone come from; None where the rows do not say."""
    columns = ["backbone", "weights", "weights_sha256"]
    runs = material.runs[columns]
    # Random weights are other ones with every seed.
    sources = runs.assign(weights_sha256=runs["weights_sha256"].where(runs["weights"] != "random", "one a seed"))
    records = [
        {"Backbone": backbone, "Weights": weights, "SHA-256": str(sha256)[:SHORT_HASH]}
        for backbone, weights, sha256 in sources.drop_duplicates().itertuples(index=False)
        if weights
    ]
    return records_table(records, "Where the weights come from", row_header="Backbone") if records else None


def _text(value: object) -> str:
    """Numbers of a ledger that has gaps are read as fractions."""
    return f"{value:.0f}" if isinstance(value, float) else str(value)
