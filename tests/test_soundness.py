"""What a ledger that contradicts itself, or is not whole, is told; what is found at all is in test_alterations.py."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from whole_ledgers import make_ledger

from benchmark.analysis.contradictions import Fault
from benchmark.analysis.loading import load_all_runs
from benchmark.analysis.soundness import find_faults
from benchmark.ledger import CONFUSION, HISTORY, PER_CLASS, PREDICTIONS, RECIPES, RUNS, Ledger

pytestmark = pytest.mark.usefixtures("unexamined")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, unexamined: None) -> Path:
    return make_ledger(tmp_path_factory.mktemp("whole") / "toy").folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "toy")


def faults(folder: Path) -> list[Fault]:
    return list(find_faults([folder], load_all_runs([folder])).values())


def with_value(name: str, column: str, value: Any) -> Callable[[Path], None]:
    """Puts a value into the second row of a file, or what a function makes of the value there."""

    def alter(folder: Path) -> None:
        rows = pd.read_csv(folder / name, dtype=object, keep_default_na=False)
        rows.loc[1, column] = value(rows.loc[1, column]) if callable(value) else value
        rows.to_csv(folder / name, index=False)

    return alter


def with_predictions(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Gives the second run other predicted classes, made of its own and the true ones."""

    def alter(folder: Path) -> None:
        row = load_all_runs([folder]).iloc[1]
        true, _ = Ledger(folder).read_true_labels(row["dataset_fingerprint"])
        path = folder / PREDICTIONS / f"{row['run_id']}.npz"
        with np.load(path) as arrays:
            predicted = change(arrays["predicted"], true)
            confidence = arrays["confidence"][: len(predicted)]
        np.savez_compressed(path, predicted=predicted, confidence=confidence)

    return alter


def with_true_score(change: Callable[[float], float], *, right: bool) -> Callable[[Path], None]:
    """Changes the score of the true class of one image that the first run, of the head linear, named right or wrong."""

    def alter(folder: Path) -> None:
        row = load_all_runs([folder]).iloc[0]
        true, _ = Ledger(folder).read_true_labels(row["dataset_fingerprint"])
        path = folder / PREDICTIONS / f"{row['run_id']}.npz"
        with np.load(path) as loaded:
            arrays = dict(loaded)
        image = np.flatnonzero((arrays["predicted"] == true) == right)[0]
        arrays["true_score"][image] = change(float(arrays["true_score"][image]))
        np.savez_compressed(path, **arrays)

    return alter


def one_class(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Another wrong class in place of a wrong one, so that the accuracy stays as it is."""
    image = np.flatnonzero(predicted != true)[0]
    predicted[image] = next(number for number in range(10) if number not in (predicted[image], true[image]))
    return predicted


def less_one(field: str) -> str:
    return str(int(field) - 1)


@pytest.mark.parametrize(
    ("alter", "text"),
    [
        (with_value(RUNS, "accuracy", "0.999"), r"accuracy is 0\.9990, by its predictions it is 0\.\d{4}"),
        (with_value(RUNS, "accuracy", ""), r"accuracy is nan, by its predictions it is 0\.\d{4}"),
        (with_value(RUNS, "overfit_gap", "0.5"), r"overfit_gap is 0\.5000, by train and validation accuracy it is"),
        (with_value(RUNS, "wall_s", "1"), r"wall_s is 1\.0000, by the sum of its parts it is"),
        (with_value(RUNS, "n_test", less_one), "n_test is 59, of true classes and their names there are 60"),
        (with_value(RUNS, "epochs", "3"), r"epochs is 3, history\.csv has \d+"),
        (with_value(RUNS, "seed", "7"), "cell_key is not that of its setting_key and seed"),
        (with_value(RUNS, "status", "failed"), "it failed without an error, or has an accuracy although it failed"),
        (with_value(RUNS, "error_type", "oom"), "it is done, but names an error"),
        (
            with_value(PER_CLASS, "recall", "0.1234"),
            r"per_class\.csv has other numbers than follow from its predictions",
        ),
        (with_value(CONFUSION, "count", "1000"), r"confusion\.csv has other numbers than follow from its predictions"),
        (with_predictions(one_class), r"macro_precision is|per_class|confusion\.csv"),
        (with_predictions(lambda predicted, _: predicted[:5]), "60 test images, 5 predictions"),
        (with_predictions(lambda predicted, _: np.where(predicted == 3, 10, predicted)), "none of the 10 classes"),
        (with_predictions(lambda predicted, _: np.where(predicted == 3, -1, predicted)), "none of the 10 classes"),
    ],
)
def test_a_contradiction_is_named(folder: Path, alter: Callable[[Path], None], text: str):
    alter(folder)

    (fault,) = faults(folder)

    assert fault.is_contradiction
    assert re.search(text, fault.text)


def test_a_ledger_that_was_left_alone_has_no_fault(folder: Path):
    assert faults(folder) == []


def test_what_is_missing_is_named_and_contradicts_nothing(folder: Path):
    first, second = load_all_runs([folder])["run_id"][:2]
    (folder / PREDICTIONS / f"{second}.npz").unlink()
    rows = pd.read_csv(folder / HISTORY, dtype=object, keep_default_na=False)
    rows[rows["run_id"] != first].to_csv(folder / HISTORY, index=False)

    assert faults(folder) == [
        Fault("not kept: history.csv", is_contradiction=False),
        Fault("not kept: predictions", is_contradiction=False),
    ]


def test_files_of_a_run_without_a_row_are_named(folder: Path):
    rows = pd.read_csv(folder / RUNS, dtype=object, keep_default_na=False)
    run_id = rows["run_id"][1]
    rows.drop(index=1).to_csv(folder / RUNS, index=False)

    (fault,) = faults(folder)

    what = "history.csv, per_class.csv, confusion.csv, predictions hold something"
    assert fault == Fault(f"{folder / RUNS} has no row of run {run_id}, of which {what}", is_contradiction=False)


def test_a_recipe_is_known_by_its_content(folder: Path):
    sha256 = load_all_runs([folder])["recipe_sha256"][0]
    path = folder / RECIPES / f"{sha256}.toml"
    path.write_text(path.read_text() + "# and more\n")

    assert {fault.text for fault in faults(folder)} == {f"{path} was changed: its name is not its SHA-256"}


def test_a_failed_row_needs_nothing_else(folder: Path):
    row = load_all_runs([folder]).iloc[0].dropna().to_dict()
    row |= {"run_id": "failed", "status": "failed", "error_type": "oom", "accuracy": None}
    Ledger(folder).append_run({name: value for name, value in row.items() if name not in ("sweep", "folder")})

    assert faults(folder) == []


@pytest.mark.parametrize(
    ("alter", "text"),
    [
        (with_true_score(lambda score: score - 0.01, right=True), "contradicts that of the predicted class"),
        (with_true_score(lambda _: 0.9999, right=False), "contradicts that of the predicted class"),
        (with_true_score(lambda score: -score, right=False), "contradicts that of the predicted class"),
        (
            with_true_score(lambda score: score / 4, right=False),
            r"log_loss is 0\.\d+, by the scores of the true classes",
        ),
        (with_true_score(lambda _: 0.0, right=False), r"log_loss is 0\.\d+, by the scores of the true classes"),
    ],
)
def test_scores_of_true_classes_that_contradict_others_are_found(folder: Path, alter, text: str):
    alter(folder)

    (fault,) = faults(folder)
    assert fault.is_contradiction
    assert re.search(text, fault.text), fault.text
