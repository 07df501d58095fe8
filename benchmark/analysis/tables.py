"""Leaderboards, ablations and comparisons as people read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.analysis.ablation import MARGIN
from benchmark.analysis.comparison import MARKS, SAME, TOLERANCE
from benchmark.analysis.labels import head_label, strategy_label
from benchmark.analysis.significance import ALPHA

MISSING_VALUE = "–"
TEXT_HEADINGS = (
    "Backbone", "Strategy", "Mode", "Head", "Augmentation", "Precision", "Resize", "Crop", "Metric", "Note", "Verdict",
    "Change", "Result", "Dataset",
)  # fmt: skip
# Greater numbers are counts, not fractions.
FIRST_COUNT = 1000
# Settings that few sweeps change: a column only where one does.
USUAL = (
    ("Variant", "variant", ""),
    ("Augmentation", "augment", ""),
    ("Precision", "precision", "float32"),
    ("Resize", "resize", "bilinear"),
    ("Crop", "crop", "squash"),
)

# What a leaderboard can do without where there is no room, least telling first.
LEAST_TELLING = {
    "efficiency_above_chance": "Above chance / M",
    "images_per_s": "Images/s",
    "peak_rss_mib": "Peak MiB",
    "difference": "Difference",
    "efficiency": "Accuracy / M",
    "wall_s": "Wall, s",
    "n_seeds": "Seeds",
    "accuracy_low": "95 % interval",
    "params_total": "Params, M",
    "published": "Published",
    "input_size_px": "Input px",
}
ABLATION_LEAST_TELLING = ("Over", "Native gains", "Input px", "95 % interval")


@dataclass(frozen=True)
class Section:
    """One table as people read it.

    Attributes:
        heading: What it is about.
        cells: Text, one column a heading.
        notes: Sentences below it.
        level: Of the heading: 2, or 3 for a part of the section before.
        least_telling: Columns that a narrow screen leaves out, these first.
    """

    heading: str
    cells: pd.DataFrame
    notes: tuple[str, ...] = ()
    level: int = 2
    least_telling: tuple[str, ...] = ()


def leaderboard_sections(
    board: pd.DataFrame, comparison: pd.DataFrame, n_failed: dict[str, int] | None = None, *, by: str = "accuracy"
) -> list[Section]:
    """A table a dataset, and one of published figures where there are any.

    Args:
        board: What `make_leaderboard` gives.
        comparison: What `compare_published` gives.
        n_failed: Number of failed cells by dataset.
        by: The column that the board is ranked by, which every screen shows.
    """
    n_failed = n_failed or {}
    least_telling = tuple(heading for column, heading in LEAST_TELLING.items() if column != by)
    sections = []
    for dataset in sorted({*board["dataset"], *n_failed}):
        rows, figures = board[board["dataset"] == dataset], comparison[comparison["dataset"] == dataset]
        notes = _leaderboard_notes(rows, n_failed.get(dataset, 0), by)
        sections.append(Section(dataset, leaderboard_cells(rows), notes, least_telling=least_telling))
        if len(figures):
            sections.append(Section(f"{dataset}: published and measured", comparison_cells(figures), level=3))
    return sections


def _leaderboard_notes(rows: pd.DataFrame, n_failed: int, by: str) -> tuple[str, ...]:
    notes = []
    least = rows["smallest_difference"].median()
    if by == "accuracy" and not pd.isna(least):
        notes.append(
            "A range of ranks: all but those that McNemar's test on the saved predictions, Holm-corrected for all "
            f"pairs at 5 %, shows to be better or worse. On these {rows['n_test'].max():,.0f} test images, differences "
            f"from the best below about {least:.4f} (median) are within chance."
        )
    n_untested = int(rows["p_best"].isna().sum()) - 1  # the best is not tested against itself
    if by == "accuracy" and n_untested > 0:
        notes.append(f"{n_untested} of {len(rows) - 1} settings could not be tested against the best: no predictions.")
    if n_failed:
        notes.append(f"{n_failed} failed {'cell is' if n_failed == 1 else 'cells are'} not ranked.")
    return tuple(notes)


def leaderboard_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard of one dataset as people read it: one column of text a heading, a row a setting."""
    readable = pd.DataFrame(
        {
            "Rank": [
                _rank_text(*ranks) for ranks in zip(table["rank"], table["rank_first"], table["rank_last"], strict=True)
            ],
            "Backbone": table["backbone"],
            "Mode": table["mode"],
            "Head": _texts(table, head_label),
            "Input px": table["input_size_px"].map(_number("{:.0f}")),
            "Accuracy": [_with_spread(row) for row in table.to_dict("records")],
            "95 % interval": [
                f"{low:.3f}–{high:.3f}" for low, high in zip(table["accuracy_low"], table["accuracy_high"], strict=True)
            ],
            "Published": table["published"].map(_number("{:.3f}")),
            "Difference": table["difference"].map(_number("{:+.3f}")),
            "Params, M": (table["params_total"] / 1e6).map(_number("{:.2f}")),
            "Accuracy / M": table["efficiency"].map(_number("{:.3f}")),
            "Above chance / M": table["efficiency_above_chance"].map(_number("{:.3f}")),
            "Wall, s": table["wall_s"].map(_number("{:.0f}")),
            "Images/s": table["images_per_s"].map(_number("{:.0f}")),
            "Peak MiB": table["peak_rss_mib"].map(_number("{:.0f}")),
            "Seeds": table["n_seeds"].map(str),
        },
        index=table.index,
    )
    _insert_unusual(readable, table)
    return readable if table["published"].notna().any() else readable.drop(columns=["Published", "Difference"])


