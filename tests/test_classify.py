"""The strategy `classify`: which cells it makes, what it refuses, and how answers are scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss, top_k_accuracy_score
from test_cells import MIXED, REGISTRY, a_backbone, a_cell, a_sweep
from test_imagenet import GOLDFISH, TENCH, TOILET_PAPER, write_images

from benchmark.datasets import ALL_CLASSES, OWN_CLASSES, imagenet_ids, imagenet_positions, load_dataset, split_dataset
from benchmark.errors import BenchmarkError, DataError
from benchmark.features.cache import FEATURE_VERSION, BuildFacts
from benchmark.features.engine import Extraction
from benchmark.ledger import CONFUSION, PER_CLASS, Ledger, cell_names
from benchmark.plan.cells import Cell, DatasetRequest, feature_facts, job_key, make_keys
from benchmark.plan.fetching import build_once
from benchmark.plan.grid import expand, expanded
from benchmark.plan.planned import MISSING, REPEAT
from benchmark.plan.planning import make_plan
from benchmark.plan.remarks import remarks_on
from benchmark.recipes import Grid, Sweep, read_recipe
from benchmark.registry import load_registry
from benchmark.strategies.classify import among, run_classify
from benchmark.work.rows import Costs, class_rows, result_columns

RESULTS = Path(__file__).parents[1] / "results"
N_CLASSES = 1000
FOLDER = "folder:val"


def a_grid(**options: Any) -> Grid:
    return Grid(**{"backbones": ("NetB0",), "datasets": (FOLDER,), "strategies": ("classify",), **options})


def cells_of(**options: Any) -> list[Cell]:
    return expand(a_sweep(a_grid(**options)), MIXED)


# --- cells -----------------------------------------------------------------------------------------------------------


def test_a_cell_has_no_head_and_no_stages_and_asks_for_all_classes():
    (cell,) = cells_of()

    assert (cell.strategy, cell.head, cell.stages) == ("classify", "", ())
    assert cell.dataset == DatasetRequest(FOLDER, imagenet_classes=ALL_CLASSES)
    assert not cell.is_trained_by_keras
    assert cell.columns["restrict_classes"] is None


def test_restricted_classes_are_another_cell_with_its_own_column():
    cells = expand(a_sweep(a_grid(), a_grid(restrict_classes=True)), MIXED)

    assert [cell.dataset.imagenet_classes for cell in cells] == [ALL_CLASSES, OWN_CLASSES]
    assert [cell.columns["restrict_classes"] for cell in cells] == [None, 1]
    assert cells[0].name != cells[1].name


def test_every_mode_size_crop_and_resize_is_swept():
    cells = cells_of(modes=("*",), input_size_px=96, crop=0.875, resize="lanczos")

    assert [cell.mode for cell in cells] == ["native", "unit", "raw", "tf", "caffe", "torch", "double", "bgr"]
    assert {(cell.input_size_px, cell.crop, cell.resize) for cell in cells} == {(96, 0.875, "lanczos")}


def test_answers_are_not_taken_for_features():
    probe, classify = a_cell(), a_cell(strategy="classify", head="")

    assert feature_facts(classify, "f") == feature_facts(probe, "f") | {"output": "classifier"}
    assert make_keys(probe, "f") != make_keys(classify, "f")


def test_probes_of_the_same_images_read_the_dataset_as_it_is():
    cells = expand(a_sweep(a_grid(strategies=("probe", "classify"))), MIXED)

    assert [cell.dataset.imagenet_classes for cell in cells] == [None, ALL_CLASSES]
    assert len({job_key(cell) for cell in cells}) == 2


def test_the_keys_of_committed_rows_are_those_of_their_cells():
    ledger = Ledger(RESULTS / "demo")
    runs = ledger.read_runs()
    (recipe,) = runs["recipe_sha256"].unique()
    cells = {cell.name: cell for cell in expand(read_recipe(ledger.recipe_path(recipe)), load_registry())}

    found = [
        make_keys(cells[name], row["dataset_fingerprint"], row)
        for name, row in zip(cell_names(runs), runs.to_dict("records"), strict=True)
    ]

    assert set(runs["feature_version"]) == {FEATURE_VERSION}
    assert found == list(zip(runs["cell_key"], runs["setting_key"], strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": ("linear",)}, "heads: strategy 'classify' trains nothing. Leave out what is for training"),
        ({"folds": 3}, "folds: strategy 'classify' trains nothing"),
        ({"part": "train"}, "part: strategy 'classify' trains nothing"),
        ({"augment": {"flip": "both"}}, r"augment \(flip=both\) has no effect on strategy 'classify', which trains"),
        ({"backbones": ("own1",)}, "own1: a network with its own classifier takes the strategy 'scratch' only"),
        ({"strategies": ("probe",), "restrict_classes": True}, "restrict_classes is for strategy 'classify'"),
        ({"input_size_px": 31}, "NetB0 needs an input of at least 32 px"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(BenchmarkError, match=message):
        cells_of(**options)


@pytest.mark.parametrize(
    "facts",
    [
        {"weights": "file:net.h5"},
        {"weights": "pypi:net==1/net.h5", "weights_sha256": "0" * 64},
        {"application": None, "builder": "nets:own", "weights": "builder"},
        {"application": None, "model": "file:net.keras", "weights": "file:net.keras"},
    ],
)
def test_a_network_without_imagenets_classifier_is_refused_and_others_are_named(facts: dict[str, Any]):
    registry = {**REGISTRY, "Mine": a_backbone("Mine", **facts)}

    with pytest.raises(BenchmarkError, match=r"Mine cannot classify: its weights have no classifier .* do: ResNet50, "):
        expand(a_sweep(a_grid(backbones=("Mine",))), registry)
    matched = expand(a_sweep(a_grid(backbones=("*",))), registry)
    assert [cell.backbone.name for cell in matched] == [*REGISTRY], "a pattern takes those that can"


def test_a_network_whose_file_has_no_classifier_can_have_random_weights():
    registry = {"Mine": a_backbone("Mine", weights="file:net.h5")}

    (cell,) = expand(a_sweep(a_grid(backbones=("Mine",), weights="random")), registry)

    assert cell.backbone.weights == "random"


def test_a_classifier_with_a_weight_for_each_place_takes_one_size():
    registry = load_registry()

    with pytest.raises(BenchmarkError, match="VGG16: its classifier takes images of 224 px only, got 96 px: choose"):
        expand(a_sweep(a_grid(backbones=("VGG16",), input_size_px=96)), registry)
    assert len(expand(a_sweep(a_grid(backbones=("VGG16",), input_size_px=224)), registry)) == 1


def test_an_expanded_sweep_restricts_the_classes_of_this_strategy_only():
    probe, classify = expanded(a_sweep(a_grid(strategies=("probe", "classify"), restrict_classes=True)), MIXED).grid

    assert (probe.restrict_classes, classify.restrict_classes) == (False, True)


# --- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unexamined")
def test_a_folder_with_one_image_per_class_is_planned_and_another_seed_is_a_repeat(tmp_path: Path):
    name = f"folder:{write_images(tmp_path / 'val', {TENCH: 1, GOLDFISH: 1})}"
    sweep = Sweep(name="toy", grid=(a_grid(datasets=(name,), seeds=(0, 1)),))

    plan = make_plan(sweep, REGISTRY, Ledger(tmp_path / "ledger"))

    assert [planned.state for planned in plan.cells] == [MISSING, REPEAT]
    assert remarks_on(plan) == [f"{name}: classify is not run with seed 1: it would repeat seed 0, since nothing is "
                                "trained"]  # fmt: skip
    assert [planned.n_classes for planned in plan.cells] == [N_CLASSES] * 2


@pytest.mark.usefixtures("unexamined")
@pytest.mark.parametrize(
    ("classes", "strategies", "message"),
    [
        ({TENCH: 1, GOLDFISH: 1}, ("classify", "probe"), "the test split of .* cannot be drawn"),
        ({TENCH: 9, "goldfish": 9}, ("classify",), "1 of 2 classes are not named by an ImageNet id: goldfish"),
    ],
)
def test_a_dataset_that_a_cell_cannot_use_stops_the_plan(
    classes: dict[str, int], strategies: tuple[str, ...], message: str, tmp_path: Path
):
    grid = a_grid(datasets=(f"folder:{write_images(tmp_path / 'val', classes)}",), strategies=strategies)

    with pytest.raises(DataError, match=message):
        make_plan(Sweep(name="toy", grid=(grid,)), REGISTRY, Ledger(tmp_path / "ledger"))


def test_weights_are_fetched_with_the_classifier_for_this_strategy_only(monkeypatch: pytest.MonkeyPatch):
    """Keras has two files of each network's weights."""
    built = []
    for name in ("build_whole", "build_backbone"):
        monkeypatch.setattr(f"benchmark.backbones.build.{name}", lambda *_, name=name: built.append(name))

    for cell in (*cells_of(), a_cell()):
        build_once(cell)

    assert built == ["build_whole", "build_backbone"]


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def probabilities(rng: np.random.Generator) -> np.ndarray:
    return softmax(rng.normal(0, 4, (50, N_CLASSES)), axis=1).astype(np.float32)


