"""Heads, against scikit-learn, NumPy and toy data with a known answer."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from benchmark.datasets import array_source
from benchmark.isolation import call_silently_in_child
from benchmark.memory import settled_mib
from benchmark.options import DenseOptions
from benchmark.strategies import cross_entropy
from benchmark.strategies.cross_entropy import CrossEntropy
from benchmark.strategies.dense import _batches as make_batches
from benchmark.strategies.feeding import fixed_batches
from benchmark.strategies.heads import (
    HEADS,
    KNN_TEMPERATURES,
    describe_heads,
)
from benchmark.strategies.linear import LINEAR_C
from benchmark.strategies.outcome import DivergedError, FittedHead, HeadData
from benchmark.strategies.softmax import Regression

QUICK = DenseOptions(units=8, epochs=4, batch_size=32)
# A head that trains a Keras network takes long.
ALL_HEADS = [pytest.param(name, marks=pytest.mark.slow if name == "dense" else ()) for name in HEADS]
CLOSED_HEADS = [name for name in HEADS if name != "dense"]


def make_data(
    rng: np.random.Generator,
    *,
    n_classes: int = 3,
    n_train: int = 120,
    n_val: int = 60,
    dim: int = 6,
    noise: float = 1.0,
) -> HeadData:
    """Clouds around one corner a class, in features of very different scales and offsets."""
    scales, offsets = 10.0 ** rng.uniform(-2, 2, dim), rng.normal(size=dim) * 10
    corners = rng.normal(size=(n_classes, dim)) * 2

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.arange(n) % n_classes)
        features = corners[labels] + noise * rng.normal(size=(n, dim))
        return (features * scales + offsets).astype(np.float32), labels

    return HeadData(*draw(n_train), *draw(n_val), n_classes)


def fit(head: str, data: HeadData, *, seed: int = 0, options: DenseOptions = QUICK) -> FittedHead:
    return HEADS[head].fit(data, seed, options)


def choice(fitted: FittedHead, metric: str) -> float:
    (value,) = [point.value for point in fitted.history if point.metric == metric]
    return value


def accuracy_of(fitted: FittedHead, features: np.ndarray, labels: np.ndarray) -> float:
    return float(accuracy_score(labels, fitted.scores(features).argmax(axis=1)))


def assert_probabilities(fitted: FittedHead, features: np.ndarray) -> None:
    scores = fitted.scores(features)
    assert fitted.are_probabilities
    assert scores.min() >= 0
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)


def standardised(data: HeadData, features: np.ndarray) -> np.ndarray:
    """Features in float64, by the train split's mean and deviation."""
    train = data.train.astype(np.float64)
    return (features - train.mean(axis=0)) / train.std(axis=0)


# What every head promises.


@pytest.mark.parametrize("head", CLOSED_HEADS)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_scores_have_a_column_a_class(head, n_classes, rng):
    data = make_data(rng, n_classes=n_classes)

    scores = fit(head, data).scores(data.val[:7])

    assert scores.shape == (7, n_classes)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("head", CLOSED_HEADS)
def test_a_class_without_training_images_keeps_its_column(head, rng):
    data = make_data(rng)
    is_kept = data.train_labels != 1
    data = dataclasses.replace(data, train=data.train[is_kept], train_labels=data.train_labels[is_kept])

    scores = fit(head, data).scores(data.val)

    assert scores.shape == (60, 3)


@pytest.mark.parametrize("head", CLOSED_HEADS)
def test_a_class_without_training_images_does_not_shift_the_classes_after_it(head, rng):
    data = make_data(rng, noise=0.1)
    is_kept = data.train_labels != 1
    data = dataclasses.replace(data, train=data.train[is_kept], train_labels=data.train_labels[is_kept])

    fitted = fit(head, data)

    is_last = data.val_labels == 2
    assert accuracy_of(fitted, data.val[is_last], data.val_labels[is_last]) > 0.5


@pytest.mark.parametrize("head", ALL_HEADS)
def test_the_same_seed_gives_the_same_scores_bit_for_bit(head, rng):
    data = make_data(rng, n_train=300, dim=40)

    first, second = (fit(head, data, seed=3).scores(data.val) for _ in range(2))

    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("head", CLOSED_HEADS)
def test_heads_without_chance_ignore_the_seed(head, rng):
    data = make_data(rng)

    first, second = (fit(head, data, seed=seed).scores(data.val) for seed in (1, 2))

    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("head", CLOSED_HEADS)
