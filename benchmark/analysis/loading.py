"""Ledgers on disk turned into tables of rows: what everything else here begins with."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import LedgerError
from benchmark.ledger import DONE, IDENTITY, RUNS, Ledger

# One setting of a sweep; its rows differ in their seed only.
SETTING = tuple(column for column in IDENTITY if column != "seed")
FINGERPRINT_SHOWN = 8


def find_ledgers(paths: Iterable[Path]) -> list[Path]:
    """The folders that hold a `runs.csv`: each path itself or any folder below it, sorted.

    Raises:
        LedgerError: A path holds none.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        found = sorted(file.parent for file in path.rglob(RUNS)) if path.is_dir() else []
        if not found:
            raise LedgerError(f"There is no {RUNS} in {path} or below it: give a folder that 'benchmark run' wrote.")
        folders.update(dict.fromkeys(found))
    return list(folders)


def load_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """The last row of every cell of these ledgers, failures too; of a cell in several ledgers, that of the last one.

    A cell that failed in one ledger and was finished in another one was finished.

    Args:
        paths: Ledger folders, or folders of them.

    Returns:
        The columns of `runs.csv`, then `sweep`, the name of the ledger's folder, and `folder`, its path. Where rows of
        one `dataset` were made on different images, its name carries the beginning of the fingerprint, so that
        they are never compared.

    Raises:
        LedgerError: There is no ledger, or one cannot be read.
    """
    last = load_all_runs(paths).drop_duplicates(["folder", *IDENTITY], keep="last", ignore_index=True)
    named = last.assign(dataset=_telling_apart(last))
    done_last = named.sort_values("status", key=lambda status: status == DONE, kind="stable")
    return done_last.drop_duplicates(list(IDENTITY), keep="last").sort_index(ignore_index=True)


def load_all_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """As `load_runs`, but with the rows that later ones of the same cell have replaced, and datasets not told apart."""
    tables = [
        Ledger(folder).read_runs().assign(sweep=folder.name, folder=str(folder)) for folder in find_ledgers(paths)
    ]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def _telling_apart(runs: pd.DataFrame) -> pd.Series:
    """The names of the datasets, with a fingerprint where one name stands for several."""
    known = runs["dataset_fingerprint"].replace("", None)  # of a failed row it may be unknown
    is_ambiguous = known.groupby(runs["dataset"]).transform("nunique") > 1
    named = runs["dataset"] + " #" + known.fillna("unknown").str[:FINGERPRINT_SHOWN]
    return runs["dataset"].where(~is_ambiguous, named)


def plain_dataset(row: Mapping[Any, Any]) -> str:
    """The name of a row's dataset as the ledger has it, without what `load_runs` tells contents apart by."""
    return str(row["dataset"]).removesuffix(f" #{str(row['dataset_fingerprint'])[:FINGERPRINT_SHOWN]}")


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that can be ranked and compared."""
    return runs[(runs["status"] == DONE) & runs["accuracy"].between(0, 1) & (runs["n_test"] > 0)]


def count_failed(runs: pd.DataFrame) -> dict[str, int]:
    """Number of cells whose last run has no accuracy, by dataset; only datasets that have some."""
    failed = runs.drop(finished(runs).index)
    return {str(dataset): int(number) for dataset, number in failed["dataset"].value_counts().items()}
