"""`benchmark rerun`: one row of a ledger, done again by the command that it calls for."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.options import RESULTS, PathsArgument, RegistryOption
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.analysis.commands import Command


def rerun(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(help="Of the row, as runs.csv and 'leaderboard --format json' have it.")],
    paths: PathsArgument = None,
    results: Annotated[Path, typer.Option(help="Where the new row goes.")] = Path("mine"),
    registry: RegistryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the command.")] = False,
) -> None:
    """Print the command that makes a row again, and run it.

    The beginning of a run_id will do. What the row holds and this machine does not have is said on stderr.
    """
    from benchmark.analysis.commands import Commands
    from benchmark.analysis.loading import load_all_runs
    from benchmark.processes.repeating import differences_from_here, was_deterministic
    from benchmark.registry import load_registry

    runs = load_all_runs(paths or [RESULTS])
    row = _find_row(runs, run_id)
    (command,) = Commands(runs, load_registry(registry or ()), str(results)).of_setting([row])
    if not command.arguments:
        raise BenchmarkError(f"Run {row['run_id']} cannot be made again. {command.remark}")
    again = _finished(command, registry or [], is_deterministic=was_deterministic(row["platform"]))
    typer.echo(again.text)
    for remark in [again.remark, *differences_from_here(row)]:
        if remark:
            typer.secho(f"Note: {remark}", fg="yellow", err=True)
    if not dry_run:
        sys.exit(context.find_root().command.main(list(again.arguments), standalone_mode=False))


def _find_row(runs: "pd.DataFrame", run_id: str) -> dict[Any, Any]:
    """The row whose `run_id` begins so.

    Raises:
        BenchmarkError: There is none, or more than one.
    """
    found = runs[runs["run_id"].str.startswith(run_id)]
    if len(found) != 1 or not run_id:
        folders = ", ".join(sorted(set(runs["folder"])))
        what = f"{len(found)} runs begin" if len(found) else "No run begins"
        raise BenchmarkError(f"{what} with {run_id!r} in {folders}: give one run_id of the file runs.csv.")
    (row,) = found.to_dict("records")
    return row


def _finished(command: "Command", registry: list[Path], *, is_deterministic: bool) -> "Command":
    """The command with the user's registry files, and done as it was done, even where it was done before."""
    from benchmark.analysis.commands import OWN_REGISTRY, Command

    if OWN_REGISTRY in command.arguments:
        raise BenchmarkError(f"{command.text}\n{command.remark} Give it with --registry.")
    files = [argument for path in registry for argument in ("--registry", str(path))]
    how = "--deterministic" if is_deterministic else "--no-deterministic"
    return Command((*command.arguments, *files, how, "--when", "always"), command.remark)
