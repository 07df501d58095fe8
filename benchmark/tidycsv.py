"""Tidy CSV files that survive a kill: one header, whole lines, appended durably."""

import csv
import errno
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import LedgerError

Row = Mapping[str, Any]


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Add rows in one write and see them on disk; a missing file gets its header, a torn last line is cut off.

    Empty means not measured. After a failure the file holds what it held before.

    Raises:
        LedgerError: The file has other columns.
        OSError: It cannot be written.
    """
    with path.open("ab") as file:
        _mend_torn_line(path)
        if path.stat().st_size == 0:
            rows = [dict(zip(columns, columns, strict=True)), *rows]
        else:
            _check_header(path, _first_line(path), columns)
        _write_durably(file.fileno(), _csv_text(rows, columns).encode(errors="backslashreplace"))


def read_whole_lines(path: Path) -> bytes:
    """The lines of a file that end with a line break; nothing if there is no such file.

    Raises:
        LedgerError: The file cannot be read.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error}.") from error
    return content[: content.rfind(b"\n") + 1]


def parse_rows(whole: bytes, path: Path, columns: Sequence[str], *, text_columns: frozenset[str]) -> pd.DataFrame:
    """Rows of a file's whole lines; none if it has no lines.

    Args:
        whole: What `read_whole_lines` returns.
        path: The file, for messages.
        columns: What its header must say.
        text_columns: Read as they are; in all others empty means not measured.

    Raises:
        LedgerError: The file has other columns, or text where a number is expected.
    """
    types = {column: str for column in columns if column in text_columns}
    if not whole:
        return pd.DataFrame({column: pd.Series(dtype=types.get(column, "float64")) for column in columns})
    _check_header(path, whole, columns)
    not_measured = {column: [""] for column in columns if column not in text_columns}
    try:
        rows = pd.read_csv(io.BytesIO(whole), dtype=types, keep_default_na=False, na_values=not_measured)
    except ValueError as error:  # pandas' own errors and those of decoding are all of this type
        raise LedgerError(f"{path} is damaged: {error}. Restore it, or move the folder away.") from error
    for column in not_measured:
        wrong = _no_numbers(rows[column])
        if len(wrong):
            raise LedgerError(
                f"{path} is damaged: column {column} has {wrong.iloc[0]!r}, which is no number. Restore it, or move "
                "the folder away."
            )
    return rows


def _no_numbers(column: pd.Series) -> pd.Series:
    """The texts of a column that are neither numbers nor empty."""
    if pd.api.types.is_numeric_dtype(column):
        return column[:0]
    return column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]


def _write_durably(descriptor: int, content: bytes) -> None:
    """Append the content and see it on disk, or leave the file as it was."""
    size = os.fstat(descriptor).st_size
    try:
        n_written = os.write(descriptor, content)
        if n_written != len(content):
            raise OSError(errno.ENOSPC, f"only {n_written} of {len(content)} bytes could be written")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _mend_torn_line(path: Path) -> None:
    """Cut off a last line that a kill or a full disk left without its end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()


def _check_header(path: Path, content: bytes, columns: Sequence[str]) -> None:
    found = content.split(b"\n", 1)[0].decode().split(",")
    if found == list(columns):
        return
    unknown = [name for name in found if name not in columns]
    missing = [name for name in columns if name not in found]
    raise LedgerError(
        f"{path} has other columns than this version's ledger: unknown columns {unknown}, missing columns {missing}. "
        "Use the version of backbone-benchmark that wrote it, move the folder away or choose another with --results."
    )


def _csv_text(rows: Iterable[Row], columns: Sequence[str]) -> str:
    output = io.StringIO()
    writer = csv.DictWriter(output, columns, restval="", extrasaction="raise", lineterminator="\n")
    for row in rows:
        writer.writerow({name: _plain(value) for name, value in row.items()})
    return output.getvalue()


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    if isinstance(value, bool):
        return int(value)
    # One line a row: the reader mends a torn file by its line ends.
    return " ".join(value.split()) if isinstance(value, str) else value
