"""Ablations as tables for people."""

from collections.abc import Sequence

import pandas as pd

from benchmark.analysis.ablation import MARGIN
from benchmark.analysis.choosing import first_ranked, note_on_top, with_columns
from benchmark.analysis.formats import MISSING_VALUE, Section, count_of, number_texts
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

# The columns that a narrow screen leaves out, the first of them first.
ABLATION_LEAST_TELLING = ("Interval over", "Relative gain", INPUT_PX, "Rank", "95 % interval")
ABLATION_HEADINGS = {
    **SETTING_HEADINGS, "rank": "Rank", "interval_over": "Interval over",
    **dict.fromkeys(("accuracy", "accuracy_native"), "Accuracy → native, %"), "accuracy_lost": "Points lost",
    **dict.fromkeys(("lost_low", "lost_high"), "95 % interval"), "relative_gain": "Relative gain",
    "verdict": "Verdict", "n_seeds": "Seeds",
}  # fmt: skip


def ablation_sections(
    ablation: pd.DataFrame, *, top: int | None = None, columns: Sequence[str] | None = None
) -> list[Section]:
    """One table per dataset of the cost of each wrong mode, from the table of `make_ablation`.

    `top` and `columns` are those of `leaderboard_sections`.
    """
    sections = []
    for dataset, rows in ablation.groupby("dataset", sort=True):
        notes = [
            *note_on_top(rows, top),
            f"Points lost: native less this mode, with its 95 % interval for {scope_of(rows)}, not corrected for the "
            f"number of comparisons. Harmless: all of it within {100 * MARGIN:.0f} point of zero.",
            *notes_on_seeds(rows, "intervals"),
        ]
        if rows["folds"].notna().any():
            notes.append(FOLDS_NOTE)
        if n_unknown := int((rows["interval_over"] == "").sum()):
            notes.append(f"{n_unknown} of {count_of(len(rows), 'row')} without an interval: no predictions.")
        shown = first_ranked(rows, top)
        section = Section(
            str(dataset), ablation_cells(shown), tuple(notes), least_telling=size_first(ABLATION_LEAST_TELLING, shown)
        )
        sections.append(with_columns(section, shown, columns, ABLATION_HEADINGS))
    return sections


def ablation_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The ablation of one dataset: one row per setting and wrong mode; accuracies in percent."""
    columns = {
        "Rank": number_texts(table["rank"], "{}"),
        **setting_cells(table),
        "Accuracy → native, %": [
            f"{100 * here:.2f} → {100 * native:.2f}" for here, native in rows_of(table, "accuracy", "accuracy_native")
        ],
        "Points lost": number_texts(100 * table["accuracy_lost"], "{:+.2f}"),
        "95 % interval": [
            MISSING_VALUE if pd.isna(low) else f"{100 * low:+z.2f} to {100 * high:+z.2f}"
            for low, high in rows_of(table, "lost_low", "lost_high")
        ],
        "Interval over": table["interval_over"].replace("", MISSING_VALUE),
        "Relative gain": number_texts(100 * table["relative_gain"], "{:+z.0f} %"),
        "Verdict": table["verdict"],
        "Seeds": number_texts(table["n_seeds"], "{}"),
    }
    return pd.DataFrame(columns, index=table.index)