def test_fitting_changes_neither_features_nor_labels(head, rng):
    data = make_data(rng)
    arrays = (data.train, data.train_labels, data.val, data.val_labels)
    copies = [array.copy() for array in arrays]

    fit(head, data).scores(data.val)

    assert all(np.array_equal(array, copy) for array, copy in zip(arrays, copies, strict=True))


def n_trained(fitted: FittedHead) -> int:
    return sum(array.size for array in fitted.weights)


def test_the_number_of_parameters_is_known_before_training(rng):
    fitted = fit("linear", make_data(rng, n_classes=4, dim=6))

    assert n_trained(fitted) == HEADS["linear"].n_params(6, 4, QUICK)


def test_parameters_are_weights_and_biases():
    options = DenseOptions(units=256)

    counted = {head: HEADS[head].n_params(1280, 10, options) for head in HEADS}

    # 1280 * 11; 1280 * 256 + 256 + 256 * 10 + 10
    assert counted == {"linear": 12_810, "ridge": 12_810, "knn": 0, "prototype": 14_080, "dense": 330_506}


def test_linear_scores_are_probabilities(rng):
    data = make_data(rng)

    fitted = fit("linear", data)

    assert_probabilities(fitted, data.val)


@pytest.mark.parametrize("head", ["ridge", "knn", "prototype"])
def test_heads_without_a_model_of_probabilities_make_no_claim_to_probabilities(head, rng):
    assert not fit(head, make_data(rng)).are_probabilities


@pytest.mark.parametrize("head", CLOSED_HEADS)
def test_constant_features_do_no_harm(head, rng):
    data = make_data(rng, noise=0.1)
    constants = np.array([0.0, 0.1, 1234.5], np.float32)

    def widen(features: np.ndarray) -> np.ndarray:
        return np.hstack([features, np.tile(constants, (len(features), 1))])

    wide = dataclasses.replace(data, train=widen(data.train), val=widen(data.val))
    scores = fit(head, wide).scores(wide.val)

    assert np.isfinite(scores).all()


@pytest.mark.parametrize("head", ["linear", "ridge"])
def test_constant_features_do_not_change_a_linear_heads_choice(head, rng):
    data = make_data(rng)
    constants = np.tile(np.array([0.0, 0.1, 1234.5], np.float32), (200, 1))
    wide = dataclasses.replace(
        data, train=np.hstack([data.train, constants[:120]]), val=np.hstack([data.val, constants[:60]])
    )

    plain_scores, wide_scores = fit(head, data).scores(data.val), fit(head, wide).scores(wide.val)

    assert wide_scores == pytest.approx(plain_scores, abs=2e-3)


@pytest.mark.parametrize("head", ["linear", "ridge"])
def test_a_feature_that_is_alive_in_new_images_only_does_not_decide(head, rng):
    """A feature that is constant in training has no weight, however far a new image is from that constant."""
    data = make_data(rng, n_train=40, dim=60, noise=0.3)
    data.train[:, 7] = data.val[:, 7] = 0.0
    fitted = fit(head, data)
    alive = data.val.copy()
    alive[:, 7] = 0.5

    scores, scores_of_alive = fitted.scores(data.val), fitted.scores(alive)

    assert scores_of_alive == pytest.approx(scores, abs=1e-2)


@pytest.mark.parametrize("head", ALL_HEADS)
def test_features_that_are_all_constant_give_finite_scores(head):
    data = HeadData(np.ones((30, 4), np.float32), np.arange(30) % 3, np.ones((9, 4), np.float32), np.arange(9) % 3, 3)

    scores = fit(head, data).scores(data.val)

    assert np.isfinite(scores).all()
    assert scores == pytest.approx(np.tile(scores[0], (9, 1)), abs=1e-6)


# linear


def assert_close_to_solved(scores: np.ndarray, reference: np.ndarray) -> None:
    """The head's solver stops a little before the end."""
    assert scores == pytest.approx(reference, abs=0.01)
    assert np.abs(scores - reference).mean() < 0.001


def linear_reference(data: HeadData, fitted: FittedHead, features: np.ndarray) -> np.ndarray:
    """Probabilities by a regression of the chosen strength, solved to the end from a cold start.

    scikit-learn gives two classes one vector of weights `w`; two vectors, `w / 2` and `-w / 2`, have half its penalty.
    """
    c = choice(fitted, "chosen C") * (2 if data.n_classes == 2 else 1)
    model = LogisticRegression(C=c, tol=1e-8, max_iter=10_000)
    model.fit(standardised(data, data.train), data.train_labels)
    return model.predict_proba(standardised(data, features))