def test_without_a_restriction_the_scores_are_the_networks_answers(probabilities: np.ndarray):
    outcome = run_classify(probabilities, np.array([3, 7]), classes=None, params_total=9)

    np.testing.assert_array_equal(outcome.scores, probabilities[[3, 7]])
    assert (outcome.params_total, outcome.params_trainable, outcome.epochs) == (9, 0, None)
    assert (outcome.train_accuracy, outcome.val_accuracy, outcome.history) == (None, None, ())


def test_restricted_to_some_classes_the_probabilities_are_those_without_the_others(rng: np.random.Generator):
    """As if the softmax had been taken over the logits of these classes alone."""
    logits, classes = rng.normal(0, 4, (50, N_CLASSES)), np.array([999, 4, 217])

    found = among(softmax(logits, axis=1).astype(np.float32), classes)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, softmax(logits[:, classes], axis=1), rtol=1e-4)


def test_where_no_class_of_the_dataset_has_a_probability_all_are_equal():
    certain = np.eye(N_CLASSES, dtype=np.float32)[[5, 1]]

    np.testing.assert_allclose(among(certain, np.array([0, 1])), [[0.5, 0.5], [0, 1]])


def row_of(folder: Path, classes: str, probabilities: np.ndarray) -> dict[str, Any]:
    """The columns of a run on a folder, from answers that are made up."""
    dataset = load_dataset(f"folder:{folder}", imagenet_classes=classes)
    split = split_dataset(dataset, seed=0, val_fraction=0.1)
    own = imagenet_positions("pets", dataset.class_names) if classes == OWN_CLASSES else None
    outcome = run_classify(probabilities[: len(dataset)], split.test, classes=own, params_total=4_000_000)
    build = BuildFacts(1.0, 4_000_000, 0.5, "w" * 64, 16.0)
    extraction = Extraction(len(dataset), N_CLASSES, "e" * 64, 2.0, 1.0, 9.0, 16, 100.0, None)
    return result_columns(dataset, split, Costs(build, None, 0.1, (extraction,), None, False, ({},)), outcome)


