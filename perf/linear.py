"""The head `linear` beside scikit-learn, and beside itself ten times as fine, on the same standardised features.

The head is run by the public command, so its seconds are those of the ledger: reading the features, standardising
them, and choosing the penalty on the validation images among them.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow  # noqa: F401  # so that no fit is charged for its import
from measuring import Figures, SweepRun, Target, markdown_table, run_script, run_sweep, say, script_options
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import PredefinedSplit
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmark.datasets import Dataset, load_dataset, split_dataset
from benchmark.features.cache import cached_features
from benchmark.options import DenseOptions
from benchmark.plan.cells import Cell, feature_facts
from benchmark.plan.grid import expand
from benchmark.recipes import sweep_of_options
from benchmark.registry import load_registry
from benchmark.strategies.linear import LINEAR_C, LINEAR_TOLERANCE, fit_linear
from benchmark.strategies.outcome import HeadData

DATASET = "fashion_mnist"
SIZES = {"MobileNetV2-dogs": 96, "VGG16-hed": 48}
SEEDS = (0, 1, 2)
# scikit-learn's own search takes minutes on so many images, and an hour on all.
N_SEARCHED = 14_000
MAX_ITERATIONS = 1000

# What the head was until it converged: five penalties and a coarse tolerance, by scikit-learn.
COARSE_C, COARSE_TOLERANCE, COARSE_ITERATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), 3e-3, 200

HEAD, FINER, COARSE, SEARCH = "head `linear`", "ten times finer", "coarse path by scikit-learn", "LogisticRegressionCV"
MOST_SECONDS_OVER_COARSE = 1.5
LARGEST_CHANGE = 0.001


@dataclass(frozen=True)
class Fit:
    """One way to a linear classifier.

    Attributes:
        name: As the figures show it.
        c: Inverse strength of the penalty that it chose.
        accuracy: Of the test images.
        fit_s: Seconds to read and scale the features, to fit and to choose.
    """

    name: str
    c: float
    accuracy: float
    fit_s: float


@dataclass(frozen=True)
class Comparison:
    """The fits of one backbone and seed on the same images."""

    backbone: str
    seed: int
    n_train: int
    fits: dict[str, Fit]

    def change(self, name: str) -> float:
        """Test accuracy of another fit minus that of the head; two of 2,000 images are 0.001, not a little more."""
        return round(self.fits[name].accuracy - self.fits[HEAD].accuracy, 9)


@dataclass(frozen=True)
class Standardised:
    """Features scaled by the mean and deviation of the training ones, with labels, and the seconds that took.

    Those are of the training and validation images, as the head's own seconds are.
    """

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    val: NDArray[np.float32]
    val_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    seconds: float


def make_cell(backbone: str, seed: int, size_px: int, limit: int | None) -> Cell:
    """A cell that is measured."""
    grid = {"backbones": (backbone,), "datasets": (DATASET,), "seeds": (seed,), "input_size_px": size_px}
    (cell,) = expand(sweep_of_options("linear", {**grid, "limit": limit}), load_registry())
    return cell


def run_head(cell: Cell) -> Fit:
    """The cell, done by the public command in the user's own feature cache, as the ledger has it."""
    chosen = {"backbones": cell.backbone.name, "datasets": DATASET, "heads": "linear", "seeds": cell.seed}
    options = {**chosen, "input-size": cell.input_size_px}
    if cell.dataset.limit is not None:
        options["limit"] = cell.dataset.limit
    with tempfile.TemporaryDirectory() as folder:
        run: SweepRun = run_sweep(options, Path(folder))
    (row,) = run.runs.to_dict("records")
    (c,) = run.history.loc[run.history["metric"] == "chosen C", "value"]
    return Fit(HEAD, float(c), float(row["accuracy"]), float(row["train_s"]))


def standardised_features(cell: Cell, dataset: Dataset) -> Standardised:
    """The features that the head was trained on, out of the cache, scaled by scikit-learn."""

    def refuse(*_: object) -> Any:
        raise RuntimeError("the features of a cell that was just run are not in the cache")

    features = cached_features(feature_facts(cell, dataset.fingerprint), refuse).features
    split = split_dataset(dataset, seed=cell.seed, val_fraction=cell.val_fraction)
    started = time.perf_counter()
    train = features[split.train]
    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train), scaler.transform(features[split.val])
    seconds = time.perf_counter() - started
    train_labels, val_labels, test_labels = (dataset.labels[rows] for rows in (split.train, split.val, split.test))
    test = scaler.transform(features[split.test])
    return Standardised(scaled[0], train_labels, scaled[1], val_labels, test, test_labels, seconds)


