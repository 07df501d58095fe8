"""Cells become rows: in child processes, with shared work, and whatever goes wrong in one of them."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.datasets import load_dataset, split_dataset
from benchmark.errors import DownloadError, LedgerError
from benchmark.ledger import CONFUSION, DONE, FAILED, HISTORY, PER_CLASS, Ledger
from benchmark.options import DenseOptions
from benchmark.plan.planned import MISSING, Job, Plan, PlannedCell
from benchmark.plan.planning import make_plan
from benchmark.processes import executors, runner
from benchmark.processes.conditions import Conditions
from benchmark.processes.death import WorkerCrashError
from benchmark.processes.executors import Execute, LocalExecutor
from benchmark.processes.runner import run_cells
from benchmark.recipes import Grid, Sweep
from benchmark.registry import Registry, load_registry
from benchmark.work.events import CellEnded, CellStarted, Event, StageProgress, cell_failed
from benchmark.work.rows import failure_columns, new_row

pytestmark = pytest.mark.usefixtures("unexamined")

# A module of tiny networks that child processes can import, too: they get the parent's search path.
BUILDERS = """
import os
import signal
from pathlib import Path


def tiny(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images))


def broken(input_shape):
    raise ValueError("this network cannot be built")


def deadly_once(input_shape):
    scar = Path(__file__).with_name("scar")
    if not scar.exists():
        scar.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return tiny(input_shape)
