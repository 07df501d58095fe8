"""Ledgers read into one table of rows, from which the rest of the analysis starts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.analysis.labels import dataset_labels
from benchmark.errors import BenchmarkError, DownloadError, LedgerError
from benchmark.ledger import CELL_COLUMNS, DONE, RUNS, Ledger
from benchmark.origins import DEFINITION, VERSIONS

# One setting of a sweep; its rows differ in their seed only. `variant` holds differences that have no column here.
SETTING = (
    "backbone", "dataset", "mode", "strategy", "stages", "folds", "shots", "head", "head_options", "input_size_px",
    "resize", "crop", "augment", "precision", "variant",
)  # fmt: skip
# Columns in which settings can differ that look the same.
VARYING = {
    "engine": "engine", "batch_size": "batch size", "weights": "weights", "val_fraction": "validation fraction",
    **VERSIONS, **DEFINITION,
}  # fmt: skip
FINGERPRINT_SHOWN = 8
SEVERAL = "several machines"  # the machine of a setting that ran on more than one


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


def load_runs(paths: Sequence[Path], *, by_machine: bool = False) -> pd.DataFrame:
    """The last row of every cell of these ledgers, failures too; of a cell in several ledgers, that of the last one.

    A cell that failed in one ledger and was finished in another one was finished.

    Args:
        paths: Ledger folders, or folders of them.
        by_machine: Keep the last row of every cell on each machine. Otherwise the machines of a setting are pooled: it
            has one row per cell, whatever machine made it, and the times of these rows are not comparable.

    Returns:
        The columns of `runs.csv`, then `sweep`, the name of the ledger's folder; `folder`, its path; `machine`, such as
        `AMD EPYC, 2 CPUs`; `dataset_name`, the column `dataset` of the file; and `variant`, which distinguishes
        settings that otherwise look the same, for example `weights random`. `dataset` is one name for each content:
        with the chosen classes, the limit and, where one name stands for several contents, the beginning of the
        fingerprint.

    Raises:
        LedgerError: There is no ledger, or one cannot be read.
    """
    return last_rows(load_all_runs(paths), by_machine=by_machine)


def last_rows(rows: pd.DataFrame, *, by_machine: bool = False) -> pd.DataFrame:
    """What `load_runs` makes of the rows that `load_all_runs` returns."""
    apart = ["machine"] if by_machine else []
    # That a dataset was not available says nothing of what was finished before.
    was_tried = ~((rows["cell_key"] == "") & (rows["error_type"] == DownloadError.error_type))
    in_order = pd.concat([rows[~was_tried], rows[was_tried]])
    last = in_order.assign(machine=_machines(in_order)).drop_duplicates(
        ["folder", "weights", *CELL_COLUMNS, *apart], keep="last"
    )
    last = last.sort_index(ignore_index=True)
    last = last.assign(dataset_name=last["dataset"], dataset=_dataset_names(last), setting=_setting_ids(last))
    if not by_machine:
        n_machines = last[last["status"] == DONE].groupby("setting")["machine"].nunique()
        last["machine"] = last["machine"].where(~(last["setting"].map(n_machines) > 1), SEVERAL)
    done_last = last.sort_values("status", key=lambda status: status == DONE, kind="stable")
    cells = done_last.drop_duplicates(["setting", "seed", *apart], keep="last")
    # A failed cell that was finished in other versions is not a failure any more.
    is_superseded = (cells["status"] != DONE) & cells.duplicated([*CELL_COLUMNS, *apart], keep="last")
    cells = cells[~is_superseded].sort_index(ignore_index=True)
    return cells.assign(variant=_variants(cells)).drop(columns="setting")


def load_all_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """As `load_runs`, but with the rows that later ones replace, and `dataset` as the file has it."""
    tables = [rows_of(Ledger(folder)) for folder in find_ledgers(paths)]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def rows_of(ledger: Ledger) -> pd.DataFrame:
    """As `load_all_runs`, of one ledger; none if nothing ran yet."""
    return ledger.read_runs().assign(sweep=ledger.folder.name, folder=str(ledger.folder))


def find_row(runs: pd.DataFrame, run_id: str) -> pd.DataFrame:
    """The row whose `run_id` begins with this text, as a table of one row.

    Raises:
        BenchmarkError: There is none, or more than one.
    """
    found = runs[runs["run_id"].str.startswith(run_id)]
    if len(found) != 1 or not run_id:
        folders = ", ".join(sorted(set(runs["folder"])))
        count = f"{len(found)} runs begin" if len(found) else "No run begins"
        raise BenchmarkError(f"{count} with {run_id!r} in {folders}: give one run_id of the file runs.csv.")
    return found


def _machines(runs: pd.DataFrame) -> list[str]:
    """For each row, the processor that did the work and the number of CPUs, as far as the row says."""
    processors = runs["gpu"].where(runs["gpu"] != "", runs["cpu"]).replace("", "unknown processor")
    return [
        name if pd.isna(count) else f"{name}, {count_of(int(count), 'CPU')}"
        for name, count in zip(processors, runs["cpu_count"], strict=True)
    ]


def _dataset_names(runs: pd.DataFrame) -> pd.Series:
    """One name for each content: its latest name, with the fingerprint if another content has the same name."""
    named = pd.Series(dataset_labels(runs), index=runs.index, dtype=object)
    known = runs["dataset_fingerprint"].replace("", None)  # of a failed row it may be unknown
    names = named.groupby(known).transform("last").where(known.notna(), named)
    is_ambiguous = known.groupby(names).transform("nunique") > 1
    return names.where(~is_ambiguous, names + " #" + known.fillna("unknown").str[:FINGERPRINT_SHOWN])


def _setting_ids(runs: pd.DataFrame) -> pd.Series:
    """The identity of each row's setting: its key or, without one, the number of its group of equal names."""
    names = [column for column in CELL_COLUMNS if column != "seed"]
    numbers = runs.groupby(["weights", *names], dropna=False, sort=False).ngroup().astype(str)
    return runs["setting_key"].where(runs["setting_key"] != "", numbers)


