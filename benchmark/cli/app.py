"""The program: its commands, and how errors end it."""

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, NoReturn, TextIO

import typer

from benchmark import __version__, console
from benchmark.cli import exporting, inspecting, listing, mistakes, preparing, recommending, results, running, verifying
from benchmark.errors import BenchmarkError
from benchmark.escaping import ESCAPES

EXIT_DONE = 0
EXIT_USER_MISTAKE = 2
EXIT_BY_SIGNAL = 128  # plus the number of the signal, as in shells

app = typer.Typer(
    name="benchmark",
    help="Compare pretrained image backbones, with preprocessing as an axis of the comparison.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
)
COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Sweeps": {
        "run": running.run, "recommend": recommending.recommend, "status": running.status,
        "params": preparing.params, "fetch": preparing.fetch,
    },
    "Results": {
        "leaderboard": results.leaderboard, "ablation": results.ablation, "compare": results.compare,
        "plot": results.plot, "report": results.report, "mistakes": mistakes.mistakes, "verify": verifying.verify,
        "rerun": verifying.rerun,
    },
    "Models": {"export": exporting.export, "predict": exporting.predict},
    "Information": {"inspect": inspecting.inspect, "list": listing.list_names, "doctor": listing.doctor},
}  # fmt: skip
for _panel, _commands in COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)

cache_app = typer.Typer(no_args_is_help=True, help="List and prune the cached features and images.")
cache_app.command("list")(listing.cache_list)
cache_app.command("prune")(listing.cache_prune)
app.add_typer(cache_app, name="cache", rich_help_panel="Information")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        console.show(f"backbone-benchmark {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line; a user's mistake ends with a message and exit code 2."""
    _open_closed_outputs()
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):  # what its encoding does not have is shown as its code
            output.reconfigure(errors=ESCAPES)
    _end_in_order_on_sigterm()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", handlers=[console.MessageHandler()])
    code = _run()
    sys.exit(code or (EXIT_USER_MISTAKE if console.stderr.is_full else EXIT_DONE))


def _run() -> int:
    """Run the command line and return its exit code."""
    try:
        app()
    except SystemExit as ended:
        return int(ended.code or EXIT_DONE)
    except BenchmarkError as error:
        console.say(f"Error: {error}", style="red")
        return EXIT_USER_MISTAKE
    except KeyboardInterrupt:
        console.say("Interrupted.")
        return running.EXIT_INTERRUPTED
    except OSError as error:  # such as a full disk or an unreadable folder that no command explains better
        console.discard(1)  # it may hold text that could not be written
        console.say(f"Error: {error}.", style="red")
        return EXIT_USER_MISTAKE
    return EXIT_DONE


def _open_closed_outputs() -> None:
    """Replace outputs that the caller has closed by ones that discard everything."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(descriptor))


def _nowhere(descriptor: int) -> TextIO:
    """An output with this descriptor that discards everything."""
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
    return os.fdopen(descriptor, "w")


def _end_in_order_on_sigterm() -> None:
    """On SIGTERM, end as after an error: workers first, and without leaving a temporary folder."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(EXIT_BY_SIGNAL + number))
