"""What the tables of settings have in common: the columns that name a setting, and notes."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from benchmark.analysis.formats import MISSING_VALUE, count_of, number_texts
from benchmark.analysis.labels import head_labels, strategy_labels
from benchmark.options import CLASSIFY

# Of the settings with `folds=…` in their strategy.
FOLDS_NOTE = (
    "Of a setting with folds, seeds stand for its folds: each image was tested once, by the model that was trained on "
    "the other folds. Folds share training images, so their deviation understates what other data would change."
)
# Settings that few sweeps change: they get a column only in a table where they vary, or differ from these values.
USUAL = (
    ("Crop", "crop", {"squash"}), ("Resize", "resize", {"bilinear-antialias", "bilinear"}),
    ("Precision", "precision", {"float32"}), ("Augment", "augment", {""}), ("Strategy", "strategy", {"probe"}),
    ("Batch", "batch_size", {MISSING_VALUE}), ("Variant", "variant", {""}),
)  # fmt: skip
INPUT_PX = "Input px"
# Columns that tables for people show in a form of their own, with their headings.
SETTING_HEADINGS = {
    "backbone": "Backbone", "mode": "Mode", "head": "Head", "strategy": "Strategy", "input_size_px": INPUT_PX,
}  # fmt: skip


def setting_cells(table: pd.DataFrame) -> dict[str, Any]:
    """The columns that name a setting within its dataset."""
    shown = table.assign(strategy=strategy_labels(table))
    if "batch_size" in shown:
        shown["batch_size"] = number_texts(table["batch_size"], "{:.0f}")
    # What belongs to no row has no settings.
    values = {column: {*shown[column]} - {""} for _, column, _ in USUAL if column in shown}
    return {
        "Backbone": table["backbone"],
        "Mode": table["mode"],
        "Head": head_labels(table),
        **{
            heading: shown[column]
            for heading, column, usual in USUAL
            if column in values and (len(values[column]) > 1 or not values[column] <= usual)
        },
        INPUT_PX: number_texts(table["input_size_px"], "{:.0f}"),
    }


def size_first(order: Sequence[str], rows: pd.DataFrame, by: str = "") -> tuple[str, ...]:
    """The order in which columns are left out, with the input size first unless it tells settings apart."""
    is_telling = by == "input_size_px" or (rows.groupby("backbone")["input_size_px"].nunique() > 1).any()
    return tuple(order) if is_telling else (INPUT_PX, *(heading for heading in order if heading != INPUT_PX))


def scope_of(rows: pd.DataFrame) -> str:
    """What tests and intervals speak of beyond the runs that were made."""
    return "other images and other seeds" if (rows["n_seeds"] > 1).any() else "other images"


def notes_on_seeds(rows: pd.DataFrame, what: str) -> list[str]:
    """A note that one seed says nothing about others, if any row has only one."""
    rows = rows[rows["strategy"] != CLASSIFY]  # which draws nothing
    n_single = int((rows["n_seeds"] == 1).sum())
    where = "" if n_single == len(rows) else f" in {n_single} of {count_of(len(rows), 'row')}"
    return [f"Seeds were not varied{where}, so other seeds may give other {what}."] if n_single else []


def rows_of(table: pd.DataFrame, *columns: str) -> Iterable[tuple[Any, ...]]:
    """The values of these columns, row by row."""
    return table[list(columns)].itertuples(index=False, name=None)
