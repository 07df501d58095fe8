"""`benchmark leaderboard`, `ablation`, `compare`, `plot` and `report`: tables, charts and pages of ledgers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import console
from benchmark.analysis.formats import FORMATS, Section
from benchmark.cli.options import (
    RESULTS,
    FormatOption,
    OutOption,
    PathsArgument,
    RowsOption,
    ThemeOption,
    complete,
    output,
    shown,
    within,
)
from benchmark.cli.parsing import parse_where, split_names
from benchmark.errors import BenchmarkError, check_known
from benchmark.outputs import check_folder, check_output, write_output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

# By the suffix of --out.
FORMATS_OF_SUFFIXES = {f".{name}": name for name in ("csv", "json", "md")}
EXIT_REGRESSION = 3
EXIT_NOTHING_TO_COMPARE = 4


def _columns_option(of_module: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = shown(
        "--columns", show_default="those that fit", autocompletion=complete(f"benchmark.analysis.{of_module}:COLUMNS"),
        help="Show these columns in this order, comma separated, by their names in --format csv.",
    )  # fmt: skip
    return option


def leaderboard(
    paths: PathsArgument = None,
    by: Annotated[
        str, shown(help="The column to rank by and to show, such as accuracy, macro_f1, efficiency or wall_s.")
    ] = "accuracy",
    where: RowsOption = None,
    top: Annotated[
        int | None,
        shown(
            metavar="N",
            callback=within(1),
            show_default="all",
            help="Of each dataset, only settings of this rank or a better one; of all others, the number is said.",
        ),
    ] = None,
    columns: Annotated[str | None, _columns_option("leaderboard")] = None,
    by_machine: Annotated[
        bool, shown("--by-machine", help="Rank the rows of each machine apart; see the column machine.")
    ] = False,
    format_name: FormatOption = None,
    out: OutOption = None,
) -> None:
    """Rank the settings of ledgers, each the mean of its seeds; settings that do not differ significantly tie.

    Modes other than native stand below, without a rank; see benchmark ablation.
    """  # fmt: skip
    show_board(
        paths or [RESULTS], by=by, where=parse_where(where), top=top, columns=split_names(columns),
        by_machine=by_machine, format_name=choose_format(format_name, out), out=out,
    )  # fmt: skip


def show_board(
    paths: list[Path],
    *,
    by: str,
    format_name: str,
    out: Path | None = None,
    where: "Mapping[str, str] | None" = None,
    top: int | None = None,
    columns: "Sequence[str] | None" = None,
    by_machine: bool = False,
) -> None:
    """Print the leaderboard of ledger folders, or of folders of them; or write it to `out`.

    The column that it is ranked by is always shown. Times of several machines are ranked by machine in any case.
    """
    from benchmark.analysis.choosing import check_columns, first_ranked, rows_where
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.leaderboard import COLUMNS, TIMES, make_leaderboard
    from benchmark.analysis.loading import count_failed, finished, load_runs
    from benchmark.analysis.presentation import leaderboard_sections, not_ranked
    from benchmark.analysis.published import compare_published, load_published

    chosen = check_columns(columns, COLUMNS, by=by)
    runs = rows_where(load_runs(paths, by_machine=by_machine or by in TIMES), where or {})
    by_machine = by_machine or (by in TIMES and finished(runs)["machine"].nunique() > 1)
    published = [] if by_machine else load_published(paths)
    board = make_leaderboard(runs, by=by, published=published, correctness=Correctness(runs), by_machine=by_machine)
    n_failed = count_failed(runs)
    comparison = compare_published(first_ranked(board, top), published)
    sections = leaderboard_sections(board, comparison, n_failed, by=by, top=top, columns=chosen, by_machine=by_machine)
    publish(first_ranked(board, top)[chosen or [*board]], sections, format_name, out)
    if n_failed and format_name in ("csv", "json"):
        console.say(not_ranked(sum(n_failed.values())))


def ablation(
    paths: PathsArgument = None,
    where: RowsOption = None,
    top: Annotated[
        int | None,
        shown(metavar="N", callback=within(1), help="Only the most harmful of each dataset.", show_default="all"),
    ] = None,
    columns: Annotated[str | None, _columns_option("ablation")] = None,
    format_name: FormatOption = None,
    out: OutOption = None,
) -> None:
    """Show the cost of each wrong preprocessing mode: every mode of a backbone against its native one."""
    from benchmark.analysis.ablation import COLUMNS, make_ablation
    from benchmark.analysis.choosing import check_columns, first_ranked, rows_where
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.loading import load_runs
    from benchmark.analysis.presentation import ablation_sections

    format_name = choose_format(format_name, out)
    chosen = check_columns(split_names(columns), COLUMNS)
    runs = rows_where(load_runs(paths or [RESULTS]), parse_where(where))
    table = make_ablation(runs, Correctness(runs))
    if table.empty:
        raise BenchmarkError(
            "There is nothing to compare: no setting was run with the same seed both in mode native and in another "
            "mode. Run a sweep with --modes native,unit or more."
        )
    sections = ablation_sections(table, top=top, columns=chosen)
    publish(first_ranked(table, top)[chosen or [*table]], sections, format_name, out)


def compare(
    before: Annotated[str, typer.Argument(help="A folder of results, or REVISION:PATH of a git revision.")],
    after: Annotated[str, typer.Argument(help="The same for the later results.")] = str(RESULTS),
    format_name: FormatOption = None,
    out: OutOption = None,
) -> None:
    """Compare two ledgers, or two git revisions of one: which cells changed, and whether that is beyond noise.

    All cells are tested together too, because many small declines may show in none of them. Exit code 3: a cell, or all
    together, got worse, or a cell no longer works. 4: there is nothing to compare.
    """
    from benchmark.analysis.changes import changes_sections
    from benchmark.analysis.comparison import compare_ledgers, has_declined
    from benchmark.analysis.loading import load_runs
    from benchmark.analysis.pairs import has_regressed, is_comparable
    from benchmark.analysis.revisions import ledgers_at

    format_name = choose_format(format_name, out)
    with ledgers_at(before) as folder_before, ledgers_at(after) as folder_after:
        table = compare_ledgers(load_runs([folder_before]), load_runs([folder_after]))
    publish(table, changes_sections(table), format_name, out)
    if not is_comparable(table):
        console.say(f"{before} and {after} have no finished cell in common.", style="red")
        sys.exit(EXIT_NOTHING_TO_COMPARE)
    if has_regressed(table) or has_declined(table):
        sys.exit(EXIT_REGRESSION)


TopOption = Annotated[
    int | None,
    shown(
        metavar="N",
        callback=within(1),
        help="Of each dataset, only the most accurate settings, with their other modes.",
        show_default="all",
    ),
]


def plot(
    paths: PathsArgument = None,
    where: RowsOption = None,
    top: TopOption = None,
    out: Annotated[Path, output(help="The folder of the files.")] = Path("plots"),
    only: Annotated[
        str | None,
        shown(
            help="Names of plots, comma separated: accuracy, pareto, efficiency, time, memory, speed, "
            "ablation, ablation-heatmap, curves, seeds, shots, confusion, per-class, gallery.",
            show_default="all that the ledgers can give",
            autocompletion=complete("benchmark.charts:PLOTS"),
        ),
    ] = None,
    formats: Annotated[
        str,
        shown(help="png, svg or both, comma separated.", autocompletion=complete("benchmark.charts:FORMATS")),
    ] = "png",
    theme: ThemeOption = "screen",
    run: Annotated[
        str | None,
        shown(
            help="The run_id whose classes and images are shown in confusion, per-class and gallery.",
            show_default="the best setting",
        ),
    ] = None,
) -> None:
    """Draw the plots of one or many ledgers, one file per plot and dataset."""
    from benchmark.charts import Evidence, save_plots

    check_folder(out)
    evidence = Evidence.load(paths or [RESULTS], run_id=run, where=parse_where(where), top=top)
    written = save_plots(evidence, out, only=split_names(only), formats=split_names(formats) or (), theme_name=theme)
    for path in written:
        console.show(str(path))


def report(
    paths: PathsArgument = None,
    where: RowsOption = None,
    top: TopOption = None,
    out: Annotated[Path, output(help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one or many ledgers as a single HTML file that opens without network; needs the extra 'report'."""
    from benchmark.report.page import make_report

    check_output(out)
    write_output(out, make_report(paths or [RESULTS], where=parse_where(where), top=top).encode())
    console.show(str(out))


def choose_format(format_name: str | None, out: Path | None) -> str:
    """The format that was asked for, else that of the suffix of `out`; for a screen, a table.

    Raises:
        UnknownNameError: There is no such format.
        BenchmarkError: The suffix does not say the format, or `out` must not be written; see `check_output`.
    """
    if format_name is None:
        format_name = "table" if out is None else FORMATS_OF_SUFFIXES.get(out.suffix.lower())
    if format_name is None:
        suffixes = ", ".join(FORMATS_OF_SUFFIXES)
        raise BenchmarkError(
            f"The name {out} does not say its format: let it end in one of {suffixes}, or give --format."
        )
    known = tuple(FORMATS) if out is not None else ("table", *FORMATS)
    check_known("format for a file" if out is not None else "format", format_name, known)
    if out is not None:
        check_output(out)
    return format_name


def publish(table: "pd.DataFrame", sections: list[Section], format_name: str, out: Path | None) -> None:
    """Print a table, or write it to a file: `table` is for machines (csv, json), `sections` for people (table, md)."""
    if format_name == "table":
        console.show_sections(sections)
    elif out is None:
        console.write(FORMATS[format_name](table, sections))
    else:
        write_output(out, FORMATS[format_name](table, sections).encode())
