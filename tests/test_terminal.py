"""Every command with a table, in a real pseudo-terminal of 80 and of 120 columns: nothing is cut, lost or too long."""

import contextlib
import fcntl
import importlib
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from toy_ledgers import add_predicted

from benchmark import console
from benchmark.analysis.loading import load_all_runs
from benchmark.analysis.verification import verify_rows
from benchmark.caching import CacheEntry
from benchmark.cli import main, verifying
from benchmark.ledger import Ledger
from benchmark.registry import load_registry

# Names of the usual length, and two that are equal up to their last characters.
BACKBONES = ("MobileNetV2-dogs", "efficientnet_b1_r240", "efficientnet_b1_r256")
STAGES = "0,epochs=5,patience=3 + 20,learning_rate=0.0001,patience=3"
SHARES = (0.9, 0.7, 0.8)
COSTS = {"accuracy_low": 0.61, "accuracy_high": 0.95, "images_per_s": 1234.0, "latency_ms": 56.7, "peak_rss_mib": 432.1,
         "macro_f1": 0.6543, "efficiency_above_chance": 0.777, "chance": 0.5, "n_classes": 2}  # fmt: skip
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WIDTHS = pytest.mark.parametrize("width", [80, 120])


def in_terminal(width: int, *arguments: str) -> str:
    """What a command prints in a terminal of this width, without colours.

    In this process: one that is forked from it inherits the locks of TensorFlow's threads and may wait for ever.
    """
    leader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with ThreadPoolExecutor(1) as reader:
        output = reader.submit(_read_all, leader)
        try:
            with _standing_for_outputs(terminal), mock.patch.object(sys, "argv", ["benchmark", *arguments]):
                importlib.reload(console)  # which looks at the terminal when it is imported
                with contextlib.suppress(SystemExit):
                    main()
        finally:
            os.close(terminal)  # the last one that could write, so the reader ends
            importlib.reload(console)
        shown = output.result()
    os.close(leader)
    return ESCAPES.sub("", shown.decode()).replace("\r\n", "\n")


def _read_all(leader: int) -> bytes:
    output = b""
    with contextlib.suppress(OSError):  # nobody writes any more
        while chunk := os.read(leader, 65_536):
            output += chunk
    return output


