"""Progress on standard error: the bars of a sweep, and of files that are read."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from benchmark import console
from benchmark.escaping import printable, printable_lines

if TYPE_CHECKING:
    from benchmark.work.events import CellEnded, Event, StageProgress


class _RateColumn(ProgressColumn):
    """Images per second of a stage that counts images."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} images/s" if task.fields.get("has_rate") and task.speed else "", style="cyan")


class _TimeLeftColumn(TimeRemainingColumn):
    """The time left, once it is known."""

    def render(self, task: Task) -> Text:
        return Text.assemble(super().render(task), " left") if task.time_remaining else Text("")


class _SweepProgress(Progress):
    """The bars of a sweep below the name of its cell, which may need the whole width."""

    cell = "starting"

    def get_renderables(self) -> Iterable[RenderableType]:
        """See `Progress`."""
        yield Text(self.cell, overflow="fold")
        yield self.make_tasks_table(self.tasks)


class SweepDisplay:
    """The progress of a sweep: its cell, and bars of the cell's stage and of all cells, with the time left.

    If standard error is not a terminal, one line per cell is printed instead.
    """

    def __init__(self, n_cells: int) -> None:
        self._n_cells = n_cells
        self._n_ended = 0
        self._progress = _SweepProgress(
            # On a narrow screen, only the description is cut.
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            _RateColumn(table_column=Column(no_wrap=True)),
            _TimeLeftColumn(compact=True, table_column=Column(no_wrap=True)),
            console=console.stderr,
            expand=True,
            transient=True,
            disable=not console.stderr.is_terminal,
        )
        self._stage = self._progress.add_task("", total=None, visible=False)
        self._cells = self._progress.add_task("cells done", total=n_cells)
        self._stage_name = ""

    def __enter__(self) -> "SweepDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: "Event") -> None:
        """Show an event; cells are numbered in the order in which they end."""
        from benchmark.work.events import CellStarted, StageProgress

        if isinstance(event, StageProgress):
            self._show_stage(event)
        elif isinstance(event, CellStarted):
            self._progress.cell = printable(str(event.planned.cell))
            self._progress.update(self._stage, visible=False)
            self._stage_name = ""
        else:
            self._n_ended += 1
            self._progress.update(self._cells, advance=1)
            console.stderr.print(_ended_line(event, f"cell {self._n_ended}/{self._n_cells}"), highlight=False)

    def _show_stage(self, event: "StageProgress") -> None:
        if event.stage != self._stage_name:
            self._stage_name = event.stage
            self._progress.reset(
                self._stage, description=event.stage, total=event.n_total, visible=True,
                has_rate=event.n_total > 1,
            )  # fmt: skip
        self._progress.update(self._stage, completed=event.n_done)


def _ended_line(event: "CellEnded", number: str) -> Text:
    row = event.row
    line = Text(printable(f"{number} {event.planned.cell}: "))
    if row["status"] == "done":
        line.append(f"accuracy {row['accuracy']:.4f}", style="green")
        source = "features cached" if row["features_cached"] else f"extract {row['extract_s']:.1f} s"
        line.append(f", {source}, train {row['train_s']:.1f} s")
    else:
        line.append(printable_lines(f"failed ({row['error_type']}): {row['error_message']}"), style="red")
    return line


@contextmanager
def scan_display(verb: str = "reading") -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for files that are read, shown only while there is something to read."""
    with Progress(
        *Progress.get_default_columns(),
        _RateColumn(),
        console=console.stderr,
        transient=True,
        disable=not console.stderr.is_terminal,
    ) as progress:
        tasks: dict[str, Any] = {}

        def on_scan(name: str, n_done: int, n_total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(f"{verb} {escape(printable(name))}", total=n_total, has_rate=True)
            progress.update(tasks[name], completed=n_done)

        yield on_scan
