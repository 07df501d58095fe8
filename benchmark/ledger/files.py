"""The ledger: rows of a sweep in tidy CSV files that survive a kill and outlive the code."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.errors import LedgerError
from benchmark.escaping import in_utf8
from benchmark.ledger.columns import (
    COLUMNS,
    CONFUSION,
    COUNT,
    DONE,
    FAILED,
    HISTORY,
    IN_FILE_NAMES,
    LIMITS,
    LOCK,
    MESSAGES,
    PER_CLASS,
    PREDICTIONS,
    RECIPES,
    REQUIRED,
    RUN_COLUMNS,
    RUNS,
    SCHEMA,
    TEXT_COLUMNS,
    WEIGHTS,
    true_labels_name,
)
from benchmark.migration import to_present_schema
from benchmark.predictions import Classes, read_predictions, read_true_labels, read_true_scores, read_weights
from benchmark.storage import OUT_OF_SPACE, digest_of_text, write_whole
from benchmark.tidycsv import Row, append_rows, parse_rows, read_fields, read_whole_lines, to_text, wrong_value


class Ledger:
    """The files of one sweep in one folder.

    A run's row in `runs.csv` is written last, so everything else with its `run_id` is complete.

    Args:
        folder: Made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen = (0, 0)  # of `runs.csv`: the number of the file, which changes when it is replaced, and bytes read
        self._done_keys: set[str] = set()

    def append_run(
        self, row: Row, tables: Mapping[str, Sequence[Row]] | None = None, *, unless_done: bool = False
    ) -> None:
        """Add one run: its rows in the other files, then its row in `runs.csv`.

        Args:
            row: Its row.
            tables: Its rows in `HISTORY`, `PER_CLASS` and `CONFUSION`.
            unless_done: Add nothing if a finished run of the same cell is there, whichever process wrote it.

        Raises:
            LedgerError: The folder or a file cannot be written, or a file has other columns.
        """
        row = {**row, **{name: " ".join(str(row.get(name) or "").split()) for name in MESSAGES}}
        with self.writing():
            self.migrate()
            if unless_done and self.has_done(row["cell_key"]):
                return
            for name, rows in {HISTORY: (), PER_CLASS: (), CONFUSION: (), **(tables or {}), RUNS: [row]}.items():
                if rows or not (self.folder / name).exists():
                    append_rows(self.folder / name, COLUMNS[name], rows)

    def has_done(self, cell_key: str) -> bool:
        """Whether a finished run of this cell is in `runs.csv` now; reads only what was added since the last call."""
        path = self.folder / RUNS
        if path.exists():
            with path.open("rb") as file:
                number, n_bytes = os.fstat(file.fileno()).st_ino, self._seen[1]
                if number != self._seen[0]:
                    n_bytes, self._done_keys = 0, set()
                file.seek(n_bytes)
                added = file.read()
            whole = added[: added.rfind(b"\n") + 1]
            self._seen = (number, n_bytes + len(whole))
            rows = csv.DictReader(io.StringIO(whole.decode(errors="replace")), RUN_COLUMNS)
            self._done_keys |= {row["cell_key"] for row in rows if row["status"] == DONE}
        return cell_key in self._done_keys

    def save_predictions(
        self, run_id: str, scores: NDArray[np.float32], labels: NDArray[np.int64] | None = None
    ) -> None:
        """Keep the predicted class (int16) and its score (float16) of every test image, from scores `(n, k)`.

        With the true classes `(n,)`, their scores (float16) are kept too.
        """
        kept = {"confidence": scores.max(axis=1)}
        if labels is not None:
            kept["true_score"] = scores[np.arange(len(labels)), labels]
        halves = {name: some.astype(np.float16) for name, some in kept.items()}
        self._save_arrays(f"{run_id}.npz", predicted=scores.argmax(axis=1).astype(np.int16), **halves)

    def save_weights(self, run_id: str, weights: Sequence[NDArray[np.float32]]) -> None:
        """Keep what a run trained."""
        with self.writing(), write_whole(self.folder / WEIGHTS / f"{run_id}.npz") as file:
            np.savez(file, *weights)

    def read_weights(self, run_id: str) -> list[NDArray[np.float32]] | None:
        """What a run trained, in the order in which it was kept; None if it was not kept.

        Raises:
            LedgerError: The file is damaged.
        """
        return read_weights(self.folder / WEIGHTS / f"{run_id}.npz")

    def save_true_labels(
        self, fingerprint: str, labels: NDArray[np.int64], class_names: Sequence[str], fold: str = ""
    ) -> None:
        """Keep the true classes of a dataset's test images, once per dataset, or per fold of it; see `fold_of`."""
        name = true_labels_name(fingerprint, fold)
        if not (self.folder / PREDICTIONS / name).exists():
            names = np.array([*map(in_utf8, class_names)])
            self._save_arrays(name, true=labels.astype(np.int16), class_names=names)

    def read_runs(self) -> pd.DataFrame:
        """All rows of `runs.csv` in the order they were written; without rows if there is no such file.

        Rows of schema 1 are converted to the present schema; the file is not changed.

        Raises:
            LedgerError: The file is not a ledger, or a newer version wrote it.
        """
        path = self.folder / RUNS
        runs = self._read(RUNS, to_present_schema(read_whole_lines(path, RUN_COLUMNS), path, RUN_COLUMNS))
        others = sorted(set(runs["schema"]) - {SCHEMA})
        if others:
            raise LedgerError(
                f"{path} has rows of schema {others}, this version reads schemas 1 to {SCHEMA}: use the version of "
                "backbone-benchmark that wrote them (column harness_version), or run the sweep into a new folder."
            )
        is_wrong = {column: runs[column].isna() for column in REQUIRED}
        is_wrong |= {column: ~runs[column].str.fullmatch(pattern) for column, pattern in IN_FILE_NAMES.items()}
        is_wrong["status"] = ~runs["status"].isin((DONE, FAILED))
        for column, rows in is_wrong.items():
            if rows.any():
                raise wrong_value(path, runs, int(rows.argmax()), column, "no row of a ledger has that")
        return runs

    def _read(self, name: str, whole: bytes | None = None) -> pd.DataFrame:
        """The rows of a file; `whole` are its lines if they are not taken as they are."""
        path, columns = self.folder / name, COLUMNS[name]
        whole = read_whole_lines(path, columns) if whole is None else whole
        return parse_rows(
            whole, path, columns, text_columns=TEXT_COLUMNS[name], limits=lambda column: LIMITS.get(column, COUNT)
        )

    def migrate(self, new_columns: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write `runs.csv` in the present schema if it has an earlier one.

        Args:
            new_columns: By `run_id`, values of columns that the earlier schema did not have.

        Raises:
            LedgerError: The file cannot be read or written, or a newer version wrote it.
        """
        path = self.folder / RUNS
        with self.writing():
            whole = read_whole_lines(path, RUN_COLUMNS)
            content = to_present_schema(whole, path, RUN_COLUMNS)
            if content is whole and not new_columns:
                return
            rows = read_fields(content, path, RUN_COLUMNS).set_index("run_id", drop=False)
            for run_id, columns in (new_columns or {}).items():
                rows.loc[run_id, list(columns)] = [str(to_text(value)) for value in columns.values()]
            with write_whole(path) as file:
                file.write(rows.to_csv(index=False, lineterminator="\n").encode())

    def keep_recipe(self, text: str) -> str:
        """Store the text of an expanded recipe beside its rows; its SHA-256, which the rows hold.

        Raises:
            LedgerError: It cannot be written, for example because a name in it is not UTF-8.
        """
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            name = text[max(0, error.start - 40) : error.end]
            raise LedgerError(f"A recipe is UTF-8, and a name in it is not: {name!r}. Rename the folder.") from error
        sha256 = digest_of_text(text)
        path = self.recipe_path(sha256)
        if not path.exists():
            with self.writing(), write_whole(path) as file:
                file.write(content)
        return sha256

    def recipe_path(self, sha256: str) -> Path:
        """The file of a recipe that `keep_recipe` stored."""
        return self.folder / RECIPES / f"{sha256}.toml"

    def read_table(self, name: str) -> pd.DataFrame:
        """The rows of `HISTORY`, `PER_CLASS` or `CONFUSION` that belong to runs in `runs.csv`.

        Raises:
            LedgerError: A file cannot be read, is damaged, or has other columns.
        """
        table = self.read_whole_table(name)
        return table[table["run_id"].isin(self.read_runs()["run_id"])]

    def read_whole_table(self, name: str) -> pd.DataFrame:
        """As `read_table`, also of runs that have no row in `runs.csv`, as a kill between two files can leave them."""
        return self._read(name)

    def read_predictions(self, run_id: str) -> tuple[Classes, NDArray[np.float16]] | None:
        """Predicted classes and their scores of the test images; None where they were not kept."""
        return read_predictions(self.folder / PREDICTIONS / f"{run_id}.npz")

    def read_true_scores(self, run_id: str) -> NDArray[np.float16] | None:
        """Scores of the true classes of the test images; None where they were not kept."""
        return read_true_scores(self.folder / PREDICTIONS / f"{run_id}.npz")

    def read_true_labels(self, fingerprint: str, fold: str = "") -> tuple[Classes, tuple[str, ...]] | None:
        """True classes of the test images of a dataset or fold, and the names of all classes; None if not kept."""
        return read_true_labels(self.folder / PREDICTIONS / true_labels_name(fingerprint, fold))

    def remove_partial(self) -> None:
        """Remove what a killed process left half written."""
        with self.writing():
            for path in self.folder.rglob("*.partial"):
                path.unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock, also if it is held already; a failure to write becomes a `LedgerError`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / LOCK, is_singleton=True):
                yield
        except OSError as error:
            remedy = "free some space or choose" if error.errno in OUT_OF_SPACE else "choose"
            raise LedgerError(
                f"{self.folder} cannot be written: {error}. Finished rows are kept; {remedy} another folder with "
                "--results, then run the same command again."
            ) from error

    def _save_arrays(self, name: str, **arrays: NDArray[Any]) -> None:
        with self.writing(), write_whole(self.folder / PREDICTIONS / name) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub takes one for allow_pickle
