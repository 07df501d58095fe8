"""Tables as HTML shows them: texts to read, and the numbers to sort them by."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.analysis.ablation import MARGIN
from benchmark.analysis.formats import MISSING_VALUE
from benchmark.analysis.leaderboard import HIGHER_IS_BETTER
from benchmark.analysis.presentation import ablation_cells, comparison_cells, leaderboard_cells, notes_on_seeds
from benchmark.analysis.presentation.ablation import ABLATION_HEADINGS
from benchmark.analysis.presentation.leaderboard import LEADERBOARD_HEADINGS
from benchmark.charts.costs import PHASES

COMPARISON_HEADINGS = {"published": "Published", "measured": "Measured", "difference": "Difference"}
# Columns that a reader sorts by to see what is largest.
GREATEST_FIRST = frozenset(
    {
        *(LEADERBOARD_HEADINGS[column] for column in HIGHER_IS_BETTER),
        *("95 % interval", "Difference", "Points lost"),
    }
)
FILTERS = ("Backbone", "Strategy", "Mode", "Head", "Verdict")
ROW_HEADER = "Backbone"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and the number that it is sorted by; None if it is not a number or was not measured."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: Its heading.
        is_number: Whether it holds numbers.
        is_row_header: Whether it names the row.
        is_greatest_first: Whether the first click sorts it in descending order.
        choices: The texts by which rows can be filtered; empty if they cannot.
    """

    heading: str
    is_number: bool = False
    is_row_header: bool = False
    is_greatest_first: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table with its caption, one row per record."""

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
        texts: One column per heading.
        caption: What the table shows.
        numbers: The numbers to sort by, of the headings that are sorted so.
        row_header: The heading of the column that names a row.
        filters: Headings by whose texts rows can be filtered, if they have several texts.
    """
    numbers = numbers or {}
    # A column in which nothing was measured is left out.
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
    ranks = rows["rank"].fillna(len(rows))  # those without one stay below
    return make_table(
        leaderboard_cells(rows),
        f"Settings on {dataset}, the most accurate first",
        numbers=_numbers(rows.assign(rank=ranks), LEADERBOARD_HEADINGS),
        filters=FILTERS,
    )


def ablation_table(losses: pd.DataFrame, dataset: str) -> Table:
    """The data of the chart `ablation`: what `ablation_cells` shows."""
    return make_table(
        ablation_cells(losses),
        f"What each mode costs against native on {dataset}, the most harmful first; harmless: the whole 95 % interval "
        f"lies within {100 * MARGIN:.0f} point of zero. {' '.join(notes_on_seeds(losses, 'intervals'))}".rstrip(". "),
        numbers=_numbers(losses, ABLATION_HEADINGS),
        filters=FILTERS,
    )


def pareto_table(settings: pd.DataFrame, dataset: str) -> Table:
    """The data of the chart `pareto`."""
    numbers = {"Params, M": settings["millions"], "Accuracy, %": 100 * settings["accuracy"]}
    on_front = settings["is_front"].map({True: "yes", False: "no"})
    caption = f"Parameters and test accuracy on {dataset}"
    return _settings_table(settings, caption, numbers, "{:.2f}", {"On the front": on_front})


def speed_table(settings: pd.DataFrame, dataset: str) -> Table:
    """The data of the chart `speed`."""
    numbers = {
        "Images/s": settings["images_per_s"], "Params, M": settings["millions"], "Latency, ms": settings["latency_ms"],
    }  # fmt: skip
    return _settings_table(settings, f"Speed of each backbone on {dataset}, the fastest first", numbers, "{:,.1f}")


def time_table(settings: pd.DataFrame, dataset: str) -> Table:
    """The data of the chart `time`."""
    numbers = {"Wall, s": settings["total_s"]}
    numbers |= {f"{name.capitalize()}, s": settings[column] for column, name in PHASES.items()}
    return _settings_table(settings, f"Wall time on {dataset}, mean of the seeds", numbers, "{:.1f}")


def _settings_table(
    settings: pd.DataFrame, caption: str, numbers: Mapping[str, pd.Series], pattern: str,
    others: Mapping[str, pd.Series] | None = None,
) -> Table:  # fmt: skip
    """A table of numbers per setting and mode."""
    texts = {name: column.map(pattern.format).where(column.notna(), MISSING_VALUE) for name, column in numbers.items()}
    table = pd.DataFrame({"Setting": settings["label"], "Mode": settings["mode"], **texts, **(others or {})})
    return make_table(table, caption, numbers=numbers, row_header="Setting")


def comparison_table(rows: pd.DataFrame, dataset: str) -> Table:
    """The published figures of one dataset beside the measured ones."""
    return make_table(
        comparison_cells(rows).replace("", MISSING_VALUE),
        f"Published figures on {dataset} and what was measured here",
        numbers=_numbers(rows, COMPARISON_HEADINGS),
    )


def records_table(records: Sequence[Mapping[str, object]], caption: str, *, row_header: str) -> Table:
    """A table of records of the same keys; numbers are shown as they are."""
    table = pd.DataFrame(list(records))
    numbers = {heading: table[heading] for heading in map(str, table.select_dtypes("number"))}
    return make_table(table.astype(str).replace("", MISSING_VALUE), caption, numbers=numbers, row_header=row_header)


def _numbers(rows: pd.DataFrame, headings: Mapping[str, str]) -> dict[str, pd.Series]:
    """By heading, the numbers in the first of its columns."""
    numbers: dict[str, pd.Series] = {}
    for column, heading in headings.items():
        if column in rows and pd.api.types.is_numeric_dtype(rows[column]):
            numbers.setdefault(heading, rows[column])
    return numbers
