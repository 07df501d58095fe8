"""Tables as HTML shows them: texts that a person reads, numbers that they are sorted by."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.analysis.ablation import MARGIN
from benchmark.analysis.presentation import ablation_cells, comparison_cells, leaderboard_cells
from benchmark.report.wording import MISSING_VALUE

# Of the leaderboard's headings: the column that their texts come from.
BOARD_NUMBERS = {
    "Rank": "rank", "Input px": "input_size_px", "Accuracy": "accuracy", "95 % interval": "accuracy_low",
    "Published": "published", "Difference": "difference", "Params, M": "params_total", "Accuracy / M": "efficiency",
    "Above chance / M": "efficiency_above_chance", "Wall, s": "wall_s", "Images/s": "images_per_s",
    "Peak MiB": "peak_rss_mib", "Seeds": "n_seeds",
}  # fmt: skip
ABLATION_NUMBERS = {
    "Rank": "rank", "Input px": "input_size_px", "Accuracy → native, %": "accuracy", "Points lost": "accuracy_lost",
    "95 % interval": "lost_low", "Relative gain": "relative_gain", "Seeds": "n_seeds",
}  # fmt: skip
COMPARISON_NUMBERS = {"Published": "published", "Measured": "measured", "Difference": "difference"}
# Columns that a reader sorts by to see what is largest.
GREATEST_FIRST = frozenset(
    {"Accuracy", "95 % interval", "Difference", "Accuracy / M", "Above chance / M", "Images/s", "Points lost"}
)
FILTERS = ("Backbone", "Strategy", "Mode", "Head", "Verdict")
ROW_HEADER = "Backbone"


@dataclass(frozen=True)
class Cell:
    """One cell: what is read, and for a number what it is sorted by; None where it was not measured."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: Its heading.
        is_number: Whether it holds numbers.
        is_row_header: Whether it names the row.
        is_greatest_first: Whether the first click sorts it downwards.
        choices: Its texts, where rows can be chosen by them.
    """

    heading: str
    is_number: bool = False
    is_row_header: bool = False
    is_greatest_first: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table with its caption, a row a record."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def make_table(
    texts: pd.DataFrame,
    caption: str,
    *,
    numbers: Mapping[str, pd.Series] | None = None,
    row_header: str = ROW_HEADER,
    filters: Collection[str] = (),
) -> Table:
    """A table of texts.

    Args:
        texts: One column a heading.
        caption: What the table shows.
        numbers: Of some headings: what their texts stand for, to sort by.
        row_header: The heading of the column that names a row.
        filters: Headings by whose texts rows can be chosen, where they have several.
    """
    numbers = numbers or {}
    # A column in which nothing was measured only takes room.
    kept = [heading for heading in map(str, texts) if heading == row_header or set(texts[heading]) != {MISSING_VALUE}]
    columns = tuple(
        Column(
            heading,
            is_number=heading in numbers,
            is_row_header=heading == row_header,
            is_greatest_first=heading in GREATEST_FIRST,
            choices=_choices(texts[heading]) if heading in filters else (),
        )
        for heading in kept
    )
    cells = [
        [
            Cell(text, None if pd.isna(number) else float(number))
            for text, number in zip(texts[heading], numbers[heading], strict=True)
        ]
        if heading in numbers
        else [Cell(text) for text in texts[heading].astype(str)]
        for heading in kept
    ]
    return Table(caption, columns, tuple(zip(*cells, strict=True)))


def _choices(texts: pd.Series) -> tuple[str, ...]:
    distinct = tuple(sorted(set(texts)))
    return distinct if len(distinct) > 1 else ()


def leaderboard_table(rows: pd.DataFrame, dataset: str) -> Table:
    """The leaderboard of one dataset: what `leaderboard_cells` shows."""
    return make_table(
        leaderboard_cells(rows),
        f"Settings on {dataset}, the most accurate first",
        numbers=_numbers(rows, BOARD_NUMBERS),
        filters=FILTERS,
    )


def ablation_table(rows: pd.DataFrame, dataset: str) -> Table:
    """The ablation of one dataset: what `ablation_cells` shows."""
    return make_table(
        ablation_cells(rows),
        f"What each mode costs against native on {dataset}, the most harmful first; harmless: the whole 95 % interval "
        f"lies within {100 * MARGIN:.0f} point of zero",
        numbers=_numbers(rows, ABLATION_NUMBERS),
        filters=FILTERS,
    )


def comparison_table(rows: pd.DataFrame, dataset: str) -> Table:
    """Published figures of one dataset beside the measured ones."""
    return make_table(
        comparison_cells(rows).replace("", MISSING_VALUE),
        f"Published figures on {dataset} and what was measured here",
        numbers=_numbers(rows, COMPARISON_NUMBERS),
    )


def records_table(records: Sequence[Mapping[str, object]], caption: str, *, row_header: str) -> Table:
    """A table of records of the same keys; numbers are shown as they are."""
    table = pd.DataFrame(list(records))
    numbers = {heading: table[heading] for heading in map(str, table.select_dtypes("number"))}
    return make_table(table.astype(str).replace("", MISSING_VALUE), caption, numbers=numbers, row_header=row_header)


def _numbers(rows: pd.DataFrame, columns: Mapping[str, str]) -> dict[str, pd.Series]:
    return {heading: rows[column] for heading, column in columns.items()}
