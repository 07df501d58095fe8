"""Every mode against native."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy_ledgers import add, add_predicted

from benchmark.analysis.ablation import make_ablation
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.formats import to_markdown
from benchmark.analysis.loading import load_runs
from benchmark.analysis.presentation import ablation_cells, ablation_sections
from benchmark.ledger import FAILED, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "toy")


def ablation_of(ledger: Ledger) -> pd.DataFrame:
    runs = load_runs([ledger.folder])
    return make_ablation(runs, Correctness(runs))


def test_the_published_form_is_before_after_and_the_relative_gain(ledger: Ledger):
    """The report's ResNet50: 27.02 to 66.01 %, +144 %."""
    add(ledger, mode="native", accuracy=0.6601)
    add(ledger, mode="unit", accuracy=0.2702)

    (cells,) = ablation_cells(ablation_of(ledger)).to_dict("records")

    assert cells["Accuracy → native, %"] == "27.02 → 66.01"
    assert cells["Points lost"] == "+38.99"
    assert cells["Relative gain"] == "+144 %"


def test_seeds_are_paired_and_the_interval_is_students(ledger: Ledger):
    natives, units = [0.80, 0.84, 0.79, 0.81], [0.70, 0.75, 0.72, 0.69]
    for seed, (native, unit) in enumerate(zip(natives, units, strict=True)):
        add(ledger, mode="native", seed=seed, accuracy=native)
        add(ledger, mode="unit", seed=seed, accuracy=unit)
    add(ledger, mode="unit", seed=9, accuracy=0.1)  # without a partner

    (row,) = ablation_of(ledger).to_dict("records")

    interval = stats.ttest_rel(natives, units).confidence_interval(0.95)
    assert (row["n_seeds"], row["interval_over"], row["verdict"]) == (4, "seeds", "harmful")
    assert row["accuracy_lost"] == pytest.approx(np.mean(natives) - np.mean(units))
    assert (row["lost_low"], row["lost_high"]) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    "other",
    [
        {"weights": "file:mine.h5"}, {"val_fraction": 0.2}, {"registry_sha256": "a" * 64},
        {"network_sha256": "b" * 64}, {"dataset_fingerprint": "c" * 64},
    ],
    ids=str,
)  # fmt: skip
def test_a_mode_is_never_compared_with_native_of_another_origin(ledger: Ledger, other: dict[str, Any]):
    """A backbone that was registered anew with other weights, for example."""
    add(ledger, mode="native", accuracy=0.9)
    add(ledger, mode="unit", accuracy=0.3, **other)

    assert ablation_of(ledger).empty


def test_each_mode_is_compared_with_native_of_its_own_weights(ledger: Ledger):
    for weights, native, unit in (("imagenet", 0.9, 0.6), ("random", 0.5, 0.45)):
        add(ledger, mode="native", weights=weights, accuracy=native)
        add(ledger, mode="unit", weights=weights, accuracy=unit)
    add(ledger, mode="raw", weights="random", accuracy=0.4)  # alone in its mode, so no variant tells it apart

    rows = ablation_of(ledger).sort_values("accuracy")

    assert list(zip(rows["accuracy"], rows["accuracy_native"], strict=True)) == [(0.4, 0.5), (0.45, 0.5), (0.6, 0.9)]


def test_of_two_versions_of_native_the_one_of_the_same_version_is_compared(ledger: Ledger):
    for version, native, unit in (("3.14.0", 0.9, 0.6), ("3.15.0", 0.8, 0.7)):
        of_version = Ledger(ledger.folder / version)
        add(of_version, mode="native", keras_version=version, accuracy=native)
        add(of_version, mode="unit", keras_version=version, accuracy=unit)

    rows = ablation_of(ledger).sort_values("accuracy")

    assert list(zip(rows["accuracy"], rows["accuracy_native"], strict=True)) == [(0.6, 0.9), (0.7, 0.8)]


