"""How long a sweep will take: the work that is left, times what this machine is known to do."""

from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from benchmark.errors import DownloadError
from benchmark.features.cache import BuildFacts, cached_features
from benchmark.features.engine import Extraction
from benchmark.options import DenseOptions, Stage
from benchmark.plan import estimate as estimate_module
from benchmark.plan.cells import Cell, DatasetRequest, feature_facts
from benchmark.plan.estimate import GUESSED_GFLOPS_PER_CORE, JOB_OVERHEAD_S, estimate, flops_g_at_size
from benchmark.plan.planned import MISSING, PlannedCell
from benchmark.registry import Backbone

FINGERPRINT = "0" * 64


def a_backbone(name: str = "Net", **facts: Any) -> Backbone:
    usual = {"application": "ResNet50", "mode": "caffe", "input_size_px": 100, "flops_g": 2.0, "feature_dim": 50}
    return Backbone(name=name, folder=Path(), **{**usual, **facts})


def a_plan(backbone: Backbone | None = None, **settings: Any) -> PlannedCell:
    usual: dict[str, Any] = {
        "dataset": DatasetRequest("digits"), "mode": "native", "strategy": "probe", "head": "linear", "seed": 0,
        "input_size_px": 100, "resize": "bilinear", "crop": "squash",
        "engine": "tensorflow", "precision": "float32", "val_fraction": 0.1,
        "dense": DenseOptions(),
    }  # fmt: skip
    cell = Cell(backbone=backbone or a_backbone(), **{**usual, **settings})
    return PlannedCell(cell, "key", MISSING, dataset_fingerprint=FINGERPRINT, n_images=1000, n_classes=10)


def put_into_cache(planned: PlannedCell, *, images_per_s: float, flops_g: float) -> None:
    def extract(file: IO[bytes], *_: object) -> tuple[Extraction, BuildFacts]:
        import hashlib
        import io

        content = io.BytesIO()
        np.save(content, np.zeros((2, 3), np.float32))
        file.write(content.getvalue())
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        return Extraction(2, 3, digest, 1.0, 0.5, images_per_s, 16, 100.0, None), BuildFacts(1.0, 10, flops_g, "w", 1.0)

    cached_features(feature_facts(planned.cell, planned.dataset_fingerprint), extract)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "usable_cpus", lambda: 2)


@pytest.mark.parametrize(("size_px", "flops_g"), [(100, 2.0), (50, 0.5), (200, 8.0)])
def test_the_work_of_an_image_grows_with_its_area(size_px: int, flops_g: float):
    assert flops_g_at_size(a_plan(input_size_px=size_px).cell) == pytest.approx(flops_g)


def test_a_backbone_of_unknown_work_gets_a_guess_instead_of_nothing():
    unknown = a_plan(a_backbone(flops_g=None, feature_dim=None))

    expected = estimate([unknown])

    assert expected.extract_s > 0
    assert expected.heads_s > 0


def test_nothing_to_do_takes_no_time():
    expected = estimate([])

    assert (expected.n_passes, expected.total_s) == (0, 0.0)


def test_one_pass_serves_all_heads_seeds_and_modes_of_equal_steps():
    cells = [
        a_plan(mode=mode, head=head, seed=seed)
        for mode in ("native", "caffe")
        for head in ("linear", "knn")
        for seed in range(3)
    ]

    expected = estimate(cells)

    assert expected.n_passes == 1
    assert expected.overhead_s == JOB_OVERHEAD_S
    assert expected.extract_s == pytest.approx(estimate(cells[:1]).extract_s)
    assert expected.heads_s > 6 * estimate(cells[:1]).heads_s


@pytest.mark.parametrize(
    "other",
    [{"mode": "unit"}, {"resize": "nearest"}, {"crop": "crop"}, {"precision": "bfloat16"}],
    ids=lambda other: next(iter(other)),
)
def test_each_view_needs_a_pass_of_its_own_in_the_same_job(other: dict[str, str]):
    expected = estimate([a_plan(), a_plan(**other)])

    assert expected.n_passes == 2
    assert expected.overhead_s == JOB_OVERHEAD_S


def test_each_backbone_dataset_and_size_starts_a_process():
    others = [a_plan(a_backbone("Other")), a_plan(input_size_px=64), a_plan(dataset=DatasetRequest("mnist"))]

    assert estimate([a_plan(), *others]).overhead_s == 4 * JOB_OVERHEAD_S


def test_a_fresh_machine_is_guessed_from_its_cores():
    expected = estimate([a_plan()])

    assert expected.n_guessed == expected.n_backbones == 1
    assert expected.extract_s == pytest.approx(1000 * 2.0 / (GUESSED_GFLOPS_PER_CORE * 2))
    assert expected.total_s == pytest.approx(expected.extract_s + expected.heads_s + expected.overhead_s)


def test_features_in_the_cache_need_no_pass():
    put_into_cache(a_plan(), images_per_s=50.0, flops_g=2.0)

    expected = estimate([a_plan(), a_plan(seed=1)])

    assert (expected.n_passes, expected.extract_s) == (0, 0.0)
    assert expected.heads_s > 0


def test_a_measured_rate_is_used_for_its_backbone_and_as_a_guess_for_others():
    # 50 images a second of 2e9 operations each: 100e9 operations a second.
    put_into_cache(a_plan(mode="unit"), images_per_s=50.0, flops_g=2.0)

    same, other = estimate([a_plan()]), estimate([a_plan(a_backbone("Other", flops_g=4.0))])

    assert same.n_guessed == 0
    assert other.n_guessed == 1
    assert same.extract_s == pytest.approx(1000 * 2.0 / 100)
    assert other.extract_s == pytest.approx(1000 * 4.0 / 100)


def test_a_tiny_network_does_not_make_others_slower_than_the_guess():
    put_into_cache(a_plan(a_backbone("Tiny", flops_g=0.0001), mode="unit"), images_per_s=500.0, flops_g=0.0001)

    assert estimate([a_plan()]).extract_s == pytest.approx(1000 * 2.0 / (GUESSED_GFLOPS_PER_CORE * 2))


def test_a_record_without_a_rate_is_no_measurement():
    put_into_cache(a_plan(mode="unit"), images_per_s=0.0, flops_g=2.0)

    assert estimate([a_plan()]).n_guessed == 1


def test_cells_whose_dataset_cannot_be_had_cost_nothing():
    planned = a_plan()
    blocked = PlannedCell(planned.cell, "", MISSING, obstacle=DownloadError("no network"))

    assert estimate([blocked]).total_s == 0.0


@pytest.mark.parametrize("strategy", ["probe", "scratch"])
def test_few_images_are_trained_on_sooner(strategy: str):
    """Of ten classes, five training and five validation images each; there are not more than 1,000."""
    stages = (Stage(epochs=3),) if strategy == "scratch" else ()

    whole, few, many = (
        estimate([a_plan(strategy=strategy, stages=stages, shots=shots)]).heads_s for shots in (None, 5, 500)
    )

    assert few == pytest.approx(whole / 10)
    assert many == whole
