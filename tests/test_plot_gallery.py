"""Which test images the gallery shows, and what it says when it cannot."""

import itertools
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import number_runs, write_ledger

from benchmark.analysis.mistakes import Answers
from benchmark.charts import Chart, Evidence, NothingToDrawError, draw, save_plots
from benchmark.charts.gallery import surest
from benchmark.datasets import load_dataset, split_dataset

pytestmark = pytest.mark.slow


def write_answers(folder: Path, label: str, *, drop_duplicates: bool = False, **columns: Any) -> Path:
    """A ledger with one run that is right of every second test image only, and surer of each than of the one before."""
    dataset = load_dataset(label, drop_duplicates=drop_duplicates)
    true = dataset.labels[dataset.test]
    n_classes = len(dataset.class_names)
    predicted = np.where(np.arange(len(true)) % 2, true, (true + 1) % n_classes)
    scores = np.eye(n_classes, dtype=np.float32)[predicted] * np.linspace(0.5, 0.9, len(true))[:, np.newaxis]
    facts = {"dataset": label, "dataset_fingerprint": dataset.fingerprint, "drop_duplicates": drop_duplicates or None}
    rows = number_runs([{**facts, **columns}])
    ledger = write_ledger(folder, rows)
    ledger.save_true_labels(dataset.fingerprint, true, dataset.class_names)
    ledger.save_predictions("run0", scores.astype(np.float32))
    return folder


def gallery_of(folder: Path) -> Chart | NothingToDrawError:
    evidence = Evidence.load([folder])
    (dataset,) = evidence.datasets
    return draw("gallery", evidence, dataset)


def test_the_images_are_those_of_the_answers_the_surest_first(tmp_path: Path):
    drawn = gallery_of(write_answers(tmp_path / "digits", "digits"))

    assert isinstance(drawn, Chart)
    panels = [axes for axes in drawn.figure.axes if axes.images]
    digits = load_dataset("digits")
    true = digits.labels[digits.test]
    last_wrong = len(true) - 1 - (len(true) - 1) % 2
    confidence = np.float16(np.linspace(0.5, 0.9, len(true))[last_wrong])
    np.testing.assert_array_equal(
        panels[0].images[0].get_array(), digits.images.pixels[digits.test[last_wrong], ..., 0]
    )
    said = (true[last_wrong] + 1) % 10
    assert panels[0].get_title() == f"{said} ({confidence:.3f})\ntrue: {true[last_wrong]}"
    assert len([panel for panel in panels if "true:" in panel.get_title()]) == 10, "a picture for each pair of classes"
    assert len(panels) == 10 + 6


def test_the_images_of_a_fold_are_those_that_it_tested(tmp_path: Path):
    digits = load_dataset("digits")
    tested = split_dataset(digits, seed=1, val_fraction=0.1, folds=3).test
    row = {"dataset": "digits", "dataset_fingerprint": digits.fingerprint, "folds": 3, "seed": 1}
    ledger = write_ledger(tmp_path / "digits", number_runs([row]))
    ledger.save_true_labels(digits.fingerprint, digits.labels[tested], digits.class_names, fold="1-of-3")
    surest_last = np.eye(10)[digits.labels[tested]] * np.linspace(0.5, 0.9, len(tested))[:, np.newaxis]
    ledger.save_predictions("run0", surest_last.astype(np.float32))

    drawn = gallery_of(tmp_path / "digits")

    assert isinstance(drawn, Chart)
    first = next(axes for axes in drawn.figure.axes if axes.images)
    np.testing.assert_array_equal(first.images[0].get_array(), digits.images.pixels[tested[-1], ..., 0])


def test_images_of_any_size_and_colour_are_shown(tmp_path: Path, image_folder: Path):
    drawn = gallery_of(write_answers(tmp_path / "ledger", f"folder:{image_folder}"))

    assert isinstance(drawn, Chart)
    shapes = {panel.images[0].get_array().shape for panel in drawn.figure.axes if panel.images}
    assert all(shape[-1] == 3 for shape in shapes)
    assert len(shapes) > 1


def test_images_without_their_copies_are_shown(tmp_path: Path, image_folder: Path):
    shutil.copy(image_folder / "cat" / "0.png", image_folder / "cat" / "copy.png")

    drawn = gallery_of(write_answers(tmp_path / "ledger", f"folder:{image_folder}", drop_duplicates=True))

    assert isinstance(drawn, Chart)


