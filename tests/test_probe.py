"""A probe: what it may look at, and what it reports."""

import numpy as np
import pytest

from benchmark.datasets import Split
from benchmark.options import DenseOptions
from benchmark.strategies.heads import HEADS
from benchmark.strategies.outcome import HeadData, Outcome
from benchmark.strategies.probe import run_probe

QUICK = DenseOptions(units=8, epochs=3, batch_size=32)
ALL_HEADS = [pytest.param(name, marks=pytest.mark.slow if name == "dense" else ()) for name in HEADS]
CLOSED_HEADS = [name for name in HEADS if name != "dense"]
N_CLASSES = 3


@pytest.fixture
def labels() -> np.ndarray:
    return np.arange(300) % N_CLASSES


@pytest.fixture
def features(labels, rng) -> np.ndarray:
    """Overlapping clouds around three corners, `(300, 8)`."""
    corners = rng.normal(size=(N_CLASSES, 8))
    return (corners[labels] + rng.normal(size=(300, 8))).astype(np.float32)


@pytest.fixture
def split(rng) -> Split:
    positions = rng.permutation(300)
    return Split(*(np.sort(part) for part in np.split(positions, [180, 240])))


def probe(features: np.ndarray, labels: np.ndarray, split: Split, head: str = "linear") -> Outcome:
    return run_probe(
        features, labels, split, n_classes=N_CLASSES, head=head, seed=0, options=QUICK, params_backbone=1000
    )


def scores_of_a_head(features: np.ndarray, labels: np.ndarray, split: Split, head: str, of: np.ndarray):
    """Scores of some images by the head alone."""
    data = HeadData(features[split.train], labels[split.train], features[split.val], labels[split.val], N_CLASSES)
    return HEADS[head].fit(data, 0, QUICK).scores(features[of])


@pytest.mark.parametrize("head", ALL_HEADS)
def test_test_images_and_labels_change_nothing_that_is_fitted(head, features, labels, split):
    other_features, other_labels = features.copy(), labels.copy()
    changed, kept = split.test[:30], slice(30, None)
    other_features[changed] = 100.0
    other_labels[split.test] = 0

    one, other = probe(features, labels, split, head), probe(other_features, other_labels, split, head)

    assert one.scores[kept] == pytest.approx(other.scores[kept], abs=1e-6)
    assert one.val_accuracy == other.val_accuracy
    assert one.train_accuracy == other.train_accuracy
    assert one.history == other.history


@pytest.mark.parametrize("head", ["linear", "ridge"])
def test_the_scale_of_the_features_does_not_matter(head, features, labels, split):
    """A scale and an offset of every feature, the same in all splits, changes no score."""
    result = probe(features, labels, split, head)

    rescaled = probe(features * np.float32(4) + np.float32(8), labels, split, head)

    assert rescaled.scores == pytest.approx(result.scores, abs=2e-3)


@pytest.mark.parametrize("head", CLOSED_HEADS)
def test_scores_are_of_the_test_images_in_their_order(head, features, labels, split):
    result = probe(features, labels, split, head)

    assert result.scores.shape == (60, N_CLASSES)
    assert result.scores == pytest.approx(scores_of_a_head(features, labels, split, head, split.test), abs=1e-6)


def test_accuracies_are_of_their_own_splits(features, labels, split):
    result = probe(features, labels, split)

    for positions, reported in ((split.train, result.train_accuracy), (split.val, result.val_accuracy)):
        predicted = scores_of_a_head(features, labels, split, "linear", positions).argmax(axis=1)
        assert reported == pytest.approx(np.mean(predicted == labels[positions]))


def test_parameters_are_those_of_backbone_and_head(features, labels, split):
    result = probe(features, labels, split)

    assert result.params_trainable == (8 + 1) * N_CLASSES
    assert result.params_total == 1000 + result.params_trainable


def test_knn_has_no_training_accuracy(features, labels, split):
    result = probe(features, labels, split, "knn")

    assert result.train_accuracy is None
    assert 0 < result.val_accuracy <= 1


def test_features_may_be_memory_mapped_and_read_only(features, labels, split, tmp_path):
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")

    result = probe(mapped, labels, split)

    assert result.scores.tobytes() == probe(features, labels, split).scores.tobytes()


def test_seconds_are_measured(features, labels, split):
    result = probe(features, labels, split)

    assert 0 < result.train_s < 60
    assert 0 < result.eval_s < 60
