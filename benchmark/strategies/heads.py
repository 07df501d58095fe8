"""Heads: what a probe trains on the features. Each chooses on the validation images only.

None is fitted again on training and validation images together, so that all heads learn from the same images, and the
validation accuracy of a row is that of the classifier that was tested.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import accuracy, log_loss
from benchmark.options import DenseOptions
from benchmark.provenance import usable_cpus
from benchmark.strategies.dense import fit_dense
from benchmark.strategies.outcome import Features, FittedHead, HeadData, HistoryPoint
from benchmark.strategies.softmax import MAX_ITERATIONS, Regression, Solution

# Inverse strength of the penalty of `linear`, strongest penalty first, so that each fit starts from the last one.
LINEAR_C = tuple(10.0**exponent for exponent in range(-6, 5))
# How far the loss of the regression that is chosen may be above its smallest value, as a share of it, and by how many
# times this is more for those that are only tried.
LINEAR_TOLERANCE, TIMES_COARSER = 3e-5, 10
# Penalty of `ridge` on standardised features, as a share of the number of training images.
RIDGE_PENALTIES = tuple(10.0**exponent for exponent in range(-7, 3))
# Of `knn`: how many neighbours vote, and the difference in cosine at which a vote weighs 1/e.
KNN_NEIGHBOURS = (5, 10, 20, 50, 100, 200)
KNN_TEMPERATURES = (0.02, 0.07, 0.2)
SMALLEST_DEVIATION = 1e-6
# A logit so low that its class has the probability zero.
IMPOSSIBLE = -1e9
# Of `prototype`: below every score, since two vectors of at most length one are at most 2 apart.
NO_PROTOTYPE = -5.0


def fit_linear(data: HeadData, seed: int, options: DenseOptions, tolerance: float = LINEAR_TOLERANCE) -> FittedHead:
    """Multinomial logistic regression on standardised features, its L2 penalty chosen on validation.

    The penalties are tried from the strongest on, each regression coarsely solved and started from the last one, until
    both accuracy and loss are worse than the best, or the loss is for the second time: weaker penalties would only
    tell apart solutions that are nearly the same. Of penalties with the same validation accuracy the one with the
    smallest loss is taken, and its regression is solved finely. A class that no training image has gets the
    probability zero.
    """
    scale = _standardiser(data.train)
    train, val = scale(data.train), scale(data.val)
    classes, labels = np.unique(data.train_labels, return_inverse=True)

    def probabilities(solution: Solution, standardised: Features) -> Features:
        scores = np.zeros((len(standardised), data.n_classes), np.float32)
        scores[:, classes] = solution.probabilities(standardised)
        return scores

    def judge(solution: Solution) -> _Tried:
        scores = probabilities(solution, val)
        return _Tried(accuracy(data.val_labels, scores.argmax(axis=1)), log_loss(data.val_labels, scores), solution)

    regression = Regression(train, labels, len(classes))
    tried = [judge(regression.solve(LINEAR_C[0], TIMES_COARSER * tolerance))]
    for c in LINEAR_C[1:]:
        if _has_passed_the_best(tried):
            break
        tried.append(judge(regression.solve(c, TIMES_COARSER * tolerance, start=tried[-1].solution)))
    best = _best_of(tried).solution
    chosen = regression.solve(best.c, tolerance, start=best)
    unsolved = "" if chosen.has_converged else f"the regression was not solved within {MAX_ITERATIONS} steps"
    return FittedHead(
        scores=lambda features: probabilities(chosen, scale(features)),
        are_probabilities=True,
        n_params=_n_linear_params(data),
        history=(
            *(
                _choice(f"{metric} at C={one.solution.c:g}", getattr(one, metric))
                for one in tried
                for metric in ("accuracy", "loss")
            ),
            _choice("chosen C", chosen.c),
        ),
        weights=_all_classes(scale.folded_into(chosen.weights, chosen.bias), classes, data.n_classes),
        warning=unsolved or _edge_warning("C", chosen.c, {one.solution.c: one.accuracy for one in tried}, LINEAR_C),
    )


class _Tried(NamedTuple):
    """A regression, and its accuracy and log loss on validation."""

    accuracy: float
    loss: float
    solution: Solution


def _best_of(tried: Sequence[_Tried]) -> _Tried:
    return max(tried, key=lambda one: (one.accuracy, -one.loss))


def _has_passed_the_best(tried: Sequence[_Tried]) -> bool:
    """Whether accuracy and loss of the last are both worse than the best, or the loss is for the second time."""
    best, last = _best_of(tried), tried[-1]
    least_loss = min(one.loss for one in tried)
    is_worse = last.accuracy < best.accuracy and last.loss > best.loss
    return is_worse or all(one.loss > least_loss for one in tried[-2:])


def fit_ridge(data: HeadData, seed: int, options: DenseOptions) -> FittedHead:
    """Ridge regression onto one-hot classes from standardised features, its penalty chosen on validation.

    With the eigenvectors `V` and eigenvalues `e` of `X'X` the weights of every penalty `a` are
    `V diag(1 / (e + a)) V' X'Y`, so all penalties cost little more than one.
    """
    from scipy import linalg

    scale = _standardiser(data.train)
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
        n_params=_n_linear_params(data),
        history=(
            *(_choice(f"accuracy at penalty={share:g}n", value) for share, value in accuracies.items()),
            _choice("chosen penalty share", chosen),
        ),
        warning=_edge_warning("penalty share", chosen, accuracies, RIDGE_PENALTIES),
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
        n_params=0,
        history=(
            *(
                _choice(f"accuracy of {number} neighbours at temperature={temperature:g}", value)
                for (number, temperature), value in accuracies.items()
            ),
            _choice("chosen neighbours", n_chosen),
            _choice("chosen temperature", chosen_temperature),
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

    return FittedHead(
        scores=scores,
        are_probabilities=False,
        n_params=count_head_params("prototype", data.train.shape[1], data.n_classes, options),
    )


HeadFitter = Callable[[HeadData, int, DenseOptions], FittedHead]

HEADS: dict[str, HeadFitter] = {
    "linear": fit_linear,
    "ridge": fit_ridge,
    "knn": fit_knn,
    "prototype": fit_prototype,
    "dense": fit_dense,
}


def describe_heads() -> dict[str, str]:
    """What each head is: the first line of its fitter's docstring."""
    return {name: (fitter.__doc__ or "").splitlines()[0] for name, fitter in HEADS.items()}