def _variants(runs: pd.DataFrame) -> pd.Series:
    """For each row, how its setting differs from others that look the same; empty if there are none."""
    variants = pd.Series("", index=runs.index)
    shown = [column for column in SETTING if column != "variant"]
    n_alike = runs.groupby(shown, dropna=False, sort=False)["setting"].transform("nunique")
    for _, alike in runs[n_alike > 1].groupby(shown, dropna=False, sort=False):
        differing = [column for column in VARYING if alike[column].nunique(dropna=False) > 1]
        last = alike.drop_duplicates("setting", keep="last").set_index("setting")
        facts = {
            setting: [f"{VARYING[column]} {_shown(column, row[column])}" for column in differing]
            for setting, row in last.iterrows()
        }
        for setting, some in facts.items():
            # Further settings with the same facts differ in something else of their keys.
            are_telling = some and list(facts.values()).count(some) == 1
            named = some if are_telling else [*some, f"key {str(setting)[:FINGERPRINT_SHOWN]}"]
            variants[alike.index[alike["setting"] == setting]] = ", ".join(named)
    return variants


def _shown(column: str, value: Any) -> Any:
    """A value in few characters: of a hash, those that tell it from others."""
    if value == "" or pd.isna(value):
        return "unknown"
    return str(value)[:FINGERPRINT_SHOWN] if column.endswith("_sha256") else value


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that can be ranked and compared: those with an accuracy."""
    return runs[(runs["status"] == DONE) & runs["accuracy"].between(0, 1) & (runs["n_test"] > 0)]


def are_times_comparable(runs: pd.DataFrame) -> "pd.Series[bool]":
    """The rows whose times can be compared: their jobs ran alone on the machine, and so did what made their features.

    Jobs that share a machine take longer, and times of one machine say nothing of another.
    """
    return ~(runs["n_jobs"] > 1) & (runs["costs_from"] == "") & (runs["machine"] != SEVERAL)


def count_failed(runs: pd.DataFrame) -> dict[str, int]:
    """Number of cells whose last run has no accuracy, by dataset; only datasets that have some."""
    failed = runs.drop(finished(runs).index)
    return {str(dataset): int(number) for dataset, number in failed["dataset"].value_counts().items()}
