"""What a report says, section by section, ready for the page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.ablation import HARMFUL, MARGIN
from benchmark.analysis.formats import count_of
from benchmark.analysis.loading import SETTING
from benchmark.analysis.presentation import leaderboard_sections
from benchmark.charts import Evidence
from benchmark.charts.labels import described, name_settings
from benchmark.errors import some_of
from benchmark.preprocessing import NATIVE
from benchmark.report.figures import Figure, Figures
from benchmark.report.page_tables import Table, comparison_table, leaderboard_table, records_table

ENVIRONMENT = {
    "harness_version": "Version", "git_commit": "Commit", "is_dirty": "Changed", "keras_version": "Keras",
    "tensorflow_version": "TensorFlow", "python_version": "Python", "platform": "Platform", "cpu": "Processor",
    "cpu_vectors": "Vectors", "cpu_count": "Cores", "gpu": "GPU",
}  # fmt: skip
SHORT_HASH = 12
USUAL_RESULTS = Path("results")  # where commands look by themselves


NBSP = "\u00a0"  # keeps a number and its unit on one line


@dataclass(frozen=True)
class Fact:
    """One line of a summary: a question, its answer in a few words, and details."""

    question: str
    answer: str
    detail: str


@dataclass(frozen=True)
class DatasetSection:
    """Everything about one dataset.

    Attributes:
        name: As the ledger writes it.
        subtitle: Its size.
        facts: The summary.
        leaderboard: Its table.
        notes: Sentences below the leaderboard.
        commands: What makes each row of the leaderboard again, one per seed, by the row's name.
        figures: The charts.
        comparison: Published and measured; None if nothing was published.
    """

    name: str
    subtitle: str
    facts: Sequence[Fact]
    leaderboard: Table
    notes: Sequence[str]
    commands: dict[str, Sequence[str]]
    figures: Sequence[Figure]
    comparison: Table | None


def dataset_section(evidence: Evidence, dataset: str, figures: Figures) -> DatasetSection:
    """The section of one dataset.

    Args:
        evidence: Of the ledgers.
        dataset: One of `evidence.datasets`.
        figures: Of the page.
    """
    board, done, ablation, comparison = (
        table[table["dataset"] == dataset].reset_index(drop=True)
        for table in (evidence.ranking, evidence.done, evidence.ablation, evidence.comparison)
    )
    board = board.assign(label=name_settings(board))
    n_failed = int((evidence.failed["dataset"] == dataset).sum())
    (section, *_) = leaderboard_sections(board, comparison, {dataset: n_failed} if n_failed else {})
    return DatasetSection(
        name=dataset,
        subtitle=_subtitle(board, done, evidence.chance(dataset)),
        facts=_facts(board, ablation),
        leaderboard=leaderboard_table(board, dataset),
        notes=section.notes,
        commands=_commands(board, done, evidence.paths),
        figures=list(figures.draw(evidence, dataset)),
        comparison=comparison_table(comparison, dataset) if len(comparison) else None,
    )


def _subtitle(board: pd.DataFrame, done: pd.DataFrame, chance: float) -> str:
    parts = [count_of(len(board), "setting"), count_of(len(done), "run")]
    n_test, n_classes = board["n_test"].max(), done["n_classes"].max()
    if pd.notna(n_classes):
        parts.append(f"{int(n_classes)} classes")
    if pd.notna(n_test):
        parts.append(f"{count_of(int(n_test), 'test image')}")
    if pd.notna(chance):
        parts.append(f"chance {percent(chance)}")
    return " · ".join(parts)


def _facts(board: pd.DataFrame, ablation: pd.DataFrame) -> list[Fact]:
    """The setting to take, of those in mode native, because no other one should be taken; and what others cost."""
    settings = board[board["mode"] == NATIVE].sort_values("accuracy", ascending=False, kind="stable")
    if settings.empty:
        return [Fact("Take", "not known", f"No setting was run in mode {NATIVE}."), _damage(ablation)]
    best = settings.iloc[0]
    shots = settings["shots"].fillna(0)
    settings = settings[shots == shots.iloc[0]]  # the others are ranked apart
    tied = settings[settings["rank_first"].eq(1).fillna(False)]
    cheapest = tied.sort_values(["latency_ms", "params_total"], kind="stable")
    taken = cheapest.iloc[0] if len(cheapest) else best
    others = [described(one) for _, one in tied.iterrows() if one["label"] != taken["label"]]
    not_told_apart = f". Not told apart from it: {some_of(others, 3)}" if others else ""
    facts = [Fact("Take", described(taken), f"{_figures(taken)}{not_told_apart}")]
    if taken["label"] != best["label"]:
        facts.append(Fact("Most accurate", described(best), _figures(best)))
    as_good = settings[settings["accuracy"] >= best["accuracy"] - MARGIN]
    lean = as_good.sort_values("params_total", kind="stable").iloc[0]
    if pd.notna(lean["params_total"]):
        facts.append(Fact(f"Smallest within {100 * MARGIN:.0f} point of the best", described(lean), _figures(lean)))
    return [*facts, _damage(ablation)]


def _figures(setting: pd.Series) -> str:
    """Accuracy with its interval, size and latency of a setting."""
    interval = f"95 %: {100 * setting['accuracy_low']:.1f} to {percent(setting['accuracy_high'])}"
    parts = [f"{percent(setting['accuracy'])} ({interval})"]
    if pd.notna(setting["params_total"]):
        parts.append(f"{setting['params_total'] / 1e6:.2f}{NBSP}M parameters")
    if pd.notna(setting["latency_ms"]):
        parts.append(f"{setting['latency_ms']:.3g}{NBSP}ms an image")
    return ", ".join(parts)


def _damage(ablation: pd.DataFrame) -> Fact:
    """The loss in the most harmful mode."""
    question = "Biggest preprocessing damage"
    if ablation.empty:
        return Fact(question, "not measured", "No setting was run both in mode native and in another one.")
    named = ablation.assign(label=name_settings(ablation))
    worst = named.nlargest(1, "accuracy_lost").iloc[0]
    if worst["accuracy_lost"] <= 0:
        return Fact(question, "none", f"No mode is worse than native in {count_of(len(named), 'comparison')}.")
    certainty = "" if worst["verdict"] == HARMFUL else f" ({worst['verdict']})"
    return Fact(
        question,
        f"{100 * worst['accuracy_lost']:.1f}{NBSP}points{certainty}",
        f"{worst['label']} in mode {worst['mode']}: {percent(worst['accuracy_native'])} in native, "
        f"{percent(worst['accuracy'])} in {worst['mode']}",
    )


def percent(share: float) -> str:
    """A share in percent, to a tenth: `89.8 %`."""
    return f"{100 * share:.1f}{NBSP}%"


def _commands(board: pd.DataFrame, done: pd.DataFrame, paths: Sequence[Path]) -> dict[str, Sequence[str]]:
    where = [] if [*paths] == [USUAL_RESULTS] else [path.as_posix() for path in paths]
    runs = done.sort_values("seed").merge(board[[*SETTING, "label"]], on=list(SETTING))
    commands = runs["run_id"].map(lambda run_id: shlex.join(["benchmark", "rerun", run_id, *where]))
    by_setting = commands.groupby([runs["label"], runs["mode"]]).agg(list)
    return {described(row): by_setting[row["label"], row["mode"]] for _, row in board.iterrows()}


def failures_table(evidence: Evidence) -> Table | None:
    """The cells whose last run failed, and why; None if none failed."""
    failed = evidence.failed
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


def environment_table(evidence: Evidence) -> Table:
    """What the rows were made with, one row per environment."""
    records: list[dict[str, Any]] = []
    whole = {name: evidence.runs[name].map("{:.0f}".format).replace("nan", "") for name in ("cpu_count", "is_dirty")}
    for values, rows in evidence.runs.assign(**whole).groupby(list(ENVIRONMENT), sort=False):
        facts = dict(zip(ENVIRONMENT.values(), map(str, values), strict=True))
        facts["Commit"] = facts["Commit"][:SHORT_HASH]
        facts["Changed"] = "yes" if facts["Changed"] == "1" else ""
        records.append(
            {
                "Sweep": ", ".join(sorted(set(rows["sweep"]))),
                "Rows": len(rows),
                "Made": days_of(rows),
                **facts,
            }
        )
    return records_table(records, "What the rows were made with", row_header="Sweep")


def days_of(runs: pd.DataFrame) -> str:
    """The first day on which a run was made and the last, `2026-11-20 to 2026-11-25`; empty if no row says it."""
    days = sorted(set(runs["started_utc"].str[:10]) - {""})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""


def weights_table(evidence: Evidence) -> Table | None:
    """The origin of each backbone's weights; None if the rows do not say."""
    columns = ["backbone", "weights", "weights_sha256"]
    runs = evidence.runs[columns]
    # Every seed has other random weights.
    sources = runs.assign(weights_sha256=runs["weights_sha256"].where(runs["weights"] != "random", "one per seed"))
    records = [
        {"Backbone": backbone, "Weights": weights, "SHA-256": str(sha256)[:SHORT_HASH]}
        for backbone, weights, sha256 in sources.drop_duplicates().itertuples(index=False)
        if weights
    ]
    return records_table(records, "Where the weights come from", row_header="Backbone") if records else None
