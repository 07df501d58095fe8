"""What changed between two ledgers, or when cells were run again, as tables for people."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from benchmark.analysis.figures import TOLERANCE
from benchmark.analysis.formats import Section, number_texts, tally
from benchmark.analysis.labels import dataset_labels
from benchmark.analysis.pairs import MARKS, SAME
from benchmark.analysis.presentation import rows_of, setting_cells
from benchmark.analysis.significance import ALPHA

# The column without a heading is the mark, which stands for the change or result beside it.
CELLS_LEAST_TELLING = ("Wall ratio", "", "Input px", "Predictions changed")


def changes_sections(comparison: pd.DataFrame) -> list[Section]:
    """How many cells changed in which way, and the cells that changed, from the table of `compare_ledgers`."""
    table = comparison[comparison["change"] != SAME]
    numbers = {
        "Before": number_texts(table["accuracy_before"], "{:.4f}"),
        "After": number_texts(table["accuracy_after"], "{:.4f}"),
        "Difference": number_texts(table["difference"], "{:+.4f}"),
        "p": number_texts(table["p_value"], "{:.2g}"),
    }
    meaning = (
        f"Worse and better: beyond noise at {100 * ALPHA:.0f} %, Holm-corrected over the cells. Times are advisory."
    )
    notes = (*([meaning] if len(table) else []), *_overall_notes(comparison))
    return _pairs_sections(tally(comparison["change"], MARKS), table, "Change", numbers, notes)


def _overall_notes(comparison: pd.DataFrame) -> Iterable[str]:
    """The difference of all cells together, which every row holds; nothing where it is not known."""
    columns = [f"overall_{column}" for column in ("n_cells", "difference", "low", "high", "p_value")]
    n_compared = comparison["difference"].notna().sum()
    for n_cells, difference, low, high, p_value in rows_of(comparison[:1], *columns):
        if n_cells:
            which = f"all {n_cells}" if n_cells == n_compared else f"{n_cells} of {n_compared}"
            points, lowest, highest = number_texts((100 * difference, 100 * low, 100 * high), "{:+.2f}")
            yield (f"Over {which} cells: {points} points (95 % interval {lowest} to {highest}; p = {p_value:.2g}).")


def verification_sections(verification: pd.DataFrame) -> list[Section]:
    """How many cells were reproduced, and every cell, from the table of `verify_rows`."""
    numbers = {
        "Was": number_texts(verification["accuracy_before"], "{:.4f}"),
        "Now": number_texts(verification["accuracy_after"], "{:.4f}"),
        "Predictions changed": number_texts(verification["n_predictions_changed"], "{:.0f}"),
    }
    notes = (
        "Reproduced: the same counts, predictions and figures. Close: on another type of machine or in other versions, "
        f"figures within {TOLERANCE:g}, the accuracy also as far away as chance explains (McNemar's test, "
        "Holm-corrected; all seeds of a setting together where a training ended at another epoch). Changed: neither, "
        "or the ledger contradicts itself. Incomplete: files or rows are missing. "
        "Times, rates and memory are advisory.",
    )
    return _pairs_sections(tally(verification["change"], MARKS), verification, "Result", numbers, notes)


def _pairs_sections(
    heading: str, table: pd.DataFrame, outcome: str, numbers: dict[str, Any], notes: tuple[str, ...]
) -> list[Section]:
    """One row per cell of two ledgers: its outcome, its name, its numbers and its note; one table per dataset."""
    setting = setting_cells(table)
    columns = {
        "": table["mark"],
        outcome: table["change"],
        "Backbone": setting.pop("Backbone"),
        "Dataset": dataset_labels(table),
        **setting,
        "Seed": number_texts(table["seed"], "{:.0f}"),
        **numbers,
        "Wall ratio": number_texts(table["wall_ratio"], "{:.2f}"),
        "Note": table["note"],
    }
    cells = pd.DataFrame(columns)
    parts = [part for _, part in cells.groupby("Dataset", sort=False)]
    if len(parts) < 2:
        return [Section(heading, cells, notes, least_telling=CELLS_LEAST_TELLING)]
    return [
        Section(heading, pd.DataFrame(), notes),
        *(
            Section(part["Dataset"].iloc[0], part.drop(columns="Dataset"), level=3, least_telling=CELLS_LEAST_TELLING)
            for part in parts
        ),
    ]