"""

TABLE = """
[{name}]
builder = "tiny_backbones:{builder}"
mode = "tf"
input_size_px = 16
feature_dim = 8
"""


def write_builders(folder: Path) -> Path:
    """The module and a registry file of its networks."""
    (folder / "tiny_backbones.py").write_text(BUILDERS)
    registry = folder / "tiny.toml"
    registry.write_text(
        "".join(
            TABLE.format(name=name, builder=builder)
            for name, builder in (("Tiny", "tiny"), ("Broken", "broken"), ("Deadly", "deadly_once"))
        )
    )
    return registry


def plan_of(registry: Registry, ledger: Ledger, **lists: Any) -> Plan:
    grid = Grid(**{"backbones": ("Tiny",), "limit": 300, **lists})
    return make_plan(Sweep(name="toy", grid=(grid,)), registry, ledger)


def run_all(
    cells: list[PlannedCell], ledger: Ledger, execute: Execute | None = None, *, again: bool = False
) -> list[Any]:
    execute = execute or LocalExecutor(Conditions(ledger.folder / runner.WORKER_LOG), memory_mib=lambda _: 0.0)
    return list(run_cells(cells, ledger, execute, recipe_sha256="sha", again=again))


# --- the parent alone, with made-up children -------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load_registry([write_builders(tmp_path)])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "toy")


def ended(planned: PlannedCell) -> CellEnded:
    row = new_row(planned, datetime.now().astimezone())
    row |= {"status": DONE, "accuracy": 0.5, "dataset_fingerprint": "f" * 64}
    scores = np.eye(2, dtype=np.float32)
    return CellEnded(planned, row, scores=scores, labels=np.array([0, 1]), class_names=("cat", "dog"))


def stand_in(jobs: Sequence[Job], again: bool) -> Iterator[Event]:
    """Every cell is done, without a process."""
    for planned in itertools.chain(*jobs):
        yield CellStarted(planned)
        yield StageProgress("extracting", 1, 1)
        yield ended(planned)


def test_every_cell_begins_and_ends(registry: Registry, ledger: Ledger):
    plan = plan_of(registry, ledger, backbones=("Tiny", "Broken"), seeds=(0, 1))

    events = run_all(plan.to_run("missing"), ledger, stand_in)

    cells = [(type(event), event.planned) for event in events if not isinstance(event, StageProgress)]
    assert cells == [(kind, planned) for planned in plan.cells for kind in (CellStarted, CellEnded)]
    assert {event.row["recipe_sha256"] for event in events if isinstance(event, CellEnded)} == {"sha"}
    assert plan_of(registry, ledger, backbones=("Tiny", "Broken"), seeds=(0, 1)).counts == {DONE: 4}


def test_a_row_is_in_the_ledger_when_its_event_comes(registry: Registry, ledger: Ledger):
    plan = plan_of(registry, ledger, seeds=(0, 1))

    counts = [
        len(ledger.read_runs())
        for event in run_cells(list(plan.cells), ledger, stand_in, recipe_sha256="", again=False)
        if isinstance(event, CellEnded)
    ]

    assert counts == [1, 2]


def test_a_cell_that_another_process_did_meanwhile_gets_no_second_row(registry: Registry, ledger: Ledger):
    cells = list(plan_of(registry, ledger, seeds=(0, 1)).cells)
    run_all(cells[:1], Ledger(ledger.folder), stand_in)

    run_all(cells, ledger, stand_in)

    assert ledger.read_runs()["seed"].tolist() == [0, 1]


def test_a_cell_that_another_process_ends_while_its_predictions_are_saved_gets_no_second_row(
    registry: Registry, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    (planned,) = plan_of(registry, ledger).cells
    really_save = Ledger.save_predictions

    def save_late(self: Ledger, run_id: str, scores: Any, labels: Any) -> None:
        if self is ledger:
            run_all([planned], Ledger(ledger.folder), stand_in)
        really_save(self, run_id, scores, labels)

    monkeypatch.setattr(Ledger, "save_predictions", save_late)

    run_all([planned], ledger, stand_in)

    assert len(ledger.read_runs()) == 1


def test_always_writes_a_row_for_a_cell_that_was_done(registry: Registry, ledger: Ledger):
    cells = list(plan_of(registry, ledger).cells)
    run_all(cells, ledger, stand_in)

    run_all(cells, ledger, stand_in, again=True)

    assert len(ledger.read_runs()) == 2


def test_cells_whose_dataset_is_not_available_fail_first_and_start_no_process(registry: Registry, ledger: Ledger):
    free, blocked = plan_of(registry, ledger, seeds=(0, 1)).cells
    blocked = replace(blocked, key="", state=MISSING, obstacle=DownloadError("no network here"))

    events = run_all([free, blocked], ledger, stand_in)

    runs = ledger.read_runs()
    assert list(zip(runs["seed"], runs["status"], runs["error_type"], runs["error_message"], strict=True)) == [
        (1, FAILED, "download", "no network here"), (0, DONE, "", ""),
    ]  # fmt: skip
    assert [event.planned for event in events if isinstance(event, CellEnded)] == [blocked, free]


def test_without_room_for_a_process_every_cell_fails_for_memory(
    registry: Registry, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(executors, "start_worker", refuse)

    run_all(list(plan_of(registry, ledger, seeds=(0, 1)).cells), ledger)

    runs = ledger.read_runs()
    assert list(zip(runs["seed"], runs["error_type"], strict=True)) == [(0, "oom"), (1, "oom")]


def test_a_wrong_mode_stands_in_the_row_of_a_done_cell_and_not_in_that_of_a_failed_one(
    registry: Registry, ledger: Ledger
):
    def second_one_dies(jobs: Sequence[Job], again: bool) -> Iterator[Event]:
        for event in stand_in(jobs, again):
            is_second = isinstance(event, CellEnded) and event.planned.cell.seed == 1
            yield cell_failed(event.planned, WorkerCrashError("it died")) if is_second else event

    cells = list(plan_of(registry, ledger, modes=("unit",), seeds=(0, 1)).cells)

    events = run_all(cells, ledger, second_one_dies)

    message = "mode unit is not what Tiny was trained with (shifted)"
    runs = ledger.read_runs()
    assert list(zip(runs["status"], runs["error_type"], runs["warning"], strict=True)) == [
        (DONE, "", message), (FAILED, "crashed", ""),
    ]  # fmt: skip
    assert [event.row["warning"] for event in events if isinstance(event, CellEnded)] == [message, ""]
    assert plan_of(registry, ledger, modes=("unit",), seeds=(0, 1)).counts == {DONE: 1, FAILED: 1}


def test_the_notes_of_a_dataset_stand_in_a_row_after_the_wrong_mode(registry: Registry, ledger: Ledger):
    cell = plan_of(registry, ledger, modes=("unit",), seeds=(0,)).cells[0]

    run_all([replace(cell, notes=("one note", "another"))], ledger, stand_in)

    (warning,) = ledger.read_runs()["warning"]
    assert warning == "mode unit is not what Tiny was trained with (shifted); one note; another"


def test_rows_that_were_written_stay_when_the_sweep_is_left_early(registry: Registry, ledger: Ledger):
    events = run_cells(
        list(plan_of(registry, ledger, seeds=(0, 1)).cells), ledger, stand_in, recipe_sha256="", again=False
    )
    for event in events:
        if isinstance(event, CellEnded):
            break

    events.close()

    assert ledger.read_runs()["seed"].tolist() == [0]


def test_a_ledger_that_cannot_be_written_ends_the_sweep(registry: Registry, tmp_path: Path):
    (tmp_path / "file").write_text("")
    planned = plan_of(registry, Ledger(tmp_path / "absent")).cells[0]
    blocked = replace(planned, obstacle=DownloadError("no network here"))

    with pytest.raises(LedgerError, match="cannot be written"):
        run_all([blocked], Ledger(tmp_path / "file" / "toy"), stand_in)


def test_a_long_message_of_a_failure_is_one_line_of_the_ledger(ledger: Ledger, registry: Registry):
    planned = plan_of(registry, ledger).cells[0]
    row = new_row(planned, datetime.now().astimezone())

    ledger.append_run({**row, **failure_columns(ValueError('first\nsecond, "third"'))})

    assert ledger.read_runs()["error_message"].tolist() == ['first second, "third"']


# --- real children ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """What a real sweep left."""

    folder: Path
    ledger: Ledger
    registry: Registry
    events: list[Any]


LISTS: dict[str, Any] = {
    "modes": ("native", "unit", "tf"), "heads": ("linear", "dense"), "seeds": (0, 1),
    "dense": DenseOptions(epochs=20, patience=3),
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A sweep of a good, a broken and a deadly network; the last one kills its process in its first cell."""
    folder = tmp_path_factory.mktemp("runner")
    with pytest.MonkeyPatch.context() as context:
        context.setenv("BENCHMARK_CACHE", str(folder / "cache"))
        context.syspath_prepend(folder)
        registry = load_registry([write_builders(folder)])
        ledger = Ledger(folder / "toy")
        cells = list(plan_of(registry, ledger, **LISTS).cells)
        for name in ("Broken", "Deadly"):
            cells += plan_of(registry, ledger, backbones=(name,), seeds=(0, 1)).cells
        yield Done(folder, ledger, registry, run_all(cells, ledger))


