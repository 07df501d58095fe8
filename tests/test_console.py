"""Tables on screens of any width: what is shown is whole, and what is not is named."""

from types import SimpleNamespace

import pandas as pd
import pytest
from toy_ledgers import add

from benchmark import console
from benchmark.analysis.formats import Section
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import load_runs
from benchmark.analysis.presentation import LEADERBOARD_LEAST_TELLING, leaderboard_sections
from benchmark.analysis.published import compare_published
from benchmark.ledger import Ledger
from benchmark.work.events import CellEnded, CellStarted

STRATEGY = (
    "finetune(0, epochs=5, patience=3, reduce_patience=2 + 20, learning_rate=0.0001, patience=3, reduce_patience=2)"
)
COLUMNS = {"accuracy_low": 0.81, "accuracy_high": 0.85, "images_per_s": 1234.0, "peak_rss_mib": 4321.0,
           "efficiency_above_chance": 0.777}  # fmt: skip


@pytest.fixture
def sections(tmp_path) -> list[Section]:
    ledger = Ledger(tmp_path / "toy")
    add(ledger, backbone="MobileNetV2-dogs", strategy=STRATEGY, head="dense(units=0,dropout=0.3)", **COLUMNS)
    add(ledger, backbone="conv_bn", strategy="scratch(all)", head="", input_size_px=28, **COLUMNS)
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
    _, _, note = " ".join(shown.split()).partition("No room for ")
    left_out = [name for name in LEADERBOARD_LEAST_TELLING.values() if name in note.partition(": widen")[0]]
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
    optional = {"Published", "Difference"}  # only where there are any

    assert set(LEADERBOARD_LEAST_TELLING.values()) - optional <= set(sections[0].cells)


def test_an_empty_table_is_its_heading_and_its_notes(capsys):
    console.show_sections([Section("digits", pd.DataFrame(), ("nothing is ranked",))])

    assert capsys.readouterr().out.split("\n")[:2] == ["digits", "nothing is ranked"]


def test_cells_are_numbered_in_the_order_in_which_they_end(capsys):
    row = {"status": "failed", "error_type": "crashed", "error_message": "it died"}
    one, other = SimpleNamespace(cell="one"), SimpleNamespace(cell="other")

    with console.SweepDisplay(2) as display:
        for event in (CellStarted(one), CellStarted(other), CellEnded(other, row), CellEnded(one, row)):
            display.show(event)

    assert capsys.readouterr().err.splitlines() == [
        "cell 1/2 other: failed (crashed): it died", "cell 2/2 one: failed (crashed): it died",
    ]  # fmt: skip
