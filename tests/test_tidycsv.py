"""Files that are not tidy CSV, or not in its plain form. What the ledger does with them is in test_ledger.py."""

import codecs
from pathlib import Path

import pytest

from benchmark.errors import LedgerError
from benchmark.tidycsv import append_rows, parse_rows, read_whole_lines

COLUMNS = ("name", "score")
PLAIN = 'name,score\na,1\n"b, c",2\n'
FORMS = {
    "plain": PLAIN.encode(),
    "crlf": PLAIN.replace("\n", "\r\n").encode(),
    "cr": PLAIN.replace("\n", "\r").encode(),
    "mixed ends": PLAIN.replace("\n", "\r\n", 2).encode(),
    "utf-8 with a mark": codecs.BOM_UTF8 + PLAIN.encode(),
    "utf-16": PLAIN.replace("\n", "\r\n").encode("utf-16"),
    "utf-16, big end": codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
    "quoted": b'"name","score"\n"a","1"\n"b, c","2"\n',
    "other order": b'score,name\n1,a\n2,"b, c"\n',
    "blank lines": PLAIN.encode() + b"\n\n",
    "torn": PLAIN.encode() + b"torn",
}


def read(path: Path) -> list[tuple[str, float]]:
    rows = parse_rows(read_whole_lines(path, COLUMNS), path, COLUMNS, text_columns=frozenset({"name"}))
    return list(rows.itertuples(index=False, name=None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.csv"


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_git_or_a_spreadsheet_wrote_is_read(path: Path, form: str):
    path.write_bytes(FORMS[form])

    assert read(path) == [("a", 1), ("b, c", 2)]
    assert path.read_bytes() == FORMS[form]


@pytest.mark.parametrize("form", FORMS)
def test_a_row_is_added_in_the_plain_form(path: Path, form: str):
    path.write_bytes(FORMS[form])

    append_rows(path, COLUMNS, [{"name": "d", "score": 3}])

    assert read(path) == [("a", 1), ("b, c", 2), ("d", 3)]
    assert path.read_bytes().startswith(b"name,score\n")
    assert path.read_bytes().endswith(b"\nd,3\n")
    assert b"\r" not in path.read_bytes()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xff\xfe\x00\n", "has other columns"),
        (b"\x89PNG\r\n\x1a\n\x00", "has other columns"),
        (b"not a table", "has other columns"),
        (b"name,name\na,b\n", r"has other columns.*missing columns \['score'\], twice \['name'\]"),
        (b"x" * 200_000 + b"\n", "has other columns"),
    ],
)
def test_a_file_that_is_no_table_of_ours_is_refused_and_left_as_it_is(path: Path, content: bytes, what: str):
    path.write_bytes(content)

    with pytest.raises(LedgerError, match=rf"scores\.csv {what}"):
        read(path)
    with pytest.raises(LedgerError, match=rf"scores\.csv {what}"):
        append_rows(path, COLUMNS, [{"name": "a", "score": 1}])

    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"c\n", "line 4 has 1 fields instead of 2"),
        (b"c,3,4\n", "line 4 has 3 fields instead of 2"),
        (b"c\nd,3,4\n", "line 4 has 1 fields instead of 2"),
        (b'c,"3\nd,4"\n', "line 4 has a quotation mark that does not end"),
        (b"c,\x003\n", "line 4 holds zero bytes"),
        (b"c,three\n", "line 4, column score has 'three': it is not a number"),
        (b"\xff,3\n", "codec can't decode"),
    ],
)
def test_a_damaged_line_is_refused_with_what_is_wrong(path: Path, line: bytes, what: str):
    path.write_bytes(PLAIN.encode() + line)

    with pytest.raises(LedgerError, match=rf"scores\.csv is damaged: .*{what}.*correct or delete the line"):
        read(path)


def test_a_folder_below_a_file_is_refused(path: Path):
    path.write_text("")

    with pytest.raises(LedgerError, match="cannot be a folder: part of it is a file"):
        read_whole_lines(path / "x.csv", COLUMNS)
