"""Rows of a ledger turned into the cells that make them again, with the recipe that is stored beside them."""

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import LedgerError, UnknownNameError
from benchmark.ledger import Ledger, cell_names
from benchmark.origins import MACHINE, VERSIONS, what_changed
from benchmark.plan.cells import Cell, make_keys
from benchmark.plan.grid import expand
from benchmark.plan.planned import PlannedCell
from benchmark.plan.planning import make_plan
from benchmark.provenance import environment
from benchmark.recipes import read_recipe
from benchmark.registry import Registry
from benchmark.storage import CACHE_VARIABLE, cache_root

WEIGHTS_FOLDER = "weights"
# What recipes meant that were stored before there was a choice.
BEFORE_THE_OPTION = {"engine": "tensorflow"}


def plan_again(runs: pd.DataFrame, registry: Registry, target: Ledger) -> list[PlannedCell]:
    """The cells of these rows, in their order; see `find_cells`.

    Raises:
        LedgerError: A row has no recipe, or its recipe does not make its cell any more.
        BenchmarkError: The recipe cannot be expanded: a backbone is not in the registry, for example.
    """
    numbered = runs.reset_index(drop=True)
    found = find_cells(numbered, registry, target)
    for number, row in enumerate(numbered.to_dict("records")):
        if number in found:
            continue
        recipe = Ledger(Path(row["folder"])).recipe_path(row["recipe_sha256"])
        if recipe.exists():
            raise LedgerError(f"The recipe {recipe} does not make the cell of run {row['run_id']}.")
        raise LedgerError(
            f"{row['folder']} does not hold the recipe of run {row['run_id']}. Rows of schema 1 get theirs when "
            "their sweep is run once more: 'benchmark run RECIPE --results FOLDER' keeps what is done."
        )
    return [found[number] for number in range(len(numbered))]


def find_cells(runs: pd.DataFrame, registry: Registry, target: Ledger) -> dict[Any, PlannedCell]:
    """The cells that the recipes beside their ledgers make of these rows.

    A cell is identified by its key. Where the key has changed since, for example with the version of Keras, it is the
    cell of the recipe whose `CELL_COLUMNS` are the same.

    Args:
        runs: Rows of one or many ledgers, with the column `folder`; `dataset` as the file holds it.
        registry: The backbones.
        target: Where the new rows will go.

    Returns:
        By the label of the row in the index of `runs`; rows without a recipe, or without a cell in it, are left out.

    Raises:
        BenchmarkError: A recipe cannot be expanded: a backbone is not in the registry, for example.
    """
    found: dict[Any, PlannedCell] = {}
    for place, rows in runs.groupby(["folder", "recipe_sha256"], sort=False):
        folder, sha256 = map(str, place)
        recipe = Ledger(Path(folder)).recipe_path(sha256)
        if not recipe.exists():
            continue
        names = cell_names(rows)
        choose = functools.partial(_named, names=frozenset(names))
        with _own_backbones(recipe):
            plan = make_plan(read_recipe(recipe, missing=BEFORE_THE_OPTION), registry, target, choose=choose)
        by_key = {planned.key: planned for planned in plan.cells if planned.key}
        by_name = {name: planned for planned in plan.cells for name in (planned.cell.earlier_name, planned.cell.name)}
        for label, row, name in zip(rows.index, rows.to_dict("records"), names, strict=True):
            if planned := by_key.get(row["cell_key"]) or by_name.get(name):
                found[label] = planned
    return found


def count_without_row(chosen: pd.DataFrame, runs: pd.DataFrame, registry: Registry) -> int:
    """How many cells of the recipes of chosen rows have no row in their ledger, all rows of which are in `runs`."""
    names = {folder: frozenset(cell_names(rows)) for folder, rows in runs.groupby("folder")}
    n_missing = 0
    for folder, sha256 in dict.fromkeys(zip(chosen["folder"], chosen["recipe_sha256"], strict=True)):
        recipe = Ledger(Path(folder)).recipe_path(sha256)
        if recipe.exists():
            with _own_backbones(recipe):
                cells = expand(read_recipe(recipe, missing=BEFORE_THE_OPTION), registry)
            n_missing += sum(names[folder].isdisjoint((cell.name, cell.earlier_name)) for cell in cells)
    return n_missing


@contextmanager
def _own_backbones(recipe: Path) -> Iterator[None]:
    try:
        yield
    except UnknownNameError as error:
        raise LedgerError(
            f"{recipe} names something unknown. {error} Give the file that describes your own backbones with "
            "--registry."
        ) from error


def rows_again(
    runs: pd.DataFrame, cells: Mapping[Any, PlannedCell], made: Ledger
) -> dict[tuple[str, str], dict[Any, Any]]:
    """The rows of cells that were run again.

    Args:
        runs: The rows as they were.
        cells: What `find_cells` returned for them.
        made: The ledger in which the cells were run again.

    Returns:
        By folder and `run_id` of the row as it was: the columns of `runs.csv` and `folder`, that of `made`. The keys
        are those that the cell has in the versions of the row as it was, so that they can be compared.
    """
    table = made.read_runs()
    new_rows = dict(zip(cell_names(table), table.to_dict("records"), strict=True))
    again: dict[tuple[str, str], dict[Any, Any]] = {}
    for label, planned in cells.items():
        row = runs.loc[label].to_dict()
        keys = make_keys(planned.cell, planned.dataset_fingerprint, row) if planned.key else ("", "")
        again[row["folder"], row["run_id"]] = {
            **new_rows[planned.cell.name], "folder": str(made.folder), "cell_key": keys[0], "setting_key": keys[1],
        }  # fmt: skip
    return again


def _named(cells: list[Cell], names: frozenset[tuple[Any, ...]]) -> list[Cell]:
    return [cell for cell in cells if cell.name in names or cell.earlier_name in names]


def choose_rows(runs: pd.DataFrame, n_rows: int) -> pd.DataFrame:
    """At most `n_rows` finished rows: the quickest of each backbone in turn."""
    quickest = runs.sort_values("wall_s", kind="stable")
    turns = quickest.groupby(["folder", "backbone"]).cumcount()
    return quickest.assign(turn=turns).sort_values(["turn", "wall_s"], kind="stable").drop(columns="turn").head(n_rows)


@contextmanager
def clean_cache(folder: Path) -> Iterator[None]:
    """Inside, this process and its children use an empty cache in `folder`, with the weights files of the usual one.

    Weights files are checked against their checksums when they are first used.
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
    """How the code, versions and machine that made a row differ from those here, one sentence each."""
    here = environment()
    notes = []
    if row["is_dirty"] == 1:
        notes.append(f"the row was made by commit {row['git_commit']} with changes that no commit holds.")
    elif row["git_commit"] and here["git_commit"] != row["git_commit"]:
        notes.append(
            f"the row was made by commit {row['git_commit']}; this is {here['git_commit'] or 'not a checkout'}."
        )
    changes = what_changed(row, here, {"harness_version": "backbone-benchmark", **VERSIONS, **MACHINE})
    return notes + [f"{change}." for change in changes]
