"""The head `linear` beside scikit-learn's own LogisticRegression, on the same standardised features.

The head is run by the public command, so its seconds are those of the ledger: reading the features,
standardising them, and choosing the penalty on the validation images among them.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Figures, SweepRun, Target, markdown_table, run_script, run_sweep, say, script_options
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmark.datasets import Dataset, load_dataset, split_dataset
from benchmark.features.cache import cached_features
from benchmark.plan.cells import Cell, feature_facts
from benchmark.plan.grid import expand
from benchmark.recipes import sweep_of_options
from benchmark.registry import load_registry

BACKBONE, DATASET, SEED = "MobileNetV2-dogs", "fashion_mnist", 0
DEFAULT_C = 1.0
MAX_ITERATIONS = 1000

MOST_SECONDS = 60.0
LARGEST_LOSS = 0.003


@dataclass(frozen=True)
class Fit:
    """One way to a linear classifier.

    Attributes:
        name: As the figures show it.
        c: Inverse strength of its penalty.
        accuracy: Of the test images.
        fit_s: Seconds to fit.
        n_iterations: Of the solver; None where it is not known.
    """

    name: str
    c: float
    accuracy: float
    fit_s: float
    n_iterations: int | None = None


@dataclass(frozen=True)
class Standardised:
    """Features scaled by the mean and deviation of the training ones, with labels."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def make_cell(size_px: int, limit: int | None) -> Cell:
    """The cell that is measured."""
    grid = {"backbones": (BACKBONE,), "datasets": (DATASET,), "seeds": (SEED,), "input_size_px": size_px}
    (cell,) = expand(sweep_of_options("linear", {**grid, "limit": limit}), load_registry())
    return cell


def run_head(cell: Cell) -> SweepRun:
    """The cell, done by the public command in the user's own feature cache."""
    chosen = {"backbones": BACKBONE, "datasets": DATASET, "heads": "linear", "seeds": SEED}
    options = {**chosen, "input-size": cell.input_size_px}
    if cell.dataset.limit is not None:
        options["limit"] = cell.dataset.limit
    with tempfile.TemporaryDirectory() as folder:
        return run_sweep(options, Path(folder))


def our_fit(run: SweepRun) -> Fit:
    """What the ledger says of the head."""
    (row,) = run.runs.to_dict("records")
    (c,) = run.history.loc[run.history["metric"] == "chosen C", "value"]
    return Fit("head `linear`", float(c), float(row["accuracy"]), float(row["train_s"]))


def standardised_features(cell: Cell, dataset: Dataset) -> Standardised:
    """The features that the head was trained on, out of the cache, scaled by scikit-learn."""

    def refuse(*_: object) -> Any:
        raise RuntimeError("the features of a cell that was just run are not in the cache")

    features = cached_features(feature_facts(cell, dataset.fingerprint), refuse).features
    split = split_dataset(dataset, seed=cell.seed, val_fraction=cell.val_fraction)
    scaler = StandardScaler().fit(features[split.train])
    return Standardised(
        train=scaler.transform(features[split.train]),
        train_labels=dataset.labels[split.train],
        test=scaler.transform(features[split.test]),
        test_labels=dataset.labels[split.test],
    )


def reference_fit(data: Standardised, c: float) -> Fit:
    """scikit-learn's LogisticRegression with this penalty."""
    model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS)
    started = time.perf_counter()
    model.fit(data.train, data.train_labels)
    fit_s = time.perf_counter() - started
    accuracy = float(model.score(data.test, data.test_labels))
    return Fit(f"LogisticRegression(C={c:g})", c, accuracy, fit_s, int(model.n_iter_.max()))


def measure_linear(options: argparse.Namespace) -> Figures:
    """Seconds and accuracy of the head and of its references."""
    cell = make_cell(options.input_size, options.limit)
    say(f"{cell}: benchmark run")
    ours = our_fit(run_head(cell))
    data = standardised_features(cell, load_dataset(DATASET, limit=options.limit))
    fits = [ours]
    for c in dict.fromkeys((DEFAULT_C, ours.c)):
        say(f"LogisticRegression with C={c:g} on {data.train.shape} features")
        fits.append(reference_fit(data, c))
    # The ledger keeps nine digits.
    loss = round(max(fit.accuracy for fit in fits[1:]) - ours.accuracy, 6)
    shape = f"{data.train.shape[0]:,} x {data.train.shape[1]:,}"
    targets = (
        Target(f"seconds of the head on {shape} features", ours.fit_s, at_most=MOST_SECONDS),
        Target("test accuracy that the better reference has more", loss, at_most=LARGEST_LOSS),
    )
    text = _text(fits, f"{shape} standardised float32 features of {cell.dataset_label} by {BACKBONE}", options)
    numbers = {"n_train": len(data.train), "feature_dim": data.train.shape[1], "fits": [asdict(fit) for fit in fits]}
    return Figures("linear", "The linear head beside scikit-learn", text, numbers, targets)


def _text(fits: list[Fit], data: str, options: argparse.Namespace) -> str:
    rows = [
        [fit.name, f"{fit.c:g}", f"{fit.accuracy:.4f}", f"{fit.fit_s:.1f}", str(fit.n_iterations or "–")]
        for fit in fits
    ]
    return (
        f"{markdown_table(['classifier', 'C', 'test accuracy', 's', 'iterations'], rows)}\n\n"
        f"Trained on {data} at {options.input_size} px, tested on the test images. The head's seconds include reading "
        f"and scaling the features and every penalty that it tried; LogisticRegression (max_iter={MAX_ITERATIONS}) "
        "fits one penalty on features that are scaled already."
    )


def main() -> int:
    parser = script_options(__doc__)
    parser.add_argument("--input-size", type=int, help="side of the network's input in px; 96 if absent")
    parser.add_argument("--limit", type=int, help="a stratified subset of so many images; all if absent")
    options = parser.parse_args()
    options.input_size = options.input_size or (32 if options.quick else 96)
    options.limit = options.limit or (1000 if options.quick else None)
    return run_script(measure_linear, options)


if __name__ == "__main__":
    sys.exit(main())
