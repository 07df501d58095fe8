"""The progress of a sweep."""

import io
import itertools
from types import SimpleNamespace

from rich.console import Console

from benchmark import console
from benchmark.progress import SweepDisplay
from benchmark.work.events import CellEnded, CellStarted, StageProgress


def test_cells_are_numbered_in_the_order_in_which_they_end(capsys):
    row = {"status": "failed", "error_type": "crashed", "error_message": "it died"}
    one, other = SimpleNamespace(cell="one"), SimpleNamespace(cell="other")

    with SweepDisplay(2) as display:
        for event in (CellStarted(one), CellStarted(other), CellEnded(other, row), CellEnded(one, row)):
            display.show(event)

    assert capsys.readouterr().err.splitlines() == [
        "cell 1/2 other: failed (crashed): it died", "cell 2/2 one: failed (crashed): it died",
    ]  # fmt: skip


def test_a_line_of_progress_keeps_its_bar_count_rate_and_time_left_at_80_columns(monkeypatch):
    screen, times = io.StringIO(), itertools.count(step=0.1)
    stderr = Console(file=screen, force_terminal=True, width=80, get_time=lambda: next(times))
    monkeypatch.setattr(console, "stderr", stderr)

    with SweepDisplay(36) as display:
        cell = SimpleNamespace(cell="MobileNetV2-dogs fashion_mnist native finetune dense 224 px seed 0")
        display.show(CellStarted(cell))
        for n_done in range(0, 50_000, 10_000):
            display.show(StageProgress("extracting the features of a long stage", n_done, 70_000))

    lines = screen.getvalue().splitlines()
    line = [line for line in lines if "40000/70000" in line][-1]
    assert any(line.endswith("224 px seed 0") for line in lines), "the cell is named in full"
    assert "━" in line
    assert "images/s" in line
    assert " left" in line