def timed_fit(name: str, fit: Callable[[Standardised], tuple[float, NDArray[Any]]], data: Standardised) -> Fit:
    """A fit that gives its penalty and the test images' classes."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        c, predicted = fit(data)
    fit_s = data.seconds + time.perf_counter() - started
    return Fit(name, c, float(np.mean(predicted == data.test_labels)), fit_s)


def fit_finer(data: Standardised) -> tuple[float, NDArray[Any]]:
    """The head itself with a tenth of its tolerances."""
    n_classes = int(data.train_labels.max()) + 1
    head_data = HeadData(data.train, data.train_labels, data.val, data.val_labels, n_classes)
    fitted = fit_linear(head_data, 0, DenseOptions(), tolerance=LINEAR_TOLERANCE / 10)
    (c,) = [point.value for point in fitted.history if point.metric == "chosen C"]
    return c, fitted.scores(data.test).argmax(axis=1)


def fit_coarse(data: Standardised) -> tuple[float, NDArray[Any]]:
    """A short path of penalties with a coarse tolerance, by scikit-learn in one thread."""
    model = LogisticRegression(max_iter=COARSE_ITERATIONS, tol=COARSE_TOLERANCE, warm_start=True)
    best = (-1.0, 0.0, np.empty(0))
    with threadpool_limits(1):
        for c in COARSE_C:
            model.set_params(C=c).fit(data.train, data.train_labels)
            tried = (float(model.score(data.val, data.val_labels)), c, model.predict(data.test))
            best = max(best, tried, key=lambda one: one[0])
    return best[1], best[2]


def fit_search(data: Standardised) -> tuple[float, NDArray[Any]]:
    """scikit-learn's search over the same penalties on the same validation images, from which it does not learn."""
    both, labels = np.concatenate([data.train, data.val]), np.concatenate([data.train_labels, data.val_labels])
    fold = np.repeat([-1, 0], [len(data.train), len(data.val)])
    model = LogisticRegressionCV(Cs=list(LINEAR_C), cv=PredefinedSplit(fold), max_iter=MAX_ITERATIONS, refit=False)
    model.fit(both, labels)
    return float(np.ravel(model.C_)[0]), model.predict(data.test)


REFERENCES = {FINER: fit_finer, COARSE: fit_coarse, SEARCH: fit_search}


def compare(backbone: str, seed: int, size_px: int, limit: int | None, names: tuple[str, ...]) -> Comparison:
    """The head and these references on one backbone's features."""
    cell = make_cell(backbone, seed, size_px, limit)
    say(f"{backbone}, seed {seed}, {limit or 'all'} images: benchmark run")
    fits = {HEAD: run_head(cell)}
    data = standardised_features(cell, load_dataset(DATASET, limit=limit))
    for name in names:
        fits[name] = timed_fit(name, REFERENCES[name], data)
        say(f"  {fits[name]}")
    return Comparison(backbone, seed, len(data.train), fits)


def measure_linear(options: argparse.Namespace) -> Figures:
    """Seconds and accuracy of the head and of its references."""
    sizes = dict.fromkeys(SIZES, 32) if options.quick else SIZES
    n_all, n_searched = (1000, 500) if options.quick else (None, N_SEARCHED)
    everything, part = (
        [
            compare(backbone, seed, size_px, limit, names)
            for backbone, size_px in sizes.items()
            for seed in (SEEDS[:1] if options.quick else SEEDS)
        ]
        for limit, names in ((n_all, (FINER, COARSE)), (n_searched, (FINER, SEARCH)))
    )
    targets = []
    for backbone in sizes:
        of_backbone = [one for one in everything if one.backbone == backbone]
        head_s, coarse_s = (sum(one.fits[name].fit_s for one in of_backbone) for name in (HEAD, COARSE))
        what = f"{backbone}, seconds of the head over those of the coarse path"
        targets.append(Target(what, head_s / coarse_s, at_most=MOST_SECONDS_OVER_COARSE))
        changes = [one.change(FINER) for one in everything + part if one.backbone == backbone]
        what = f"{backbone}, largest change of test accuracy by a tolerance ten times finer"
        targets.append(Target(what, max(map(abs, changes)), at_most=LARGEST_CHANGE))
        gain = np.mean([one.change(SEARCH) for one in part if one.backbone == backbone])
        what = f"{backbone}, mean test accuracy that scikit-learn's search has more"
        targets.append(Target(what, float(gain), at_most=LARGEST_CHANGE))
    text = f"{_table(everything)}\n\n{_table(part)}\n\n{_notes(sizes)}"
    numbers = {"comparisons": [asdict(one) for one in (*everything, *part)]}
    return Figures("linear", "The linear head beside scikit-learn", text, numbers, tuple(targets))


def _table(comparisons: list[Comparison]) -> str:
    rows = [
        [
            f"{one.backbone}, {one.n_train:,} images, seed {one.seed}, {fit.name}",
            *(f"{fit.c:g}", f"{fit.accuracy:.4f}", f"{fit.fit_s:.1f}"),
        ]
        for one in comparisons
        for fit in one.fits.values()
    ]
    return markdown_table(["classifier", "C", "test accuracy", "s"], rows)


def _notes(sizes: dict[str, int]) -> str:
    of_sizes = " and ".join(f"{backbone} at {size_px} px" for backbone, size_px in sizes.items())
    return (
        f"Standardised float32 features of {DATASET} by {of_sizes}. Seconds include reading and scaling the "
        "features. The coarse path is what the head was before: scikit-learn's LogisticRegression for C from "
        f"{COARSE_C[0]:g} to {COARSE_C[-1]:g} with a tolerance of {COARSE_TOLERANCE:g}. LogisticRegressionCV (at most "
        f"{MAX_ITERATIONS} steps) chooses from the head's own penalties on the head's own validation images."
    )


def main() -> int:
    return run_script(measure_linear, script_options(__doc__).parse_args())


if __name__ == "__main__":
    sys.exit(main())
