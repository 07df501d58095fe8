"""Tables on screens of any width: what is shown is whole, and what is not is named."""

import logging

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_ledgers import add

from benchmark import console
from benchmark.analysis.formats import Section
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import load_runs
from benchmark.analysis.presentation import LEADERBOARD_LEAST_TELLING, leaderboard_sections
from benchmark.analysis.published import compare_published
from benchmark.escaping import from_field, in_utf8, printable, to_field
from benchmark.fitting import fit
from benchmark.ledger import Ledger

STAGES = "0,epochs=5,patience=3,reduce_patience=2 + 20,learning_rate=0.0001,patience=3,reduce_patience=2"
STRATEGY = f"finetune({STAGES.replace(',', ', ')})"
COLUMNS = {"accuracy_low": 0.81, "accuracy_high": 0.85, "images_per_s": 1234.0, "peak_rss_mib": 4321.0,
           "efficiency_above_chance": 0.777}  # fmt: skip


@pytest.fixture
def sections(tmp_path) -> list[Section]:
    ledger = Ledger(tmp_path / "toy")
    add(ledger, backbone="MobileNetV2-dogs", strategy="finetune", stages=STAGES, head="dense",
        head_options="units=0,dropout=0.3", **COLUMNS)  # fmt: skip
    add(ledger, backbone="conv_bn", strategy="scratch", head="", input_size_px=28, **COLUMNS)
    board = make_leaderboard(load_runs([tmp_path]))
    return leaderboard_sections(board, compare_published(board, []), by="images_per_s")


@pytest.mark.parametrize("width", range(80, 260, 12))
def test_a_number_is_shown_whole_or_its_column_is_named(sections: list[Section], monkeypatch, capsys, width: int):
    monkeypatch.setattr(console.stdout, "width", width)

    console.show_sections(sections)

    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "1234" in shown  # what it is ranked by
    assert max(map(len, shown.splitlines())) <= width
    _, _, note = " ".join(shown.split()).partition(f"No room at {width} columns for: ")
    left_out = note.partition(". A wider window")[0].split("; ")
    cells = sections[0].cells.drop(columns=["Head", "Strategy", "Mode", "Seeds"])  # broken, or said in the title
    for heading in cells:
        assert (heading in left_out) != all(text in shown for text in cells[heading]), heading


def test_a_wide_screen_shows_everything(sections: list[Section], monkeypatch, capsys):
    monkeypatch.setattr(console.stdout, "width", 400)

    console.show_sections(sections)

    shown = capsys.readouterr().out
    assert "No room" not in shown
    assert STRATEGY in shown


def test_what_a_board_can_do_without_are_columns_of_it(sections: list[Section]):
    optional = {"Published", "Difference", "Latency, ms", "Chance"}  # only where there are any

    assert set(LEADERBOARD_LEAST_TELLING.values()) - optional <= set(sections[0].cells)


def test_an_empty_table_is_its_heading_and_its_notes(capsys):
    console.show_sections([Section("digits", pd.DataFrame(), ("nothing is ranked",))])

    assert capsys.readouterr().out.split("\n")[:2] == ["digits", "nothing is ranked"]


def test_texts_stand_left_and_numbers_right_and_what_is_not_known_is_a_dash(capsys):
    console.show_table(("name", "params_total"), [("Net", 1_234_567), ("MyNetwork", None)])

    assert capsys.readouterr().out.splitlines() == [
        "Name          Params",
        "────────────────────",
        "Net        1,234,567",
        "MyNetwork          –",
    ]


def test_what_all_rows_have_in_common_is_said_once_and_an_empty_column_is_not_shown(capsys):
    console.show_table(("dataset", "seed", "reason"), [("digits", 0, ""), ("digits", 1, "")])

    shown = capsys.readouterr().out
    assert shown.startswith("Dataset digits")
    assert shown.count("digits") == 1
    assert "Reason" not in shown


@pytest.mark.parametrize("width", [60, 80])
def test_names_are_folded_before_numbers(monkeypatch, capsys, width: int):
    names, number = ["somewhere-over-the-rainbow" + "x" * extra for extra in range(3)], 123_456_789
    monkeypatch.setattr(console.stdout, "width", width)

    console.show_table(("a", "b", "c", "n"), [(*names, number)])

    assert "123,456,789" in capsys.readouterr().out


# --- texts from outside ----------------------------------------------------------------------------------------------

ESCAPE = "\x1b[31m\x9b2J\u202eevil\x07"


def test_a_table_shows_what_a_terminal_would_obey(capsys):
    console.show_table(["name", "what"], [[ESCAPE, "two\nlines"], ["plain [red]", "größe 馬"]])

    shown = capsys.readouterr().out
    assert r"\x1b[31m\x9b2J\u202eevil\x07" in shown
    assert r"two\nlines" in shown
    assert "plain [red]" in shown
    assert not set(shown) & set("\x1b\x9b\u202e\x07")


@pytest.mark.parametrize("say", [console.say, console.show])
def test_a_message_keeps_its_lines_and_shows_the_rest(capsys, say):
    say(f"first {ESCAPE}\nsecond \udce9")

    shown = "".join(capsys.readouterr())
    assert shown.splitlines() == [r"first \x1b[31m\x9b2J\u202eevil\x07", r"second \udce9"]


def test_what_is_logged_is_shown_like_a_message(capsys):
    record = logging.LogRecord("name", logging.WARNING, "", 0, "about %s", (ESCAPE,), None)

    console.MessageHandler().emit(record)

    assert capsys.readouterr().err == "about \\x1b[31m\\x9b2J\\u202eevil\\x07\n"


@given(st.text(st.characters()))
def test_escapes_are_taken_back_to_the_last_character(text: str):
    field = to_field(text)

    assert from_field(field) == in_utf8(text)
    assert printable(field) == field
    assert len(field.splitlines()) <= 1
    field.encode()


@given(st.text(st.characters(blacklist_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Cn"])))
def test_texts_that_can_be_printed_are_shown_as_they_are(text: str):
    assert printable(text) == text
    assert from_field(text.replace("\\", "")) == text.replace("\\", "")


def test_only_long_texts_become_footnotes():
    stages = "scratch(all, epochs=30, patience=6)"

    fitted = fit({"Backbone": ["NetA", "NetB"], "Strategy": [stages, "probe"]}, set(), 30)

    assert fitted.cells["Strategy"] == ["scratch [1]", "probe"]
    assert " ".join("".join(fitted.footnotes).split()) == f"[1] {stages}"
