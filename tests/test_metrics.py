"""Metrics, against scikit-learn, closed formulas and numbers worked out by hand."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from benchmark.ledger import Ledger
from benchmark.metrics import (
    accuracy,
    calibration_error,
    confusion_counts,
    per_class_metrics,
    score_metrics,
    top_k_accuracy,
    wilson_interval,
)

# The figures that depend on the predicted classes alone.
FROM_CLASSES = (
    "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1",
    "weighted_precision", "weighted_recall", "weighted_f1",
)  # fmt: skip
# Six images of three classes: cat, cat, cat, dog, dog, newt; predicted cat, cat, dog, dog, newt, newt.
TOY_LABELS = np.array([0, 0, 0, 1, 1, 2])
TOY_PREDICTED = np.array([0, 0, 1, 1, 2, 2])
Z_95 = 1.959963984540054


def scores_of(predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities of which the predicted class has the greatest."""
    scores = np.full((len(predicted), n_classes), 0.4 / (n_classes - 1), np.float32)
    scores[np.arange(len(predicted)), predicted] = 0.6
    return scores


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


@st.composite
def labels_and_probabilities(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, n_classes = draw(st.integers(1, 60)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, n_classes, n), softmax(rng.normal(size=(n, n_classes)) * 3)


def test_the_toy_has_the_numbers_worked_out_by_hand():
    numbers = score_metrics(TOY_LABELS, scores_of(TOY_PREDICTED, 3), are_probabilities=True)

    # Precision 2/2, 1/2, 1/2; recall 2/3, 1/2, 1/1; so F1 4/5, 1/2, 2/3; support 3, 2, 1.
    assert numbers["accuracy"] == pytest.approx(4 / 6)
    assert numbers["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert numbers["macro_precision"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert numbers["macro_recall"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert numbers["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert numbers["weighted_f1"] == pytest.approx((3 * 4 / 5 + 2 * 1 / 2 + 1 * 2 / 3) / 6)
    assert numbers["log_loss"] == pytest.approx(-(4 * math.log(0.6) + 2 * math.log(0.2)) / 6, rel=1e-6)
    assert numbers["top5_accuracy"] is None


def test_the_toys_classes_have_the_numbers_worked_out_by_hand():
    cat, dog, newt = per_class_metrics(TOY_LABELS, TOY_PREDICTED, ["cat", "dog", "newt"])

    two_thirds, four_fifths = pytest.approx(2 / 3), pytest.approx(4 / 5)
    assert cat == {"class_name": "cat", "precision": 1.0, "recall": two_thirds, "f1": four_fifths, "support": 3}
    assert dog == {"class_name": "dog", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert newt == {"class_name": "newt", "precision": 0.5, "recall": 1.0, "f1": two_thirds, "support": 1}


def test_rows_of_the_confusion_are_true_classes():
    counts = confusion_counts(TOY_LABELS, TOY_PREDICTED, 3)

    assert counts.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(labels_and_probabilities())
def test_every_number_equals_scikit_learns(case):
    labels, scores = case
    predicted = scores.argmax(axis=1)

    numbers = score_metrics(labels, scores, are_probabilities=True)

    options = {"zero_division": 0}  # without labels, scikit-learn takes the classes that occur
    assert numbers["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert numbers["macro_precision"] == pytest.approx(
        reference.precision_score(labels, predicted, average="macro", **options)
    )
    assert numbers["macro_recall"] == pytest.approx(
        reference.recall_score(labels, predicted, average="macro", **options)
    )
    assert numbers["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro", **options))
    for name, score in (
        ("weighted_precision", reference.precision_score),
        ("weighted_recall", reference.recall_score),
        ("weighted_f1", reference.f1_score),
    ):
        assert numbers[name] == pytest.approx(score(labels, predicted, average="weighted", **options))
    true_scores = scores[np.arange(len(labels)), labels].astype(np.float64) / scores.sum(axis=1)
    assert numbers["log_loss"] == pytest.approx(-np.log(true_scores).mean(), rel=1e-4, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(labels_and_probabilities())
def test_numbers_keep_their_bounds_and_order(case):
    labels, scores = case

    numbers = score_metrics(labels, scores, are_probabilities=True)

    shares = [value for name, value in numbers.items() if name != "log_loss" and value is not None]
    assert all(0 <= share <= 1 for share in shares)
    assert numbers["accuracy_low"] <= numbers["accuracy"] + 1e-12
    assert numbers["accuracy_high"] >= numbers["accuracy"] - 1e-12
    assert numbers["log_loss"] >= 0
    if numbers["top5_accuracy"] is not None:
        assert numbers["top5_accuracy"] >= numbers["accuracy"]


@settings(deadline=None, max_examples=60)
@given(labels_and_probabilities())
def test_the_confusion_counts_every_image_once(case):
    labels, scores = case
    n_classes = scores.shape[1]
    predicted = scores.argmax(axis=1)

    counts = confusion_counts(labels, predicted, n_classes)

    assert counts.shape == (n_classes, n_classes)
    assert counts.sum(axis=1).tolist() == np.bincount(labels, minlength=n_classes).tolist()
    assert counts.sum(axis=0).tolist() == np.bincount(predicted, minlength=n_classes).tolist()
    assert np.trace(counts) / len(labels) == pytest.approx(accuracy(labels, predicted))


@pytest.mark.parametrize(("n_correct", "n"), [(0, 10), (10, 10), (7, 10), (1, 1), (8543, 10_000)])
def test_the_interval_is_wilsons_closed_formula(n_correct, n):
    low, high = wilson_interval(n_correct, n)

    share = n_correct / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half_width = Z_95 / (1 + Z_95**2 / n) * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    assert (low, high) == pytest.approx((centre - half_width, centre + half_width), abs=1e-12)


def test_balanced_accuracy_equals_scikit_learns_where_every_class_is_present(rng):
    labels = rng.permutation(np.arange(90) % 6)
    scores = softmax(rng.normal(size=(90, 6)))

    numbers = score_metrics(labels, scores, are_probabilities=False)

    expected = reference.balanced_accuracy_score(labels, scores.argmax(axis=1))
    assert numbers["balanced_accuracy"] == pytest.approx(expected)


@settings(deadline=None, max_examples=100)
@given(labels_and_probabilities(), st.integers(0, 3))
def test_the_predicted_class_is_among_the_top_of_equal_scores_too(case, n_digits):
    labels, scores = case
    scores = np.round(scores, n_digits)  # with 0 digits, most are equal
    predicted = scores.argmax(axis=1)

    assert top_k_accuracy(labels, scores, 1) == accuracy(labels, predicted)
    assert top_k_accuracy(predicted, scores, 5) == 1


@settings(deadline=None, max_examples=60)
@given(labels_and_probabilities(), st.integers(1, 5))
def test_top_k_equals_scikit_learns_where_no_scores_are_equal(case, k):
    labels, scores = case
    n_classes = scores.shape[1]
    scores = scores.astype(np.float64) + np.arange(n_classes) * 1e-9

    if n_classes == 2 or k >= n_classes:  # of two classes scikit-learn takes one score, and warns of all classes
        assert top_k_accuracy(labels, scores, n_classes) == 1
        return
    expected = reference.top_k_accuracy_score(labels, scores, k=k, labels=np.arange(n_classes))
    assert top_k_accuracy(labels, scores, k) == pytest.approx(expected)


def test_ten_equal_scores_name_the_first_class_and_have_it_among_their_top_five():
    numbers = score_metrics(np.array([0]), np.full((1, 10), 0.1, np.float32), are_probabilities=True)

    assert (numbers["accuracy"], numbers["top5_accuracy"]) == (1.0, 1.0)


@settings(deadline=None, max_examples=60)
@given(labels_and_probabilities())
def test_the_calibration_error_is_the_weighted_distance_in_each_bin(case):
    labels, scores = case
    confidence, is_right = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == labels

    expected = 0.0
    for low, high in itertools.pairwise(np.arange(16) / 15):
        is_inside = (confidence >= low) & ((confidence < high) | (high == 1))
        if is_inside.any():
            expected += is_inside.mean() * abs(confidence[is_inside].mean() - is_right[is_inside].mean())

    assert calibration_error(labels, scores) == pytest.approx(expected, abs=1e-9)


def test_scores_that_are_no_probabilities_have_no_calibration_error():
    numbers = score_metrics(TOY_LABELS, scores_of(TOY_PREDICTED, 3), are_probabilities=False)

    assert numbers["calibration_error"] is None


def test_two_classes_have_the_area_that_scikit_learn_gives(rng):
    labels = rng.integers(0, 2, 80)
    scores = rng.normal(size=(80, 2)).astype(np.float32)  # as ridge gives them: no probabilities

    numbers = score_metrics(labels, scores, are_probabilities=False)

    assert numbers["auroc"] == pytest.approx(reference.roc_auc_score(labels, scores[:, 1] - scores[:, 0]))


@pytest.mark.parametrize(("labels", "n_classes"), [([0, 1, 2], 3), ([1, 1, 1], 2)])
def test_the_area_needs_two_classes_that_both_occur(labels, n_classes):
    numbers = score_metrics(np.array(labels), scores_of(np.array(labels), n_classes), are_probabilities=True)

    assert numbers["auroc"] is None


def test_top_5_counts_the_five_greatest_scores():
    scores = np.tile(np.array([0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02], np.float32), (7, 1))

    numbers = score_metrics(np.arange(7), scores, are_probabilities=True)

    assert numbers["top5_accuracy"] == pytest.approx(5 / 7)
    assert numbers["accuracy"] == pytest.approx(1 / 7)


@pytest.mark.parametrize(("n_classes", "applies"), [(2, False), (5, False), (6, True)])
def test_top_5_applies_to_more_than_five_classes(n_classes, applies):
    labels = np.arange(n_classes)

    numbers = score_metrics(labels, scores_of(labels, n_classes), are_probabilities=True)

    assert (numbers["top5_accuracy"] is not None) == applies


def test_scores_that_are_no_probabilities_have_no_log_loss():
    scores = np.array([[-3.0, 8.0], [2.5, 0.0]], np.float32)

    numbers = score_metrics(np.array([1, 0]), scores, are_probabilities=False)

    assert numbers["log_loss"] is None
    assert numbers["accuracy"] == 1.0


def test_a_class_absent_from_the_test_set_counts_in_macro_numbers_and_not_in_balanced_accuracy():
    labels = np.array([0, 0, 1, 1])
    predicted = np.array([0, 0, 1, 2])

    numbers = score_metrics(labels, scores_of(predicted, 3), are_probabilities=True)

    assert numbers["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert numbers["macro_recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    absent = per_class_metrics(labels, predicted, ["a", "b", "c"])[2]
    assert absent == {"class_name": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_a_class_that_never_occurs_lowers_nothing():
    """Labels 1 to 3, as EMNIST's letters begin at 1: class 0 has no image."""
    labels = np.array([1, 2, 3, 1, 2, 3])

    numbers = score_metrics(labels, scores_of(labels, 27), are_probabilities=True)

    shares = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1")
    assert [numbers[name] for name in shares] == [1.0] * len(shares)
    absent = per_class_metrics(labels, labels, [str(number) for number in range(27)])[0]
    assert (absent["class_name"], absent["support"]) == ("0", 0)


def test_the_committed_figures_follow_from_the_committed_predictions():
    ledger = Ledger(Path(__file__).parents[1] / "results" / "demo")
    runs = ledger.read_runs()
    n_checked = 0

    for row in runs.to_dict("records"):
        predictions = ledger.read_predictions(row["run_id"])
        true = ledger.read_true_labels(row["dataset_fingerprint"])
        assert predictions is not None
        assert true is not None
        labels, names = true
        scores = np.eye(len(names), dtype=np.float32)[predictions[0]]
        numbers = score_metrics(labels.astype(np.int64), scores, are_probabilities=False)
        written = {name: row[name] for name in FROM_CLASSES if not math.isnan(row[name])}  # older rows have fewer
        assert "weighted_f1" in written
        assert {name: numbers[name] for name in written} == pytest.approx(written, abs=1e-9)
        n_checked += 1

    assert n_checked == 36


def test_a_test_set_of_one_class_has_all_numbers():
    labels = np.zeros(4, np.int64)

    numbers = score_metrics(labels, scores_of(labels, 7), are_probabilities=True)

    assert numbers["accuracy"] == numbers["balanced_accuracy"] == numbers["top5_accuracy"] == 1.0
    assert numbers["log_loss"] == pytest.approx(-math.log(0.6), rel=1e-6)


def test_a_probability_of_zero_for_the_true_class_gives_a_finite_log_loss():
    scores = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)

    numbers = score_metrics(np.array([0, 1]), scores, are_probabilities=True)

    assert math.isfinite(numbers["log_loss"])
    assert numbers["log_loss"] > 10
