"""The mistakes of a run: every test image that it named wrongly, the most confident answer first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.formats import Section, count_of, number_texts
from benchmark.errors import LedgerError
from benchmark.escaping import printable
from benchmark.ledger import DONE, Ledger, fold_of
from benchmark.plan.tested import rerun_command

LABEL_COLUMN = "likely_label_error"


@dataclass(frozen=True)
class Answers:
    """The answers of a run on every test image.

    Attributes:
        true: `(n,)` classes.
        predicted: `(n,)` classes.
        confidence: `(n,)` scores of the predicted classes.
        class_names: In the order of the classes.
        true_scores: `(n,)` scores of the true classes; None where they were not kept.
    """

    true: NDArray[np.int16]
    predicted: NDArray[np.int16]
    confidence: NDArray[np.float16]
    class_names: tuple[str, ...]
    true_scores: NDArray[np.float16] | None = None

    def name(self, label: int) -> str:
        """The name of a class to show."""
        return printable(self.class_names[label])


def read_answers(row: Mapping[Any, Any] | pd.Series) -> Answers | None:
    """The answers of a finished run; None if they were not kept.

    Raises:
        LedgerError: A file is damaged, or the predictions are not of the test images.
    """
    ledger = Ledger(Path(row["folder"]))
    predictions = ledger.read_predictions(row["run_id"])
    truth = ledger.read_true_labels(row["dataset_fingerprint"], fold_of(row))
    if predictions is None or truth is None:
        return None
    labels, class_names = truth
    predicted = predictions[0]
    if len(labels) != len(predicted) or predicted.min() < 0 or predicted.max() >= len(class_names):
        raise LedgerError(f"The predictions of run {row['run_id']} are of other images.")
    return Answers(labels, *predictions, class_names, ledger.read_true_scores(row["run_id"]))


def require_answers(row: Mapping[Any, Any]) -> Answers:
    """The answers of a run.

    Raises:
        LedgerError: It failed, its answers were not kept, or see `read_answers`.
    """
    if row["status"] != DONE:
        raise LedgerError(
            f"Run {row['run_id']} has no answers, because it failed ({row['error_type']}: {row['error_message']}). "
            f"Try it again: {rerun_command(row)}"
        )
    answers = read_answers(row)
    if answers is None:
        raise LedgerError(
            f"The predictions of run {row['run_id']} were not kept in {row['folder']}. Restore the folder "
            f"'predictions', or make the row again: {rerun_command(row)}"
        )
    return answers


def make_mistakes(
    answers: Answers, name_of: Callable[[int], str], likely_label_errors: NDArray[np.bool_] | None = None
) -> pd.DataFrame:
    """The test images that were named wrongly, the most confident answer first.

    Args:
        answers: Of the run.
        name_of: From the number of a test image to its name.
        likely_label_errors: `(n,)`: whether the label of each test image is likely to be wrong, if that is known.

    Returns:
        One row per mistake, its index the number of the test image: `image` (its name), `true_class`,
        `predicted_class`, `predicted_score` (of the predicted class: a probability, if the head gives them),
        `true_score` (of the true class, empty where it was not kept) and, if it is known, `likely_label_error` (1 or
        0).
    """
    wrong = np.flatnonzero(answers.true != answers.predicted)
    wrong = wrong[np.argsort(-answers.confidence[wrong].astype(float), kind="stable")]
    true_scores = np.full(len(answers.true), np.nan) if answers.true_scores is None else answers.true_scores
    columns = {
        "image": [name_of(index) for index in wrong.tolist()],
        "true_class": [answers.class_names[label] for label in answers.true[wrong]],
        "predicted_class": [answers.class_names[label] for label in answers.predicted[wrong]],
        "predicted_score": answers.confidence[wrong].astype(float),
        "true_score": true_scores[wrong].astype(float),
    }
    if likely_label_errors is not None:
        columns[LABEL_COLUMN] = likely_label_errors[wrong].astype(int)
    return pd.DataFrame(columns, index=wrong)


def mistakes_sections(
    mistakes: pd.DataFrame, row: Mapping[Any, Any], n_test: int, *, top: int | None = None, notes: Sequence[str] = ()
) -> list[Section]:
    """The first `top` mistakes of a run, all by default, as a table for people.

    Args:
        mistakes: The table of `make_mistakes`.
        row: Of the run.
        n_test: Number of its test images.
        top: Of the rows to show.
        notes: What else is to be said.
    """
    shown = mistakes.head(len(mistakes) if top is None else top)
    word = score_word(row).capitalize()
    cells = {
        "Image": shown["image"],
        "True class": shown["true_class"],
        "Predicted class": shown["predicted_class"],
        word: number_texts(shown["predicted_score"], "{:.3f}"),
        "Of true class": number_texts(shown["true_score"], "{:.3f}"),
    }
    if LABEL_COLUMN in shown:
        cells["Label"] = ["likely wrong" if is_likely else "" for is_likely in shown[LABEL_COLUMN]]
    said = [f"Shown: the first {len(shown)} of {len(mistakes)}."] if len(shown) < len(mistakes) else []
    if len(mistakes) and mistakes["true_score"].isna().all():
        said.append(
            "The version that made this run did not keep the scores of true classes. To have them, make the row again: "
            f"{rerun_command(row)}"
        )
    heading = (
        f"{row['dataset']}: {len(mistakes):,} of {count_of(n_test, 'test image')} named wrongly by "
        f"{described_run(row)} (run {row['run_id']})"
    )
    return [Section(heading, pd.DataFrame(cells), (*said, *notes), least_telling=("Of true class",))]


def score_word(row: Mapping[Any, Any]) -> str:
    """What the scores of a run are."""
    return "score" if pd.isna(row["log_loss"]) else "probability"


def described_run(row: Mapping[Any, Any]) -> str:
    """A run in words: `VGG16-hed, mode native, head linear, seed 0`."""
    parts = [row["backbone"], f"mode {row['mode']}", f"head {row['head']}" if row["head"] else row["strategy"]]
    if not pd.isna(row["shots"]):
        parts.append(f"shots={row['shots']:.0f}")
    return ", ".join([*parts, f"fold {fold_of(row)}" if fold_of(row) else f"seed {row['seed']:.0f}"])