def _insert_unusual(readable: pd.DataFrame, table: pd.DataFrame) -> None:
    strategies = _texts(table, strategy_label)
    if set(strategies) - {"probe"}:
        readable.insert(4, "Strategy", strategies)
    for heading, column, usual in USUAL:
        if column in table and not set(table[column]) <= {usual}:
            readable.insert(4, heading, table[column])


def _texts(table: pd.DataFrame, label: Callable[[Mapping[Any, Any]], str]) -> list[str]:
    return [label(row) for row in table.to_dict("records")]


def ablation_sections(ablation: pd.DataFrame) -> list[Section]:
    """A table a dataset of what each wrong mode costs.

    Args:
        ablation: What `make_ablation` gives.
    """
    note = (
        "Points lost: native less this mode, with its 95 % interval over seeds, or over test images where they do not "
        "differ; it is not corrected for the number of comparisons. "
        f"Harmless: all of it within {100 * MARGIN:.0f} point of zero."
    )
    return [
        Section(str(dataset), ablation_cells(rows), (note,), least_telling=ABLATION_LEAST_TELLING)
        for dataset, rows in ablation.groupby("dataset", sort=True)
    ]


def ablation_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The ablation of one dataset as people read it; accuracies in percent, as reports print them."""
    readable = pd.DataFrame(
        {
            "Rank": table["rank"].map(str),
            "Backbone": table["backbone"],
            "Mode": table["mode"],
            "Head": _texts(table, head_label),
            "Input px": table["input_size_px"].map(_number("{:.0f}")),
            "Accuracy → native, %": [
                f"{100 * here:.2f} → {100 * native:.2f}"
                for here, native in zip(table["accuracy"], table["accuracy_native"], strict=True)
            ],
            "Points lost": (100 * table["accuracy_lost"]).map(_number("{:+.2f}")),
            "95 % interval": [
                MISSING_VALUE if pd.isna(low) else f"{100 * low:+.2f} to {100 * high:+.2f}"
                for low, high in zip(table["lost_low"], table["lost_high"], strict=True)
            ],
            "Over": table["interval_over"].replace("", MISSING_VALUE),
            "Native gains": (100 * table["relative_gain"]).map(_number("{:+z.0f} %")),
            "Verdict": table["verdict"],
            "Seeds": table["n_seeds"].map(str),
        },
        index=table.index,
    )
    _insert_unusual(readable, table)
    return readable


def comparison_cells(comparison: pd.DataFrame) -> pd.DataFrame:
    """Published figures beside measured ones as people read them; counts to the last digit."""

    def text(value: float, sign: str = "") -> str:
        return MISSING_VALUE if pd.isna(value) else f"{value:{sign},.{0 if abs(value) >= FIRST_COUNT else 4}f}"

    readable = comparison[["backbone", "strategy", "mode", "head", "metric"]].copy()
    for column, sign in (("published", ""), ("measured", ""), ("difference", "+")):
        readable[column] = [text(value, sign) for value in comparison[column]]
    readable["note"] = comparison["note"]
    return readable.rename(columns=str.capitalize)


def changes_sections(comparison: pd.DataFrame) -> list[Section]:
    """How many cells changed in which way, and those that did.

    Args:
        comparison: What `compare_ledgers` gives.
    """
    counts = comparison["change"].value_counts()
    summary = ", ".join(f"{counts[change]} {change}" for change in MARKS if change in counts) or "no cells"
    moved = comparison[comparison["change"] != SAME]
    note = f"Worse and better: beyond noise by {100 * ALPHA:.0f} %, Holm-corrected over the cells. Times are advisory."
    return [Section(summary, changes_cells(moved), (note,))]


def changes_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Cells of two ledgers as people read them."""
    readable = pd.DataFrame(
        {
            "": table["mark"],
            "Change": table["change"],
            **_cell_names(table),
            "Before": table["accuracy_before"].map(_number("{:.4f}")),
            "After": table["accuracy_after"].map(_number("{:.4f}")),
            "Difference": table["difference"].map(_number("{:+.4f}")),
            "p": table["p_value"].map(_number("{:.2g}")),
            "Wall ratio": table["wall_ratio"].map(_number("{:.2f}")),
            "Note": table["note"],
        },
        index=table.index,
    )
    _insert_unusual(readable, table)
    return readable


