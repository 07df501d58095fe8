"""Leaderboards as tables for people."""

from collections.abc import Sequence

import pandas as pd

from benchmark.analysis.choosing import first_ranked, note_on_top, with_columns
from benchmark.analysis.formats import MISSING_VALUE, Section, count_of, number_texts
from benchmark.analysis.leaderboard import NOT_NATIVE, TOGETHER
from benchmark.analysis.loading import SEVERAL
from benchmark.analysis.presentation.published import comparison_cells
from benchmark.analysis.presentation.settings import (
    FOLDS_NOTE,
    INPUT_PX,
    SETTING_HEADINGS,
    notes_on_seeds,
    rows_of,
    scope_of,
    setting_cells,
    size_first,
)
from benchmark.analysis.significance import ALPHA
from benchmark.options import CLASSIFY

# Of the settings with `shots=…` in their strategy.
SHOTS_NOTE = (
    "A setting with shots is trained on so many images of each class, and each seed draws others; it is ranked among "
    "those with as many."
)
# Classes are unbalanced if chance is this many times what it would be for classes of equal size.
UNBALANCED = 1.5
# Columns of the leaderboard that only some tables need, with their headings and formats.
LESS_COMMON = {
    "chance": ("Chance", "{:.4f}"), "top5_accuracy": ("Top-5", "{:.4f}"),
    "balanced_accuracy": ("Balanced accuracy", "{:.4f}"), "macro_f1": ("Macro F1", "{:.4f}"),
    "log_loss": ("Log loss", "{:.4f}"), "calibration_error": ("Calibration error", "{:.4f}"),
    "overfit_gap": ("Overfit gap", "{:+.4f}"),
    "flops_g": ("Operations, G", "{:.3g}"), "model_mib": ("Model MiB", "{:.1f}"), "extract_s": ("Extract, s", "{:.0f}"),
    "train_s": ("Train, s", "{:.0f}"), "eval_s": ("Evaluate, s", "{:.3g}"),
    "latency_p95_ms": ("Latency 95 %, ms", "{:.1f}"),
}  # fmt: skip
OF_CLASSES = frozenset({"chance", "balanced_accuracy", "macro_f1"})
# What is usually reported of classifiers that are not trained here.
OF_CLASSIFIERS = frozenset({"top5_accuracy", "log_loss", "calibration_error"})
# The columns that a narrow screen leaves out, the first of them first, with their headings.
LEADERBOARD_LEAST_TELLING = {
    "efficiency_above_chance": "Above chance / M", "images_per_s": "Images/s", "latency_ms": "Latency, ms",
    "peak_rss_mib": "Peak MiB", "chance": "Chance",
    "difference": "Difference", "efficiency": "Accuracy / M", "wall_s": "Wall, s", "n_seeds": "Seeds",
    "accuracy_low": "95 % interval", "params_total": "Params, M", "published": "Published", "input_size_px": INPUT_PX,
}  # fmt: skip
LEADERBOARD_HEADINGS = {
    **{column: heading for column, (heading, _) in LESS_COMMON.items()}, **LEADERBOARD_LEAST_TELLING,
    **SETTING_HEADINGS, "machine": "Machine", **dict.fromkeys(("rank", "rank_first", "rank_last"), "Rank"),
    **dict.fromkeys(("accuracy", "accuracy_std"), "Accuracy"), "accuracy_high": "95 % interval",
}  # fmt: skip


def leaderboard_sections(
    board: pd.DataFrame,
    comparison: pd.DataFrame,
    n_failed: dict[str, int] | None = None,
    *,
    by: str = "accuracy",
    top: int | None = None,
    columns: Sequence[str] | None = None,
    by_machine: bool = False,
) -> list[Section]:
    """One table per dataset, and one of published figures where there are any.

    Args:
        board: The table of `make_leaderboard`.
        comparison: The table of `compare_published`.
        n_failed: Number of failed cells by dataset.
        by: The column that the board is ranked by, which every screen shows.
        top: Show only ranks up to this one; the notes are about all settings.
        columns: Of the board, those to show; None for what fits.
        by_machine: One table per dataset and machine, as the board was ranked.
    """
    n_failed = n_failed or {}
    order = (*(heading for column, heading in LEADERBOARD_LEAST_TELLING.items() if column != by), "Not ranked")
    sections = []
    for dataset in sorted({*board["dataset"], *n_failed}):
        rows, figures = board[board["dataset"] == dataset], comparison[comparison["dataset"] == dataset]
        parts = {f"{dataset} on {machine}": part for machine, part in rows.groupby("machine")} if by_machine else {}
        sought = [*parts.items()] or [(dataset, rows)]
        for title, part in sought:
            failed = n_failed.get(dataset, 0) if title == sought[-1][0] else 0  # said once for all machines
            notes = (*note_on_top(part, top), *_leaderboard_notes(part, failed, by))
            shown = first_ranked(part, top)
            cells = leaderboard_cells(shown, by=by, also=columns or ())
            section = Section(title, cells, notes, least_telling=size_first(order, shown, by))
            sections.append(with_columns(section, shown, columns, LEADERBOARD_HEADINGS))
        if len(figures):
            sections.append(Section(f"{dataset}: published and measured", comparison_cells(figures), level=3))
    return sections


