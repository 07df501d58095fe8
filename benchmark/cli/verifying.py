"""`benchmark verify` and `rerun`: cells of a ledger run again, to compare their figures or for a new row."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import console
from benchmark.actions.sweeps import run_chosen
from benchmark.actions.verifying import check_ledgers, run_again
from benchmark.cli import options, parsing
from benchmark.cli.results import EXIT_NOTHING_TO_COMPARE, EXIT_REGRESSION, choose_format, publish
from benchmark.cli.running import show_ended
from benchmark.errors import BenchmarkError
from benchmark.processes.execution import Execution

if TYPE_CHECKING:
    import pandas as pd

ALL_CELLS = "all"


def verify(
    paths: options.PathsArgument = None,
    cells: Annotated[str, options.what(help="Number of cells, the quickest of every backbone in turn, or all.")] = "3",
    where: options.WhereOption = None,
    timeout: options.TimeoutOption = None,
    jobs: options.JobsOption = 1,
    format_name: options.FormatOption = None,
    out: options.OutOption = None,
    registry: options.RegistryOption = None,
) -> None:
    """Check the files of ledgers against each other, then run cells again in a clean cache, and compare.

    Rows must agree with their own figures, predictions, tables, learning curves and recipes: that is checked for all of
    them. On the same type of machine with the same versions, everything but times must come out again. Elsewhere counts
    must be equal, figures within .01, and the accuracy within .01 or as far off as chance explains (McNemar's test).
    Times, rates and memory are advisory. Exit code 3: something was not reproduced, contradicts itself or is missing.
    4: nothing could be compared.
    """
    from benchmark.analysis.changes import verification_sections
    from benchmark.analysis.pairs import has_regressed, is_comparable
    from benchmark.ledger import CELL_COLUMNS
    from benchmark.plan.grid import matching
    from benchmark.plan.repeating import choose_rows

    format_name = choose_format(format_name, out)
    execution = Execution(jobs, timeout)
    n_cells = None if cells == ALL_CELLS else _number_of(cells)
    chosen_by = parsing.parse_where(where)

    def choose(rows: "pd.DataFrame") -> "pd.DataFrame":
        rows = rows.iloc[matching(rows[list(CELL_COLUMNS)].to_dict("records"), chosen_by)]
        return rows if n_cells is None else choose_rows(rows, n_cells)

    with tempfile.TemporaryDirectory(prefix="benchmark-verify-") as folder:
        table = check_ledgers(
            paths or [options.RESULTS],
            choose,
            lambda chosen: run_again(chosen, Path(folder), parsing.known_backbones(registry), execution),
        )
    publish(table, verification_sections(table), format_name, out)
    if not is_comparable(table):
        sys.exit(EXIT_NOTHING_TO_COMPARE)
    if has_regressed(table):
        sys.exit(EXIT_REGRESSION)


def _number_of(cells: str) -> int:
    if not cells.isdecimal() or not 0 < len(cells) < 10 or int(cells) == 0:
        raise BenchmarkError(f"--cells takes a number of cells or {ALL_CELLS!r}, got {cells!r}.")
    return int(cells)


def rerun(
    run_id: Annotated[str, typer.Argument(help="The run_id of the row, from runs.csv; its beginning is enough.")],
    paths: options.PathsArgument = None,
    results: Annotated[Path, options.output("--results", help="Where the new row goes.")] = Path("mine"),
    dry_run: Annotated[bool, options.output("--dry-run", help="Only print what would be run.")] = False,
    registry: options.RegistryOption = None,
) -> None:
    """Make a row again, by the recipe stored beside its ledger; then show the leaderboard of the new row.

    Differences between this machine and that of the row are shown on stderr.
    """
    from benchmark.analysis.loading import find_row, load_all_runs
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import differences_from_here, plan_again

    row = find_row(load_all_runs(paths or [options.RESULTS]), run_id)
    (record,) = row.to_dict("records")
    sweep = record["sweep"]
    (planned,) = plan_again(row, parsing.known_backbones(registry), Ledger(results / sweep))
    console.show(f"{planned.cell} of {record['folder']} into {results / sweep}")
    for difference in differences_from_here(record):
        console.say(f"Note: {difference}")
    if planned.key != record["cell_key"]:
        console.say("Note: data, weights or versions have changed since, so the numbers may differ.")
    if not dry_run:
        recipe = (Ledger(Path(record["folder"])).recipe_path(record["recipe_sha256"])).read_text(encoding="utf-8")
        execution = Execution(is_deterministic=record["is_deterministic"] == 1)
        ledger = Ledger(results / sweep)
        n_failed = run_chosen([planned], ledger, recipe, execution, again=True)
        show_ended(ledger, n_failed, "To try again, run the same command.", registry=registry)
