"""`benchmark verify` and `rerun`: cells of a ledger run again, to compare their figures or for a new row."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import console
from benchmark.cli import options
from benchmark.cli.executing import Execution
from benchmark.cli.results import EXIT_NOTHING_TO_COMPARE, EXIT_REGRESSION, check_format, publish
from benchmark.cli.running import run_planned
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd

ALL_CELLS = "all"


def verify(
    paths: options.PathsArgument = None,
    cells: Annotated[str, typer.Option(help="Number of cells, the quickest of every backbone in turn, or all.")] = "3",
    where: options.WhereOption = None,
    registry: options.RegistryOption = None,
    timeout: options.TimeoutOption = None,
    jobs: options.JobsOption = 1,
    format_name: options.FormatOption = "table",
    out: options.OutOption = None,
) -> None:
    """Run cells of a ledger again, in a clean cache, and compare.

    Counts must be equal. On the same type of machine with the same versions, predictions must be equal too; elsewhere
    the accuracy may differ by one point, or by as much as chance explains (McNemar's test). A row must also agree with
    its own predictions. Times are advisory. Exit code 3: a figure was not reproduced. 4: nothing could be compared.
    """
    from benchmark.analysis.loading import finished, load_runs
    from benchmark.analysis.pairs import has_regressed, is_comparable
    from benchmark.analysis.presentation import verification_sections
    from benchmark.analysis.soundness import find_contradictions
    from benchmark.analysis.verification import verify_rows
    from benchmark.ledger import CELL_COLUMNS
    from benchmark.plan.grid import matching
    from benchmark.plan.repeating import choose_rows

    check_format(format_name, out)
    runs = finished(load_runs(paths or [options.RESULTS]))
    rows = runs.assign(dataset=runs["dataset_name"])
    rows = rows.iloc[matching(rows[list(CELL_COLUMNS)].to_dict("records"), options.parse_where(where))]
    chosen = rows if cells == ALL_CELLS else choose_rows(rows, _number_of(cells))
    if chosen.empty:
        raise BenchmarkError("The ledger has no finished row to verify.")
    contradictions = find_contradictions(chosen)
    with tempfile.TemporaryDirectory(prefix="benchmark-verify-") as folder:
        again = _run_again(chosen, Path(folder), registry, Execution(jobs, timeout))
        table = verify_rows(chosen, again, contradictions)
    publish(table, verification_sections(table), format_name, out)
    if not is_comparable(table):
        sys.exit(EXIT_NOTHING_TO_COMPARE)
    if has_regressed(table):
        sys.exit(EXIT_REGRESSION)


def _number_of(cells: str) -> int:
    if not cells.isdecimal() or not 0 < len(cells) < 10 or int(cells) == 0:
        raise BenchmarkError(f"--cells takes a number of cells or {ALL_CELLS!r}, got {cells!r}.")
    return int(cells)


def _run_again(
    chosen: "pd.DataFrame", folder: Path, registry: list[Path] | None, execution: Execution
) -> "pd.DataFrame":
    """The rows of the same cells, run now in a clean cache."""
    from benchmark.analysis.loading import load_runs
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import clean_cache, plan_again
    from benchmark.processes.runner import run_cells

    backbones = options.known_backbones(registry)
    with clean_cache(folder / "cache"):
        parts = []
        # One ledger for each original, since two may hold the same cell, and for each choice of determinism.
        originals = chosen.groupby(["folder", "is_deterministic"], dropna=False)
        for number, ((_, is_deterministic), rows) in enumerate(originals):
            ledger = Ledger(folder / "results" / str(number))
            planned = plan_again(rows, backbones, ledger)
            execute = replace(execution, is_deterministic=is_deterministic == 1).start(ledger, rows)
            parts.append((planned, ledger, execute))
        with console.SweepDisplay(len(chosen)) as display:
            for planned, ledger, execute in parts:
                for event in run_cells(planned, ledger, execute, recipe_sha256="", again=False):
                    display.show(event)
    return load_runs([folder / "results"])


def rerun(
    run_id: Annotated[str, typer.Argument(help="The run_id of the row, from runs.csv or 'leaderboard --format json'.")],
    paths: options.PathsArgument = None,
    results: Annotated[Path, typer.Option(help="Where the new row goes.")] = Path("mine"),
    registry: options.RegistryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be run.")] = False,
) -> None:
    """Make a row again, by the recipe stored beside its ledger; then show the leaderboard of the new row.

    The beginning of a run_id is enough. Differences between this machine and that of the row are shown on stderr.
    """
    from benchmark.analysis.loading import load_all_runs
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import differences_from_here, plan_again

    row = _find_row(load_all_runs(paths or [options.RESULTS]), run_id)
    (record,) = row.to_dict("records")
    sweep = record["sweep"]
    (planned,) = plan_again(row, options.known_backbones(registry), Ledger(results / sweep))
    console.show(f"{planned.cell} of {record['folder']} into {results / sweep}")
    for difference in differences_from_here(record):
        console.say(f"Note: {difference}")
    if planned.key != record["cell_key"]:
        console.say("Note: data, weights or versions have changed since, so the numbers may differ.")
    if not dry_run:
        recipe = (Ledger(Path(record["folder"])).recipe_path(record["recipe_sha256"])).read_text(encoding="utf-8")
        run_planned(
            [planned], Ledger(results / sweep), recipe,
            Execution(is_deterministic=record["is_deterministic"] == 1), again=True,
        )  # fmt: skip


def _find_row(runs: "pd.DataFrame", run_id: str) -> "pd.DataFrame":
    """The row whose `run_id` begins with this text, as a table of one row.

    Raises:
        BenchmarkError: There is none, or more than one.
    """
    found = runs[runs["run_id"].str.startswith(run_id)]
    if len(found) != 1 or not run_id:
        folders = ", ".join(sorted(set(runs["folder"])))
        count = f"{len(found)} runs begin" if len(found) else "No run begins"
        raise BenchmarkError(f"{count} with {run_id!r} in {folders}: give one run_id of the file runs.csv.")
    return found
