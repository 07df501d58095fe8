"""`benchmark verify`: do the figures of a ledger come out again."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.executing import Execution
from benchmark.cli.options import (
    RESULTS,
    FormatOption,
    JobsOption,
    OutOption,
    PathsArgument,
    RegistryOption,
    TimeoutOption,
    WhereOption,
    parse_where,
)
from benchmark.cli.results import (
    EXIT_NOTHING_TO_COMPARE,
    EXIT_REGRESSION,
    check_format,
    publish,
)
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd

ALL_CELLS = "all"


def verify(
    paths: PathsArgument = None,
    cells: Annotated[str, typer.Option(help="How many cells, the quickest of every backbone in turn, or all.")] = "3",
    where: WhereOption = None,
    registry: RegistryOption = None,
    timeout: TimeoutOption = None,
    jobs: JobsOption = 1,
    format_name: FormatOption = "table",
    out: OutOption = None,
) -> None:
    """Do cells of a ledger again, in a clean cache, and compare.

    Counts must be the same. So must predictions, where the type of machine and the versions are; elsewhere the
    accuracy may differ by one point, or by what McNemar's test cannot tell from chance. A row must also agree with its
    own predictions. Times are advisory. Exit code 3: a figure did not come out. 4: nothing could be compared.
    """
    from benchmark.analysis.comparison import has_regressed, is_comparable, verify_rows
    from benchmark.analysis.loading import finished, load_runs
    from benchmark.analysis.presentation import verification_sections
    from benchmark.analysis.soundness import find_contradictions
    from benchmark.ledger import CELL_COLUMNS
    from benchmark.plan.grid import matching
    from benchmark.plan.repeating import choose_rows

    check_format(format_name, out)
    runs = finished(load_runs(paths or [RESULTS]))
    rows = runs.assign(dataset=runs["dataset_name"])
    rows = rows.iloc[matching(rows[list(CELL_COLUMNS)].to_dict("records"), parse_where(where))]
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
    if not cells.isdigit() or int(cells) == 0:
        raise BenchmarkError(f"--cells takes a number of cells or {ALL_CELLS!r}, got {cells!r}.")
    return int(cells)


def _run_again(
    chosen: "pd.DataFrame", folder: Path, registry: list[Path] | None, execution: Execution
) -> "pd.DataFrame":
    """The rows of the same cells, run now in a cache of their own."""
    from benchmark import console
    from benchmark.analysis.loading import load_runs
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import clean_cache, plan_again
    from benchmark.processes.runner import run_cells
    from benchmark.registry import load_registry

    backbones = load_registry(registry or ())
    with clean_cache(folder / "cache"):
        parts = []
        # One ledger for each original, since two may hold the same cell, and for each choice of determinism.
        for number, ((_, is_deterministic), rows) in enumerate(chosen.groupby(["folder", "is_deterministic"])):
            ledger = Ledger(folder / "results" / str(number))
            planned = plan_again(rows, backbones, ledger)
            execute = replace(execution, is_deterministic=bool(is_deterministic)).start(ledger, rows)
            parts.append((planned, ledger, execute))
        with console.SweepDisplay(len(chosen)) as display:
            for planned, ledger, execute in parts:
                for event in run_cells(planned, ledger, execute, recipe_sha256="", again=False):
                    display.show(event)
    return load_runs([folder / "results"])