def runs_of(done: Done, backbone: str) -> pd.DataFrame:
    runs = done.ledger.read_runs()
    return runs[runs["backbone"] == backbone]


@pytest.mark.slow
def test_every_cell_of_a_real_sweep_has_its_row(done: Done):
    runs = done.ledger.read_runs()

    assert len(runs) == 3 * 2 * 2 + 2 + 2
    assert runs["cell_key"].is_unique
    assert runs["run_id"].is_unique


@pytest.mark.slow
def test_finished_rows_hold_plausible_numbers(done: Done):
    runs = runs_of(done, "Tiny")

    assert set(runs["status"]) == {DONE}
    assert (runs.query("head == 'linear' and mode != 'unit'")["accuracy"] > 0.25).all(), "random features tell digits"
    assert ((runs["accuracy_low"] < runs["accuracy"]) & (runs["accuracy"] < runs["accuracy_high"])).all()
    assert (runs["n_train"] + runs["n_val"] + runs["n_test"] == 300).all()
    # 3 x 3 x 3 x 8 weights and 8 biases; 9 numbers a class, or (8 + 1) x 256 + (256 + 1) x 10.
    assert set(runs["params_backbone"]) == {224}
    assert runs.groupby("head")["params_trainable"].first().to_dict() == {"dense": 4874, "linear": 90}
    phases = runs[["load_s", "build_s", "extract_s", "train_s", "eval_s"]]
    assert (phases > 0).all(axis=None)
    np.testing.assert_allclose(phases.sum(axis=1), runs["wall_s"], rtol=1e-6)
    assert (runs["peak_rss_mib"] > 100).all()
    assert (runs["images_per_s"] > 0).all()
    assert set(runs["recipe_sha256"]) == {"sha"}


