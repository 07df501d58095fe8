"""What of a sweep is done, failed, missing or stale, and why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_images import write_classes

from benchmark.actions.sweeps import rows_of_cells
from benchmark.datasets import load_dataset
from benchmark.errors import BenchmarkError, DataError, DownloadError, LedgerError
from benchmark.ledger import DONE, FAILED, RUNS, Ledger
from benchmark.options import DenseOptions, Stage
from benchmark.plan import cells, planning
from benchmark.plan.planned import MISSING, REPEAT, STALE, WHEN, Plan, PlannedCell
from benchmark.plan.planning import make_plan
from benchmark.plan.remarks import remarks_on
from benchmark.provenance import environment, minor_version
from benchmark.recipes import Grid, Sweep
from benchmark.registry import Backbone
from benchmark.work.rows import new_row
from benchmark.xray.entries import Found

pytestmark = pytest.mark.usefixtures("unexamined")

BACKBONE = Backbone(
    name="Tiny", folder=Path(), builder="nets:tiny", mode="tf", input_size_px=16, weights="random", feature_dim=8
)
REGISTRY = {"Tiny": BACKBONE}
GRID = Grid(backbones=("Tiny",), seeds=(0, 1, 2), limit=200)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "toy")


def plan_of(ledger: Ledger, grid: Grid = GRID, registry: dict[str, Backbone] = REGISTRY) -> Plan:
    return make_plan(Sweep(name="toy", grid=(grid,)), registry, ledger)


def write_row(ledger: Ledger, planned: PlannedCell, status: str = DONE, **columns: Any) -> None:
    """The row that a run of this cell would leave."""
    from datetime import datetime

    row = new_row(planned, datetime.now().astimezone())
    ledger.append_run({**row, "status": status, "dataset_fingerprint": planned.dataset_fingerprint, **columns})


def test_all_cells_of_an_empty_ledger_are_missing(ledger: Ledger):
    plan = plan_of(ledger)

    assert plan.counts == {MISSING: 3}
    assert [(planned.n_images, planned.n_classes) for planned in plan.cells] == [(200, 10)] * 3
    assert len({planned.key for planned in plan.cells}) == 3
    assert not ledger.folder.exists(), "planning wrote something"


def test_done_and_failed_cells_are_known_by_their_keys(ledger: Ledger):
    first, second, _ = plan_of(ledger).cells
    write_row(ledger, first)
    write_row(ledger, second, FAILED, error_type="oom", error_message="no memory left")

    plan = plan_of(ledger)

    assert [planned.state for planned in plan.cells] == [DONE, FAILED, MISSING]
    assert [planned.reason for planned in plan.cells] == ["", "oom: no memory left", ""]
    assert plan.counts == {DONE: 1, FAILED: 1, MISSING: 1}


@pytest.mark.parametrize("states", [(FAILED, DONE), (DONE, FAILED)])
def test_the_last_row_of_a_cell_decides(ledger: Ledger, states: tuple[str, str]):
    first = plan_of(ledger).cells[0]
    for state in states:
        write_row(ledger, first, state)

    assert plan_of(ledger).cells[0].state == states[-1]


def test_a_run_does_the_cells_that_its_when_names(ledger: Ledger):
    cell = plan_of(ledger).cells[0]
    cells = tuple(replace(cell, key=state, state=state) for state in (DONE, FAILED, MISSING, STALE))
    plan = Plan(Sweep(name="toy", grid=(GRID,)), cells)

    chosen = {when: [planned.state for planned in plan.to_run(when)] for when in WHEN}

    assert chosen == {
        "missing": [MISSING, STALE],
        "failed": [FAILED],
        "always": [DONE, FAILED, MISSING, STALE],
    }


def test_a_changed_dataset_makes_its_cells_stale(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0], cell_key="earlier", dataset_fingerprint="f" * 64)

    planned = plan_of(ledger).cells[0]

    assert (planned.state, planned.reason) == (STALE, "the images changed")


def test_other_weights_make_a_cell_stale_and_the_old_ones_are_named(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0], cell_key="earlier", weights="file:old.h5")

    planned = plan_of(ledger).cells[0]

    assert (planned.state, planned.reason) == (STALE, "weights file:old.h5 then random")


def test_another_network_of_the_same_builder_makes_a_cell_stale(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    def examine(sha256: str) -> None:
        monkeypatch.setattr(planning, "examine_networks", lambda cells, _: dict.fromkeys(cells, Found(sha256, "")))

    examine("a" * 64)
    write_row(ledger, plan_of(ledger).cells[0])
    before = plan_of(ledger).cells[0]
    examine("b" * 64)

    after = plan_of(ledger).cells[0]

    assert before.state == DONE
    assert (after.state, after.reason) == (STALE, "the network changed")
    assert ledger.read_runs()["network_sha256"].tolist() == ["a" * 64]


@pytest.mark.parametrize(
    ("column", "name"), [("keras_version", "Keras"), ("pillow_version", "Pillow"), ("openvino_version", "OpenVINO")]
)
def test_another_minor_version_that_features_depend_on_makes_a_cell_stale(ledger: Ledger, column: str, name: str):
    grid = GRID.model_copy(update={"engine": "openvino"})
    write_row(ledger, plan_of(ledger, grid).cells[0], **{"cell_key": "earlier", column: "2.15.0"})

    planned = plan_of(ledger, grid).cells[0]

    version = minor_version(str(environment()[column]))
    assert (planned.state, planned.reason) == (STALE, f"{name} 2.15 then {version}")


def test_a_row_of_splits_that_were_drawn_otherwise_is_stale(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0], cell_key="earlier", split_version=1)

    planned = plan_of(ledger).cells[0]

    assert (planned.state, planned.reason) == (STALE, "version of the splits 1 then 2")


def test_all_reasons_of_a_stale_cell_are_given(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0], cell_key="earlier", weights="file:old.h5", dataset_fingerprint="f" * 64)

    assert plan_of(ledger).cells[0].reason == "the images changed; weights file:old.h5 then random"


def test_a_changed_registry_entry_makes_its_cells_stale(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0])
    changed = {"Tiny": BACKBONE.model_copy(update={"native_mode": "caffe"})}

    planned = plan_of(ledger, registry=changed).cells[0]

    assert (planned.state, planned.reason) == (STALE, "the registry entry changed")


def test_what_a_row_does_not_hold_is_named_as_the_possible_reason(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0], cell_key="earlier")

    planned = plan_of(ledger).cells[0]

    assert (planned.state, planned.reason) == (STALE, "the recipe's options or the weights file changed")


def test_a_row_of_schema_1_is_taken_over_if_nothing_it_holds_has_changed(ledger: Ledger):
    same, other, _ = plan_of(ledger).cells
    write_row(ledger, same, cell_key="earlier", setting_key="", val_fraction=None, run_id="same")
    write_row(ledger, other, cell_key="earlier too", setting_key="", val_fraction=None, dataset_fingerprint="f" * 64)

    planned = plan_of(ledger).cells

    assert [(one.state, one.taken_over, one.reason) for one in planned] == [
        (DONE, "same", ""), (STALE, "", "the images changed"), (MISSING, "", ""),
    ]  # fmt: skip


def test_two_validation_fractions_are_two_cells(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0])

    planned = plan_of(ledger, GRID.model_copy(update={"val_fraction": 0.25})).cells[0]

    assert planned.state == MISSING


@pytest.mark.parametrize("spelling", ["folder:{0}/../pets", "folder:{0}/", "folder:./pets", "folder:{0}"])
def test_a_folder_by_any_spelling_is_done_once(
    image_folder: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, spelling: str
):
    pets = image_folder.rename(image_folder.with_name("pets"))
    monkeypatch.chdir(pets.parent)
    grid = Grid(backbones=("Tiny",), datasets=("folder:pets",))
    write_row(ledger, plan_of(ledger, grid).cells[0])

    plan = plan_of(ledger, grid.model_copy(update={"datasets": (spelling.format(pets),)}))

    assert plan.counts == {DONE: 1}


def test_another_width_of_the_dense_head_is_another_cell(ledger: Ledger):
    grid = GRID.model_copy(update={"heads": ("dense",)})
    write_row(ledger, plan_of(ledger, grid).cells[0])

    planned = plan_of(ledger, grid.model_copy(update={"dense": DenseOptions(units=8)})).cells[0]

    assert planned.state == MISSING
    assert planned.cell.columns["head_options"] == "units=8"


def test_a_cell_that_only_ever_failed_under_another_key_is_missing(ledger: Ledger):
    write_row(ledger, plan_of(ledger).cells[0], FAILED, cell_key="earlier", error_type="oom")

    assert plan_of(ledger).cells[0].state == MISSING


def test_the_rows_of_cells_are_those_with_their_keys(ledger: Ledger):
    first, second, _ = plan_of(ledger).cells
    write_row(ledger, first, run_id="first")
    write_row(ledger, second, run_id="second")
    write_row(ledger, first, run_id="version", cell_key="another", keras_version="2.15.0")
    write_row(ledger, replace(second, key=""), FAILED, run_id="missing", error_type="download")
    rows = ledger.read_runs()

    def found(*cells: PlannedCell) -> list[str]:
        return rows_of_cells(rows, cells)["run_id"].tolist()

    assert found(first) == ["first"]
    assert found(second) == ["second", "missing"]
    assert found(replace(first, key="")) == ["first", "version"], "without its dataset, a cell has no key"
    assert found() == []
    assert rows_of_cells(rows[:0], [first]).empty


def test_rows_of_other_cells_do_not_matter(ledger: Ledger):
    write_row(ledger, plan_of(ledger, GRID.model_copy(update={"modes": ("unit",)})).cells[0])

    assert plan_of(ledger).counts == {MISSING: 3}


def test_a_dataset_that_cannot_be_downloaded_is_an_obstacle_to_its_own_cells_only(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    def load(name: str, **options: Any) -> Any:
        if name == "cifar10":
            raise DownloadError("The dataset cifar10 cannot be downloaded.")
        return load_dataset(name, **options)

    monkeypatch.setattr(cells, "load_dataset", load)

    plan = plan_of(ledger, GRID.model_copy(update={"datasets": ("cifar10", "digits"), "seeds": (0,)}))

    blocked, free = plan.cells
    assert isinstance(blocked.obstacle, DownloadError)
    assert (blocked.state, blocked.reason) == (MISSING, "The dataset cifar10 cannot be downloaded.")
    assert free.obstacle is None
    assert plan.to_run("missing") == [blocked, free]


def test_finished_cells_of_a_dataset_that_is_not_available_any_more_stay_done(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    done, missing, _ = plan_of(ledger).cells
    write_row(ledger, done)

    def refuse(name: str, **options: Any) -> Any:
        raise DownloadError("The dataset digits cannot be downloaded.")

    monkeypatch.setattr(cells, "load_dataset", refuse)
    plan = plan_of(ledger)

    assert plan.counts == {DONE: 1, MISSING: 2}
    assert plan.cells[0].reason == "not checked: The dataset digits cannot be downloaded."
    assert [one.cell for one in plan.to_run("missing")] == [plan.cells[1].cell, plan.cells[2].cell]
    assert plan.cells[1].cell == missing.cell


def test_that_a_dataset_was_not_available_once_hides_no_reason_to_run_again(ledger: Ledger):
    planned = plan_of(ledger).cells[0]
    write_row(ledger, planned, cell_key="earlier", keras_version="2.15.0")
    write_row(ledger, replace(planned, key=""), FAILED, error_type="download", error_message="no network")

    assert plan_of(ledger).cells[0].state == STALE


def test_a_dataset_that_is_at_hand_but_unusable_stops_the_plan(ledger: Ledger, tmp_path: Path):
    folder = tmp_path / "pets"
    (folder / "cat").mkdir(parents=True)

    with pytest.raises(DataError, match="pets"):
        plan_of(ledger, GRID.model_copy(update={"datasets": (f"folder:{folder}",), "limit": None}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 0.01}, "the validation split of digits@200 cannot be drawn: .*--val-fraction"),
        ({"folds": 100}, "folds = 100: class .* of digits@200 has only"),
        ({"shots": (1, 30)}, "shots = 30: class .* of digits@200 has only"),
        (
            {"strategies": ("finetune",), "stages": (Stage(class_weights=(("nein", 2.0),)),)},
            "Unknown class in class_weights 'nein'",
        ),
    ],
    ids=["val_fraction", "folds", "shots", "class_weights"],
)
def test_what_the_dataset_cannot_give_is_refused_before_anything_runs(
    ledger: Ledger, options: dict[str, Any], message: str
):
    grid = Grid(backbones=("Tiny",), limit=200, **options)

    with pytest.raises(BenchmarkError, match=message):
        plan_of(ledger, grid)


def test_each_dataset_is_read_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    names = []

    def load(name: str, **options: Any) -> Any:
        names.append((name, options["limit"]))
        return load_dataset(name, **options)

    monkeypatch.setattr(cells, "load_dataset", load)

    plan_of(ledger, GRID.model_copy(update={"modes": ("native", "unit"), "heads": ("linear", "knn")}))

    assert names == [("digits", 200)]


def test_what_is_left_out_of_a_dataset_is_noted(ledger: Ledger, image_folder: Path):
    (image_folder / "cat" / "broken.png").write_bytes(b"no picture")
    dataset = f"folder:{image_folder}"

    plan = plan_of(ledger, Grid(backbones=("Tiny",), datasets=(dataset,), max_bad_images=1))

    ((request, facts),) = plan.datasets.items()
    assert request.name == dataset
    assert facts.notes == ("left out, undecodable images: 1 (cat/broken.png)",)
    assert plan.cells[0].notes == facts.notes


def split_folder(root: Path) -> str:
    for split, n in (("train", 4), ("val", 2), ("test", 2)):
        write_classes(root / split, {"cat": n, "dog": n})
    return f"folder:{root}"


def test_seeds_that_have_nothing_to_draw_are_run_once_and_said(ledger: Ledger, tmp_path: Path):
    dataset = split_folder(tmp_path / "pets")
    grid = Grid(backbones=("Tiny",), datasets=(dataset,), heads=("knn", "dense"), seeds=(2, 0, 1))

    plan = plan_of(ledger, grid)

    states = {(one.cell.head, one.cell.seed): one.state for one in plan.cells}
    assert states == {
        ("knn", 2): MISSING, ("knn", 0): REPEAT, ("knn", 1): REPEAT,
        ("dense", 2): MISSING, ("dense", 0): MISSING, ("dense", 1): MISSING,
    }  # fmt: skip
    assert [len(plan.to_run(when)) for when in WHEN] == [4, 0, 4]
    assert remarks_on(plan) == [
        f"{dataset}: knn is not run with seed 0, 1: it would repeat seed 2, since the validation split is given and "
        "nothing else is random"
    ]


def test_every_seed_draws_shots_whatever_splits_the_dataset_has(ledger: Ledger, tmp_path: Path):
    dataset = split_folder(tmp_path / "pets")

    plan = plan_of(ledger, Grid(backbones=("Tiny",), datasets=(dataset,), heads=("knn",), seeds=(0, 1), shots=(1, 2)))

    assert plan.counts == {MISSING: 4}
    assert remarks_on(plan) == []


def test_shots_are_cells_of_their_own(ledger: Ledger):
    write_row(ledger, plan_of(ledger, GRID.model_copy(update={"shots": (5,)})).cells[0])

    plan = plan_of(ledger, GRID.model_copy(update={"shots": (1, 5)}))

    assert [(one.cell.shots, one.cell.seed) for one in plan.cells if one.state == DONE] == [(5, 0)]
    assert plan_of(ledger).counts == {MISSING: 3}


def test_a_seed_that_was_done_stays_done_and_a_chosen_one_is_run(ledger: Ledger, tmp_path: Path):
    grid = Grid(backbones=("Tiny",), datasets=(split_folder(tmp_path / "pets"),), seeds=(0, 1, 2))
    write_row(ledger, plan_of(ledger, grid).cells[1])

    states = [one.state for one in plan_of(ledger, grid).cells]
    sweep = Sweep(name="toy", grid=(grid,))
    chosen = make_plan(sweep, REGISTRY, ledger, choose=lambda cells: [one for one in cells if one.seed == 2])

    assert states == [MISSING, DONE, REPEAT]
    assert [one.state for one in chosen.cells] == [MISSING]


def test_seeds_that_draw_a_validation_split_are_no_repeats(ledger: Ledger, tmp_path: Path):
    root = write_classes(tmp_path / "pets" / "train", {"cat": 9, "dog": 9}).parent
    write_classes(root / "test", {"cat": 2, "dog": 2})

    plan = plan_of(ledger, Grid(backbones=("Tiny",), datasets=(f"folder:{root}",), seeds=(0, 1)))

    assert plan.counts == {MISSING: 2}
    assert remarks_on(plan) == []


def test_folds_of_a_dataset_with_splits_of_its_own_are_said(ledger: Ledger, tmp_path: Path):
    dataset = split_folder(tmp_path / "pets")
    grid = Grid(backbones=("Tiny",), datasets=(dataset, "digits"), val_fraction=0.3, folds=2)

    plan = plan_of(ledger, grid)

    assert plan.counts == {MISSING: 4}
    assert remarks_on(plan) == [f"{dataset}: folds are drawn from all images, whatever its own splits"]


def test_a_ledger_that_cannot_be_read_stops_the_plan(ledger: Ledger):
    ledger.folder.mkdir()
    (ledger.folder / RUNS).write_text("what,ever\n")

    with pytest.raises(LedgerError, match="unknown columns"):
        plan_of(ledger)


def test_a_cell_of_a_wrong_mode_is_warned_of_unless_the_recipe_means_it(ledger: Ledger):
    grid = GRID.model_copy(update={"modes": ("unit",), "seeds": (0, 1)})
    learned = {"Tiny": BACKBONE.model_copy(update={"weights": "builder"})}
    silent = make_plan(Sweep(name="toy", grid=(grid,), ablation=True), learned, ledger)

    plan = plan_of(ledger, grid, learned)

    assert {planned.warning for planned in plan.cells} == {"mode unit is not what Tiny was trained with (shifted)"}
    assert {planned.warning for planned in plan_of(ledger).cells} == {""}
    assert {planned.warning for planned in silent.cells} == {""}


def test_the_layers_of_a_network_decide_which_modes_are_wrong(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """The registry says tf, and the network scales its pixels itself; an ablation is no excuse for that."""
    monkeypatch.setattr(planning, "examine_networks", lambda cells, _: dict.fromkeys(cells, Found("", "raw")))
    grid = GRID.model_copy(update={"modes": ("native", "raw", "bgr"), "seeds": (0,)})
    learned = {"Tiny": BACKBONE.model_copy(update={"weights": "builder"})}

    plan = make_plan(Sweep(name="toy", grid=(grid,), ablation=True), learned, ledger)

    because = 'its own layers are made for raw, the registry says mode = "tf"'
    assert {planned.cell.mode: planned.warning for planned in plan.cells} == {
        "native": f"mode native is not what Tiny was trained with (double-scaled): {because}",
        "raw": "",
        "bgr": f"mode bgr is not what Tiny was trained with (double-scaled, channels swapped): {because}",
    }
    assert {planned.warning for planned in plan_of(ledger, grid).cells} == {""}, "random weights have learned nothing"


def test_a_done_row_with_a_warning_counts_as_done(ledger: Ledger):
    grid = GRID.model_copy(update={"modes": ("unit",), "seeds": (0,)})
    write_row(ledger, plan_of(ledger, grid).cells[0], warning="mode unit is not what Tiny was trained with")

    plan = plan_of(ledger, grid)

    assert (plan.counts, plan.cells[0].reason) == ({DONE: 1}, "")
    assert plan.to_run("missing") == plan.to_run("failed") == []


def test_a_dataset_that_was_not_available_is_retried_with_what_failed(ledger: Ledger):
    """Such a row has no key: that depends on the images."""
    planned = plan_of(ledger).cells[0]
    write_row(ledger, replace(planned, key=""), FAILED, error_type="download", error_message="no network")

    plan = plan_of(ledger)

    assert plan.counts[FAILED] == 1
    assert plan.cells[0].reason == "download: no network"
    assert [again.key for again in plan.to_run("failed")] == [planned.key]
    assert planned.key not in {again.key for again in plan.to_run("missing")}
