"""Output for people: tables on standard output, messages on standard error.

All texts pass here, and what a terminal would obey in the names of files and classes is made visible.
"""

import errno
import logging
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from benchmark.analysis.formats import MISSING_VALUE, TEXT_HEADINGS, Section, heading_of, json_text
from benchmark.escaping import printable, printable_lines
from benchmark.fitting import GAP, fit

# Piped output is for files and other programs, where a narrow table would only lose text.
PIPED_WIDTH = 160


def discard(descriptor: int) -> None:
    """Discard all further output to this descriptor, and what is still buffered."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _end_in_order(_: Console) -> None:
    """End the command without an error, because nobody reads its output any more: `benchmark leaderboard | head -1`."""
    discard(1)
    raise SystemExit(0)


# Of all consoles, because Typer prints the help with its own.
Console.on_broken_pipe = _end_in_order  # type: ignore[assignment, method-assign]


class _Messages(Console):
    """Standard error. Once it cannot be written, messages are dropped and the work goes on.

    Attributes:
        is_full: Whether writing failed for another reason than a closed reader.
    """

    is_full = False

    def print(self, *objects: Any, **options: Any) -> None:
        """As of a console."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            self.is_full = error.errno != errno.EPIPE
            discard(2)

    def on_broken_pipe(self) -> None:
        """Leave it to `print`."""
        raise BrokenPipeError(errno.EPIPE, "nobody reads the messages")


# Standard output is None if the caller closed it.
stdout = Console(width=None if sys.stdout and sys.stdout.isatty() else PIPED_WIDTH)
stderr = _Messages(stderr=True)

# If one of these columns has the same value in all rows, the title names the value and the column is left out.
SAYABLE_ONCE = {
    "Dataset", "Strategy", "Mode", "Head", "Augment", "Precision", "Resize", "Crop", "Input px", "Seed", "Seeds",
    "Interval over",
}  # fmt: skip


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, least_telling: Sequence[str] = ()) -> None:
    """Print values: texts to the left, numbers to the right with their thousands separated.

    Args:
        columns: Names of columns, such as `input_size_px`; their headings are `Input size px`.
        rows: One value per column; None if unknown.
        least_telling: Columns that a narrow screen leaves out, the first of them first.
    """
    values = dict(zip(map(heading_of, columns), zip(*rows, strict=True), strict=True))
    numbers = [heading for heading, column in values.items() if not any(isinstance(value, str) for value in column)]
    texts = {heading: [_value_text(value) for value in column] for heading, column in values.items()}
    _show(texts, numbers, [heading_of(name) for name in least_telling])


def _value_text(value: object) -> str:
    if value is None:
        return MISSING_VALUE
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_sections(sections: Iterable[Section]) -> None:
    """Print tables with their notes, with a blank line between them."""
    for number, section in enumerate(sections):
        if number:
            stdout.print()
        texts = {str(heading): column.tolist() for heading, column in section.cells.items()}
        numbers = set(texts) - TEXT_HEADINGS
        if section.is_chosen:
            _print(texts, numbers, section.heading, section.notes)
        else:
            _show(texts, numbers, section.least_telling, section.heading, section.notes)


def _show(
    columns: Mapping[str, Sequence[str]],
    numbers: Collection[str],
    least_telling: Iterable[str],
    title: str = "",
    notes: Sequence[str] = (),
) -> None:
    """Print a table of texts; its title names the values that all rows share, and empty columns are not shown."""
    columns = {name: texts for name, texts in columns.items() if any(texts)}
    same = {
        name: texts[0] for name, texts in columns.items() if name in SAYABLE_ONCE and len(texts) > len({*texts}) == 1
    }
    title = ", ".join(filter(None, [title, *(f"{name} {text}" for name, text in same.items())]))
    varying = {name: texts for name, texts in columns.items() if name not in same}
    _print(varying, numbers, title, notes, least_telling)


def _print(
    columns: Mapping[str, Sequence[str]],
    numbers: Collection[str],
    title: str,
    notes: Sequence[str],
    least_telling: Iterable[str] = (),
) -> None:
    """Print a table of texts as the screen has room for it; a note names the columns for which it has none."""
    printed = {name: [*map(printable, texts)] for name, texts in columns.items()}
    fitted = fit(printed, numbers, stdout.width, least_telling)
    table = Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0),
        width=max(fitted.width, 1),
    )  # fmt: skip
    for name, width in fitted.widths.items():
        justify: JustifyMethod = "right" if name in numbers else "left"
        table.add_column(name, justify=justify, width=width, overflow="fold", vertical="top")
    for row in zip(*fitted.cells.values(), strict=True):
        is_best = row[0].split("–")[0] == "1" and next(iter(fitted.cells)) == "Rank"
        table.add_row(*map(Text, row), style="bold" if is_best else None)
    if title:
        stdout.print(Text(printable(title), style="table.title"))
    if columns:
        stdout.print(table, crop=False, overflow="ignore", no_wrap=True)
    left_out = [name for name in fitted.left_out if name]
    if left_out:
        notes = [*notes, f"No room at {stdout.width} columns for: {'; '.join(left_out)}. A wider window shows more."]
    for note in (*fitted.footnotes, *map(printable_lines, notes)):
        stdout.print(Text(note, style="table.caption"))


def say(text: str, *, style: str = "yellow") -> None:
    """Print a message on standard error: yellow for warnings, red for failures."""
    _print_sentences(stderr, text, style)


def show(text: str) -> None:
    """Print a line on standard output as it is, such as a command to copy, or several."""
    stdout.print(Text(printable_lines(text)), soft_wrap=True)


def show_text(text: str) -> None:
    """Print sentences on standard output; on a screen lines are broken between words."""
    _print_sentences(stdout, text)


def _print_sentences(console: Console, text: str, style: str = "") -> None:
    # A word is never broken: it may be a path to copy.
    console.print(
        Text(printable_lines(text), style=style, overflow="ignore"), soft_wrap=not console.is_terminal, crop=False
    )


def show_json(content: Any) -> None:
    """Print JSON for machines."""
    write(json_text(content))


def write(text: str) -> None:
    """Print a text as it is, for machines."""
    try:
        stdout.file.write(text)
        stdout.file.flush()
    except BrokenPipeError:
        stdout.on_broken_pipe()


class MessageHandler(logging.Handler):
    """Prints what is logged as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        say(self.format(record))
