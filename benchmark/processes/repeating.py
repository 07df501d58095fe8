"""Cells that a ledger has as done, to be done again elsewhere."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import LedgerError
from benchmark.ledger import IDENTITY, Ledger
from benchmark.plan.planning import PlannedCell, make_plan
from benchmark.provenance import CHANGED, DETERMINISTIC, environment
from benchmark.recipes import Sweep
from benchmark.registry import Registry
from benchmark.storage import CACHE_VARIABLE, cache_root

WEIGHTS_FOLDER = "weights"
# Columns of a row that can be other ones here and may change its numbers.
CHANGEABLE = ("harness_version", "keras_version", "tensorflow_version", "python_version", "cpu", "gpu")


def plan_again(runs: pd.DataFrame, sweep: Sweep, registry: Registry, empty: Ledger) -> list[PlannedCell]:
    """The cells of these rows, as if none had been done.

    Args:
        runs: Rows of one ledger, their datasets named as the ledger does.
        sweep: One that has their cells.
        registry: The backbones.
        empty: A ledger without rows, where the new ones will go.

    Raises:
        LedgerError: The sweep does not make one of the cells.
    """
    plan = make_plan(sweep, registry, empty)
    by_identity = {tuple(planned.cell.columns[column] for column in IDENTITY): planned for planned in plan.cells}
    wanted = list(runs[list(IDENTITY)].itertuples(index=False, name=None))
    missing = [identity for identity in wanted if identity not in by_identity]
    if missing:
        raise LedgerError(f"The sweep does not make the cell {dict(zip(IDENTITY, missing[0], strict=True))}.")
    return [by_identity[identity] for identity in wanted]


def choose_rows(runs: pd.DataFrame, n_rows: int) -> pd.DataFrame:
    """So many finished rows: the quickest of every backbone in turn."""
    quickest = runs.sort_values("wall_s", kind="stable")
    turns = quickest.groupby(["folder", "backbone"]).cumcount()
    return quickest.assign(turn=turns).sort_values(["turn", "wall_s"], kind="stable").drop(columns="turn").head(n_rows)


def split_by_conditions(runs: pd.DataFrame) -> list[tuple[pd.DataFrame, bool]]:
    """Rows that can be done again together: those of one ledger, and whether TensorFlow had to be deterministic."""
    chosen = runs["platform"].map(was_deterministic)
    return [(part, bool(one)) for (_, one), part in runs.groupby(["folder", chosen], sort=False)]


def was_deterministic(platform: object) -> bool:
    """Whether TensorFlow had to give the same result every time, by the column `platform` of a row."""
    return str(platform).endswith(DETERMINISTIC)


@contextmanager
def clean_cache(folder: Path) -> Iterator[None]:
    """Inside, this process and its children have an empty cache in `folder`, save for the weights files at hand.

    Those are checked against their checksums whenever they are used.
    """
    weights = cache_root() / WEIGHTS_FOLDER
    weights.mkdir(parents=True, exist_ok=True)
    previous = os.environ.get(CACHE_VARIABLE)
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FOLDER).symlink_to(weights.resolve(), target_is_directory=True)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if previous is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = previous


def differences_from_here(row: Mapping[Any, Any]) -> list[str]:
    """What made a row of `runs.csv` and is not here now, a sentence each."""
    commit = str(row["git_commit"])
    here = environment()
    notes = []
    if commit.endswith(CHANGED):
        notes.append(f"the row was made by commit {commit.removesuffix(CHANGED)} with changes that no commit holds.")
    elif commit and here["git_commit"] != commit:
        notes.append(f"the row was made by commit {commit}; this is {here['git_commit'] or 'no checkout'}.")
    notes += [f"{column} was {row[column]}, is {here[column]}." for column in CHANGEABLE if row[column] != here[column]]
    return notes
