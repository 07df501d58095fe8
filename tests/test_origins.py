"""What changed between two rows is said in one way."""

import math

import pytest

from benchmark.origins import DEFINITION, INPUTS, MACHINE, VERSIONS, what_changed

EVERYTHING = {**INPUTS, **DEFINITION, **VERSIONS, **MACHINE}
ROW = {
    "dataset_fingerprint": "f" * 64, "weights": "imagenet", "weights_sha256": "a" * 64, "registry_sha256": "b" * 64,
    "feature_version": 3.0, "keras_version": "3.15.1", "tensorflow_version": "2.21.0", "python_version": "3.11.7",
    "platform": "Linux-x86_64", "cpu": "AMD EPYC", "cpu_vectors": "AVX-512", "cpu_count": 2, "gpu": "",
}  # fmt: skip


def test_equal_rows_have_no_changes():
    assert what_changed(ROW, dict(ROW), EVERYTHING) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"keras_version": "3.16.0"}, "Keras 3.15.1 then 3.16.0"),
        ({"dataset_fingerprint": "0" * 64}, "the images changed"),
        ({"weights_sha256": "0" * 64}, "the weights' values changed"),
        ({"weights": "random"}, "weights imagenet then random"),
        ({"feature_version": 4}, "version of the features 3 then 4"),
        ({"gpu": "NVIDIA H100"}, "GPU none then NVIDIA H100"),
    ],
)
def test_a_change_is_named_with_both_values_unless_they_are_hashes(change: dict[str, object], text: str):
    assert what_changed(ROW, {**ROW, **change}, EVERYTHING) == [text]


@pytest.mark.parametrize("unknown", ["", math.nan, None])
def test_what_one_row_does_not_know_is_not_a_change(unknown: object):
    earlier = {**ROW, "cpu_vectors": unknown, "feature_version": unknown}

    assert what_changed(earlier, ROW, EVERYTHING) == []
    assert what_changed({column: value for column, value in ROW.items() if column != "cpu"}, ROW, EVERYTHING) == []


def test_only_the_columns_asked_for_are_compared():
    assert what_changed(ROW, {**ROW, "cpu": "Intel", "keras_version": "4.0"}, VERSIONS) == ["Keras 3.15.1 then 4.0"]
