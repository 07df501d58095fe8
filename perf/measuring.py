"""What the scripts of this folder share: fair races, targets, figures, and work in processes of its own."""

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from benchmark.isolation import apply_backend_settings
from benchmark.ledger import HISTORY, Ledger
from benchmark.provenance import environment
from benchmark.storage import CACHE_VARIABLE, cache_root, write_whole

FIGURES = Path(__file__).parent / "figures"
SWEEP_NAME = "perf"

_R = TypeVar("_R")


@dataclass(frozen=True)
class Contestant:
    """One way of doing some work.

    Attributes:
        name: As the figures show it.
        run_round: Does one round of the work, warm, and returns its rate in images a second.
    """

    name: str
    run_round: Callable[[], float]


@dataclass(frozen=True)
class Race:
    """The rates of several contestants, measured side by side.

    Attributes:
        rates: By contestant, images a second in each round.
    """

    rates: Mapping[str, tuple[float, ...]]

    def rate(self, name: str) -> float:
        """Median rate of a contestant."""
        return statistics.median(self.rates[name])

    def ratio(self, name: str, rival: str) -> float:
        """Median over the rounds of one contestant's rate over another's: both saw the same state of the machine."""
        pairs = zip(self.rates[name], self.rates[rival], strict=True)
        return statistics.median(own / other for own, other in pairs)


def race(contestants: Sequence[Contestant], n_rounds: int) -> Race:
    """Rounds in which every contestant runs once, each round begun by another one."""
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in range(n_rounds):
        first = number % max(len(contestants), 1)
        for contestant in (*contestants[first:], *contestants[:first]):
            rates[contestant.name].append(contestant.run_round())
    return Race({name: tuple(values) for name, values in rates.items()})


@dataclass(frozen=True)
class Target:
    """A number and the limit it has to keep.

    Attributes:
        what: What was measured.
        value: What came out.
        at_least: Its lower limit, if it has one.
        at_most: Its upper limit, if it has one.
    """

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the value keeps its limits; a value that is not a number keeps none."""
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return above and below

    def __str__(self) -> str:
        limits = (("at least", self.at_least), ("at most", self.at_most))
        wanted = " and ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None)
        return f"{'pass' if self.is_met else 'FAIL'}: {self.what}: {self.value:.4g} ({wanted})"


@dataclass(frozen=True)
class Figures:
    """What a script found.

    Attributes:
        name: Of the files.
        title: Heading of the Markdown file.
        text: Markdown with the tables and what they mean.
        numbers: Everything measured, for machines.
        targets: What had to be reached.
    """

    name: str
    title: str
    text: str
    numbers: Mapping[str, Any]
    targets: tuple[Target, ...]


def measured_once(name: str, what: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What `measure` returns, or what it returned for the same thing on the same code in a run that was interrupted.

    Args:
        name: Of the figures. A file beside them keeps what was measured, a line of JSON each.
        what: Tells what is measured from everything else that the script measures.
        measure: Returns something that JSON can hold.
    """
    partial = _partial(name)
    made_by = {**what, **environment()}
    for entry in map(json.loads, partial.read_text().splitlines() if partial.exists() else ()):
        if entry["made_by"] == made_by:
            return dict(entry["result"])
    result = dict(measure())
    with partial.open("a") as file:
        file.write(json.dumps({"made_by": made_by, "result": result}) + "\n")
    return result


def _partial(name: str) -> Path:
    return FIGURES / f"{name}.partial.jsonl"


def script_options(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every script has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a tiny run that only shows that the script works: misses do not fail it, and it writes to --out alone",
    )
    parser.add_argument("--out", type=Path, help=f"folder of the figures; {FIGURES.name}/ beside the script if absent")
    return parser


def run_script(measure: Callable[[argparse.Namespace], Figures], options: argparse.Namespace) -> int:
    """Measure, print, write the figures; the exit code is 1 where a target is missed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    apply_backend_settings()  # as `benchmark run` does, for all sides of a comparison
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it takes a new graph for a mistake
    origin = _origin(options)
    started = time.perf_counter()
    figures = measure(options)
    _partial(figures.name).unlink(missing_ok=True)
    origin["took_s"] = round(time.perf_counter() - started, 1)
    text = _markdown(figures, origin)
    print(text, end="")
    folder = options.out or (None if options.quick else FIGURES)
    if folder is not None:
        _write(folder, figures, origin, text)
    return int(not options.quick and not all(target.is_met for target in figures.targets))


def _without_place(argument: str) -> str:
    path = Path(argument)
    return path.name if path.is_absolute() else argument


def _origin(options: argparse.Namespace) -> dict[str, Any]:
    """Where the numbers come from: command, machine and versions, and how busy the machine was before."""
    return {
        # Where things lie on this machine is nobody's business.
        "command": " ".join(["python", f"perf/{Path(sys.argv[0]).name}", *map(_without_place, sys.argv[1:])]),
        "is_quick": options.quick,
        "started_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "load_average_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **environment(),
    }


def _markdown(figures: Figures, origin: Mapping[str, Any]) -> str:
    targets = "\n".join(f"- {target}" for target in figures.targets)
    facts = "\n".join(f"- {name}: {value}" for name, value in origin.items())
    warning = "This was a quick run: its numbers mean nothing.\n\n" if origin["is_quick"] else ""
    return f"# {figures.title}\n\n{warning}{figures.text}\n\n## Targets\n\n{targets}\n\n## Origin\n\n{facts}\n"


def _write(folder: Path, figures: Figures, origin: Mapping[str, Any], text: str) -> None:
    targets = [{**asdict(target), "is_met": target.is_met} for target in figures.targets]
    document = {"origin": origin, **figures.numbers, "targets": targets}
    contents = {".json": json.dumps(document, indent=2) + "\n", ".md": text}
    for suffix, content in contents.items():
        with write_whole(folder / f"{figures.name}{suffix}") as file:
            file.write(content.encode())


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def say(text: str) -> None:
    """A line on what is being done, beside the results."""
    print(text, file=sys.stderr, flush=True)


def in_fresh_process(function: Callable[..., _R], *arguments: Any) -> _R:
    """What the function returns in a new process, which shares no memory and no warm caches with this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@dataclass(frozen=True)
class SweepRun:
    """What `benchmark run` did.

    Attributes:
        clock_s: From the start of its process to the end, imports included.
        runs: Its rows of `runs.csv`.
        history: Its rows of `history.csv`.
    """

    clock_s: float
    runs: pd.DataFrame
    history: pd.DataFrame


def run_sweep(options: Mapping[str, Any], results: Path, *, cache: Path | None = None) -> SweepRun:
    """Run the public command into a folder of its own.

    Args:
        options: Of `benchmark run`, without the dashes.
        results: For the ledger.
        cache: The feature cache; the user's own one if None.
    """
    command = [sys.executable, "-m", "benchmark", "run", "--name", SWEEP_NAME, "--results", str(results)]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    variables = {**os.environ, CACHE_VARIABLE: str(cache or cache_root())}
    started = time.perf_counter()
    answer = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    clock_s = time.perf_counter() - started
    if answer.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {answer.returncode}:\n{answer.stderr}")
    ledger = Ledger(results / SWEEP_NAME)
    return SweepRun(clock_s, ledger.read_runs(), ledger.read_table(HISTORY))