@pytest.mark.slow
def test_one_pass_over_the_images_serves_all_heads_seeds_and_modes_of_equal_steps(done: Done):
    runs = runs_of(done, "Tiny")

    first = runs[runs["features_cached"] == 0]

    assert len(first) == 2, "native and tf are one view of this network, unit is the other"
    assert set(first["mode"]) in ({"native", "unit"}, {"tf", "unit"})
    assert runs.groupby(runs["mode"] == "unit")["extract_s"].nunique().tolist() == [1, 1]
    assert runs["build_s"].nunique() == 1, "the network was built more than once"
    n_cached = len(list((done.folder / "cache" / "features").glob("*/features.npy")))
    assert n_cached == 2 + 1, "two views of Tiny, one of Deadly"


@pytest.mark.slow
def test_modes_of_equal_steps_give_equal_results(done: Done):
    runs = runs_of(done, "Tiny").set_index(["mode", "head", "seed"]).sort_index()

    for column in ("accuracy", "log_loss", "val_accuracy"):
        assert runs.loc["native"][column].tolist() == runs.loc["tf"][column].tolist()
    assert runs.loc["native"]["log_loss"].tolist() != runs.loc["unit"]["log_loss"].tolist()


@pytest.mark.slow
def test_the_tables_of_a_run_agree_with_its_predictions(done: Done):
    row = runs_of(done, "Tiny").iloc[0]
    dataset = load_dataset("digits", limit=300)
    truth = dataset.labels[split_dataset(dataset, seed=0, val_fraction=0.1).test]

    predictions = done.ledger.read_predictions(row["run_id"])
    true = done.ledger.read_true_labels(row["dataset_fingerprint"])

    assert predictions is not None
    assert true is not None
    labels, _ = true
    np.testing.assert_array_equal(labels, truth)
    assert np.mean(predictions[0] == labels) == pytest.approx(row["accuracy"], abs=1e-8)
    confusion = done.ledger.read_table(CONFUSION).query("run_id == @row.run_id")
    right = confusion[confusion["true_class"] == confusion["predicted_class"]]["count"].sum()
    assert (right, confusion["count"].sum()) == (np.sum(predictions[0] == labels), len(labels))
    per_class = done.ledger.read_table(PER_CLASS).query("run_id == @row.run_id")
    assert per_class["class_name"].tolist() == list("0123456789")
    assert per_class["support"].tolist() == np.bincount(truth).tolist()


@pytest.mark.slow
def test_the_history_of_a_dense_head_has_a_point_an_epoch(done: Done):
    history = done.ledger.read_table(HISTORY)

    for _, row in runs_of(done, "Tiny").query("head == 'dense'").iterrows():
        points = history[(history["run_id"] == row["run_id"]) & (history["stage"] == "head")]
        curve = points[(points["split"] == "val") & (points["metric"] == "loss")]
        assert curve["epoch"].tolist() == list(range(1, int(row["epochs"]) + 1))


