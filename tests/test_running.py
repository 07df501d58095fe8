"""Cells run in this process, on features that are made up."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmark.analysis.comparison import compare_ledgers
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import are_times_comparable, load_runs
from benchmark.analysis.presentation import FOLDS_NOTE, leaderboard_sections
from benchmark.analysis.published import compare_published
from benchmark.analysis.soundness import find_faults
from benchmark.analysis.verification import verify_rows
from benchmark.datasets import load_dataset, split_dataset
from benchmark.features.cache import BuildFacts, CachedFeatures
from benchmark.features.engine import Extraction
from benchmark.features.extractor import BATCH_SIZE, Extractor, Latency
from benchmark.ledger import DONE, Ledger, fold_of
from benchmark.memory import settled_mib
from benchmark.plan.planned import Job, Plan
from benchmark.plan.planning import make_plan
from benchmark.preprocessing import line_of
from benchmark.processes.conditions import Conditions
from benchmark.processes.runner import run_cells
from benchmark.processes.worker import run_job
from benchmark.provenance import environment
from benchmark.recipes import Grid, Sweep
from benchmark.registry import Backbone
from benchmark.storage import MIB
from benchmark.work.events import Event
from benchmark.work.features import JobFeatures
from benchmark.work.state import JobState, import_libraries

pytestmark = pytest.mark.usefixtures("unexamined")

BACKBONE = Backbone(name="Tiny", folder=Path(), builder="nets:tiny", mode="tf", input_size_px=8, weights="random")
EXTRACTION = Extraction(
    n_images=0, feature_dim=64, sha256="e" * 64, extract_s=4.0, first_batch_s=1.5, images_per_s=12.0, batch_size=8,
    peak_rss_mib=0.0, peak_device_mib=None,
)  # fmt: skip
BUILD = BuildFacts(build_s=2.0, params_backbone=1_500_000, flops_g=0.25, weights_sha256="w" * 64, model_mib=6.0)
N_IMAGES = 200
FOLDS = 4
TOLERANCE_MIB = 10


@pytest.fixture
def pixels_as_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of an image are its pixels, so that no network is built."""

    def features_of(features: JobFeatures, *_: object) -> CachedFeatures:
        dataset, _ = features._job.dataset()
        pixels = dataset.images.read(np.arange(len(dataset)))
        return CachedFeatures(np.float32(pixels).reshape(len(dataset), -1), EXTRACTION, BUILD, False, made={})

    monkeypatch.setattr(JobFeatures, "of_view", features_of)


def execute(jobs: Sequence[Job], again: bool, *, n_jobs: int = 1) -> Iterator[Event]:
    for job in jobs:
        events: list[Event] = []
        run_job(job, events.append, Conditions(Path("worker.log"), n_jobs=n_jobs, again=again))
        yield from events


def plan_of(ledger: Ledger, **lists: object) -> Plan:
    grid = Grid(backbones=("Tiny",), **{"limit": N_IMAGES, "heads": ("ridge",), **lists})
    return make_plan(Sweep(name="toy", grid=(grid,)), {"Tiny": BACKBONE}, ledger)


def sweep(folder: Path, *, n_jobs: int = 1, again: bool = False, **lists: object) -> pd.DataFrame:
    """The rows of a sweep that was run into this folder."""
    ledger = Ledger(folder)
    plan = plan_of(ledger, **lists)
    run = functools.partial(execute, n_jobs=n_jobs)
    list(run_cells(plan.to_run("missing"), ledger, run, recipe_sha256="sha", again=again))
    return load_runs([folder])


@pytest.fixture
def folds(pixels_as_features: None, tmp_path: Path) -> pd.DataFrame:
    return sweep(tmp_path / "folds", folds=FOLDS)


def test_every_image_is_tested_in_one_fold(folds: pd.DataFrame):
    dataset = load_dataset("digits", limit=N_IMAGES)
    ledger = Ledger(Path(folds["folder"][0]))

    for row in folds.to_dict("records"):
        split = split_dataset(dataset, seed=row["seed"], val_fraction=0.1, folds=FOLDS)
        true = ledger.read_true_labels(row["dataset_fingerprint"], fold_of(row))
        assert true is not None
        assert true[0].tolist() == dataset.labels[split.test].tolist()
        assert (row["status"], row["n_test"]) == (DONE, len(split.test))
    assert folds["n_test"].sum() == N_IMAGES
    assert folds["accuracy"].min() > 0.7


def find_contradictions(runs: pd.DataFrame) -> list[str]:
    faults = find_faults(map(Path, runs["folder"].unique()), runs)
    # The recipe is not kept: the sweep was planned by hand.
    return [fault.text for fault in faults.values() if fault.is_contradiction]


