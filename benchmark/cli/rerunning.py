"""`benchmark rerun`: one row of a ledger, made again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.executing import Execution
from benchmark.cli.options import RESULTS, PathsArgument, RegistryOption
from benchmark.cli.running import run_planned
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd


def rerun(
    run_id: Annotated[str, typer.Argument(help="Of the row, as runs.csv and 'leaderboard --format json' have it.")],
    paths: PathsArgument = None,
    results: Annotated[Path, typer.Option(help="Where the new row goes.")] = Path("mine"),
    registry: RegistryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
) -> None:
    """Make a row again, by the recipe stored beside its ledger; then show the leaderboard of the new row.

    The beginning of a run_id is enough. What was different when the row was made is said on stderr.
    """
    from benchmark import console
    from benchmark.analysis.loading import load_all_runs
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import differences_from_here, plan_again
    from benchmark.registry import load_registry

    row = _find_row(load_all_runs(paths or [RESULTS]), run_id)
    (record,) = row.to_dict("records")
    sweep = record["sweep"]
    (planned,) = plan_again(row, load_registry(registry or ()), Ledger(results / sweep))
    typer.echo(f"{planned.cell} of {record['folder']} into {results / sweep}")
    for difference in differences_from_here(record):
        console.say(f"Note: {difference}")
    if planned.key != record["cell_key"]:
        console.say("Note: what its numbers depend on has changed since, so they may differ.")
    if not dry_run:
        recipe = (Ledger(Path(record["folder"])).recipe_path(record["recipe_sha256"])).read_text(encoding="utf-8")
        run_planned(
            [planned], Ledger(results / sweep), recipe,
            Execution(is_deterministic=bool(record["is_deterministic"])), again=True,
        )  # fmt: skip


def _find_row(runs: "pd.DataFrame", run_id: str) -> "pd.DataFrame":
    """The row whose `run_id` begins so, as a table of one row.

    Raises:
        BenchmarkError: There is none, or more than one.
    """
    found = runs[runs["run_id"].str.startswith(run_id)]
    if len(found) != 1 or not run_id:
        folders = ", ".join(sorted(set(runs["folder"])))
        what = f"{len(found)} runs begin" if len(found) else "No run begins"
        raise BenchmarkError(f"{what} with {run_id!r} in {folders}: give one run_id of the file runs.csv.")
    return found
