"""Test images whose labels are likely to be wrong, by cleanlab's confident learning; needs the extra `cleanlab`."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.mistakes import Answers, read_answers
from benchmark.ledger import DONE, fold_of
from benchmark.options import CLASSIFY

LIBRARY = "cleanlab"


def has_cleanlab() -> bool:
    """Whether the library is installed; it is not imported."""
    return find_spec(LIBRARY) is not None


def find_label_errors(runs: pd.DataFrame, row: Mapping[Any, Any]) -> NDArray[np.bool_] | str:
    """Whether each test image of a run is likely to have a wrong label; a sentence if this cannot be known, and why.

    An answer tells something of a label only if the model was not trained on it, and the method compares all images of
    a class. So all folds of the setting are joined: then each image of the dataset has an answer.

    Args:
        runs: All rows of the ledgers, as `load_all_runs` returns them.
        row: Of the run, which is one of the folds.
    """
    if row["strategy"] == CLASSIFY:
        return "Likely label errors are looked for among the answers of heads that were trained here, in folds."
    if not fold_of(row):
        return "Likely label errors are found among the answers on all images: run the setting with --folds 5."
    if pd.isna(row["log_loss"]):
        return f"Likely label errors need probabilities, which the head {row['head']} does not give: run another head."
    n_folds = int(row["folds"])
    rows = _folds(runs, row)
    folds = {seed: answers for seed, one in rows.items() if (answers := read_answers(one)) is not None}
    missing = [str(seed) for seed in range(n_folds) if seed not in folds or folds[seed].true_scores is None]
    if missing:
        return (
            f"Likely label errors need the scores of true classes in all {n_folds} folds of the setting, and those of "
            f"{', '.join(missing)} are not there: run the same recipe once more, with --when always if it is done."
        )
    joined = [folds[seed] for seed in range(n_folds)]
    issues = _issues(np.concatenate([one.true for one in joined]), np.concatenate([*map(probabilities, joined)]))
    first = sum(len(one.true) for one in joined[: int(row["seed"])])
    return issues[first : first + len(folds[int(row["seed"])].true)]


def _folds(runs: pd.DataFrame, row: Mapping[Any, Any]) -> dict[int, Mapping[Any, Any]]:
    """The last finished row of each fold of the setting of a row, and that row itself."""
    is_same = (runs["folder"] == row["folder"]) & (runs["setting_key"] == row["setting_key"])
    done = runs[is_same & (runs["status"] == DONE)]
    return {**{int(one["seed"]): one for one in done.to_dict("records")}, int(row["seed"]): row}


def probabilities(answers: Answers) -> NDArray[np.float64]:
    """`(n, k)` probabilities of the classes: exact of the predicted and the true one.

    A ledger does not keep the others; what is left is shared out evenly among them. The confident joint needs exact
    ones only of true classes, for its thresholds, and of the predicted class, which is the one it counts where it
    passes its threshold.
    """
    assert answers.true_scores is not None
    n_images, n_classes = len(answers.true), len(answers.class_names)
    every = np.arange(n_images)
    named = np.zeros((n_images, n_classes), bool)
    named[every, answers.true] = named[every, answers.predicted] = True
    known = np.zeros((n_images, n_classes))
    known[every, answers.true] = answers.true_scores
    known[every, answers.predicted] = answers.confidence
    rest = np.clip(1 - known.sum(axis=1), 0, 1) / np.maximum(n_classes - named.sum(axis=1), 1)
    return np.clip(np.where(named, known, rest[:, np.newaxis]), 0, 1)


def _issues(labels: NDArray[np.int16], scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    from cleanlab.filter import find_label_issues

    issues = find_label_issues(labels.astype(np.int64), scores, filter_by="confident_learning", n_jobs=1)
    return np.asarray(issues, np.bool_)