def verification_sections(verification: pd.DataFrame) -> list[Section]:
    """How many figures came out again, and every cell.

    Args:
        verification: What `verify_rows` gives.
    """
    counts = verification["change"].value_counts()
    summary = ", ".join(f"{counts[result]} {result}" for result in MARKS if result in counts) or "no cells"
    note = (
        "Reproduced: the same counts and predictions. Close: the same counts on another type of machine or other "
        f"versions, the accuracy within {TOLERANCE:g} or no further away than chance explains (McNemar's test, "
        "Holm-corrected). Times are advisory."
    )
    cells = pd.DataFrame(
        {
            "": verification["mark"],
            "Result": verification["change"],
            **_cell_names(verification),
            "Ledger": verification["accuracy_before"].map(_number("{:.4f}")),
            "Now": verification["accuracy_after"].map(_number("{:.4f}")),
            "Predictions changed": verification["n_predictions_changed"].map(_number("{:.0f}")),
            "Wall ratio": verification["wall_ratio"].map(_number("{:.2f}")),
            "Note": verification["note"],
        }
    )
    return [Section(summary, cells, (note,))]


def _cell_names(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns by which people know a cell."""
    return {
        "Backbone": table["backbone"],
        "Dataset": table["dataset"],
        "Mode": table["mode"],
        "Head": _texts(table, head_label),
        "Input px": table["input_size_px"].map(_number("{:.0f}")),
        "Seed": table["seed"].map(_number("{:.0f}")),
    }


def _number(pattern: str) -> Callable[[float | None], str]:
    return lambda value: MISSING_VALUE if value is None or pd.isna(value) else pattern.format(value)


def _rank_text(rank: int, first: int, last: int) -> str:
    return str(rank) if first == last else f"{first}–{last}"


def _with_spread(row: dict[Any, Any]) -> str:
    spread = "" if pd.isna(row["accuracy_std"]) else f" ± {row['accuracy_std']:.4f}"
    return f"{row['accuracy']:.4f}{spread}"
