"""Files that are not tidy CSV. What the ledger does with them is in test_ledger.py."""

import pytest

from benchmark.errors import LedgerError
from benchmark.tidycsv import append_rows, parse_rows, read_whole_lines

COLUMNS = ("name", "score")


def test_a_file_of_bytes_that_are_not_text_is_refused_as_one_with_other_columns(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(b"\xff\xfe\x00\n")

    with pytest.raises(LedgerError, match=r"scores\.csv has other columns"):
        parse_rows(read_whole_lines(path), path, COLUMNS, text_columns=frozenset({"name"}))
    with pytest.raises(LedgerError, match=r"scores\.csv has other columns"):
        append_rows(path, COLUMNS, [{"name": "a", "score": 1}])

    assert path.read_bytes() == b"\xff\xfe\x00\n"
