"""What a person sees: tables on standard output, progress and messages on standard error."""

import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from benchmark.analysis.tables import TEXT_HEADINGS, Section
from benchmark.processes.runner import RunEnded, RunStarted, SweepEvent
from benchmark.work.events import Progress as StageProgress

if TYPE_CHECKING:
    import pandas as pd

# Piped output is for files and other programs, where a narrow table would only lose text.
PIPED_WIDTH = 160
stdout = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
stderr = Console(stderr=True)

# Columns that a title can say for the whole table.
SAYABLE_ONCE = ("Strategy", "Mode", "Head", "Augmentation", "Precision", "Resize", "Crop", "Input px", "Seeds")
# Columns that a narrow table breaks into lines, so that the others, and all numbers, stay whole.
LABELS = {"Strategy", "Head"}
LONG = {*LABELS, "Note"}
# What they should have, for which other columns are left out, and what they must have.
LONG_ENOUGH, LONG_AT_LEAST = 24, 12
# A cell's margins and its share of the frame.
CELL_FRAME = 3

SECONDS_A_MINUTE = 60
MINUTES_AN_HOUR = 60


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A plain table on standard output."""
    table = Table(*columns, title=Text(title) if title else None, title_justify="left", show_lines=False)
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    stdout.print(table)


def show_sections(sections: Iterable[Section]) -> None:
    """Tables with their notes; columns of one value in all rows are named once, in the title."""
    for section in sections:
        cells = section.cells
        if cells.empty:
            stdout.print(Text("\n".join([section.heading, *section.notes])))
            continue
        same = [name for name in SAYABLE_ONCE if name in cells and len(cells) > 1 and cells[name].nunique() == 1]
        facts = [f"{name} {cells[name].iloc[0]}" for name in same if cells[name].iloc[0]]
        # Labels such as `finetune(0,epochs=5)` have no space to be broken at.
        breakable = {name: cells[name].str.replace(",", ", ") for name in LABELS & set(cells)}
        shown = cells.assign(**breakable).drop(columns=same)
        left_out = _without_room(shown, section.least_telling)
        shown = shown.drop(columns=left_out)
        notes = list(section.notes)
        if left_out:
            notes.append(f"No room for {', '.join(left_out)}: widen the window, or ask for --format md.")
        table = Table(
            title=Text(", ".join([section.heading, *facts])), title_justify="left", header_style="bold",
            caption=Text("\n".join(notes)) if notes else None, caption_justify="left",
        )  # fmt: skip
        for heading in shown.columns:
            table.add_column(
                textwrap.fill(heading, _widest(shown[heading])),
                justify="left" if heading in TEXT_HEADINGS else "right",
                no_wrap=heading not in LONG,
                min_width=_least_width(shown[heading], LONG_AT_LEAST),
                overflow="fold",
            )
        for row in shown.itertuples(index=False):
            is_best = row[0] == "1" or str(row[0]).startswith("1–")
            table.add_row(*(Text(value) for value in row), style="bold" if is_best else None)
        stdout.print(table)


def _without_room(cells: "pd.DataFrame", least_telling: Sequence[str]) -> list[str]:
    """The first of these columns, as many as the screen is too narrow for."""
    needs = {name: CELL_FRAME + _least_width(cells[name], LONG_ENOUGH) for name in cells}
    left_out: list[str] = []
    for heading in least_telling:
        if sum(needs.values()) < stdout.width:
            break
        if needs.pop(heading, None):
            left_out.append(heading)
    return left_out


def _least_width(column: "pd.Series", long: int) -> int:
    return min(_widest(column), long) if column.name in LONG else _widest(column)


def _widest(column: "pd.Series") -> int:
    """Of its texts, and of the words of its heading."""
    return max((len(text) for text in (*column, *str(column.name).split())), default=1)


def duration_text(seconds: float) -> str:
    """A duration as people say it: `42 s`, `12 min`, `3 h 20 min`."""
    if seconds < SECONDS_A_MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / SECONDS_A_MINUTE)
    hours, rest = divmod(minutes, MINUTES_AN_HOUR)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


class _RateColumn(ProgressColumn):
    """Images a second of a stage that counts images."""

    def render(self, task: Task) -> Text:
        if not task.fields.get("has_rate") or not task.speed:
            return Text("")
        return Text(f"{task.speed:.0f} images/s", style="cyan")


class SweepDisplay:
    """The progress of a sweep: cell i of n with the time left, and below it what the worker does.

    Where standard error is no terminal, one line a cell is printed instead.
    """

    def __init__(self, n_cells: int) -> None:
        self._n_cells = n_cells
        self._is_live = stderr.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            _RateColumn(),
            console=stderr,
            disable=not self._is_live,
        )
        self._cells = self._progress.add_task("cells", total=n_cells)
        self._stage = self._progress.add_task("starting", total=None, visible=False)
        self._stage_name = ""

    def __enter__(self) -> "SweepDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: SweepEvent) -> None:
        """Bring the display up to an event."""
        if isinstance(event, RunStarted):
            self._progress.update(self._cells, description=f"cell {event.number}/{self._n_cells} {event.cell}")
            self._progress.update(self._stage, visible=False)
            self._stage_name = ""
        elif isinstance(event, StageProgress):
            self._show_stage(event)
        else:
            self._progress.update(self._cells, advance=1)
            stderr.print(_ended_line(event, self._n_cells), highlight=False)

    def _show_stage(self, event: StageProgress) -> None:
        if event.stage != self._stage_name:
            self._stage_name = event.stage
            self._progress.reset(
                self._stage,
                description=f"  {event.stage}",
                total=event.n_total,
                visible=True,
                has_rate=event.n_total > 1,
            )
        self._progress.update(self._stage, completed=event.n_done)


def _ended_line(event: RunEnded, n_cells: int) -> Text:
    row = event.row
    line = Text(f"cell {event.number}/{n_cells} {event.cell}: ")
    if row["status"] == "done":
        line.append(f"accuracy {row['accuracy']:.4f}", style="green")
        source = "features cached" if row["features_cached"] else f"extract {row['extract_s']:.1f} s"
        line.append(f", {source}, train {row['train_s']:.1f} s")
    else:
        line.append(f"failed ({row['error_type']}): {row['error_message']}", style="red")
    return line


@contextmanager
def scan_display() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for reading folders of images, shown only while there is something to read."""
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        tasks: dict[str, object] = {}

        def on_scan(name: str, n_done: int, n_total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(f"reading {name}", total=n_total)
            progress.update(tasks[name], completed=n_done)  # type: ignore[arg-type]  # rich's TaskID is an int

        yield on_scan


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A sign of life while something takes seconds, where standard error is a terminal."""
    if stderr.is_terminal:
        with stderr.status(Text(text)):
            yield
    else:
        yield


def counts_text(counts: Mapping[str, int]) -> str:
    """How many cells are in each state: `12 done, 3 missing`."""
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "no cells"