def tried_by(fitted: FittedHead, before: str, after: str = "") -> dict[float, float]:
    """What a head tried, by its value: the metric's name without what stands before and after it."""
    return {
        float(point.metric.removeprefix(before).removesuffix(after)): point.value
        for point in fitted.history
        if point.metric.startswith(before)
    }


@pytest.mark.parametrize(("n_train", "dim"), [(400, 8), (60, 300)], ids=["many images", "more features than images"])
def test_linear_equals_scikit_learns_regression_of_the_same_strength(n_train, dim, rng):
    data = make_data(rng, n_classes=4, n_train=n_train, dim=dim, noise=2.0)

    fitted = fit("linear", data)

    kernel, bias = fitted.weights
    assert softmax(data.val @ kernel + bias, axis=1) == pytest.approx(fitted.scores(data.val), abs=1e-4)
    assert_close_to_solved(fitted.scores(data.val), linear_reference(data, fitted, data.val))


def test_linear_of_two_classes_equals_scikit_learns(rng):
    data = make_data(rng, n_classes=2, n_train=200, noise=2.0)

    fitted = fit("linear", data)

    assert_close_to_solved(fitted.scores(data.val), linear_reference(data, fitted, data.val))


@pytest.mark.parametrize("c", [1e-6, 1e-2, 1.0, 1e4])
@pytest.mark.parametrize("dim", [20, 300], ids=["more images than features", "more features than images"])
def test_a_penalty_is_solved_as_far_as_scikit_learn_solves_it(c, dim, rng):
    """By the value of the loss, on features of which the first vary a thousand times as much as the last."""
    labels = rng.permutation(np.arange(200) % 4)
    spread = np.geomspace(1, 1e-3, dim) @ np.eye(dim) * rng.normal(size=(200, dim))
    train = spread @ rng.normal(size=(dim, dim)) + 0.5 * rng.normal(size=(4, dim))[labels]
    train = ((train - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)
    reference = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(train.astype(np.float64), labels)

    regression = Regression(np.array_split(train, 3), labels, 4)
    *_, last = regression.path((c / 100, c / 10, c), 1e-3)
    solution = regression.solve(c, 1e-5, last.weights, last.bias)

    def loss(weights: np.ndarray, bias: np.ndarray) -> float:
        scores = train.astype(np.float64) @ weights + bias
        losses = np.log(np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)) + scores.max(axis=1)
        return float(np.mean(losses - scores[np.arange(200), labels]) + np.sum(weights**2) / (2 * c * 200))

    least = loss(reference.coef_.T, reference.intercept_)
    assert solution.has_converged
    assert loss(solution.weights.astype(np.float64), solution.bias) == pytest.approx(least, rel=1e-3)


