"""What the files of a ledger say about each other, checked without running anything.

`contradictions` finds figures that were edited by hand. A missing file is noticed by its row, a missing row by its
files.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.contradictions import KEYS, Fault, Row, Run, faults_of, recipe_faults
from benchmark.ledger import COLUMNS, PREDICTIONS, RECIPES, RUNS, TRUE_LABELS, Ledger, fold_of

# Names a row in several ledgers: its folder and `run_id`.
RunKey = tuple[str, str]
# By the names of `KEYS` and by `run_id`, the rows of each run.
Tables = Mapping[str, Mapping[Any, pd.DataFrame]]


def find_faults(paths: Iterable[Path], runs: pd.DataFrame) -> dict[RunKey, Fault]:
    """The runs whose row, tables, predictions and recipe contradict each other, or are not all there.

    Args:
        paths: Ledger folders, or folders of them.
        runs: Their rows, as `load_all_runs` returns them.

    Returns:
        By folder and `run_id`, the first contradiction or, without any, what is missing; also of runs that have files
        but no row. The fault of a recipe that no row needs stands under its path instead of a `run_id`.

    Raises:
        LedgerError: A file is damaged.
    """
    found: dict[RunKey, Fault] = {}
    by_folder = dict(iter(runs.groupby("folder")))
    # A ledger may have lost its rows, or the file of them.
    for folder in sorted({str(file.parent) for path in paths for name in COLUMNS for file in path.rglob(name)}):
        ledger, rows = Ledger(Path(folder)), by_folder.get(folder, runs[:0])
        tables = {name: dict(iter(ledger.read_whole_table(name).groupby("run_id"))) for name in KEYS}
        for run_id, faults in (*_of_rows(ledger, rows, tables), *_of_files(ledger, rows, tables)):
            if fault := _worst(faults):
                found.setdefault((folder, run_id), fault)
    return found


def _worst(faults: Iterable[Fault]) -> Fault | None:
    """The first contradiction or, without any, the first fault."""
    missing = None
    for fault in faults:
        if fault.is_contradiction:
            return fault
        missing = missing or fault
    return missing


def _of_rows(ledger: Ledger, rows: pd.DataFrame, tables: Tables) -> Iterator[tuple[str, Iterable[Fault]]]:
    is_repeated = rows.duplicated("run_id", keep=False)
    for row, is_twice in zip(rows.to_dict("records"), is_repeated, strict=True):
        run = _read_run(ledger, row, {name: of_runs.get(row["run_id"]) for name, of_runs in tables.items()})
        yield row["run_id"], itertools.chain([Fault(f"{RUNS} has this run twice")] * int(is_twice), faults_of(run))


def _of_files(ledger: Ledger, rows: pd.DataFrame, tables: Tables) -> Iterator[tuple[str, Iterable[Fault]]]:
    """Of what belongs to no row."""
    predictions = {path.stem for path in (ledger.folder / PREDICTIONS).glob("*.npz")}
    files = {**{name: {*of_runs} for name, of_runs in tables.items()}, PREDICTIONS: predictions}
    for run_id in sorted(set().union(*files.values()) - {*rows["run_id"]}):
        if not run_id.startswith(TRUE_LABELS):
            names = ", ".join(name for name, run_ids in files.items() if run_id in run_ids)
            what = f"{ledger.folder / RUNS} has no row of run {run_id}, of which {names} hold something"
            yield run_id, [Fault(what, is_contradiction=False)]
    needed = {*rows["recipe_sha256"]}
    for path in sorted((ledger.folder / RECIPES).glob("*.toml")):
        if path.stem not in needed:
            yield f"{RECIPES}/{path.name}", recipe_faults(path)


def _read_run(ledger: Ledger, row: Row, tables: Mapping[str, pd.DataFrame | None]) -> Run:
    predictions = ledger.read_predictions(row["run_id"])
    true_scores = ledger.read_true_scores(row["run_id"])
    truth = ledger.read_true_labels(row["dataset_fingerprint"], fold_of(row))
    return Run(
        row,
        tables,
        predictions and (predictions[0].astype(np.int64), predictions[1].astype(np.float64)),
        None if true_scores is None else true_scores.astype(np.float64),
        truth and (truth[0].astype(np.int64), truth[1]),
        ledger.recipe_path(row["recipe_sha256"]),
    )