def test_the_rows_of_folds_agree_with_their_own_predictions(folds: pd.DataFrame):
    assert find_contradictions(folds) == []


def test_folds_are_not_pooled_image_by_image_and_compared_fold_by_fold(folds: pd.DataFrame, tmp_path: Path):
    board = make_leaderboard(folds, correctness=Correctness(folds))
    again = sweep(tmp_path / "again", folds=FOLDS)

    new_rows = dict(zip(zip(folds["folder"], folds["run_id"], strict=True), again.to_dict("records"), strict=True))
    changes, verified = compare_ledgers(folds, again), verify_rows(folds, new_rows)

    assert (len(board), board["n_seeds"][0]) == (1, FOLDS)
    assert changes["change"].tolist() == ["same"] * FOLDS
    assert verified["change"].tolist() == ["reproduced"] * FOLDS
    assert changes["p_value"].notna().all(), "the images of a fold were not found"
    assert [Correctness(folds).of_run(*run) for run in folds[["folder", "run_id"]].to_numpy()] == [None] * FOLDS


def test_two_settings_of_folds_are_ranked(pixels_as_features: None, tmp_path: Path):
    runs = sweep(tmp_path / "folds", folds=3, heads=("ridge", "knn"))

    board = make_leaderboard(runs, correctness=Correctness(runs))

    assert board["rank"].tolist() == [1, 2]
    assert board["p_best"].isna().all()
    (section,) = leaderboard_sections(board, compare_published(board, ()))
    assert FOLDS_NOTE in section.notes


# --- shots -----------------------------------------------------------------------------------------------------------


def test_shots_are_trained_on_few_images_and_tested_on_all(pixels_as_features: None, tmp_path: Path):
    rows = sweep(tmp_path / "shots", shots=(1, 5), seeds=(0, 1), heads=("knn", "prototype"))
    whole = sweep(tmp_path / "whole", heads=("knn",))

    numbers = rows[["head", "shots", "seed", "n_train", "n_val", "n_test"]].to_numpy().tolist()
    assert numbers == [
        [head, shots, seed, 10 * shots, 10 * min(shots, 2), whole["n_test"][0]]
        for head in ("knn", "prototype") for shots in (1, 5) for seed in (0, 1)
    ]  # fmt: skip
    assert set(rows["chance"]) == set(whole["chance"])
    assert rows.groupby("shots")["accuracy"].mean().is_monotonic_increasing
    assert find_contradictions(rows) == find_contradictions(whole) == []


def test_a_row_of_shots_is_made_again_as_it_was(pixels_as_features: None, tmp_path: Path):
    options = {"shots": (2,), "seeds": (0, 1), "heads": ("prototype",)}
    before, after = (sweep(tmp_path / name, **options) for name in ("before", "after"))

    new_rows = dict(zip(zip(before["folder"], before["run_id"], strict=True), after.to_dict("records"), strict=True))

    assert verify_rows(before, new_rows)["change"].tolist() == ["reproduced"] * 2
    assert before["accuracy"].nunique() == 2, "both seeds drew the same images"


# --- memory ----------------------------------------------------------------------------------------------------------

BACKBONE_MIB, GRAPH_MIB, SWAPPED_GRAPH_MIB, BATCH_MIB = 60, 90, 30, 40


def a_block(mib: int) -> NDArray[np.uint8]:
    return np.ones(mib * MIB, np.uint8)


class FakeBackbone:
    """A network of three channels."""

    n_channels = 3

    def __init__(self) -> None:
        self.weights = a_block(BACKBONE_MIB)


class FakeCompiled:
    """A backbone compiled for each order of channels when it is first needed."""

    def __init__(self) -> None:
        self.graphs: dict[bool, NDArray[np.uint8]] = {}

    def extractor(self, steps: tuple[str, ...]) -> Extractor:
        is_swapped = line_of(steps, FakeBackbone.n_channels).is_swapped
        if is_swapped not in self.graphs:
            self.graphs[is_swapped] = a_block(SWAPPED_GRAPH_MIB if is_swapped else GRAPH_MIB)

        def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            used = a_block(BATCH_MIB)
            return np.float32(images).reshape(len(images), -1)[:, :64] * used[0]

        return Extractor(features, (64,), n_in_flight=1)


