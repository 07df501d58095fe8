"""Tidy CSV files that survive a kill: one header, whole lines, each append on disk before it returns."""

import csv
import errno
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import LedgerError

Row = Mapping[str, Any]


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Add rows in one write and sync them to disk. A missing file gets its header; a torn last line is cut off.

    Values that a row lacks stay empty, which means not measured. After a failure the file is unchanged.

    Raises:
        LedgerError: The file has other columns.
        OSError: It cannot be written.
    """
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # a kill or a full disk left the last line without its end
                file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.seek(0)
        header = file.readline()
        if header:
            _check_header(path, header, columns)
        else:
            rows = [dict(zip(columns, columns, strict=True)), *rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
        _write_durably(file.fileno(), text.getvalue().encode(errors="backslashreplace"))


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
        columns: Its header must be equal.
        text_columns: Read as text; all others are numbers, and empty where they were not measured.

    Raises:
        LedgerError: The file has other columns, or text where a number is expected.
    """
    numeric = [column for column in columns if column not in text_columns]
    if not whole:
        empty = pd.DataFrame(columns=list(columns), dtype=str)
        return empty.astype(dict.fromkeys(numeric, "float64"))
    _check_header(path, whole, columns)
    types = dict.fromkeys(set(columns) - set(numeric), str)
    try:
        rows = pd.read_csv(io.BytesIO(whole), dtype=types, keep_default_na=False, na_values=dict.fromkeys(numeric, ""))
        for column in numeric:
            texts = rows[column][pd.to_numeric(rows[column], errors="coerce").isna() & rows[column].notna()]
            if len(texts):
                raise ValueError(f"column {column} has {texts.iloc[0]!r}, which is not a number")
    except ValueError as error:  # also the type of pandas' own errors and of decoding errors
        raise LedgerError(f"{path} is damaged: {error}. Restore it, or move the folder away.") from error
    return rows


def _write_durably(descriptor: int, content: bytes) -> None:
    """Append the content and sync it to disk, or leave the file as it was."""
    size = os.fstat(descriptor).st_size
    try:
        n_written = os.write(descriptor, content)
        if n_written != len(content):
            raise OSError(errno.ENOSPC, f"only {n_written} of {len(content)} bytes could be written")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _check_header(path: Path, content: bytes, columns: Sequence[str]) -> None:
    found = content.split(b"\n", 1)[0].decode(errors="replace").split(",")
    if found == list(columns):
        return
    unknown = [name for name in found if name not in columns]
    missing = [name for name in columns if name not in found]
    raise LedgerError(
        f"{path} has other columns than this version's ledger: unknown columns {unknown}, missing columns {missing}. "
        "Use the version of backbone-benchmark that wrote it, move the folder away or choose another with --results."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    if isinstance(value, bool):
        return int(value)
    # One line per row, because a torn file is cut at its last line end.
    return " ".join(value.split()) if isinstance(value, str) else value
