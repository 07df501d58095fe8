"""Who takes part in a race, and on which images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.labels import dataset_labels
from benchmark.backbones.sources import are_weights_here
from benchmark.datasets import load_dataset
from benchmark.datasets.dataset import take_subset, take_train_part
from benchmark.errors import DataError, DownloadError, UnknownNameError
from benchmark.plan import racing
from benchmark.plan.grid import expand
from benchmark.plan.racing import N_FOLDS, cut_by_limits, find_candidates, plan_rounds, race_sweep
from benchmark.recipes import Grid, read_recipe, recipe_text
from benchmark.registry import Registry, load_registry

OWN = """
[Own]
application = "MobileNetV2"
mode = "tf"
input_size_px = 96
min_size_px = 32
weights = "random"
[Lost]
application = "MobileNetV2"
mode = "tf"
input_size_px = 96
weights = "file:nowhere.h5"
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The shipped entries and two more, without a network."""
    monkeypatch.setattr(racing, "can_reach", lambda _: False)
    (tmp_path / "own.toml").write_text(OWN)
    return load_registry([tmp_path / "own.toml"])


# --- candidates ------------------------------------------------------------------------------------------------------


def test_without_a_network_only_those_whose_weights_are_here_take_part(registry: Registry):
    candidates, cuts = find_candidates(registry, ["Own", "Lost", "ResNet50"], {}, None)

    assert [one.name for one in candidates] == ["Own"]
    assert {cut.backbone: cut.reason for cut in cuts} == {
        "Lost": "the weights file:nowhere.h5 do not exist",
        "ResNet50": "the ImageNet weights are not in Keras's cache, and storage.googleapis.com does not answer",
    }


def test_weights_that_can_be_downloaded_may_take_part(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(racing, "can_reach", lambda _: True)

    candidates, cuts = find_candidates(registry, ["ResNet50", "MobileNetV2-dogs"], {}, None)

    assert [one.name for one in candidates] == ["ResNet50", "MobileNetV2-dogs"]
    assert cuts == []


@pytest.mark.parametrize(
    ("file", "here", "not_here"),
    [
        ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", "MobileNetV2", "MobileNet"),
        ("resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "ResNet50V2", "ResNet50"),
        ("efficientnetv2-b0_notop.h5", "EfficientNetV2B0", "EfficientNetB0"),
        ("convnext_xlarge_notop.h5", "ConvNeXtXLarge", "ConvNeXtLarge"),
        ("weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5", "MobileNetV3Small", "MobileNet"),
    ],
)
def test_the_files_in_keras_cache_tell_which_weights_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, here: str, not_here: str
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / file).touch()
    registry = load_registry()

    assert are_weights_here(registry[here])
    assert not are_weights_here(registry[not_here])


def test_networks_with_a_classifier_take_no_part_and_are_named_if_they_were_asked_for(registry: Registry):
    everybody, cuts = find_candidates(registry, None, {}, None)
    _, asked = find_candidates(registry, ["Own", "lenet5"], {}, None)

    assert "lenet5" not in {one.name for one in everybody} | {cut.backbone for cut in cuts}
    assert [(cut.backbone, cut.reason) for cut in asked] == [
        ("lenet5", "a network with a classifier of its own gives no features")
    ]


def test_an_input_that_is_too_small_for_a_backbone_cuts_it(registry: Registry):
    _, cuts = find_candidates(registry, ["Own"], {}, 16)

    assert [cut.reason for cut in cuts] == ["the input must have at least 32 px"]


def test_a_preset_whose_facts_cannot_be_had_is_cut_with_the_reason(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    def read(preset: str, folder: Path) -> None:
        raise DownloadError(f"{preset} cannot be reached")

    monkeypatch.setattr("benchmark.registry.files.read_preset", read)

    candidates, cuts = find_candidates(registry, ["hub:vit", "MobileNetV2-dogs"], {}, None)

    assert [one.name for one in candidates] == ["MobileNetV2-dogs"]
    assert [(cut.backbone, cut.reason) for cut in cuts] == [("hub:vit", "backbone hub:vit: vit cannot be reached")]


def test_an_unknown_backbone_is_a_mistake(registry: Registry):
    with pytest.raises(UnknownNameError, match="Unknown backbone 'Onw'"):
        find_candidates(registry, ["Onw"], {}, None)


def test_limits_that_the_registry_can_answer_cut_before_anything_else(registry: Registry):
    candidates, cuts = find_candidates(registry, ["ResNet50", "MobileNetV2-dogs"], {"params_backbone": 1e7}, None)

    assert [one.name for one in candidates] == ["MobileNetV2-dogs"]
    assert [(cut.backbone, cut.reason) for cut in cuts] == [
        ("ResNet50", "23.59 M parameters, more than --max-params 10M")
    ]
    assert cuts[0].excess == pytest.approx(2.358, abs=0.001)


def test_what_is_not_known_breaks_no_limit():
    limits = {"params_backbone": 1.0, "latency_ms": 1.0}

    assert cut_by_limits("A", limits, {"params_backbone": None, "latency_ms": np.nan}) is None


def test_every_limit_that_is_broken_is_named():
    cut = cut_by_limits("A", {"latency_ms": 10, "images_per_s": 50}, {"latency_ms": 20, "images_per_s": 5})

    assert cut is not None
    assert cut.reason == "20 ms an image, more than --max-latency-ms 10; 5 images/s, fewer than --min-images-per-s 50"
    assert cut.excess == pytest.approx(10)


# --- images ----------------------------------------------------------------------------------------------------------


def contents(dataset, positions=slice(None)) -> set[int]:
    return set(dataset.images.contents[positions].tolist())


@pytest.mark.parametrize("limit", [None, 900])
def test_no_round_has_an_image_that_any_final_tests_on_and_each_contains_the_one_before(limit: int | None):
    whole = load_dataset("digits", limit=limit)
    rounds = plan_rounds(load_dataset("digits"), limit, 2, 0.1)
    before: set[int] = set()

    for one in rounds:
        part = load_dataset("digits", limit=one.limit, part="train")
        final = load_dataset("digits", limit=one.limit)

        assert (len(part), len(final)) == (one.n_images, one.n_all)
        assert not contents(part) & contents(whole, whole.test)
        assert contents(part) == contents(final) - contents(final, final.test)
        assert before <= contents(part)
        before = contents(part)


def test_the_last_round_has_all_images_and_small_rounds_are_left_out():
    rounds = plan_rounds(load_dataset("digits"), None, 3, 0.1)

    assert [(one.limit, one.n_all) for one in rounds] == [(449, 449), (None, 1797)]


def test_a_round_in_which_a_class_could_not_be_split_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(racing, "LEAST_IMAGES", 1)

    rounds = plan_rounds(load_dataset("digits"), None, 1, 0.1)

    assert [one.n_all for one in rounds] == [112, 449, 1797]
    assert [one.n_all for one in plan_rounds(load_dataset("digits"), 200, 1, 0.1)] == [200]


def test_a_dataset_that_cannot_be_split_at_all_is_refused():
    with pytest.raises(DataError, match="cannot be drawn"):
        plan_rounds(load_dataset("digits"), 30, 1, 0.1)


def test_the_train_part_keeps_the_labels_and_has_a_name_and_a_fingerprint_of_its_own():
    dataset = load_dataset("digits")

    part = take_train_part(dataset)

    assert part.name == "digits (train)"
    assert part.fingerprint != dataset.fingerprint
    assert part.fingerprint == take_train_part(load_dataset("digits")).fingerprint
    kept = np.setdiff1d(np.arange(len(dataset)), dataset.test)
    assert part.labels.tolist() == dataset.labels[kept].tolist()
    assert len(part.test) == pytest.approx(len(part) / 5, abs=10)
    assert not part.has_own_test


def test_the_train_part_of_a_subset_is_that_of_other_images_than_its_own_test_images():
    subset = take_subset(load_dataset("digits"), 500)

    assert not contents(take_train_part(subset)) & contents(subset, subset.test)


# --- cells -----------------------------------------------------------------------------------------------------------


def test_the_recipe_of_a_race_holds_every_cell_and_survives_being_written(registry: Registry, tmp_path: Path):
    rounds = plan_rounds(load_dataset("digits"), None, 2, 0.1)

    sweep = race_sweep(Grid(input_size_px=32), [registry["Own"]], rounds, 2)
    (tmp_path / "race.toml").write_text(recipe_text(sweep))

    cells = expand(sweep, registry)
    assert read_recipe(tmp_path / "race.toml") == sweep
    assert {(cell.dataset.limit, cell.dataset.part, cell.seed) for cell in cells} == {
        (limit, part, seed)
        for limit in (449, None)
        for part, n_runs in (("train", N_FOLDS), (None, 2))
        for seed in range(n_runs)
    }
    assert {(cell.mode, cell.head) for cell in cells} == {("native", "linear")}
    assert {cell.columns["part"] for cell in cells} == {"train", ""}


def test_the_shown_name_of_a_dataset_tells_its_train_part_from_the_whole():
    rows = pd.DataFrame({"dataset": "digits", "classes": "", "limit": [449, 449, None], "part": ["train", "", np.nan]})

    assert dataset_labels(rows.assign(strategy="probe", restrict_classes=np.nan)) == [
        "digits@449 (train)",
        "digits@449",
        "digits",
    ]
