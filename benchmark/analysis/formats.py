"""How results are written: texts of single values, and tables as Markdown for people or CSV and JSON for machines."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark import escaping
from benchmark.escaping import printable, to_field

if TYPE_CHECKING:
    import pandas as pd

MISSING_VALUE = "–"
# Of columns whose names are not words.
HEADINGS = {
    "input_size_px": "Input px", "min_size_px": "Least px", "flops_g": "Operations, G", "params_total": "Params",
    "feature_dim": "Features", "size_mib": "MiB", "used_utc": "Used, UTC",
}  # fmt: skip
FORMULA_SIGNS = ("=", "+", "-", "@")
TEXT_HEADINGS = {
    "Backbone", "Strategy", "Mode", "Head", "Augment", "Precision", "Resize", "Crop", "Metric", "Note", "Verdict",
    "Change", "Result", "Dataset", "Interval over", "Not ranked", "Variant", "Stages", "Head options", "Image",
    "True class", "Predicted class", "Label",
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """One table for people.

    Attributes:
        heading: The subject of the table.
        cells: Text, one column per heading.
        notes: Sentences below the table.
        level: Level of the heading: 2, or 3 for a part of the previous section.
        least_telling: Columns that a narrow screen leaves out, the first of them first.
        is_chosen: Whether the user chose the columns: then each is shown, however narrow the screen.
    """

    heading: str
    cells: "pd.DataFrame"
    notes: tuple[str, ...] = ()
    level: int = 2
    least_telling: tuple[str, ...] = ()
    is_chosen: bool = False


def duration_text(seconds: float) -> str:
    """A duration in two or three digits: `0.42 s`, `41.3 s`, `12.5 min`, `3.1 h`."""
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def to_markdown(sections: Sequence[Section]) -> str:
    """Headings, Markdown tables and notes."""
    return "\n\n".join(map(_markdown_section, sections)) + "\n"


def _markdown_section(section: Section) -> str:
    rows: list[Iterable[str]] = [
        section.cells.columns,
        ("---" if heading in TEXT_HEADINGS else "---:" for heading in section.cells),
        *section.cells.map(_escaped).itertuples(index=False),
    ]
    heading = f"{'#' * section.level} {_escaped(section.heading)}"
    lines = [heading, *(["", *(f"| {' | '.join(row)} |" for row in rows)] if len(section.cells.columns) else [])]
    return "\n".join([*lines, *(f"\n{note}" for note in section.notes)])


def _escaped(text: str) -> str:
    return printable(text).replace("|", "\\|")


def to_csv(table: "pd.DataFrame") -> str:
    """Every column, fractions in 0..1, empty where not measured; texts as the files of a ledger have them."""
    fields = table.map(lambda value: to_field(value) if isinstance(value, str) else value)
    return str(fields.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def to_spreadsheet(table: "pd.DataFrame") -> str:
    """As `to_csv`, but marked as UTF-8, and with an apostrophe before a text that would be taken for a formula."""
    return "\ufeff" + to_csv(table.map(_unless_formula))


def _unless_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def to_json(table: "pd.DataFrame") -> str:
    """A list of records, null where not measured."""
    # Older versions of pandas keep a missing whole number as an object that JSON does not know.
    return json_text(table.astype(object).where(table.notna(), None).to_dict("records"))


def json_text(content: Any) -> str:
    """JSON, with null for what is no finite number."""
    try:
        return escaping.to_json(content) + "\n"
    except ValueError:  # there are such numbers
        return escaping.to_json(_with_null(content)) + "\n"


def _with_null(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _with_null(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_null(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


# The table has the numbers, for machines, and the sections are for people.
FORMATS: dict[str, Callable[["pd.DataFrame", Sequence[Section]], str]] = {
    "md": lambda _, sections: to_markdown(sections),
    "csv": lambda table, _: to_csv(table),
    "json": lambda table, _: to_json(table),
    "spreadsheet": lambda table, _: to_spreadsheet(table),
}


def number_texts(numbers: Iterable[Any], pattern: str) -> list[str]:
    """Numbers in a format such as `{:.3f}`, a dash where one is missing; zero has no minus."""
    import pandas as pd

    texts = [MISSING_VALUE if pd.isna(number) else pattern.format(number) for number in numbers]
    return [pattern.format(0.0) if text == pattern.format(-0.0) else text for text in texts]


def heading_of(name: str) -> str:
    """The heading of a column that is called `feature_dim`: `Feature dim`."""
    return HEADINGS.get(name, name[:1].upper() + name[1:].replace("_", " "))


def count_of(number: int, noun: str) -> str:
    """The number with its noun: `1 seed`, `3 seeds`, `2 classes`, `1,200 entries`."""
    if number != 1:
        ends_in_y = noun.endswith("y") and noun[-2:-1] not in "aeiou"
        noun = f"{noun[:-1]}ies" if ends_in_y else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun}"


def tally(values: Iterable[str], order: Iterable[str] | None = None) -> str:
    """How often each value occurs, such as `12 done, 3 missing`.

    Args:
        values: The values, or a mapping of their counts.
        order: All possible values, in the order of the text; alphabetical without it.
    """
    counts = Counter(values)
    return ", ".join(f"{counts[value]} {value}" for value in order or sorted(counts) if counts[value]) or "no cells"