def test_the_loss_of_blocks_and_its_gradient_are_those_of_all_images_whatever_block_is_done_first(monkeypatch, rng):
    """Beside NumPy's own float64 sums; the gradient also beside differences of the loss."""
    features, labels = rng.normal(size=(500, 7)).astype(np.float32), rng.integers(0, 3, 500)
    weights, bias = rng.normal(size=(7, 3)), rng.normal(size=3)

    def reference(weights: np.ndarray) -> float:
        return float(np.mean(-log_softmax(features @ weights + bias, axis=1)[np.arange(500), labels]))

    found = []
    for n_threads in (1, 3):
        monkeypatch.setattr(cross_entropy, "usable_cpus", lambda n_threads=n_threads: n_threads)
        of_blocks = CrossEntropy(np.array_split(features, 8), labels)
        found.append((*of_blocks(weights, bias), of_blocks.covariance(), of_blocks.curvature(weights, bias)))
    for one, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one, three)

    loss, by_weights, by_bias, covariance, curvature = found[0]
    p = softmax(features @ weights + bias, axis=1)
    step = 1e-4 * rng.normal(size=weights.shape)
    assert loss == pytest.approx(reference(weights), rel=1e-6)
    difference = reference(weights + step) - reference(weights - step)
    assert np.sum(2 * step * by_weights) == pytest.approx(difference, rel=1e-3)
    np.testing.assert_allclose(by_bias, (p - np.eye(3)[labels]).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(covariance, features.T.astype(np.float64) @ features / 500, atol=1e-5)
    assert curvature == pytest.approx(np.mean(p * (1 - p)), rel=1e-5)


def kept_mib() -> float:
    """What stays in memory of the process after a regression on 64 MiB of images."""
    import tensorflow  # noqa: F401

    blocks, labels = [np.ones((8192, 1024), np.float32)] * 2, np.zeros(16384, np.int64)
    before = settled_mib()
    CrossEntropy(blocks, labels)(np.zeros((1024, 2)), np.zeros(2))
    return settled_mib() - before


@pytest.mark.slow
def test_the_images_of_a_regression_do_not_stay_in_memory(forked_children: None):
    """In memory that TensorFlow keeps, they would be missing in the peak of the next cell."""
    assert call_silently_in_child(kept_mib) < 32  # what TensorFlow keeps when it first multiplies


@pytest.mark.parametrize("seed", [1, 2, 4, 7])
def test_linear_chooses_the_penalty_of_the_smallest_loss_on_validation_and_tries_at_most_two_beyond(seed):
    """Accuracies of 40 images are often equal; the loss decides."""
    data = make_data(np.random.default_rng(seed), n_classes=5, n_train=100, n_val=40, dim=30, noise=3.0)

    fitted = fit("linear", data)

    losses = tried_by(fitted, "loss at C=")
    chosen = choice(fitted, "chosen C")
    assert chosen == min(losses, key=losses.__getitem__)
    assert 1 <= len(losses) - 1 - list(losses).index(chosen) <= 2
    assert set(losses) <= set(LINEAR_C)
    of_true_class = fitted.scores(data.val)[np.arange(len(data.val)), data.val_labels]
    # What is only tried is solved more coarsely.
    assert losses[chosen] == pytest.approx(-np.log(of_true_class).mean(), rel=0.03)


@pytest.mark.parametrize(
    ("head", "grid", "strong", "words"),
    [
        ("linear", "linear.LINEAR_C", (1e-5, 1e-2), "the best C is 0.01, the largest that is tried"),
        ("ridge", "heads.RIDGE_PENALTIES", (10.0, 1e3), "the best penalty share is 10, the smallest that is tried"),
    ],
)
def test_a_choice_at_the_edge_of_what_is_tried_is_marked_where_accuracy_still_rises(
    head, grid, strong, words, rng, monkeypatch
):
    data = make_data(rng, n_classes=5, n_train=300, n_val=200, dim=30, noise=3.0)
    is_kept = (data.train_labels == 0) | (np.arange(300) % 3 == 0)  # strong penalties then give all images class 0
    data = dataclasses.replace(data, train=data.train[is_kept], train_labels=data.train_labels[is_kept])
    assert fit(head, data).warning == ""
    monkeypatch.setattr(f"benchmark.strategies.{grid}", strong)

    assert fit(head, data).warning.startswith(words)


def test_linear_says_that_its_regression_was_not_solved(rng, monkeypatch):
    monkeypatch.setattr("benchmark.strategies.softmax.MAX_ITERATIONS", 1)

    fitted = fit("linear", make_data(rng, n_classes=5, noise=3.0))

    assert fitted.warning.startswith("the regression was not solved")


def test_linear_learns_separable_classes_of_very_different_sizes(rng):
    """With the strongest penalties every image is given the great class: that plateau must not end the search."""
    train_labels, val_labels = np.arange(100) % 10 == 0, np.arange(50) % 10 == 0
    train, val = (
        np.where(labels, 3.0, -3.0)[:, np.newaxis] + 0.1 * rng.normal(size=(len(labels), 2))
        for labels in (train_labels, val_labels)
    )
    data = HeadData(
        train.astype(np.float32), train_labels.astype(np.int64), val.astype(np.float32), val_labels.astype(np.int64), 2
    )

    fitted = fit("linear", data)

    assert accuracy_of(fitted, data.val, data.val_labels) == 1.0


def test_linear_has_no_epochs(rng):
    assert fit("linear", make_data(rng)).epochs is None


# ridge


def ridge_reference(data: HeadData, fitted: FittedHead, features: np.ndarray) -> np.ndarray:
    """Scores by plain least squares: min ||X W - Y||^2 + a ||W||^2 is that of [X; sqrt(a) I] W = [Y; 0]."""
    train = standardised(data, data.train)
    n, dim = train.shape
    one_hot = np.eye(data.n_classes)[data.train_labels]
    penalty = choice(fitted, "chosen penalty share") * n
    left = np.vstack([train, np.sqrt(penalty) * np.eye(dim)])
    right = np.vstack([one_hot - one_hot.mean(axis=0), np.zeros((dim, data.n_classes))])
    return standardised(data, features) @ np.linalg.lstsq(left, right)[0] + one_hot.mean(axis=0)


@pytest.mark.parametrize("dim", [6, 200, 300], ids=["many images", "more features than images", "twice as many"])
def test_ridge_solves_the_augmented_least_squares_problem(dim, rng):
    data = make_data(rng, n_classes=3, n_train=120, dim=dim, noise=2.0)

    fitted = fit("ridge", data)

    assert fitted.scores(data.val) == pytest.approx(ridge_reference(data, fitted, data.val), abs=1e-3)


def test_ridge_chooses_the_strongest_of_the_penalties_that_are_best_on_validation(rng):
    data = make_data(rng, n_classes=5, n_train=60, n_val=200, dim=40, noise=3.0)

    fitted = fit("ridge", data)

    tried = tried_by(fitted, "accuracy at penalty=", "n")
    best = max(tried.values())
    assert len(set(tried.values())) > 1, "every penalty is as good, so nothing was chosen"
    assert choice(fitted, "chosen penalty share") == max(share for share, value in tried.items() if value == best)
    assert accuracy_of(fitted, data.val, data.val_labels) == pytest.approx(best)


@pytest.mark.parametrize(("head", "reference"), [("linear", linear_reference), ("ridge", ridge_reference)])
def test_validation_images_far_off_change_neither_means_nor_deviations(head, reference, rng):
    data = make_data(rng, n_train=200, noise=2.0)
    data = dataclasses.replace(data, val=data.val * 30 + 500)

    fitted = fit(head, data)

    assert_close_to_solved(fitted.scores(data.train), reference(data, fitted, data.train))


# knn


def brute_force_votes(data: HeadData, features: np.ndarray, n_neighbours: int, temperature: float) -> np.ndarray:
    """Shares of the weighted votes of the nearest training images by cosine, one image at a time."""
    train = data.train.astype(np.float64)
    votes = np.zeros((len(features), data.n_classes))
    for row, image in enumerate(features.astype(np.float64)):
        cosines = train @ image / (np.linalg.norm(train, axis=1) * np.linalg.norm(image))
        nearest = np.argsort(-cosines)[:n_neighbours]
        weights = np.exp(cosines[nearest] / temperature)
        votes[row] = np.bincount(data.train_labels[nearest], weights, data.n_classes) / weights.sum()
    return votes


def test_knn_equals_a_brute_force_vote_by_cosine(rng):
    data = make_data(rng, n_classes=4, n_train=150, noise=3.0)

    fitted = fit("knn", data)

    chosen = int(choice(fitted, "chosen neighbours")), choice(fitted, "chosen temperature")
    assert fitted.scores(data.val) == pytest.approx(brute_force_votes(data, data.val, *chosen), abs=1e-4)


def test_knn_chooses_neighbours_and_temperature_on_validation(rng):
    data = make_data(rng, n_classes=4, n_train=150, noise=3.0)

    fitted = fit("knn", data)

    tried = [
        accuracy_score(data.val_labels, brute_force_votes(data, data.val, number, temperature).argmax(axis=1))
        for number in (5, 10, 20, 50, 100, 150)
        for temperature in KNN_TEMPERATURES
    ]
    assert len(set(tried)) > 1
    assert accuracy_of(fitted, data.val, data.val_labels) == pytest.approx(max(tried))


def test_knn_of_a_few_images_asks_at_most_all(rng):
    data = make_data(rng, n_classes=3, n_train=4)

    fitted = fit("knn", data)

    assert choice(fitted, "chosen neighbours") == 4
    assert fitted.scores(data.val).sum(axis=1) == pytest.approx(1)


def test_knn_does_not_look_at_the_length_of_the_features(rng):
    data = make_data(rng, n_train=150, noise=3.0)
    fitted = fit("knn", data)

    assert fitted.scores(data.val * 8) == pytest.approx(fitted.scores(data.val), abs=1e-5)


def test_knn_takes_features_that_are_all_zero(rng):
    data = make_data(rng)
    data.train[0] = 0.0

    scores = fit("knn", data).scores(np.zeros((2, 6), np.float32))

    assert scores.sum(axis=1) == pytest.approx(1)


# prototype


def centred_to_length_one(data: HeadData, features: np.ndarray) -> np.ndarray:
    """Features in float64, less the mean of the train split, by scikit-learn's normalisation."""
    return normalize(features.astype(np.float64) - data.train.astype(np.float64).mean(axis=0))


@pytest.mark.parametrize("n_train", [9, 150], ids=["few images", "many images"])
def test_prototype_is_scikit_learns_nearest_centroid_of_centred_vectors_of_length_one(n_train, rng):
    data = make_data(rng, n_classes=4, n_train=n_train, noise=3.0)
    reference = NearestCentroid().fit(centred_to_length_one(data, data.train), data.train_labels)
    val = centred_to_length_one(data, data.val)

    scores = fit("prototype", data).scores(data.val)

    assert scores.argmax(axis=1).tolist() == reference.predict(val).tolist()
    assert scores == pytest.approx(-(euclidean_distances(val, reference.centroids_) ** 2), abs=1e-4)


def test_prototype_by_hand():
    """The mean is (1, 0); the images are at (1, 0), (0, 1) and (-1, -1) / sqrt(2) from it; two are of class 1."""
    train = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, -1.0]], np.float32)
    data = HeadData(train, np.array([0, 1, 1]), train[:1], np.array([0]), 2)

    scores = fit("prototype", data).scores(np.array([[3.0, 0.0]], np.float32))

    root = 1 / np.sqrt(2)
    assert scores == pytest.approx(np.array([[0.0, -((1 + root / 2) ** 2) - (0.5 - root / 2) ** 2]]), abs=1e-6)


