"""Heads: what a probe trains on the features. Each chooses on the validation images only.

None is fitted again on training and validation images together, so that all heads learn from the same images, and the
validation accuracy of a row is that of the classifier that was tested.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import accuracy
from benchmark.options import DenseOptions
from benchmark.strategies.choices import choice_point, edge_warning
from benchmark.strategies.dense import fit_dense
from benchmark.strategies.linear import fit_linear
from benchmark.strategies.outcome import Features, FittedHead, HeadData
from benchmark.strategies.standardising import SMALLEST_DEVIATION, standardiser

# Penalty of `ridge` on standardised features, as a share of the number of training images.
RIDGE_PENALTIES = tuple(10.0**exponent for exponent in range(-7, 3))
# Of `knn`: how many neighbours vote, and the difference in cosine at which a vote weighs 1/e.
KNN_NEIGHBOURS = (5, 10, 20, 50, 100, 200)
KNN_TEMPERATURES = (0.02, 0.07, 0.2)
# Of `prototype`: below every score, since two vectors of at most length one are at most 2 apart.
NO_PROTOTYPE = -5.0


def fit_ridge(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Ridge regression onto one-hot classes from standardised features, its penalty chosen on validation.

    With the eigenvectors `V` and eigenvalues `e` of `X'X` the weights of every penalty `a` are
    `V diag(1 / (e + a)) V' X'Y`, so all penalties cost little more than one.
    """
    from scipy import linalg

    scale = standardiser(data.train)
    train, val = scale(data.train), scale(data.val)  # (n, d), (m, d)
    one_hot = np.eye(data.n_classes, dtype=np.float32)[data.train_labels]  # (n, k)
    intercept = one_hot.mean(axis=0)
    gram = (train.T @ train).astype(np.float64)  # (d, d)
    eigenvalues, vectors = linalg.eigh(gram, driver="evd", overwrite_a=True)
    projected = vectors.T @ (train.T @ (one_hot - intercept))  # (d, k)
    weights, accuracies = {}, {}
    for share in RIDGE_PENALTIES:
        shrunk = projected / (np.maximum(eigenvalues, 0.0) + share * len(train))[:, np.newaxis]
        weights[share] = (vectors @ shrunk).astype(np.float32)
        accuracies[share] = accuracy(data.val_labels, (val @ weights[share] + intercept).argmax(axis=1))
    # Of equally good penalties the strongest, which generalises best.
    chosen = max(RIDGE_PENALTIES, key=lambda share: (accuracies[share], share))
    return FittedHead(
        scores=lambda features: scale(features) @ weights[chosen] + intercept,
        are_probabilities=False,
        history=(
            *(choice_point(f"accuracy at penalty={share:g}n", value) for share, value in accuracies.items()),
            choice_point("chosen penalty share", chosen),
        ),
        warning=edge_warning("penalty share", chosen, accuracies, RIDGE_PENALTIES),
    )