@contextlib.contextmanager
def _standing_for_outputs(terminal: int) -> Iterator[None]:
    """Inside, the terminal is standard input, output and error."""
    kept = [os.dup(descriptor) for descriptor in range(3)]
    for descriptor in range(3):
        os.dup2(terminal, descriptor)
    try:
        with (
            open(1, "w", closefd=False) as out,
            open(2, "w", closefd=False) as err,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setenv("TERM", "xterm-256color")
            patch.delenv("COLUMNS", raising=False)
            yield
    finally:
        for descriptor, original in enumerate(kept):
            os.dup2(original, descriptor)
            os.close(original)


def check(shown: str, width: int, n_rows: int) -> None:
    """No line is too long, nothing is cut, and no two of the rows of the first table are alike."""
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width, shown
    assert "…" not in shown
    assert "Traceback" not in shown, shown
    (start, *_) = [number for number, line in enumerate(lines, start=1) if line.startswith("───")]
    # A folded row goes on in lines that begin with blanks.
    rows = [line.rstrip() for line in lines[start:] if line[:4].strip()][:n_rows]
    assert len(rows) == len({*rows}) == n_rows, shown


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`results/toy` with three backbones in two modes and two seeds; `later/toy`, which is worse."""
    path = tmp_path_factory.mktemp("terminal")
    for folder, loss in (("results", 0.0), ("later", 0.2)):
        chances = np.random.default_rng(0).random(500)
        for backbone, share in zip(BACKBONES, SHARES, strict=True):
            for mode, lost in (("native", 0.0), ("unit", 0.1)):
                for seed in (0, 1):
                    add_predicted(
                        Ledger(path / folder / "toy"), chances + 0.01 * seed < share - lost - loss,
                        backbone=backbone, mode=mode, seed=seed, strategy="finetune", stages=STAGES, head="dense",
                        head_options="units=0,dropout=0.3", params_total=2_270_794, wall_s=123.0 + seed, **COSTS,
                    )  # fmt: skip
    return path


@pytest.fixture
def ledgers(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds them, which is the current one."""
    monkeypatch.chdir(made)
    return made


@WIDTHS
def test_a_leaderboard_shows_whole_names_and_accuracies(ledgers: Path, width: int):
    shown = in_terminal(width, "leaderboard", "results")

    check(shown, width, n_rows=6)
    for text in (*BACKBONES, "native", "unit", "± 0.0", "2.27"):
        assert text in shown


@WIDTHS
@pytest.mark.parametrize(
    ("by", "figure"),
    [("latency_ms", "56.7"), ("efficiency", "0.388"), ("macro_f1", "0.6543"), ("peak_rss_mib", "432"),
     ("efficiency_above_chance", "0.777"), ("images_per_s", "1234")],
)  # fmt: skip
def test_a_leaderboard_shows_what_it_is_ranked_by(ledgers: Path, width: int, by: str, figure: str):
    shown = in_terminal(width, "leaderboard", "results", "--by", by)

    check(shown, width, n_rows=6)
    assert figure in shown


@WIDTHS
def test_an_ablation_shows_what_each_mode_costs(ledgers: Path, width: int):
    shown = in_terminal(width, "ablation", "results")

    check(shown, width, n_rows=3)
    for text in (*BACKBONES, "+10.", "harmful", "→"):
        assert text in shown


@WIDTHS
def test_a_comparison_shows_before_after_difference_and_p(ledgers: Path, width: int):
    shown = in_terminal(width, "compare", "results", "later")

    check(shown, width, n_rows=12)
    words = shown.split()
    for heading in ("Before", "After", "Difference", "p", "Seed"):
        assert heading in words
    rows = [line for line in shown.splitlines() if "worse" in line and "-0.2" in line]
    assert len(rows) == 12
    assert all(re.search(r"0\.\d{4} +0\.\d{4} +-0\.\d{4} +\d\S*", row) for row in rows)
    assert "-0.0000" not in shown
    assert "-0.00 " not in shown


@WIDTHS
def test_a_verification_shows_what_was_and_what_is(ledgers: Path, monkeypatch: pytest.MonkeyPatch, width: int):
    before, after = (load_all_runs([ledgers / name]) for name in ("results", "later"))
    rows = zip(before.to_dict("records"), after.to_dict("records"), strict=True)
    table = verify_rows(before, {(row["folder"], row["run_id"]): new for row, new in rows})
    monkeypatch.setattr(verifying, "check_ledgers", lambda *_: table)

    shown = in_terminal(width, "verify", "results")

    check(shown, width, n_rows=12)
    assert {"Was", "Now"} <= {*shown.split()}
    assert len(re.findall(r"^(?:- +)?changed .* 0\.\d{4} +0\.\d{4}\b", shown, re.MULTILINE)) == 12


@WIDTHS
@pytest.mark.parametrize("hub", [(), ("--hub",)], ids=["registry", "hub"])
def test_a_list_shows_whole_names(monkeypatch: pytest.MonkeyPatch, width: int, hub: tuple[str, ...]):
    names = [f"hub:hgnetv2_b5_ssld_stage1_in22k_in1k_{number}" for number in range(9)] if hub else [*load_registry()]
    presets = [
        {
            "name": name,
            "family": "HGNetV2",
            "params": 2_539_567_362,
            "pooling": "embedding",
            "handle": f"kaggle://{name}",
        }
        for name in names
    ]
    monkeypatch.setattr("benchmark.presets.list_presets", lambda: presets)

    shown = in_terminal(width, "list", "backbones", *hub)

    check(shown, width, n_rows=len(names) if hub else 40)
    assert {*names} <= {line.split()[0] for line in shown.splitlines() if line.strip()}


@WIDTHS
@pytest.mark.parametrize("kind", ["networks", "datasets", "modes", "strategies", "heads", "recipes"])
def test_descriptions_are_broken_between_words(width: int, kind: str):
    wide, shown = (in_terminal(columns, "list", kind) for columns in (400, width))

    check(shown, width, n_rows=4)
    words, as_wide = ([word for word in text.split() if "──" not in word] for text in (shown, wide))
    assert sorted(words) == sorted(as_wide)


@WIDTHS
def test_a_status_shows_every_cell_by_name(ledgers: Path, width: int):
    shown = in_terminal(width, "status", "toy")

    check(shown, width, n_rows=12)
    assert all(shown.count(name) == 4 for name in BACKBONES)
    assert "toy: 12 done." in shown


@WIDTHS
def test_a_dry_run_shows_every_cell_and_the_time(ledgers: Path, width: int):
    shown = in_terminal(
        width, "run", "--backbones", "MobileNetV2-dogs,EfficientNetV2B0,EfficientNetV2B1,InceptionResNetV2",
        "--modes", "native,unit", "--heads", "linear,dense", "--seeds", "0,1", "--dry-run",
    )  # fmt: skip

    check(shown, width, n_rows=32)
    assert "60,192,778" not in shown
    for text in ("InceptionResNetV2", "2,270,794", "32 cells, 8 passes over images.", "guessed"):
        assert text in " ".join(shown.split())


@WIDTHS
def test_counts_of_parameters_are_whole(width: int):
    shown = in_terminal(
        width, "params", "--backbones", "InceptionResNetV2,EfficientNetV2B0,EfficientNetV2B1", "--datasets", "digits",
        "--heads", "linear,dense",
    )  # fmt: skip

    check(shown, width, n_rows=6)
    for text in ("InceptionResNetV2", "54,336,736", "54,352,106"):
        assert text in shown


@WIDTHS
def test_entries_of_the_cache_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int):
    entries = [
        CacheEntry(
            tmp_path / f"{number}{'f' * 31}", "features", "folder:photographs",
            {"backbone": "efficientnet_b1_ra4", "view": "224px bilinear-antialias squash tf", "precision": "float32"},
            100.0, 1.0, 123_456_789, datetime(2026, 1, 1, tzinfo=UTC),
        )
        for number in range(3)
    ]  # fmt: skip
    monkeypatch.setattr("benchmark.caching.list_cache", lambda: entries)

    shown = in_terminal(width, "cache", "list")

    check(shown, width, n_rows=3)
    for text in ("efficientnet_b1_ra4", "117.7", "3 entries, 0.34 GiB"):
        assert text in shown


@pytest.mark.parametrize("command", ["run", "recommend", "leaderboard", "verify", "export"])
def test_a_help_fits_and_ends_with_what_only_experts_need(command: str):
    shown = in_terminal(80, command, "--help")

    panels = re.findall(r"─ ([A-Z][a-z ]+) ─", shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert "-range" not in shown
    assert panels[-1] == ("Output" if command == "leaderboard" else "For experts")
    order = ["What to run", "How to prepare images", "Where to run", "Output", "For experts"]
    assert [name for name in panels if name in order] == [name for name in order if name in panels]