@settings(deadline=None)
@given(scale=st.floats(1e-2, 1e3), offset=st.floats(-100, 100))
def test_prototype_does_not_look_at_the_scale_and_the_origin_of_all_features(scale, offset):
    data = make_data(np.random.default_rng(7), noise=3.0)
    moved = dataclasses.replace(data, train=np.float32(data.train * scale + offset))

    scores = fit("prototype", data).scores(data.val)
    of_moved = fit("prototype", moved).scores(np.float32(data.val * scale + offset))

    assert of_moved == pytest.approx(scores, abs=2e-2)


def test_prototype_gives_a_class_without_training_images_the_lowest_score(rng):
    data = make_data(rng)
    is_kept = data.train_labels != 1
    data = dataclasses.replace(data, train=data.train[is_kept], train_labels=data.train_labels[is_kept])
    far_off = np.concatenate([data.val, -data.val, data.val + 1e6])

    scores = fit("prototype", data).scores(far_off)

    assert (scores[:, 1] < scores[:, [0, 2]].min(axis=1)).all()


def test_prototype_does_not_look_at_validation_images(rng):
    data = make_data(rng)
    other = dataclasses.replace(data, val=data.val * 100, val_labels=data.val_labels[::-1].copy())

    first, second = (fit("prototype", one).scores(data.val) for one in (data, other))

    assert first.tobytes() == second.tobytes()