@pytest.mark.slow
def test_a_network_that_cannot_be_built_fails_its_own_cells_with_type_and_message(done: Done):
    runs = runs_of(done, "Broken")

    assert runs["status"].tolist() == [FAILED, FAILED]
    assert set(runs["error_type"]) == {"invalid"}
    (message,) = set(runs["error_message"])
    assert re.fullmatch(
        r"Broken: builder 'tiny_backbones:broken' failed: ValueError: this network cannot be built "
        r"\(.*tiny_backbones\.py, line \d+\)\.",
        message,
    )
    assert runs["accuracy"].isna().all()
    log = (done.ledger.folder / runner.WORKER_LOG).read_text()
    assert "ValueError: this network cannot be built" in log, "the log has the traceback"


@pytest.mark.slow
def test_a_process_that_is_killed_fails_its_current_cell_and_the_others_go_on(done: Done):
    runs = runs_of(done, "Deadly")

    assert list(zip(runs["seed"], runs["status"], runs["error_type"], strict=True)) == [
        (0, FAILED, "crashed"), (1, DONE, ""),
    ]  # fmt: skip
    assert runner.WORKER_LOG in runs["error_message"].iloc[0]


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do_and_failed_cells_can_be_retried(done: Done, tmp_path: Path):
    folder = tmp_path / "toy"
    shutil.copytree(done.ledger.folder, folder)
    ledger = Ledger(folder)

    plan = plan_of(done.registry, ledger, **LISTS)
    retry = plan_of(done.registry, ledger, backbones=("Tiny", "Deadly"), seeds=(0, 1)).to_run("failed")
    with pytest.MonkeyPatch.context() as context:
        context.syspath_prepend(done.folder)
        run_all(retry, ledger)

    assert plan.counts == {DONE: 12}
    assert plan.to_run("missing") == []
    assert [(planned.cell.backbone.name, planned.cell.seed) for planned in retry] == [("Deadly", 0)]
    assert plan_of(done.registry, ledger, backbones=("Deadly",), seeds=(0, 1)).counts == {DONE: 2}


@pytest.mark.slow
def test_two_runs_in_clean_caches_agree_to_the_bit(done: Done, tmp_path: Path):
    ledger = Ledger(tmp_path / "again")
    cells = list(plan_of(done.registry, ledger, **{**LISTS, "modes": ("unit",), "seeds": (1,)}).cells)
    with pytest.MonkeyPatch.context() as context:
        context.syspath_prepend(done.folder)
        run_all(cells, ledger)

    again = ledger.read_runs().set_index("cell_key")
    before = done.ledger.read_runs().set_index("cell_key").loc[again.index]

    assert again["features_cached"].sum() == 1, "the cache was not clean"
    for column in ("accuracy", "log_loss", "train_accuracy", "val_accuracy", "weights_sha256", "epochs"):
        assert again[column].tolist() == pytest.approx(before[column].tolist(), abs=0, nan_ok=True), column
    for new, old in zip(again["run_id"], before["run_id"], strict=True):
        one, other = ledger.read_predictions(new), done.ledger.read_predictions(old)
        assert one is not None
        assert other is not None
        for mine, theirs in zip(one, other, strict=True):
            assert mine.tobytes() == theirs.tobytes()


@pytest.mark.slow
def test_the_parent_process_never_imports_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_builders(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom benchmark.cli import main\nif __name__ == '__main__':\n    try:\n        main()\n"
        "    except SystemExit as ended:\n        code = ended.code\n"
        "    loaded = {'tensorflow', 'keras'} & set(sys.modules)\n"
        "    sys.exit(f'the parent loaded {loaded}' if loaded else code)\n"
    )
    arguments = ("run", "--backbones", "Tiny", "--registry", "tiny.toml", "--limit", "200", "--heads", "knn")

    ended = subprocess.run(
        [sys.executable, str(program), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert "cell 1/1 Tiny digits native probe knn 16 px seed 0: accuracy 0." in " ".join(ended.stderr.split())
    assert "Tiny" in ended.stdout
    # The cell, a blank line, where the rows are, and two commands that come next.
    assert len(ended.stderr.splitlines()) <= 5, "lines of libraries belong into the log"
    assert Ledger(tmp_path / "results" / "custom").read_runs()["status"].tolist() == [DONE]
