"""What it costs to do every job of the demo in a process of its own, beside all of it in one process.

Both sides are the public command with an empty feature cache, timed from the start of their process to its end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NoReturn

from measuring import Contestant, Figures, Target, markdown_table, race, run_script, say, script_options

from benchmark.cli import main as run_command
from benchmark.plan.planned import Job
from benchmark.plan.repeating import clean_cache
from benchmark.processes.conditions import Conditions
from benchmark.processes.execution import Execution
from benchmark.processes.worker import run_job
from benchmark.work.events import Event

ISOLATED, TOGETHER = "a process for each job", "one process for all"
MOST_OVER_ONE_PROCESS = 1.15


def run_in_one_process(arguments: Sequence[str]) -> NoReturn:
    """`benchmark run` with its jobs done in this very process."""

    def execute(jobs: Sequence[Job], again: bool) -> Iterator[Event]:
        for job in jobs:
            events: list[Event] = []
            run_job(job, events.append, Conditions(Path(os.devnull), again=again))
            yield from events

    Execution.start = lambda *_: execute  # type: ignore[method-assign]
    sys.argv = ["benchmark", *arguments]
    run_command()


def time_demo(program: Sequence[str], options: argparse.Namespace) -> float:
    """Seconds of the demo by this program, in an empty cache."""
    say(" ".join(program))
    with tempfile.TemporaryDirectory() as folder, clean_cache(Path(folder) / "cache"):
        command = [*program, "run", "demo", "--results", folder]
        if options.quick:
            command += ["--limit", "200", "--seeds", "0"]
        started = perf_counter()
        subprocess.run(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return perf_counter() - started


def measure(options: argparse.Namespace) -> Figures:
    """Both sides in turn, a round each way."""
    programs = {ISOLATED: (sys.executable, "-m", "benchmark"), TOGETHER: (sys.executable, __file__)}

    def contestant(name: str) -> Contestant:
        return Contestant(name, lambda: 1 / time_demo(programs[name], options))

    found = race([contestant(name) for name in programs], options.rounds)
    ratio = found.ratio(TOGETHER, ISOLATED)
    rows = [[name, *(f"{1 / rate:.1f}" for rate in found.rates[name])] for name in programs]
    header = ["seconds of the demo", *(f"round {number + 1}" for number in range(options.rounds))]
    text = f"{markdown_table(header, rows)}\n\nMedian of the rounds' ratios: {ratio:.3f}."
    numbers = {"seconds": {name: [1 / rate for rate in rates] for name, rates in found.rates.items()}, "ratio": ratio}
    target = Target("time in processes of their own over time in one process", ratio, at_most=MOST_OVER_ONE_PROCESS)
    return Figures("isolation", "A process for each job", text, numbers, (target,))


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--rounds", type=int, help="of both sides; 4 if absent")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 4)
    return run_script(measure, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run_in_one_process(sys.argv[1:])
    sys.exit(main())
