"""The program: its commands, and what becomes of an error."""

import logging
import sys
from typing import Annotated, NoReturn

import typer

from benchmark import __version__
from benchmark.cli import caching, inspecting, listing, plotting, reporting, rerunning, results, running, verifying
from benchmark.errors import BenchmarkError

EXIT_DONE = 0
EXIT_USER_MISTAKE = 2

app = typer.Typer(
    name="benchmark",
    help="Compare pretrained image backbones, with the preprocessing as an axis and not a hidden constant.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(running.run)
app.command("status")(running.status)
app.command("params")(running.params)
app.command("leaderboard")(results.leaderboard)
app.command("ablation")(results.ablation)
app.command("compare")(results.compare)
app.command("verify")(verifying.verify)
app.command("rerun")(rerunning.rerun)
app.command("plot")(plotting.plot)
app.command("report")(reporting.report)
app.command("inspect")(inspecting.inspect)
app.command("list")(listing.list_names)
app.command("doctor")(listing.doctor)
app.command("fetch")(running.fetch)

cache_app = typer.Typer(no_args_is_help=True, help="List and prune the cached features.")
cache_app.command("list")(caching.cache_list)
cache_app.command("prune")(caching.cache_prune)
app.add_typer(cache_app, name="cache")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"backbone-benchmark {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line; a mistake of the user's ends with its message and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app()
    except BenchmarkError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(EXIT_USER_MISTAKE)
    except KeyboardInterrupt:
        sys.exit(running.EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: `benchmark list backbones | head`
    sys.exit(EXIT_DONE)