def _leaderboard_notes(rows: pd.DataFrame, n_failed: int, by: str) -> tuple[str, ...]:
    notes = _notes_on_ranks(rows[rows["rank"].notna()]) if by == "accuracy" else []
    if rows["shots"].notna().any():
        notes.append(SHOTS_NOTE)
    if n_others := int((rows["not_ranked"] == NOT_NATIVE).sum()):
        notes.append(
            f"Not ranked: {count_of(n_others, 'setting')} in other modes than native; see 'benchmark ablation'."
        )
    if rows["machine"].nunique() > 1 or (rows["machine"] == SEVERAL).any():
        notes.append(
            "The rows are of several machines, whose times are not comparable: 'benchmark leaderboard --by-machine' "
            "shows and ranks those of each machine."
        )
    if rows["folds"].notna().any():
        notes.append(FOLDS_NOTE)
    if _are_unbalanced(rows):
        notes.append(
            "The classes are unbalanced: always naming the most frequent one is right for "
            f"{100 * rows['chance'].max():.1f} %. Balanced accuracy and macro F1 count all classes the same."
        )
    if _are_at_chance(rows).any():
        notes.append("(chance): always naming the most frequent class may be as good; it lies within the interval.")
    if n_failed:
        notes.append(not_ranked(n_failed))
    return tuple(notes)


def _notes_on_ranks(ranked: pd.DataFrame) -> list[str]:
    """What the ranges of ranks mean, and for how many settings they mean less."""
    notes = []
    least = ranked["smallest_difference"].dropna().median()
    if not pd.isna(least):
        notes += [
            f"A range of ranks: all but those that are shown to be better or worse for {scope_of(ranked)}, at "
            f"{100 * ALPHA:.0f} % for all pairs together (Holm). On these {ranked['n_test'].max():,.0f} test images, "
            f"differences from the best below about {least:.4f} (median) are within chance.",
            *notes_on_seeds(ranked, "ranks"),
        ]
    n_best = len(ranked[[*TOGETHER]].drop_duplicates())  # which are not tested against themselves
    n_untested = int(ranked["p_best"].isna().sum()) - n_best
    if n_untested > 0:
        why = "those with folds are not" if ranked["folds"].notna().all() else "no predictions"
        notes.append(f"{n_untested} of {len(ranked) - n_best} settings could not be tested against the best: {why}.")
    return notes


def _are_unbalanced(rows: pd.DataFrame) -> bool:
    # Of the classes that a classifier knows, most do not occur: nothing follows from their number.
    rows = rows[rows["strategy"] != CLASSIFY]
    return bool((rows["chance"] > UNBALANCED / rows["n_classes"]).any())


def _are_at_chance(rows: pd.DataFrame) -> "pd.Series[bool]":
    return rows["accuracy_low"] <= rows["chance"]


def not_ranked(n_failed: int) -> str:
    """The note about failed cells."""
    return f"Not ranked: {count_of(n_failed, 'failed cell')}."


def leaderboard_cells(table: pd.DataFrame, *, by: str = "accuracy", also: Sequence[str] = ()) -> pd.DataFrame:
    """The leaderboard of one dataset: one row per setting, with the column that it is ranked by, and with `also`."""
    has_latency = "latency_ms" in (by, *also) or table["latency_ms"].notna().any()
    columns = {
        "Rank": [
            MISSING_VALUE if pd.isna(rank) else str(rank) if first == last else f"{first}–{last}"
            for rank, first, last in rows_of(table, "rank", "rank_first", "rank_last")
        ],
        **setting_cells(table),
        **({"Machine": table["machine"]} if table["machine"].nunique() > 1 else {}),
        "Accuracy": [
            (f"{mean:.4f}" if pd.isna(deviation) else f"{mean:.4f} ± {deviation:.4f}") + " (chance)" * is_at_chance
            for (mean, deviation), is_at_chance in zip(
                rows_of(table, "accuracy", "accuracy_std"), _are_at_chance(table), strict=True
            )
        ],
        "95 % interval": [f"{low:.3f}–{high:.3f}" for low, high in rows_of(table, "accuracy_low", "accuracy_high")],
        **_less_common_cells(table, by, also),
    }
    if table["published"].notna().any():
        columns["Published"] = number_texts(table["published"], "{:.3f}")
        columns["Difference"] = number_texts(table["difference"], "{:+.3f}")
    columns |= {
        "Params, M": number_texts(table["params_total"] / 1e6, "{:.2f}"),
        "Accuracy / M": number_texts(table["efficiency"], "{:.3f}"),
        "Above chance / M": number_texts(table["efficiency_above_chance"], "{:.3f}"),
        "Wall, s": number_texts(table["wall_s"], "{:.0f}"),
        "Images/s": number_texts(table["images_per_s"], "{:.0f}"),
        **({"Latency, ms": number_texts(table["latency_ms"], "{:.1f}")} if has_latency else {}),
        "Peak MiB": number_texts(table["peak_rss_mib"], "{:.0f}"),
        "Seeds": number_texts(table["n_seeds"], "{}"),
    }
    return pd.DataFrame(columns, index=table.index)


def _less_common_cells(table: pd.DataFrame, by: str, also: Sequence[str]) -> dict[str, list[str]]:
    """What the table is ranked by, what only unbalanced classes need, `also`, and why settings have no rank."""
    beside = {"chance"} if by in OF_CLASSES or by == "efficiency_above_chance" else set()
    is_classified = (table["strategy"] == CLASSIFY).any()
    shown = {
        *(by, *also, *beside), *(OF_CLASSES if _are_unbalanced(table) else ()),
        *(OF_CLASSIFIERS if is_classified else ()),
    }  # fmt: skip
    cells = {
        heading: number_texts(table[column], pattern)
        for column, (heading, pattern) in LESS_COMMON.items()
        if column in shown
    }
    reasons = table["not_ranked"].replace(["", NOT_NATIVE], MISSING_VALUE)  # a note is enough for other modes
    return cells if set(reasons) <= {MISSING_VALUE} else {**cells, "Not ranked": reasons.tolist()}