@pytest.fixture
def fake_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import_libraries()  # which each process does once
    monkeypatch.setattr(JobFeatures, "_build_backbone", lambda *_: (FakeBackbone(), BUILD))
    monkeypatch.setattr(JobFeatures, "_compiled", lambda *_: FakeCompiled())
    monkeypatch.setattr("benchmark.work.features.measure_latency", lambda *_: Latency(1.0, 2.0))
    monkeypatch.setattr(JobState, "start_tensorflow", lambda _: None)
    monkeypatch.setattr("benchmark.work.features.has_gpu", lambda: False)
    monkeypatch.setattr("benchmark.features.graph.set_precision", lambda _: None)


@pytest.mark.usefixtures("fake_network")
@pytest.mark.parametrize("modes", [("native", "bgr"), ("bgr", "native"), ("native",), ("bgr",)], ids=",".join)
def test_the_memory_of_a_row_does_not_depend_on_what_ran_before(tmp_path: Path, modes: tuple[str, ...]):
    before = settled_mib()

    rows = sweep(tmp_path / "rows", modes=modes, heads=("ridge", "knn"))

    own = {"native": BACKBONE_MIB + GRAPH_MIB + BATCH_MIB, "bgr": BACKBONE_MIB + SWAPPED_GRAPH_MIB + BATCH_MIB}
    expected = [before + own[mode] for mode in rows["mode"]]
    assert len(rows) == 2 * len(modes)
    assert rows["peak_rss_mib"].to_numpy() == pytest.approx(expected, abs=TOLERANCE_MIB)


# --- costs of cached features ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_network")
def test_a_larger_subset_extracts_the_new_images_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Apart from the last batch, and from one that is checked."""
    n_extracted: list[int] = []
    extractor_of = FakeCompiled.extractor

    def counting(compiled: FakeCompiled, steps: tuple[str, ...]) -> Extractor:
        extractor = extractor_of(compiled, steps)

        def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            n_extracted.append(len(images))
            return extractor.features(images)

        return extractor._replace(features=features)

    def sweep_of(name: str, limit: int, *, again: bool = False) -> tuple[int, dict[str, Any]]:
        n_extracted.clear()
        (row,) = sweep(tmp_path / name, limit=limit, again=again).to_dict("records")
        return sum(n_extracted), row

    monkeypatch.setattr(FakeCompiled, "extractor", counting)
    n_first, first = sweep_of("first", 160)
    n_more, more = sweep_of("more", N_IMAGES)
    n_again, _ = sweep_of("again", N_IMAGES, again=True)
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "clean"))
    n_whole, whole = sweep_of("whole", N_IMAGES)

    assert (n_first, n_whole, n_again) == (160, N_IMAGES, N_IMAGES)
    assert n_more <= N_IMAGES - 160 + 3 * BATCH_SIZE
    assert more["accuracy"] == whole["accuracy"]
    assert (more["features_cached"], more["costs_from"]) == (0, "")
    assert more["extract_s"] > first["extract_s"]


@pytest.mark.usefixtures("fake_network")
def test_a_row_says_if_its_features_were_made_beside_other_jobs(tmp_path: Path):
    beside = sweep(tmp_path / "beside", n_jobs=2)
    alone = sweep(tmp_path / "alone")
    again = sweep(tmp_path / "again", n_jobs=2)

    assert [rows["features_cached"].tolist() for rows in (beside, alone, again)] == [[0], [1], [1]]
    assert [rows["costs_from"].tolist() for rows in (beside, alone, again)] == [[""], ["n_jobs=2"], [""]]
    assert alone["extract_s"].tolist() == beside["extract_s"].tolist()


@pytest.mark.usefixtures("fake_network")
def test_a_row_says_if_its_features_were_made_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sweep(tmp_path / "there")
    here = {**environment(), "cpu": "Another", "cpu_vectors": ""}
    monkeypatch.setattr("benchmark.work.rows.environment", lambda: here)

    rows = sweep(tmp_path / "here")

    there = environment()
    assert rows["cpu"].tolist() == ["Another"]
    assert rows["costs_from"].tolist() == [f"cpu={there['cpu']}; cpu_vectors={there['cpu_vectors']}"]


@pytest.mark.usefixtures("fake_network")
def test_times_of_features_that_were_made_otherwise_are_not_ranked(tmp_path: Path):
    sweep(tmp_path / "beside", n_jobs=2)
    sweep(tmp_path / "rows" / "old", heads=("knn",))
    rows = sweep(tmp_path / "rows" / "new", modes=("unit",))

    both = load_runs([tmp_path / "rows"])
    board = make_leaderboard(both, by="wall_s").set_index("head")

    assert rows["costs_from"].tolist() == [""]
    assert dict(zip(both["head"], are_times_comparable(both), strict=True)) == {"knn": False, "ridge": True}
    assert board["wall_s"].isna().to_dict() == {"knn": True, "ridge": False}
    assert board.loc["knn", "accuracy"] > 0
