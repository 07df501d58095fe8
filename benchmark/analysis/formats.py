"""Tables in the formats of the command line: Markdown for people, CSV and JSON for machines."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from benchmark.analysis.tables import TEXT_HEADINGS, Section


def to_markdown(sections: Sequence[Section]) -> str:
    """Headings, Markdown tables and notes."""
    return "\n\n".join(_markdown_section(section) for section in sections) + "\n"


def _markdown_section(section: Section) -> str:
    cells = section.cells
    lines = [" | ".join(cells.columns), " | ".join(_alignment(heading) for heading in cells.columns)]
    lines += [" | ".join(_escaped(value) for value in row) for row in cells.itertuples(index=False)]
    heading = f"{'#' * section.level} {_escaped(section.heading)}"
    notes = [text for note in section.notes for text in ("", note)]
    return "\n".join([heading, "", *(f"| {line} |" for line in lines), *notes])


def to_csv(table: pd.DataFrame) -> str:
    """Every column, fractions in 0..1, empty where not measured."""
    text: str = table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return text


def to_json(table: pd.DataFrame) -> str:
    """A list of records, null where not measured."""
    records = [{key: _json_value(value) for key, value in row.items()} for row in table.to_dict("records")]
    return json.dumps(records, indent=2, ensure_ascii=False) + "\n"


def to_text(format_name: str, table: pd.DataFrame, sections: Sequence[Section]) -> str:
    """The table in a format of `FORMATS`: the numbers for machines, the sections for people."""
    return to_markdown(sections) if format_name == MARKDOWN else FORMATS[format_name](table)


MARKDOWN = "md"
FORMATS: dict[str, Callable[..., str]] = {MARKDOWN: to_markdown, "csv": to_csv, "json": to_json}


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _alignment(heading: str) -> str:
    return "---" if heading in TEXT_HEADINGS else "---:"


def _escaped(value: str) -> str:
    return value.replace("|", "\\|")