def fit_knn(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Votes of the training images with the most similar features (cosine), weighted by their similarity.

    An image at cosine `s` votes with weight `exp(s / temperature)` (Wu et al., Unsupervised feature learning via
    non-parametric instance discrimination, CVPR 2018). The number of neighbours and the temperature are chosen on
    validation; of equally good ones the fewest neighbours and the lowest temperature. The Euclidean order of vectors
    of length one is that of the cosine, and scikit-learn's search is faster for it.
    """
    from sklearn.neighbors import NearestNeighbors

    most = min(max(KNN_NEIGHBOURS), len(data.train))
    search = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(_unit_length(data.train))

    def find(features: Features, n_neighbours: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        distances, rows = search.kneighbors(_unit_length(features), n_neighbours)
        return 1 - distances.astype(np.float32) ** 2 / 2, data.train_labels[rows]

    cosines, labels = find(data.val, most)
    numbers = sorted({min(number, most) for number in KNN_NEIGHBOURS})
    accuracies = {}
    for number, temperature in itertools.product(numbers, KNN_TEMPERATURES):
        votes = _weighted_votes(cosines[:, :number], labels[:, :number], temperature, data.n_classes)
        accuracies[number, temperature] = accuracy(data.val_labels, votes.argmax(axis=1))
    n_chosen, chosen_temperature = max(accuracies, key=lambda tried: accuracies[tried])  # the first of equals
    return FittedHead(
        scores=lambda features: _weighted_votes(*find(features, n_chosen), chosen_temperature, data.n_classes),
        are_probabilities=False,
        history=(
            *(
                choice_point(f"accuracy of {number} neighbours at temperature={temperature:g}", value)
                for (number, temperature), value in accuracies.items()
            ),
            choice_point("chosen neighbours", n_chosen),
            choice_point("chosen temperature", chosen_temperature),
        ),
    )


def _weighted_votes(
    cosines: NDArray[np.float32], labels: NDArray[np.int64], temperature: float, n_classes: int
) -> Features:
    """Shares of the votes `(n, k)` of neighbours `(n, m)`, the most similar first."""
    weights = np.exp((cosines - cosines[:, :1]) / temperature)
    votes = np.zeros((len(cosines), n_classes), np.float32)
    np.add.at(votes, (np.arange(len(cosines))[:, np.newaxis], labels), weights)
    shares: Features = votes / votes.sum(axis=1, keepdims=True)
    return shares


def fit_prototype(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """The class whose mean is nearest, of features centred by their training mean and scaled to length one.

    This is CL2N of SimpleShot (Wang et al., SimpleShot: revisiting nearest-neighbor classification for few-shot
    learning, 2019). As in the paper, the distance is Euclidean, and a class mean of vectors of length one is not scaled
    again. The paper centres by the mean of other classes, which a run does not have. Nothing is chosen, so validation
    images are not looked at.

        z = (x - m) / |x - m|        (n, d), m the mean of the training features
        c_k = mean of z of class k   (k, d)
        score = -|z - c_k|^2         (n, k), from -4 to 0

    A class that no training image has gets a lower score than all others.
    """
    mean = data.train.mean(axis=0, dtype=np.float64).astype(np.float32)
    train = _unit_length(data.train - mean)
    has_images = np.bincount(data.train_labels, minlength=data.n_classes) > 0
    prototypes = np.zeros((data.n_classes, train.shape[1]), np.float32)
    for label in np.flatnonzero(has_images):
        prototypes[label] = train[data.train_labels == label].mean(axis=0, dtype=np.float64)

    def scores(features: Features) -> Features:
        unit = _unit_length(features - mean)
        squares = np.square(unit).sum(axis=1, keepdims=True) + np.square(prototypes).sum(axis=1)  # (n, k)
        nearness: Features = 2 * unit @ prototypes.T - squares
        nearness[:, ~has_images] = NO_PROTOTYPE
        return nearness

    return FittedHead(scores=scores, are_probabilities=False)


class Head(NamedTuple):
    """A head.

    Attributes:
        fit: Trains it, with a seed; its docstring begins with what the head is.
        n_params: Of the width of the features and the number of classes: numbers that it trains; none if it only
            remembers the training images.
        s_per_number: For estimates, seconds to train and test per number in the features.
        needs_tensorflow: Whether it is trained by TensorFlow, not by NumPy, SciPy and scikit-learn.
    """

    fit: Callable[[HeadData, int, DenseOptions], FittedHead]
    n_params: Callable[[int, int, DenseOptions], int]
    s_per_number: float
    needs_tensorflow: bool = False


def _n_linear(feature_dim: int, n_classes: int, options: DenseOptions) -> int:
    return (feature_dim + 1) * n_classes


HEADS = {
    "linear": Head(fit_linear, _n_linear, 2e-7, needs_tensorflow=True),
    "ridge": Head(fit_ridge, _n_linear, 1e-7),
    "knn": Head(fit_knn, lambda *_: 0, 1e-7),
    # The mean of all images, too.
    "prototype": Head(fit_prototype, lambda dim, n_classes, _: dim * (n_classes + 1), 1e-8),
    "dense": Head(
        fit_dense, lambda dim, n_classes, options: options.n_params(dim, n_classes), 6e-7, needs_tensorflow=True
    ),
}


def describe_heads() -> dict[str, str]:
    """What each head is: the first line of its fitter's docstring."""
    return {name: (head.fit.__doc__ or "").splitlines()[0] for name, head in HEADS.items()}


def _unit_length(features: Features) -> Features:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Features = features / np.maximum(lengths, SMALLEST_DEVIATION)
    return unit