def test_with_one_seed_the_interval_is_over_the_test_images(ledger: Ledger):
    rng = np.random.default_rng(0)
    native, unit = rng.random(400) < 0.8, rng.random(400) < 0.6
    add_predicted(ledger, native, mode="native")
    add_predicted(ledger, unit, mode="unit")

    (row,) = ablation_of(ledger).to_dict("records")

    interval = stats.ttest_rel(native.astype(int), unit.astype(int)).confidence_interval(0.95)
    assert row["interval_over"] == "images"
    assert (row["lost_low"], row["lost_high"]) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([0.10, 0.11, 0.12], "harmful"),
        ([-0.10, -0.11, -0.12], "helpful"),
        ([0.001, 0.0, -0.001], "harmless"),
        ([0.004, 0.005, 0.006], "harmless"),
        ([0.1, 0.1 + 1e-15, 0.1], "unclear"),
        ([0.3, -0.3, 0.1], "unclear"),
        ([0.4], "unclear"),
    ],
)
def test_the_verdict_follows_the_interval(ledger: Ledger, losses: list[float], verdict: str):
    for seed, loss in enumerate(losses):
        add(ledger, mode="native", seed=seed, accuracy=0.5)
        add(ledger, mode="unit", seed=seed, accuracy=0.5 - loss)

    assert ablation_of(ledger)["verdict"].tolist() == [verdict]


def test_where_all_seeds_lose_the_same_the_interval_is_over_the_test_images(ledger: Ledger):
    """Equal differences of few seeds are chance, not certainty."""
    rng = np.random.default_rng(0)
    differences = []
    for seed in range(2):
        native, unit = rng.permutation(np.arange(1000) < 900), rng.permutation(np.arange(1000) < 880)
        add_predicted(ledger, native, mode="native", seed=seed)
        add_predicted(ledger, unit, mode="unit", seed=seed)
        differences.append(native.astype(float) - unit)

    (row,) = ablation_of(ledger).to_dict("records")

    interval = stats.ttest_1samp(np.mean(differences, axis=0), 0).confidence_interval(0.95)
    assert row["interval_over"] == "images"
    assert (row["lost_low"], row["lost_high"]) == pytest.approx((interval.low, interval.high))
    assert row["lost_low"] < row["accuracy_lost"] < row["lost_high"]


def test_a_mode_that_is_the_native_one_by_another_name_is_said_so(ledger: Ledger):
    for seed, accuracy in enumerate((0.8, 0.9)):
        for mode in ("native", "tf"):
            add(ledger, mode=mode, seed=seed, accuracy=accuracy, log_loss=0.3 + seed, macro_f1=accuracy - 0.01)
        add(ledger, mode="bgr", seed=seed, accuracy=accuracy, log_loss=0.31 + seed, macro_f1=accuracy - 0.01)

    table = ablation_of(ledger).set_index("mode")

    assert table["verdict"].to_dict() == {"tf": "same as native", "bgr": "unclear"}


def test_the_most_harmful_mode_of_a_dataset_is_first(ledger: Ledger):
    for dataset, mode, accuracy in (
        ("digits", "unit", 0.8), ("digits", "raw", 0.2), ("mnist", "unit", 0.5), ("digits", "native", 0.9),
        ("mnist", "native", 0.9),
    ):  # fmt: skip
        add(ledger, dataset=dataset, mode=mode, accuracy=accuracy)

    table = ablation_of(ledger)

    assert table[["dataset", "mode", "rank"]].to_numpy().tolist() == [
        ["digits", "raw", 1], ["digits", "unit", 2], ["mnist", "unit", 1],
    ]  # fmt: skip


@pytest.mark.parametrize("other", [{"head": "knn"}, {"input_size_px": 96}, {"backbone": "NetB"}, {"status": FAILED}])
def test_only_settings_that_differ_in_the_mode_alone_are_compared(ledger: Ledger, other: dict[str, object]):
    add(ledger, mode="native")
    add(ledger, mode="unit", **other)  # type: ignore[arg-type]

    assert ablation_of(ledger).empty


def test_nothing_right_has_no_relative_gain(ledger: Ledger):
    add(ledger, mode="native", accuracy=0.9)
    add(ledger, mode="unit", accuracy=0.0)

    assert "| – | unclear |" in to_markdown(ablation_sections(ablation_of(ledger)))
