"""`benchmark leaderboard` and `plot`: what ledgers say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import RESULTS, PathsArgument, split_names
from benchmark.errors import UnknownNameError

if TYPE_CHECKING:
    import pandas as pd


def leaderboard(
    paths: PathsArgument = None,
    by: Annotated[
        str, typer.Option(help="The column to rank by, such as accuracy, efficiency or wall_s.")
    ] = "accuracy",
    format_name: Annotated[str, typer.Option("--format", help="table, md, csv or json.")] = "table",
    out: Annotated[Path | None, typer.Option(help="Write to this file; not for tables.", show_default=False)] = None,
) -> None:
    """Rank the settings of one or many ledgers, each the mean of its seeds."""
    if out is None:
        show_board(paths or [RESULTS], by=by, format_name=format_name)
    else:
        _save_board(paths or [RESULTS], out, by=by, format_name=format_name)


def show_board(paths: list[Path], *, by: str, format_name: str) -> None:
    """Print the leaderboard of these ledgers.

    Args:
        paths: Ledger folders, or folders of them.
        by: The column to rank by.
        format_name: table, md, csv or json.
    """
    from benchmark import console
    from benchmark.analysis.loading import load_runs
    from benchmark.analysis.tables import FORMATS

    if format_name not in ("table", *FORMATS):
        raise UnknownNameError("format", format_name, ("table", *FORMATS))
    runs = load_runs(paths)
    board, comparison = _make_board(runs, paths, by)
    if format_name == "table":
        console.show_leaderboard(board)
        console.show_comparison(comparison)
    else:
        typer.echo(FORMATS[format_name](board, comparison), nl=False)
    _mention_failures(runs)


def _save_board(paths: list[Path], out: Path, *, by: str, format_name: str) -> None:
    from benchmark.analysis.loading import load_runs
    from benchmark.analysis.tables import FORMATS
    from benchmark.storage import write_whole

    if format_name not in FORMATS:
        raise UnknownNameError("format for a file", format_name, FORMATS)
    runs = load_runs(paths)
    with write_whole(out) as file:
        file.write(FORMATS[format_name](*_make_board(runs, paths, by)).encode())
    _mention_failures(runs)


def _make_board(runs: "pd.DataFrame", paths: list[Path], by: str) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The leaderboard, and the published figures beside it."""
    from benchmark.analysis.leaderboard import make_leaderboard
    from benchmark.analysis.published import compare_published, load_published

    published = load_published(paths)
    board = make_leaderboard(runs, by=by, published=published)
    return board, compare_published(board, published)


def _mention_failures(runs: "pd.DataFrame") -> None:
    from benchmark.analysis.loading import count_failed

    n_failed = count_failed(runs)
    if n_failed:
        typer.secho(f"{n_failed} failed cells are not ranked.", fg="yellow", err=True)


def plot(
    paths: PathsArgument = None,
    out: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("plots"),
    only: Annotated[str | None, typer.Option(help="Names of plots, comma separated: accuracy, pareto, cost.")] = None,
    formats: Annotated[str, typer.Option(help="png, svg or both, comma separated.")] = "png",
) -> None:
    """Draw the plots of one or many ledgers, one file a plot and dataset."""
    from benchmark.analysis.leaderboard import make_leaderboard
    from benchmark.analysis.loading import load_runs
    from benchmark.analysis.plots import save_plots

    board = make_leaderboard(load_runs(paths or [RESULTS]))
    for path in save_plots(board, out, only=split_names(only), formats=split_names(formats) or ()):
        typer.echo(path)
