"""Tidy CSV files that survive a kill: one header, whole lines, each append on disk before it returns.

A file is written in one plain form: UTF-8, line feeds, the columns in their order, one line per row. Files that a
spreadsheet or git wrote in another form are read too, and get the plain form before the next row is added.
"""

import codecs
import csv
import errno
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.errors import LedgerError
from benchmark.escaping import from_field, to_field
from benchmark.storage import write_whole

Row = Mapping[str, Any]
ENCODINGS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
REMEDY = "Restore the file from a copy, correct or delete the line, or move the folder away."
MOST_SHOWN, LONGEST_SHOWN = 8, 60  # names of columns, and their characters


class Limits(NamedTuple):
    """The numbers that a column can hold: from the lowest to the highest, and whether only whole ones."""

    lowest: float
    highest: float
    are_whole: bool = False

    def __str__(self) -> str:
        """As the end of a sentence about a wrong value."""
        return f"a {'whole number' if self.are_whole else 'number'} from {self.lowest:g} to {self.highest:g}"


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Add rows in one write and sync them to disk. A missing file gets its header; a torn last line is cut off.

    Values that a row lacks stay empty, which means not measured. After a failure the file is unchanged.

    Raises:
        LedgerError: The file has other columns, or cannot be read.
        OSError: It cannot be written.
    """
    if not _is_plain(path, columns):
        plain = _in_order(read_whole_lines(path, columns), path, columns)
        with write_whole(path) as whole:
            whole.write(plain)
    with path.open("ab") as file:
        if not file.tell():
            rows = [dict(zip(columns, columns, strict=True)), *rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writerows({name: to_text(value) for name, value in row.items()} for row in rows)
        _write_durably(file.fileno(), text.getvalue().encode())


def _is_plain(path: Path, columns: Sequence[str]) -> bool:
    """Whether a row can be added as it is, judged by the first line and the last byte."""
    try:
        with path.open("rb") as file:
            header = file.readline()
            if not header:
                return True
            file.seek(-1, os.SEEK_END)
            return header == ",".join(columns).encode() + b"\n" and file.read() == b"\n"
    except FileNotFoundError:
        return True


def read_whole_lines(path: Path, columns: Sequence[str]) -> bytes:
    """The lines of a file that end with a line break, in UTF-8 with line feeds; nothing if there is no such file.

    Args:
        path: The file. It may be in UTF-8 with a mark at its beginning, or in UTF-16, and have any line ends.
        columns: A file that is torn within this header has no lines.

    Raises:
        LedgerError: The file cannot be read, or is not a text with these columns.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    except NotADirectoryError as error:
        raise LedgerError(
            f"{path.parent} cannot be a folder: part of it is a file. Choose another with --results."
        ) from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error}.") from error
    content = _in_utf8(content, path)
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    first, end, rest = content.partition(b"\n")
    if not end:
        if not ",".join(columns).encode().startswith(first):
            _check_header(path, _names(first), columns)
        return b""
    header = ",".join(_names(first)).encode() + end
    return header + rest[: rest.rfind(b"\n") + 1]