def count_head_params(head: str, feature_dim: int, n_classes: int, options: DenseOptions) -> int:
    """Numbers that a head trains, without training it."""
    if head == "knn":
        return 0
    if head == "prototype":
        return feature_dim * (n_classes + 1)  # the mean of all images, too
    if head == "dense":
        return options.n_params(feature_dim, n_classes)
    return (feature_dim + 1) * n_classes


def _n_linear_params(data: HeadData) -> int:
    return int((data.train.shape[1] + 1) * data.n_classes)


def _choice(metric: str, value: float) -> HistoryPoint:
    return HistoryPoint("head", 0, "val", metric, value)


def _edge_warning(name: str, chosen: float, accuracies: Mapping[float, float], grid: Sequence[float]) -> str:
    """Says that validation accuracy still rises at the edge of the values tried, where one was chosen; else empty.

    Args:
        name: Of the values.
        chosen: One of them.
        accuracies: On validation, of those that were tried.
        grid: All values.
    """
    for edge, next_to_it, word in ((grid[0], grid[1], "smallest"), (grid[-1], grid[-2], "largest")):
        if chosen == edge and accuracies[edge] > accuracies[next_to_it]:
            return f"the best {name} is {chosen:g}, the {word} that is tried: one beyond may be better"
    return ""


class _Standardiser(NamedTuple):
    """Subtracts a mean `(d,)` from features `(n, d)` and divides by a deviation `(d,)`."""

    mean: Features
    deviation: Features

    def __call__(self, features: Features) -> Features:
        return (features - self.mean) / self.deviation

    def folded_into(self, weights: Features, bias: Features) -> tuple[Features, Features]:
        """The weights `(d, k)` and bias `(k,)` of a layer that takes features as they are.

        `((x - m) / s) W + b = x (W / s) + (b - m (W / s))`
        """
        kernel = weights.astype(np.float64) / self.deviation[:, np.newaxis]
        return kernel.astype(np.float32), (bias - self.mean @ kernel).astype(np.float32)


def _standardiser(train: Features) -> _Standardiser:
    """By mean and deviation of the training features only: those of test features would leak the split."""

    def moments(columns: Features) -> tuple[Features, Features]:
        mean = columns.mean(axis=0, dtype=np.float64, keepdims=True)
        deviation = columns.std(axis=0, dtype=np.float64, mean=mean)
        return mean[0].astype(np.float32), np.maximum(deviation, SMALLEST_DEVIATION).astype(np.float32)

    n_threads = usable_cpus()
    with ThreadPoolExecutor(n_threads) as threads:
        of_columns = threads.map(moments, np.array_split(train, min(n_threads, train.shape[1]), axis=1))
        mean, deviation = map(np.concatenate, zip(*of_columns, strict=True))
    return _Standardiser(mean, deviation)


def _all_classes(
    layer: tuple[Features, Features], classes: NDArray[np.int64], n_classes: int
) -> tuple[Features, Features]:
    """A layer of some classes as one of all; the others get the probability zero."""
    weights, bias = np.zeros((len(layer[0]), n_classes), np.float32), np.full(n_classes, IMPOSSIBLE, np.float32)
    weights[:, classes], bias[classes] = layer
    return weights, bias


def _unit_length(features: Features) -> Features:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Features = features / np.maximum(lengths, SMALLEST_DEVIATION)
    return unit
