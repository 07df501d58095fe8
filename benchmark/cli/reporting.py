"""`benchmark report`: ledgers as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import RESULTS, PathsArgument


def report(
    paths: PathsArgument = None,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one or many ledgers as a single HTML file that opens without network; needs the extra 'report'."""
    from benchmark.report import make_report
    from benchmark.storage import write_whole

    page = make_report(paths or [RESULTS])
    with write_whole(out) as file:
        file.write(page.encode())
    typer.echo(out)
