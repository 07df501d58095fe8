"""Files of single pictures: `mistakes --sheet`, `inspect --picture`."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import console
from benchmark.errors import BenchmarkError
from benchmark.outputs import check_output, write_output

if TYPE_CHECKING:
    from benchmark.charts.chart import Chart


def check_picture(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be drawn or must not be written, before any work is done for it.

    Raises:
        BenchmarkError: With the name of the option.
    """
    from benchmark.charts import FORMATS

    if path is None:
        return
    if _format_of(path) not in FORMATS:
        raise BenchmarkError(f"{option} draws {' and '.join(f'.{name}' for name in FORMATS)} files, got {path}.")
    check_output(path)


def write_picture(path: Path, chart: "Chart") -> None:
    """Write a chart in the format of the file's suffix, and say so."""
    from benchmark.charts import render

    write_output(path, render(chart, _format_of(path)))
    console.say(f"Drawn: {path}", style="green")


def _format_of(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
