"""Texts of values, as tables and messages have them."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.formats import FORMATS, count_of, duration_text, number_texts, tally
from benchmark.escaping import ESCAPES


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "cell", "1 cell"), (0, "cell", "0 cells"), (2, "class", "2 classes"), (1, "pass", "1 pass"),
        (1200, "entry", "1,200 entries"), (3, "way", "3 ways"),
    ],
)  # fmt: skip
def test_a_count_agrees_with_its_noun(number: int, noun: str, text: str):
    assert count_of(number, noun) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.42, "0.42 s"), (41.26, "41.3 s"), (99.5, "1.7 min"), (750, "12.5 min"), (12_000, "3.3 h"),
    ],
)  # fmt: skip
def test_a_duration_has_few_digits_and_a_unit_that_suits_it(seconds: float, text: str):
    assert duration_text(seconds) == text


def test_a_tally_has_the_order_asked_for_and_only_what_occurs():
    assert tally(["b", "a", "b"], ("b", "c", "a")) == "2 b, 1 a"
    assert tally({"missing": 3, "done": 12}) == "12 done, 3 missing"
    assert tally([]) == "no cells"


def test_a_number_that_is_missing_is_a_dash():
    assert number_texts([0.5, None, float("nan")], "{:.2f}") == ["0.50", "–", "–"]


@pytest.mark.parametrize(
    ("number", "pattern", "text"),
    [
        (-0.004, "{:.2f}", "0.00"), (-0.0, "{:.3f}", "0.000"), (-0.004, "{:+.2f}", "+0.00"),
        (-0.4, "{:+.0f} %", "+0 %"), (-0.006, "{:.2f}", "-0.01"), (0, "{}", "0"), (-1, "{}", "-1"),
    ],
)  # fmt: skip
def test_zero_has_no_minus(number: float, pattern: str, text: str):
    assert number_texts([number], pattern) == [text]


def test_a_spreadsheet_finds_no_formula():
    table = pd.DataFrame({"name": ["=1+1", "+a", "-b", "@c", "plain", "a=b"], "difference": [-0.5, 1, 2, 3, 4, np.nan]})

    text = FORMATS["spreadsheet"](table, [])

    read = pd.read_csv(io.BytesIO(text.encode()), encoding="utf-8-sig")
    assert read["name"].tolist() == ["'=1+1", "'+a", "'-b", "'@c", "plain", "a=b"]
    assert read["difference"].tolist()[:5] == [-0.5, 1, 2, 3, 4]
    assert text.startswith("\ufeff")


def test_csv_has_one_line_per_row_whatever_the_names():
    text = FORMATS["csv"](pd.DataFrame({"name": ["two\nlines", "\x1b[2J", "C:\\new"]}), [])

    assert text.splitlines() == ["name", r"two\nlines", r"\x1b[2J", r"C:\\new"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_is_json_in_any_encoding_and_without_what_json_does_not_have(encoding: str):
    name = "größe 馬 😀 \x9b\u202e"

    text = FORMATS["json"](pd.DataFrame({"name": [name], "loss": [np.inf], "limit": [np.nan]}), [])

    assert "größe 馬 😀" in text
    assert not set(text) & set("\x9b\u202e")
    assert json.loads(text.encode(encoding, ESCAPES).decode(encoding)) == [{"name": name, "loss": None, "limit": None}]
