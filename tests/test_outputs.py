"""Where output goes if there is no room for it, or nobody wants it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from sampling import sampled
from toy_ledgers import add, add_predicted

from benchmark.cli import main
from benchmark.ledger import Ledger

# The least that a network can be trained.
RECIPE = """
name = "quick"
datasets = ["digits"]
limit = 200
backbones = ["lenet5"]
strategies = ["scratch"]
stages = [{ epochs = 1 }]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "quick.toml").write_text(RECIPE)
    return "quick.toml"


def in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = command.replace("benchmark", f"{shlex.quote(sys.executable)} -m benchmark")
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_none_of_the_programs_business(tmp_path: Path, closed: str):
    answer = in_shell(f"benchmark list heads {closed}", tmp_path)

    assert answer.returncode == 0
    assert answer.stderr == ""


@pytest.mark.slow
def test_a_sweep_runs_with_closed_outputs(tmp_path: Path, recipe: str):
    """Each worker has its own outputs, which begin as those of the program."""
    answer = in_shell(f"benchmark run {recipe} >&- 2>&-", tmp_path)

    assert answer.returncode == 0
    assert Ledger(tmp_path / "results" / "quick").read_runs()["status"].tolist() == ["done"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_an_output_that_is_full_is_said_without_a_traceback(tmp_path: Path):
    answer = in_shell("benchmark list heads > /dev/full", tmp_path)

    assert answer.returncode == 2
    assert answer.stderr == "Error: [Errno 28] No space left on device.\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
def test_a_verification_that_is_ended_leaves_no_folder(tmp_path: Path, recipe: str, program: Callable[..., Any]):
    """It works in a folder of its own among the temporary ones."""
    assert program(tmp_path, "run", recipe).returncode == 0
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    line = [sys.executable, "-m", "benchmark", "verify", "results/quick"]
    verification = subprocess.Popen(line, cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 60
    while not list(temporary.glob("benchmark-verify-*/results/0/worker.log")):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    verification.send_signal(signal.SIGTERM)

    assert verification.wait(30) == 128 + signal.SIGTERM
    assert list(temporary.glob("benchmark-verify-*")) == []


# --- nobody reads, or what is written has no room ---------------------------------------------------------------------


def with_closed_reader(arguments: list[str], folder: Path, output: str) -> subprocess.CompletedProcess[bytes]:
    """The program, one of whose outputs is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, output: writer}
        return subprocess.run(
            [sys.executable, "-m", "benchmark", *arguments], cwd=folder, timeout=120, check=False, **outputs
        )
    finally:
        os.close(writer)


WITH_A_READER = ["leaderboard", "leaderboard --format csv", "list heads", "list heads --json", "--help"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", sampled(WITH_A_READER, WITH_A_READER[1:3]))
def test_a_reader_that_has_gone_is_a_normal_end(tmp_path: Path, arguments: str):
    """`benchmark leaderboard | head -1` has read enough."""
    add(Ledger(tmp_path / "results" / "toy"))

    answer = with_closed_reader(arguments.split(), tmp_path, "stdout")

    assert (answer.returncode, answer.stderr) == (0, b"")


@pytest.mark.slow
def test_messages_that_nobody_reads_change_no_exit_code(tmp_path: Path):
    answers = [with_closed_reader(["leaderboard", "nowhere"], tmp_path, "stderr")]
    add(Ledger(tmp_path / "toy"), mode="unit", status="failed", error_type="oom")
    answers.append(with_closed_reader(["leaderboard", "toy", "--format", "csv"], tmp_path, "stderr"))

    assert [answer.returncode for answer in answers] == [2, 0]
    assert answers[1].stdout.startswith(b"rank,")


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("full", ["2>/dev/full", ">/dev/full"])
def test_a_sweep_whose_output_is_full_runs_to_its_end_and_says_so_by_its_exit_code(
    tmp_path: Path, recipe: str, full: str
):
    answer = in_shell(f"benchmark run {recipe} {full}", tmp_path)

    assert answer.returncode == 2
    assert Ledger(tmp_path / "results" / "quick").read_runs()["status"].tolist() == ["done"]


# --- texts from outside -----------------------------------------------------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x1b[2Jnet\u202e\n\x9b31m\udce9größe_馬"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "results" / "toy")
    add_predicted(ledger, np.arange(100) < 90, backbone=HOSTILE, warning=HOSTILE)
    add_predicted(ledger, np.arange(100) < 40, backbone=HOSTILE, mode="unit")
    add(ledger, backbone=HOSTILE, mode="raw", status="failed", error_type="invalid", error_message=HOSTILE)
    return tmp_path


def in_process(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("leaderboard", 0), ("leaderboard --format md", 0), ("leaderboard --format csv", 0),
        ("leaderboard --format spreadsheet", 0), ("leaderboard --format json", 0), ("ablation", 0),
        ("compare results results", 0), ("status toy", 0), ("status toy --json", 0), ("rerun run0", 2),
        (f"leaderboard {HOSTILE}", 2), (f"list heads --json --registry {HOSTILE}", 2),
    ],
)  # fmt: skip
def test_no_text_from_outside_moves_the_cursor(hostile: Path, arguments: str, code: int, monkeypatch, capsys):
    ended = in_process(arguments.split(" "), hostile, monkeypatch)

    out, err = capsys.readouterr()
    assert ended == code
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\udce9"} & set(out + err)
    if "json" in arguments and not code:
        assert json.loads(out)[0]["backbone"] == HOSTILE.replace("\udce9", r"\udce9")


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "encoding"), [("leaderboard", "ascii"), ("leaderboard --format json", "cp1252")])
def test_an_output_that_does_not_have_a_character_shows_its_code(hostile: Path, arguments: str, encoding: str):
    answer = subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments.split()], cwd=hostile, capture_output=True, timeout=120,
        check=True, env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )  # fmt: skip

    out = answer.stdout.decode(encoding)
    assert r"\u99ac" in out
    if "json" in arguments:
        assert json.loads(out)[0]["backbone"] == HOSTILE.replace("\udce9", r"\udce9")


@pytest.mark.slow
def test_no_text_of_a_ledger_breaks_a_chart_or_the_report(hostile: Path, monkeypatch: pytest.MonkeyPatch):
    for command in ("plot --formats svg --out plots", "report --out report.html"):
        assert in_process(command.split(), hostile, monkeypatch) == 0

    page = (hostile / "report.html").read_text(encoding="utf-8")
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(page)
    assert r"\x1b[2Jnet" in page
    for path in (hostile / "plots").iterdir():
        ElementTree.parse(path)


# --- results that are no folder ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/dev/null", "a-file"])
@pytest.mark.parametrize("command", ["run demo --dry-run", "run demo", "status demo", "status mine"])
def test_results_that_are_no_folder_are_refused_before_any_work(
    tmp_path: Path, command: str, place: str, monkeypatch, capsys
):
    (tmp_path / "a-file").write_text("")

    code = in_process([*command.split(), "--results", place], tmp_path, monkeypatch)

    assert code == 2
    assert capsys.readouterr().err.startswith("Error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"]