# dense


@pytest.fixture(scope="module")
def dense_data() -> HeadData:
    return make_data(np.random.default_rng(7))


@pytest.fixture(scope="module")
def dense(dense_data) -> FittedHead:
    return fit("dense", dense_data)


@pytest.mark.slow
def test_dense_learns_a_separable_toy(rng):
    labels = np.arange(240) % 3
    features = (np.eye(3)[labels] + 0.05 * rng.normal(size=(240, 3))).astype(np.float32)
    data = HeadData(features[:180], labels[:180], features[180:], labels[180:], 3)

    fitted = fit("dense", data, options=DenseOptions(units=16, epochs=10, batch_size=16, learning_rate=0.03))

    assert accuracy_of(fitted, data.val, data.val_labels) == 1.0


@pytest.mark.slow
def test_dense_scores_are_probabilities_one_a_class(dense, dense_data):
    scores = dense.scores(dense_data.val[:7])

    assert scores.shape == (7, 3)
    assert scores.dtype == np.float32
    assert_probabilities(dense, dense_data.val)


@pytest.mark.slow
def test_the_number_of_parameters_of_dense_is_known_before_training(dense):
    assert n_trained(dense) == HEADS["dense"].n_params(6, 3, QUICK) == (6 + 1) * 8 + (8 + 1) * 3


