"""The tables of columns: `python docs/hooks/columns.py` writes those of results/README.md anew."""

import re
import tomllib
from pathlib import Path

from markdown_tables import table

from benchmark.ledger import COLUMNS, COUNT, LIMITS, MEASURE, SHARE, TEXT_COLUMNS

SOURCE = Path(__file__).parents[1] / "columns.toml"
README = Path(__file__).parents[2] / "results" / "README.md"
# A table in a file stands between these two lines.
PLACE = re.compile(r"(<!-- columns of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
KINDS = {SHARE: "0 to 1", COUNT: "whole number", MEASURE: "number", None: "number, can be negative"}


def meanings() -> dict[str, dict[str, str]]:
    """What each column holds, by file."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def columns_table(name: str) -> str:
    """The columns of a file of `results/`; with the kinds of their values if it belongs to a ledger."""
    rows = meanings()[name].items()
    if name not in COLUMNS:
        return table(["column", "what it holds"], ([f"`{column}`", what] for column, what in rows))
    return table(
        ["column", "values", "what it holds"], ([f"`{column}`", _kind(name, column), what] for column, what in rows)
    )


def _kind(name: str, column: str) -> str:
    limits = LIMITS.get(column, COUNT)
    if column in TEXT_COLUMNS[name]:
        return "text"
    return KINDS.get(limits, "") or f"whole number, {limits.lowest:,} to {limits.highest:,}"


def filled(text: str) -> str:
    """The text with each of its tables of columns made anew."""
    return PLACE.sub(lambda found: f"{found[1]}{columns_table(found[2])}\n{found[3]}", text)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
