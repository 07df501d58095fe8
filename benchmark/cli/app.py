"""The program: its commands, and what becomes of an error."""

import logging
import os
import signal
import sys
import threading
from typing import Annotated, NoReturn, TextIO

import typer

from benchmark import __version__
from benchmark.cli import (
    caching,
    inspecting,
    listing,
    plotting,
    preparing,
    reporting,
    rerunning,
    results,
    running,
    verifying,
)
from benchmark.errors import BenchmarkError

EXIT_DONE = 0
EXIT_USER_MISTAKE = 2
EXIT_BY_SIGNAL = 128  # and the number of the signal, as shells have it

app = typer.Typer(
    name="benchmark",
    help="Compare pretrained image backbones, with the preprocessing as an axis and not a hidden constant.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(running.run)
app.command("status")(running.status)
app.command("params")(preparing.params)
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
app.command("fetch")(preparing.fetch)

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
    _open_closed_outputs()
    _end_in_order_on_sigterm()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app()
    except BenchmarkError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(EXIT_USER_MISTAKE)
    except KeyboardInterrupt:
        typer.secho("Interrupted.", fg="yellow", err=True)
        sys.exit(running.EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: `benchmark list backbones | head`
    except OSError as error:  # a full disk, a folder that may not be read, where no command could say more of it
        sys.stdout = _nowhere(1)  # what is left in the old one may be what could not be written
        typer.secho(f"Error: {error}.", fg="red", err=True)
        sys.exit(EXIT_USER_MISTAKE)
    sys.exit(EXIT_DONE)


def _open_closed_outputs() -> None:
    """Give what is written to an output that whoever started the program has closed a place to go: nowhere."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(descriptor))


def _nowhere(descriptor: int) -> TextIO:
    """An output of that number that takes everything and keeps nothing."""
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
    return os.fdopen(descriptor, "w")


def _end_in_order_on_sigterm() -> None:
    """End as after an error: workers first, no temporary folder left."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(EXIT_BY_SIGNAL + number))
