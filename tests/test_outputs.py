"""Where output goes if there is no room for it, or nobody wants it."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.ledger import Ledger

GRID = "--backbones lenet5 --strategies scratch --datasets digits --limit 200 --input-size 32".split()


def in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = command.replace("benchmark", f"{shlex.quote(sys.executable)} -m benchmark")
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_none_of_the_programs_business(tmp_path: Path, closed: str):
    answer = in_shell(f"benchmark list heads {closed}", tmp_path)

    assert answer.returncode == 0
    assert answer.stderr == ""


@pytest.mark.slow
def test_a_sweep_runs_with_closed_outputs(tmp_path: Path):
    """Each worker has its own outputs, which begin as those of the program."""
    answer = in_shell(f"benchmark run {' '.join(GRID)} --name closed >&- 2>&-", tmp_path)

    assert answer.returncode == 0
    assert Ledger(tmp_path / "results" / "closed").read_runs()["status"].tolist() == ["done"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_an_output_that_is_full_is_said_without_a_traceback(tmp_path: Path):
    answer = in_shell("benchmark list heads > /dev/full", tmp_path)

    assert answer.returncode == 2
    assert answer.stderr == "Error: [Errno 28] No space left on device.\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
def test_a_verification_that_is_ended_leaves_no_folder(tmp_path: Path):
    """It works in a folder of its own among the temporary ones."""
    line = [sys.executable, "-m", "benchmark"]
    assert (
        subprocess.run(
            [*line, "run", *GRID, "--name", "mine"], cwd=tmp_path, capture_output=True, check=False
        ).returncode
        == 0
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    verification = subprocess.Popen([*line, "verify", "results/mine"], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 60
    while not list(temporary.glob("benchmark-verify-*/results/0/worker.log")):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    verification.send_signal(signal.SIGTERM)

    assert verification.wait(30) == 128 + signal.SIGTERM
    assert list(temporary.glob("benchmark-verify-*")) == []
