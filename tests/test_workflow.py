"""What people do: interrupt a sweep and go on, and run two at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from toy_sweep import UNEXAMINED

from benchmark.ledger import DONE, HISTORY, RUNS, Ledger
from benchmark.storage import cache_root
from benchmark.strategies.checkpoint import load_checkpoint

START_TIMEOUT_S = 120
END_TIMEOUT_S = 30

BUILDERS = '''
import os
import time
from pathlib import Path


def quick(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2)(images))


def slow(input_shape):
    """Takes far too long until the file `awake` is there, except where plans build it, which see no GPU."""
    folder = Path(__file__).parent
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
        return quick(input_shape)
    (folder / "asleep").touch()
    for _ in range(6000):
        if (folder / "awake").exists():
            break
        time.sleep(0.1)
    return quick(input_shape)
'''

TABLE = """
[{name}]
builder = "lazy_backbones:{builder}"
mode = "tf"
input_size_px = 16
feature_dim = 8
weights = "random"
"""

SWEEP = """
name = "toy"
datasets = ["digits"]
limit = 200
heads = ["linear", "knn"]
[[grid]]
backbones = ["Quick"]
[[grid]]
backbones = ["Slow"]
"""

ARGUMENTS = ("run", "toy.toml", "--registry", "lazy.toml")

Start = Callable[..., subprocess.Popen[str]]
Program = Callable[..., SimpleNamespace]


def hear_ctrl_c() -> None:
    """Tests that a shell runs in the background inherit its deafness to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def toy(tmp_path: Path) -> None:
    """A sweep of a quick and a slow network."""
    (tmp_path / "lazy_backbones.py").write_text(BUILDERS)
    (tmp_path / "lazy.toml").write_text(
        TABLE.format(name="Quick", builder="quick") + TABLE.format(name="Slow", builder="slow")
    )
    (tmp_path / "toy.toml").write_text(SWEEP)


@pytest.fixture
def start(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start the program on the sweep; whatever still runs at the end is killed."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    started = []

    def start(program: tuple[str, str] = ("-c", UNEXAMINED)) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *program, *ARGUMENTS],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=hear_ctrl_c if os.name == "posix" else None,  # noqa: PLW1509  # no threads here
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"it ended early: {process.communicate()}"
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_ctrl_c_keeps_the_finished_rows_ends_all_children_and_the_next_run_goes_on(start: Start, tmp_path: Path):
    ledger = Ledger(tmp_path / "results" / "toy")
    process = start(program=("-m", "benchmark"))
    wait_for((tmp_path / "asleep").exists, process, START_TIMEOUT_S)
    children = psutil.Process(process.pid).children(recursive=True)

    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=END_TIMEOUT_S)
    _, alive = psutil.wait_procs(children, timeout=10)
    interrupted = ledger.read_runs()
    (tmp_path / "awake").touch()
    second = start(program=("-m", "benchmark"))
    second_out, second_err = second.communicate(timeout=START_TIMEOUT_S)

    assert (process.returncode, out) == (130, "")
    assert "Interrupted. The finished rows are in " in err
    assert "Traceback" not in err
    assert len(children) >= 1, "no child was there to be ended"
    assert alive == []
    assert list(zip(interrupted["backbone"], interrupted["status"], strict=True)) == [("Quick", DONE)] * 2
    assert second.returncode == 0, second_err
    assert "Slow" in second_out
    runs = ledger.read_runs()
    assert runs["backbone"].tolist() == ["Quick", "Quick", "Slow", "Slow"]
    assert set(runs["status"]) == {DONE}
    assert (ledger.folder / RUNS).read_bytes().count(b"\n") == 5


# --- trainings -------------------------------------------------------------------------------------------------------


STAGES = """
name = "stages"
datasets = ["digits"]
limit = 200
backbones = ["Quick"]
strategies = ["finetune"]
stages = [
    { unfreeze = 0, epochs = 2 },
    { unfreeze = "all", epochs = 30, learning_rate = 1e-4, batch_size = 8 },
]
"""


@pytest.mark.slow
@pytest.mark.usefixtures("unexamined")
def test_a_training_killed_in_stage_two_goes_on_where_it_stood(start: Start, program: Program, tmp_path: Path):
    (tmp_path / "toy.toml").write_text(STAGES)
    ledger = Ledger(tmp_path / "results" / "stages")

    def is_in_stage_two() -> bool:
        checkpoints = [load_checkpoint(path) for path in (cache_root() / "training").glob("*.npz")]
        return any(one and one.facts["n_stages_done"] == 1 and one.facts.get("n_epochs_done", 0) for one in checkpoints)

    first = start()
    wait_for(is_in_stage_two, first, START_TIMEOUT_S)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (ledger.folder / RUNS).exists()

    second = program(tmp_path, *ARGUMENTS)

    assert second.returncode == 0, second.stderr
    runs, history = ledger.read_runs(), ledger.read_table(HISTORY)
    assert list(runs["status"]) == [DONE]
    losses = history[(history["metric"] == "loss") & (history["split"] == "val")]
    assert list(zip(losses["stage"], losses["epoch"], strict=True)) == [
        *(("stage 1", epoch) for epoch in (1, 2)), *(("stage 2", epoch) for epoch in range(1, 31)),
    ]  # fmt: skip
    assert runs["epochs"].item() == 32
    assert list((cache_root() / "training").glob("*.npz")) == []


MISTAKES = """
name = "mistakes"
datasets = ["digits"]
limit = 200
backbones = ["Quick"]
strategies = ["finetune"]
"""
STAGES_AND_WHAT_THEY_END_WITH = {
    "{ unfreeze = 99, epochs = 1 }": ("invalid", "has only 2 layers. Give a smaller number"),
    '{ unfreeze = "block_9", epochs = 1 }': ("unknown_name", "Unknown layer of"),
    '{ unfreeze = "all", epochs = 1, optimizer = "sgd", learning_rate = 1e30 }': ("diverged", "try a smaller"),
    "{ epochs = 1 }": ("", ""),
}


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_a_training_that_cannot_be_done_is_a_failed_row_with_its_reason_and_the_others_go_on(
    program: Program, tmp_path: Path
):
    grids = "".join(f"[[grid]]\nstages = [{stage}]\n" for stage in STAGES_AND_WHAT_THEY_END_WITH)
    (tmp_path / "toy.toml").write_text(MISTAKES + grids)

    ended = program(tmp_path, *ARGUMENTS)

    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    runs = Ledger(tmp_path / "results" / "mistakes").read_runs()
    found = dict(zip(runs["error_type"], runs["error_message"], strict=True))
    assert sorted(runs["error_type"]) == sorted(kind for kind, _ in STAGES_AND_WHAT_THEY_END_WITH.values())
    assert runs.loc[runs["status"] != DONE, "accuracy"].isna().all()
    for error_type, message in STAGES_AND_WHAT_THEY_END_WITH.values():
        assert any(message in text for text in runs.loc[runs["error_type"] == error_type, "error_message"]), found
