"""Ledgers verified: their files checked, and cells run again in a clean cache."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import console
from benchmark.analysis.formats import count_of
from benchmark.errors import BenchmarkError, DataError
from benchmark.processes.execution import Execution
from benchmark.progress import SweepDisplay

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.registry import Registry

NO_CELL = "no recipe of its ledger makes this cell; rows of schema 1 get theirs when their sweep is run once more"
# By folder and run_id of rows: the rows of the same cells, run again, or why they could not be.
Again = dict[tuple[str, str], dict[Any, Any] | DataError]


def check_ledgers(
    paths: list[Path],
    choose: "Callable[[pd.DataFrame], pd.DataFrame]",
    make_again: "Callable[[pd.DataFrame], Again]",
) -> "pd.DataFrame":
    """The table of `verify_rows` for ledgers.

    Args:
        paths: Ledger folders, or folders of them.
        choose: Takes the finished rows that do not contradict their ledger, `dataset` as the file holds it, and returns
            those to run again.
        make_again: Runs them again and returns what `rows_again` does, or errors. Rows whose cells cannot be made may
            be missing.

    Raises:
        BenchmarkError: There is nothing to verify.
    """
    import numpy as np

    from benchmark.analysis.contradictions import Fault
    from benchmark.analysis.loading import finished, last_rows, load_all_runs
    from benchmark.analysis.soundness import find_faults
    from benchmark.analysis.verification import verify_rows

    runs = load_all_runs(paths)
    faults = find_faults(paths, runs)
    wrong = {key for key, fault in faults.items() if fault.is_contradiction}
    rows = finished(last_rows(runs))
    is_sound = np.array([key not in wrong for key in zip(rows["folder"], rows["run_id"], strict=True)], bool)
    rows = rows.assign(dataset=rows["dataset_name"])[is_sound]
    chosen = choose(rows) if len(rows) else rows
    if chosen.empty and not faults:
        raise BenchmarkError("The ledger has no finished row to verify.")
    made = make_again(chosen) if len(chosen) else {}
    again = {key: row for key, row in made.items() if not isinstance(row, DataError)}
    for key in set(zip(chosen["folder"], chosen["run_id"], strict=True)) - set(again):
        faults.setdefault(key, Fault(str(made.get(key, NO_CELL)), is_contradiction=False))
    return verify_rows(runs, again, faults)


def run_again(chosen: "pd.DataFrame", folder: Path, registry: "Registry", execution: Execution) -> Again:
    """The rows of the same cells, run now in a clean cache; see `rows_again`.

    Args:
        chosen: The rows.
        folder: An empty folder, for the cache and the new rows.
        registry: The backbones.
        execution: Where and how to run.
    """
    from benchmark.analysis.loading import load_all_runs
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import clean_cache, count_without_row, find_cells, rows_again
    from benchmark.processes.runner import run_cells

    ledgers = [Path(place) for place in chosen["folder"].unique()]
    if n_missing := count_without_row(chosen, load_all_runs(ledgers), registry):
        console.say(f"Note: {count_of(n_missing, 'cell')} of the stored recipes without a row.")
    with clean_cache(folder / "cache"):
        parts = []
        made: Again = {}
        # One ledger for each original, since two may hold the same cell, and for each choice of determinism.
        originals = chosen.groupby(["folder", "is_deterministic"], dropna=False)
        for number, ((_, is_deterministic), rows) in enumerate(originals):
            ledger = Ledger(folder / "results" / str(number))
            try:
                cells = find_cells(rows, registry, ledger)
            except DataError as error:  # a folder that is gone, or has changed
                made.update((key, error) for key in zip(rows["folder"], rows["run_id"], strict=True))
                continue
            execute = replace(execution, is_deterministic=is_deterministic == 1).start(ledger, rows)
            parts.append((rows, cells, ledger, execute))
        with SweepDisplay(sum(len(cells) for _, cells, _, _ in parts)) as display:
            for _, cells, ledger, execute in parts:
                each_once = list({planned.cell.name: planned for planned in cells.values()}.values())
                for event in run_cells(each_once, ledger, execute, recipe_sha256="", again=False):
                    display.show(event)
    for rows, cells, ledger, _ in parts:
        made.update(rows_again(rows, cells, ledger))
    return made
