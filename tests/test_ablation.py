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
from benchmark.analysis.significance import compare_runs
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


def add_pair(ledger: Ledger, native: np.ndarray, unit: np.ndarray) -> None:
    """Native and unit, right on these images, `(s, n)`."""
    for mode, right in (("native", native), ("unit", unit)):
        for seed, images in enumerate(right):
            add_predicted(ledger, images, mode=mode, seed=seed)


def test_the_interval_over_folds_is_widened_for_the_training_images_that_they_share(ledger: Ledger):
    natives, units = (0.80, 0.82, 0.78, 0.81), (0.70, 0.75, 0.70, 0.72)
    for fold, (native, unit) in enumerate(zip(natives, units, strict=True)):
        common = {"seed": fold, "folds": 4, "n_train": 270, "n_test": 100}
        add(ledger, mode="native", accuracy=native, **common)
        add(ledger, mode="unit", accuracy=unit, **common)

    (row,) = ablation_of(ledger).to_dict("records")

    lost = np.subtract(natives, units)
    reach = stats.t.ppf(0.975, 3) * lost.std(ddof=1) * np.sqrt(1 / 4 + 100 / 270)
    assert row["interval_over"] == "folds"
    assert (row["lost_low"], row["lost_high"]) == pytest.approx((lost.mean() - reach, lost.mean() + reach))


def test_the_interval_counts_images_and_seeds_and_pairs_both(ledger: Ledger, rng: np.random.Generator):
    images = rng.random(500)
    native, unit = images < np.array([[0.80], [0.84], [0.79]]), images < np.array([[0.70], [0.75], [0.72]])
    add_pair(ledger, native, unit)
    add_predicted(ledger, images < 0.1, mode="unit", seed=9)  # without a partner

    (row,) = ablation_of(ledger).to_dict("records")

    expected = compare_runs(native, unit)
    assert (row["n_seeds"], row["interval_over"], row["verdict"]) == (3, "images and seeds", "harmful")
    assert row["accuracy_lost"] == pytest.approx(native.mean() - unit.mean())
    assert (row["lost_low"], row["lost_high"]) == (expected.low, expected.high)


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


def test_each_mode_is_compared_with_native_of_as_many_shots(ledger: Ledger):
    for shots, native, unit in ((1, 0.5, 0.4), (25, 0.9, 0.7), (None, 0.95, 0.85)):
        for seed in (0, 1):
            add(ledger, shots=shots, mode="native", accuracy=native, seed=seed)
            add(ledger, shots=shots, mode="unit", accuracy=unit, seed=seed)
    add(ledger, shots=5, mode="unit", accuracy=0.1)

    cells = ablation_cells(ablation_of(ledger))

    assert cells[["Strategy", "Accuracy → native, %", "Seeds"]].to_numpy().tolist() == [
        ["probe(shots=25)", "70.00 → 90.00", "2"], ["probe(shots=1)", "40.00 → 50.00", "2"],
        ["probe", "85.00 → 95.00", "2"],
    ]  # fmt: skip


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


def test_with_one_seed_the_interval_is_over_the_test_images(ledger: Ledger, rng: np.random.Generator):
    native, unit = rng.random((1, 400)) < 0.8, rng.random((1, 400)) < 0.6
    add_pair(ledger, native, unit)

    (row,) = ablation_of(ledger).to_dict("records")

    interval = stats.ttest_rel(native[0].astype(int), unit[0].astype(int)).confidence_interval(0.95)
    assert row["interval_over"] == "images"
    assert (row["lost_low"], row["lost_high"]) == pytest.approx((interval.low, interval.high), abs=2 / 400)


@pytest.mark.parametrize(("n_seeds", "is_said"), [(1, True), (2, False)])
def test_that_seeds_were_not_varied_is_said(ledger: Ledger, rng: np.random.Generator, n_seeds: int, is_said: bool):
    add_pair(ledger, rng.random((n_seeds, 400)) < 0.8, rng.random((n_seeds, 400)) < 0.6)

    text = to_markdown(ablation_sections(ablation_of(ledger)))

    assert ("Seeds were not varied, so other seeds may give other intervals." in text) == is_said
    assert ("for other images and other seeds," in text) != is_said


def test_without_predictions_there_is_no_interval_and_it_is_said(ledger: Ledger):
    for seed in range(3):
        add(ledger, mode="native", seed=seed, accuracy=0.9)
        add(ledger, mode="unit", seed=seed, accuracy=0.5)

    table = ablation_of(ledger)

    assert table[["interval_over", "verdict"]].to_numpy().tolist() == [["", "unclear"]]
    assert table["lost_low"].isna().all()
    assert "1 of 1 row without an interval: no predictions." in to_markdown(ablation_sections(table))


@pytest.mark.parametrize(
    ("n_native", "n_unit", "verdict"),
    [
        ([9000, 9010], [8000, 8010], "harmful"),
        ([8000, 8010], [9000, 9010], "helpful"),
        ([9000, 9010], [9000, 9005], "harmless"),
        ([9000, 9000], [8950, 8950], "harmless"),
        ([9000, 9000], [6000, 9500], "unclear"),
        ([9000], [9000], "harmless"),
    ],
)
def test_the_verdict_follows_the_interval(ledger: Ledger, n_native: list[int], n_unit: list[int], verdict: str):
    images = np.arange(10_000)
    add_pair(ledger, images < np.array(n_native)[:, np.newaxis], images < np.array(n_unit)[:, np.newaxis])

    assert ablation_of(ledger)["verdict"].tolist() == [verdict]


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