def test_classes_whose_names_begin_and_end_alike_are_not_taken_for_one(tmp_path: Path, image_folder: Path):
    for name, new in (("cat", "a-very-long-name-of-cats-indeed"), ("dog", "a-very-long-name-of-dogs-indeed")):
        (image_folder / name).rename(image_folder / new)

    drawn = gallery_of(write_answers(tmp_path / "ledger", f"folder:{image_folder}"))

    assert isinstance(drawn, Chart)
    titles = [panel.title for panel in drawn.figure.axes if panel.images]
    assert len([title for title in titles if "true:" in title.get_text()]) == 2
    drawn.figure.draw_without_rendering()
    boxes = [title.get_window_extent() for title in titles]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_scores_that_are_no_probabilities_are_called_scores(tmp_path: Path):
    for name, log_loss, word in (("some", 0.7, "probability"), ("none", None, "score")):
        drawn = gallery_of(write_answers(tmp_path / name, "digits", log_loss=log_loss))

        assert isinstance(drawn, Chart)
        assert f"with {word}," in drawn.figure.get_suptitle().replace("\n", " ")


def test_without_the_images_it_is_said_and_the_other_plots_are_drawn(
    tmp_path: Path, image_folder: Path, caplog: pytest.LogCaptureFixture
):
    evidence = Evidence.load([write_answers(tmp_path / "ledger", f"folder:{image_folder}")])
    image_folder.rename(tmp_path / "elsewhere")

    with caplog.at_level(logging.WARNING):
        paths = save_plots(evidence, tmp_path / "plots")

    assert [path.name.partition("-")[0] for path in paths] == ["accuracy", "pareto", "efficiency", "time", "memory"]
    (record,) = caplog.records
    assert record.message.startswith(f"gallery of folder:{image_folder} is left out: it needs the images. ")
    assert "is not a folder" in record.message


def test_images_that_have_changed_are_not_shown(tmp_path: Path, image_folder: Path):
    folder = write_answers(tmp_path / "ledger", f"folder:{image_folder}")
    (image_folder / "cat" / "0.png").unlink()

    skipped = gallery_of(folder)

    assert isinstance(skipped, NothingToDrawError)
    assert "has changed since run run0" in str(skipped)
    assert skipped.is_fixable


def test_of_two_states_of_a_dataset_the_one_that_is_here_is_shown(tmp_path: Path, image_folder: Path):
    label = f"folder:{image_folder}"
    folders = [write_answers(tmp_path / "before", label)]
    (image_folder / "cat" / "0.png").unlink()
    folders.append(write_answers(tmp_path / "after", label))
    evidence = Evidence.load(folders)

    by_state = {name: draw("gallery", evidence, name) for name in evidence.datasets}

    assert len(by_state) == 2, by_state
    now = load_dataset(label).fingerprint
    for name, answer in by_state.items():
        assert isinstance(answer, Chart) == name.endswith(f"#{now[:8]}"), answer


def test_without_predictions_it_is_said(tmp_path: Path):
    folder = write_answers(tmp_path / "digits", "digits")
    (folder / "predictions" / "run0.npz").unlink()

    skipped = gallery_of(folder)

    assert isinstance(skipped, NothingToDrawError)
    assert str(skipped) == "the predictions of the best setting were not kept"
    assert not skipped.is_fixable


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.25, 0.5, 0.75, 1.0])), max_size=30),
    st.booleans(),
    st.integers(1, 8),
)
def test_the_surest_of_every_pair_of_classes_are_found(table: list[tuple[int, int, float]], right: bool, n: int):
    true, predicted, confidence = (np.array([row[column] for row in table]) for column in range(3))
    answers = Answers(true.astype(np.int16), predicted.astype(np.int16), confidence.astype(np.float16), tuple("abcd"))

    found = surest(answers, right=right, n=n)

    best: dict[tuple[int, int], int] = {}
    for index, (a, b, sure) in enumerate(table):
        if (a == b) == right and ((a, b) not in best or sure > table[best[a, b]][2]):
            best[a, b] = index
    expected = sorted(best.values(), key=lambda index: (-table[index][2], index))[:n]
    assert found == expected