def _in_utf8(content: bytes, path: Path) -> bytes:
    for mark, encoding in ENCODINGS.items():
        if content.startswith(mark):
            content = content[len(mark) :]
            if encoding == "utf-8":
                return content
            try:
                return content[: len(content) // 2 * 2].decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise LedgerError(f"{path} is damaged: {error}. {REMEDY}") from error
    return content


def _names(header: bytes) -> list[str]:
    """The names in a header, quoted or not."""
    text = header.decode(errors="replace")
    try:
        return next(csv.reader([text]), [])
    except csv.Error:
        return [text]


def parse_rows(
    whole: bytes,
    path: Path,
    columns: Sequence[str],
    *,
    text_columns: frozenset[str],
    limits: Callable[[str], Limits | None] = lambda _: None,
) -> pd.DataFrame:
    """Rows of a file's whole lines; none if it has no lines.

    Args:
        whole: What `read_whole_lines` returns.
        path: The file, for messages.
        columns: Its header must have these, in any order.
        text_columns: Read as text; all others are numbers, and empty where they were not measured.
        limits: The numbers that a column can hold; None for any.

    Raises:
        LedgerError: The file has other columns, or a line that is none of ours; the text names it and what to do.
    """
    numeric = [column for column in columns if column not in text_columns]
    texts = [column for column in columns if column in text_columns]
    if not whole:
        empty = pd.DataFrame(columns=list(columns), dtype=str)
        return empty.astype(dict.fromkeys(numeric, "float64"))
    rows = _read(whole, path, columns, texts)
    for column in numeric:
        _check_numbers(rows, column, limits(column), path)
    if b"\\" in whole:
        for column in texts:
            rows[column] = rows[column].map(from_field)
    return rows


def read_fields(whole: bytes, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """All fields of a file's whole lines as they are written.

    Raises:
        LedgerError: The file has other columns, or a line with more or fewer fields.
    """
    return _read(whole, path, columns, columns)


def _read(whole: bytes, path: Path, columns: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
    """The rows as pandas reads them, with the columns in order; columns that are no texts may have any type."""
    names = _names(whole.partition(b"\n")[0])
    _check_header(path, names, columns)
    try:
        _check_lines(whole, len(names))
        rows = pd.read_csv(
            io.BytesIO(whole), keep_default_na=False, low_memory=False, dtype=dict.fromkeys(texts, str),
            na_values=dict.fromkeys(set(columns) - set(texts), ""),
        )  # fmt: skip
        if not isinstance(rows.index, pd.RangeIndex):
            raise ValueError("its first line has too many fields")
    except (ValueError, OverflowError, csv.Error) as error:  # the first is also the type of pandas' own errors
        raise LedgerError(f"{path} is damaged: {str(error).strip()}. {REMEDY}") from error
    return rows[list(columns)]


def _check_lines(whole: bytes, n_fields: int) -> None:
    """Refuse a line that has not one value per column; pandas would fill it up, or take the first value for a name.

    Raises:
        ValueError: There is one.
    """
    before, zero, _ = whole.partition(b"\0")
    if zero:
        line = before.count(b"\n") + 1
        raise ValueError(f"line {line} holds zero bytes, as after a failure of power")
    if b'"' not in whole and whole.count(b",") == whole.count(b"\n") * (n_fields - 1) and b"\n\n" not in whole:
        whole.decode()
        return  # none has more fields, or pandas refuses it, so none has fewer
    lines = csv.reader(io.StringIO(whole.decode()))
    for line, fields in enumerate(lines, 1):
        if line != lines.line_num:
            raise ValueError(f"line {line} has a quotation mark that does not end")
        if len(fields) not in (0, n_fields):
            raise ValueError(f"line {line} has {len(fields)} fields instead of {n_fields}")


def _in_order(whole: bytes, path: Path, columns: Sequence[str]) -> bytes:
    """The lines with their columns in order."""
    if not whole or _names(whole.partition(b"\n")[0]) == list(columns):
        return whole
    return read_fields(whole, path, columns).to_csv(index=False, lineterminator="\n").encode()


def _check_numbers(rows: pd.DataFrame, column: str, limits: Limits | None, path: Path) -> None:
    found = rows[column]
    if found.dtype.kind not in "iuf":
        numbers = pd.to_numeric(found.astype(object).where(found.notna(), None).map(_no_truth), errors="coerce")
        bad = (numbers.isna() & found.notna()).to_numpy()
        if bad.any():
            raise wrong_value(path, rows, int(bad.argmax()), column, "it is not a number")
        rows[column] = found = numbers.astype(float)
    if limits is not None:
        known = found.to_numpy(float)
        is_known = ~np.isnan(known)
        bad = is_known & ((known < limits.lowest) | (known > limits.highest))
        bad |= is_known & limits.are_whole & (np.floor(known) != known)
        if bad.any():
            raise wrong_value(path, rows, int(bad.argmax()), column, f"it is not {limits}")


def _no_truth(value: Any) -> Any:
    """The words True and False, which pandas takes for numbers, as texts."""
    return str(value) if isinstance(value, bool) else value


def wrong_value(path: Path, rows: pd.DataFrame, place: int, column: str, problem: str) -> LedgerError:
    """The error about one value, which names its file, line, run and column.

    Args:
        path: The file.
        rows: Its rows.
        place: The number of the row.
        column: Where the value is.
        problem: What is wrong with it, as a sentence about `it`.
    """
    run_id = rows["run_id"].iloc[place] if "run_id" in rows else ""
    run = f" (run {run_id})" if run_id else ""
    value = rows[column].iloc[place]
    shown = "nothing" if pd.isna(value) else f"{value:g}" if isinstance(value, np.number) else repr(str(value))
    return LedgerError(f"{path} is damaged: line {place + 2}{run}, column {column} has {shown}: {problem}. {REMEDY}")


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


def _check_header(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    if sorted(found) == sorted(columns):
        return
    unknown = [name for name in found if name not in columns]
    missing = [name for name in columns if name not in found]
    twice = sorted({name for name in found if found.count(name) > 1})
    raise LedgerError(
        f"{path} has other columns than this version's ledger: unknown columns {_some(unknown)}, missing columns "
        f"{_some(missing)}{f', twice {_some(twice)}' if twice else ''}. "
        "Use the version of backbone-benchmark that wrote it, move the folder away or choose another with --results."
    )


def _some(names: Sequence[str]) -> str:
    shown = [name[:LONGEST_SHOWN] for name in names[:MOST_SHOWN]]
    return f"{shown} and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else str(shown)


def to_text(value: Any) -> Any:
    """A value as a field of the file holds it; `parse_rows` gives it back, numbers to nine digits."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    if isinstance(value, bool):
        return int(value)
    return to_field(value) if isinstance(value, str) else value