def test_answers_outside_the_dataset_count_as_wrong(tmp_path: Path, probabilities: np.ndarray):
    folder = write_images(tmp_path, {TENCH: 6, TOILET_PAPER: 4, GOLDFISH: 2})
    answers = probabilities[:12].copy()
    # Three of the first five tenches are named, one is called toilet paper.
    answers[:5] = 0.9 * np.eye(N_CLASSES)[[0, 0, 500, 999, 0]] + 0.1 * answers[:5]

    over_all, own = (row_of(folder, classes, answers) for classes in (ALL_CLASSES, OWN_CLASSES))

    labels = np.repeat([0, 1, 999], [6, 2, 4])
    assert over_all["accuracy"] == np.mean(answers.argmax(axis=1) == labels)
    assert over_all["top5_accuracy"] == top_k_accuracy_score(labels, answers, k=5, labels=np.arange(N_CLASSES))
    exact = answers.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert over_all["log_loss"] == pytest.approx(log_loss(labels, exact, labels=np.arange(N_CLASSES)))
    chosen = answers[:, [0, 1, 999]].astype(np.float64) + 1e-300
    assert own["accuracy"] == np.mean(chosen.argmax(axis=1) == np.repeat([0, 1, 2], [6, 2, 4]))
    assert own["accuracy"] > over_all["accuracy"]
    assert (over_all["n_classes"], own["n_classes"]) == (N_CLASSES, 3)
    assert (own["top5_accuracy"], own["calibration_error"] is None) == (None, False)


def test_a_row_says_that_nothing_was_trained_and_counts_the_whole_network(tmp_path: Path, probabilities: np.ndarray):
    row = row_of(write_images(tmp_path, {TENCH: 6, TOILET_PAPER: 4}), ALL_CLASSES, probabilities)

    assert [row[column] for column in ("n_train", "n_val", "n_test")] == [0, 0, 10]
    assert row["chance"] == 0.6, "the share of the commonest class of the scored images"
    assert [row[column] for column in ("train_accuracy", "val_accuracy", "overfit_gap", "epochs")] == [None] * 4
    assert [row[name] for name in ("params_total", "params_backbone", "params_trainable")] == [4_000_000, None, 0]
    assert row["efficiency"] == pytest.approx(row["accuracy"] / 4)
    assert (row["feature_dim"], row["train_s"]) == (None, 0.0)


def test_of_a_thousand_classes_only_those_that_occur_or_were_predicted_have_a_row():
    labels, scores = np.array([0, 0, 7]), np.eye(N_CLASSES, dtype=np.float32)[[0, 3, 7]]

    tables = class_rows("run", labels, scores, imagenet_ids())

    assert [row["class_name"] for row in tables[PER_CLASS]] == [imagenet_ids()[number] for number in (0, 3, 7)]
    assert [row["support"] for row in tables[PER_CLASS]] == [2, 0, 1]
    assert len(tables[CONFUSION]) == 3
    few = class_rows("run", np.array([0]), np.eye(3, dtype=np.float32)[[0]], ("a", "b", "c"))
    assert len(few[PER_CLASS]) == 3