@pytest.mark.slow
def test_dense_has_a_history_entry_an_epoch(dense):
    curves = {}
    for point in dense.history:
        curves.setdefault((point.split, point.metric), []).append(point.epoch)

    assert set(curves) == {(split, metric) for split in ("train", "val") for metric in ("loss", "accuracy")}
    assert all(epochs == list(range(1, dense.epochs + 1)) for epochs in curves.values())
    assert 1 <= dense.epochs <= QUICK.epochs


@pytest.mark.slow
def test_dense_stops_early_and_keeps_the_best_epoch(rng):
    train_labels, val_labels = rng.integers(0, 2, 64), rng.integers(0, 2, 64)
    train, val = (rng.normal(size=(64, 20)).astype(np.float32) for _ in range(2))
    data = HeadData(train, train_labels, val, val_labels, 2)

    fitted = fit("dense", data, options=DenseOptions(units=64, epochs=60, patience=2, learning_rate=0.01))

    losses = [point.value for point in fitted.history if (point.split, point.metric) == ("val", "loss")]
    scores = fitted.scores(val)
    kept_loss = -np.log(scores[np.arange(64), val_labels]).mean()
    assert fitted.epochs < 60
    assert kept_loss == pytest.approx(min(losses), rel=1e-4)
    assert fitted.epochs == int(np.argmin(losses)) + 1 + 2


@pytest.mark.slow
def test_dense_says_that_its_epochs_were_not_enough(dense):
    assert dense.warning == "training ended at the maximum of 4 epochs"


@pytest.mark.slow
def test_no_thread_tunes_the_batches(rng):
    """TensorFlow waits for it when a training ends: up to a minute, or as long as a short training took."""
    of_head = make_batches(make_data(rng), 0, DenseOptions(epochs=1), 1)
    of_network = fixed_batches(array_source(np.zeros((4, 2), np.float32)), None, np.arange(4))

    assert of_head.options().autotune.enabled is False
    assert of_network.options().autotune.enabled is False


@pytest.mark.slow
def test_dense_sees_every_image_once_an_epoch_in_an_order_of_its_own():
    numbers = np.arange(120)
    data = HeadData(numbers[:, np.newaxis].astype(np.float32), numbers, np.zeros((1, 1), np.float32), numbers[:1], 120)

    def batches(seed: int) -> list[list[int]]:
        found = list(make_batches(data, seed, DenseOptions(epochs=2, batch_size=32), 4))
        assert all(np.array_equal(features.numpy()[:, 0], labels) for features, labels in found)
        return [labels.numpy().tolist() for _, labels in found]

    drawn = batches(seed=3)
    first, second = (list(itertools.chain(*half)) for half in (drawn[:4], drawn[4:]))

    assert [len(batch) for batch in drawn] == [32, 32, 32, 24] * 2
    assert sorted(first) == sorted(second) == numbers.tolist()
    assert first != second
    assert batches(seed=3) == drawn
    assert batches(seed=4) != drawn


@pytest.mark.slow
def test_dense_says_that_it_diverged_and_what_to_change(rng):
    options = QUICK.model_copy(update={"learning_rate": 1e30})

    with pytest.raises(DivergedError, match=r"The loss of the head, epoch \d, is .*smaller learning_rate than 1e\+30"):
        fit("dense", make_data(rng), options=options)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dropout": 0.0}, {"units": 0}, {"units": (8, 4)}], ids=str)
def test_dense_comes_in_other_shapes(dense_data, options):
    chosen = QUICK.model_copy(update=options)

    fitted = fit("dense", dense_data, options=chosen)

    assert_probabilities(fitted, dense_data.val)
    assert n_trained(fitted) == HEADS["dense"].n_params(6, 3, chosen)


@pytest.mark.slow
def test_dense_depends_on_the_seed(dense, dense_data):
    other = fit("dense", dense_data, seed=1)

    assert not np.array_equal(other.scores(dense_data.val), dense.scores(dense_data.val))


@pytest.mark.slow
def test_dense_scores_many_images_as_it_scores_them_in_parts(dense, dense_data, monkeypatch):
    whole = dense.scores(dense_data.val)
    monkeypatch.setattr("benchmark.strategies.dense.SCORED_AT_ONCE", 7)

    in_parts = dense.scores(dense_data.val)

    assert in_parts.shape == whole.shape
    assert in_parts == pytest.approx(whole, abs=1e-6)


# names


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_described(head):
    assert len(describe_heads()[head]) > 10
