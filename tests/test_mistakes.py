"""`benchmark mistakes`: which images a run named wrongly, what is said of them, and when it is refused."""

import csv
import io
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import number_runs, write_ledger

from benchmark.analysis.label_errors import probabilities
from benchmark.analysis.mistakes import Answers, make_mistakes
from benchmark.charts import sheet
from benchmark.charts.style import THEMES
from benchmark.datasets import load_dataset, split_dataset
from benchmark.ledger import FAILED, PREDICTIONS, RUNS, Ledger

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(call: Call) -> Call:
    """`benchmark mistakes` in the folder of the ledger `results/toy`: exit code, standard output and error."""

    def mistakes(*arguments: str) -> tuple[int, str, str]:
        code, out, err = call("mistakes", *arguments)
        return code, out, " ".join(err.split())

    return mistakes


@pytest.fixture(autouse=True)
def _without_cleanlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.analysis.label_errors.LIBRARY", "no_such_library")


def answer(
    folder: Path, label: str, *, folds: tuple[int, int] | None = None, limit: int | None = None, n_wrong: int = 4,
    with_true_scores: bool = True, flip: int = 0, run_id: str = "run0", **columns: Any,
) -> np.ndarray:  # fmt: skip
    """A ledger of a run that is wrong in its first test images, more so in each than in the one before.

    `flip` is the number of images of the dataset that are answered, with certainty, as if of the next class. Returns
    the positions of its test images.
    """
    dataset = load_dataset(label, limit=limit)
    tested = dataset.test if folds is None else split_dataset(
        dataset, seed=folds[0], val_fraction=0.1, folds=folds[1]).test  # fmt: skip
    true, n_classes = dataset.labels[tested], len(dataset.class_names)
    is_wrong = np.arange(len(true)) < n_wrong
    scores = 0.3 * np.eye(n_classes)[true] + 0.1
    next_class = np.eye(n_classes)[(true[is_wrong] + 1) % n_classes]
    scores[is_wrong] = 0.1 + next_class * np.arange(1, n_wrong + 1)[: is_wrong.sum(), None] * 0.1
    flipped = np.flatnonzero(tested < flip)
    scores[flipped] = 50 * np.eye(n_classes)[(true[flipped] + 1) % n_classes] + 0.1
    scores /= scores.sum(axis=1, keepdims=True)
    facts: dict[str, Any] = {"dataset": label, "dataset_fingerprint": dataset.fingerprint, "limit": limit}
    facts |= {"n_train": len(dataset) - len(tested), "n_val": 0, "n_test": len(tested), "n_left_out": 0}
    facts |= {"folds": folds[1], "seed": folds[0]} if folds else {}
    (row,) = number_runs([{**facts, **columns}])
    row["run_id"] = run_id
    ledger = Ledger(folder) if folder.exists() else write_ledger(folder, [])
    ledger.append_run(row)
    fold = f"{folds[0]}-of-{folds[1]}" if folds else ""
    ledger.save_true_labels(dataset.fingerprint, true, dataset.class_names, fold)
    ledger.save_predictions(run_id, scores.astype(np.float32), true if with_true_scores else None)
    return tested


@pytest.fixture
def pets(tmp_path: Path, image_folder: Path) -> Ledger:
    answer(tmp_path / "results" / "toy", f"folder:{image_folder}", n_wrong=3)
    return Ledger(tmp_path / "results" / "toy")


def records(call: Call, *arguments: str) -> list[dict]:
    code, out, err = call(*arguments, "--format", "json")
    assert code == 0, err
    return json.loads(out)


# --- the table -------------------------------------------------------------------------------------------------------


def test_wrong_images_are_listed_by_their_files_the_surest_answer_first(call: Call, pets: Ledger, image_folder: Path):
    found = records(call, "run0")

    dataset = load_dataset(f"folder:{image_folder}")
    paths = [dataset.images.places[index].relative_to(image_folder).as_posix() for index in dataset.test[:3]]
    assert [one["image"] for one in found] == paths[::-1]
    assert all(one["image"].startswith(one["true_class"]) for one in found)
    assert all({one["true_class"], one["predicted_class"]} == {"cat", "dog"} for one in found)
    assert found[0]["predicted_score"] == pytest.approx(0.8, abs=1e-3)
    assert found[0]["true_score"] == pytest.approx(0.2, abs=1e-3)
    assert [*found[0]] == ["image", "true_class", "predicted_class", "predicted_score", "true_score"]


@pytest.mark.parametrize("limit", [None, 400])
def test_images_of_arrays_are_called_by_their_number_as_stored(call: Call, tmp_path: Path, limit: int | None):
    tested = answer(tmp_path / "results" / "toy", "digits", limit=limit)

    found = records(call, "run0")

    whole, seen = load_dataset("digits"), load_dataset("digits", limit=limit)
    for one, position in zip(found, tested[:4][::-1], strict=True):
        stored = whole.images.pixels[int(one["image"])]
        np.testing.assert_array_equal(stored, seen.images.pixels[position])


def test_the_images_of_a_fold_are_those_that_it_tested(call: Call, tmp_path: Path):
    tested = answer(tmp_path / "results" / "toy", "digits", folds=(1, 3))

    assert [int(one["image"]) for one in records(call, "run0")] == tested[:4][::-1].tolist()
    assert "fold 1-of-3" in call("run0")[1]


def test_people_see_a_heading_probabilities_and_how_many_are_left_out(call: Call, pets: Ledger):
    code, out, _ = call("run", "--top", "2")

    assert code == 0
    assert "3 of 4 test images named wrongly by NetA, mode native, head linear, seed 0 (run run0)" in " ".join(
        out.split()
    )
    assert "0.800" in out
    assert "0.200" in out
    assert "Probability" in out
    assert "Shown: the first 2 of 3." in out
    assert len(records(call, "run", "--top", "2")) == 2


def test_scores_that_are_no_probabilities_are_called_scores(call: Call, tmp_path: Path):
    answer(tmp_path / "results" / "toy", "digits", log_loss=None)

    out = call("run0")[1]

    assert "Score" in out
    assert "Probability" not in out


def test_without_the_scores_of_true_classes_their_column_is_empty_and_it_is_said(call: Call, tmp_path: Path):
    answer(tmp_path / "results" / "toy", "digits", with_true_scores=False)

    assert {one["true_score"] for one in records(call, "run0")} == {None}
    out = " ".join(call("run0")[1].split())
    assert "did not keep the scores of true classes" in out
    assert "benchmark rerun run0 results/toy" in out


def test_a_run_without_a_mistake_is_no_error(call: Call, tmp_path: Path):
    answer(tmp_path / "results" / "toy", "digits", n_wrong=0)

    code, out, err = call("run0", "--sheet", "sheet.png")

    assert code == 0
    assert "0 of 359 test images named wrongly" in " ".join(out.split())
    assert "nothing to draw" in err
    assert not Path("sheet.png").exists()
    assert records(call, "run0") == []


def test_a_table_goes_into_a_file_by_its_suffix(call: Call, pets: Ledger):
    assert call("run0", "--out", "wrong.csv")[0] == 0

    assert Path("wrong.csv").read_text(encoding="utf-8").startswith("image,true_class,predicted_class,")


def test_names_that_a_terminal_or_a_spreadsheet_would_obey_are_harmless(call: Call, tmp_path: Path, image_folder: Path):
    names = ["=1+1.png", "\x1b[31mred.png", "a\nb.png", "größe 馬.png"]
    for name, path in zip(names, sorted((image_folder / "cat").iterdir()), strict=False):
        path.rename(image_folder / "cat" / name)
    (image_folder / "cat").rename(image_folder / "=cat")
    answer(tmp_path / "results" / "toy", f"folder:{image_folder}", n_wrong=20)

    for format_name in ("table", "csv", "md", "json", "spreadsheet"):
        code, out, _ = call("run0", "--format", format_name)
        assert code == 0
        assert "\x1b" not in out
    fields = [*csv.reader(io.StringIO(call("run0", "--format", "spreadsheet")[1].removeprefix("\ufeff")))]
    assert not [field for row in fields for field in row if field.startswith(("=", "+", "@"))]
    assert {row[1] for row in fields[1:]} <= {"'=cat", "dog"}


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_id", "message"), [("none", "No run begins with"), ("", "2 runs begin with"), ("run", "2")]
)
def test_no_or_several_runs_are_refused(call: Call, pets: Ledger, image_folder: Path, run_id: str, message: str):
    answer(pets.folder, f"folder:{image_folder}", run_id="run1", seed=1)

    code, _, err = call(run_id)

    assert code == 2
    assert message in err


def test_a_run_that_failed_is_refused_with_its_reason(call: Call, pets: Ledger):
    (row,) = number_runs([{"status": FAILED, "error_type": "oom", "error_message": "no memory", "seed": 1}])
    pets.append_run({**row, "run_id": "bad", "accuracy": None})

    code, _, err = call("bad")

    assert code == 2
    assert "Run bad has no answers, because it failed (oom: no memory). Try it again: benchmark rerun bad" in err


@pytest.mark.parametrize("pattern", ["run0.npz", "true-*.npz"])
def test_a_run_without_predictions_is_refused(call: Call, pets: Ledger, pattern: str):
    (path,) = (pets.folder / PREDICTIONS).glob(pattern)
    path.unlink()

    code, _, err = call("run0")

    assert code == 2
    assert "The predictions of run run0 were not kept in results/toy" in err
    assert "benchmark rerun run0 results/toy" in err


def test_predictions_of_other_images_are_refused(call: Call, pets: Ledger):
    pets.save_predictions("run0", np.eye(2, dtype=np.float32))

    code, _, err = call("run0")

    assert code == 2
    assert "The predictions of run run0 are of other images." in err


def test_damaged_predictions_are_refused(call: Call, pets: Ledger):
    (pets.folder / PREDICTIONS / "run0.npz").write_bytes(b"nonsense")

    code, _, err = call("run0")

    assert code == 2
    assert "run0.npz is damaged" in err


def test_a_ledger_of_a_newer_schema_is_refused(call: Call, pets: Ledger):
    runs = pets.folder / RUNS
    runs.write_text(runs.read_text(encoding="utf-8").replace("\n2,run0", "\n99,run0"), encoding="utf-8")

    code, _, err = call("run0")

    assert code == 2
    assert "has rows of schema [99]" in err


def test_images_that_are_gone_are_refused(call: Call, pets: Ledger, image_folder: Path):
    shutil.rmtree(image_folder)

    code, _, err = call("run0")

    assert code == 2
    assert "is not a folder" in err


def test_a_dataset_that_was_not_downloaded_is_refused(call: Call, tmp_path: Path):
    answer(tmp_path / "results" / "toy", "digits", dataset="mnist")

    code, _, err = call("run0")

    assert code == 2
    assert "mnist is not on this machine: download it with 'benchmark fetch --datasets mnist'" in err


def remove(root: Path) -> None:
    (root / "cat" / "0.png").unlink()


def add_class(root: Path) -> None:
    shutil.copytree(root / "cat", root / "wolf")


def rename_class(root: Path) -> None:
    (root / "cat").rename(root / "lion")


def repaint(root: Path) -> None:
    Image.new("RGB", (20, 20)).save(root / "cat" / "0.png")


def damage(root: Path) -> None:
    (root / "cat" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, "has changed since run run0: 20 images then, 19 now"),
        (add_class, "20 images then, 30 now; 4 test images then, 6 now; classes that are new: wolf"),
        (rename_class, "classes that are gone: cat; classes that are new: lion"),
        (repaint, "the numbers of images are the same, but the images are not"),
        (damage, "20 images then, 19 now; 0 files left out then, 1 now"),
    ],
)
def test_images_that_have_changed_are_refused_with_what_changed(
    call: Call, pets: Ledger, image_folder: Path, change: Callable[[Path], None], message: str
):
    change(image_folder)

    code, out, err = call("run0")

    assert code == 2
    assert message in err
    assert "make the row again: benchmark rerun run0 results/toy" in err
    assert out == ""


def test_of_a_run_with_shots_the_test_images_are_found_and_no_number_of_images_is_made_up(
    call: Call, image_folder: Path, tmp_path: Path
):
    answer(tmp_path / "results" / "toy", "folder:pets", n_wrong=2, shots=1, n_train=2, n_val=2)

    code, out, _ = call("run0", "--format", "csv")
    repaint(image_folder)
    _, _, err = call("run0")

    assert (code, len(out.splitlines())) == (0, 3)
    assert "has changed since run run0: other images" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "html"], "Unknown format 'html'"),
        (["--out", "x.txt"], "does not say its format"),
        (["--sheet", "x.gif"], "--sheet draws .png and .svg files, got x.gif"),
        (["--sheet", "results"], "--sheet draws .png and .svg files, got results"),
        (["--sheet", "results/toy/predictions/x.png"], "belongs to the ledger"),
        (["--top", "0"], "not at least 1"),
        (["nowhere"], "There is no runs.csv in nowhere"),
    ],
)
def test_wrong_options_are_refused(call: Call, pets: Ledger, arguments: list[str], message: str):
    code, _, err = call("run0", *arguments)

    assert code == 2
    assert message in err.replace("│ ", "").replace(" │", "")


# --- the sheet -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sheet.png", "sheet.svg", "new/SHEET.PNG"])
def test_a_sheet_is_drawn_beside_the_table(call: Call, pets: Ledger, name: str):
    code, out, err = call("run0", "--sheet", name)

    assert code == 0
    assert f"Drawn: {name}" in err
    assert "named wrongly" in " ".join(out.split())
    begin = Path(name).read_bytes()[:100]
    assert begin.startswith(b"\x89PNG") or b"<?xml" in begin


NAMES = ["a", "W" * 200, "馬" * 60, "train/cat/" + "i" * 120 + ".png", "two\nlines\x1b[31m", "größe $x^2$ {0} %s", ""]


@pytest.mark.slow
def test_captions_never_overlap_and_stay_under_their_image():
    digits = load_dataset("digits")
    n_images = 13
    true = np.arange(n_images) % 7
    answers = Answers(
        true.astype(np.int16), (true + 1).astype(np.int16) % 7, np.linspace(0.5, 1, n_images).astype(np.float16),
        tuple(NAMES), np.linspace(0.4, 0, n_images).astype(np.float16),
    )  # fmt: skip
    table = make_mistakes(answers, lambda index: NAMES[index % 7] or "x", np.arange(n_images) % 2 == 0)
    (row,) = number_runs([{"dataset": "folder:" + "long/" * 30, "folds": None, "shots": None}])

    chart = sheet.draw_sheet(table, digits, row)

    texts = [text for text in chart.figure.texts if text.get_text()]
    assert len(texts) == 1 + 3 * n_images
    boxes = [text.get_window_extent() for text in texts]
    boxes += [axes.get_window_extent() for axes in chart.figure.axes]
    width_px, height_px = chart.figure.get_size_inches() * chart.figure.dpi
    assert all(box.x0 >= 0 and box.x1 <= width_px and box.y0 >= 0 and box.y1 <= height_px for box in boxes)
    # Boxes are a fraction of a pixel larger than their letters.
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across <= 1 or down <= 1, (one, other)
    tile_px = sheet.TILE / THEMES["screen"].width_in * width_px
    assert all(text.get_window_extent().width <= tile_px for text in texts[1:])
    captions = [text.get_text() for text in texts[1:]]
    assert sum("(0." in caption or "(1." in caption for caption in captions) == 2 * n_images, "a score was cut"
    assert "likely wrong" in chart.title


@pytest.mark.slow
def test_a_sheet_holds_the_images_in_the_order_of_the_table(call: Call, tmp_path: Path):
    digits = load_dataset("digits")
    table = make_mistakes(
        Answers(np.zeros(5, np.int16), np.ones(5, np.int16), np.arange(5).astype(np.float16) / 8, ("no", "yes")), str
    )
    (row,) = number_runs([{"folds": None, "shots": None}])

    chart = sheet.draw_sheet(table, digits, row)

    shown = [axes.images[0].get_array() for axes in chart.figure.axes]
    for pixels, position in zip(shown, digits.test[:5][::-1], strict=True):
        np.testing.assert_array_equal(pixels, digits.images.pixels[position, ..., 0])


@pytest.mark.slow
def test_a_sheet_has_room_for_so_many_images(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sheet, "MOST_IMAGES", 3)
    answer(tmp_path / "results" / "toy", "digits", n_wrong=6)

    code, _, err = call("run0", "--top", "5", "--sheet", "sheet.png")

    assert code == 0
    assert "sheet.png shows the first 3 mistakes" in err


# --- likely label errors ---------------------------------------------------------------------------------------------


def confident_learning(labels: np.ndarray, pred_probs: np.ndarray, **options: Any) -> np.ndarray:
    """The off-diagonal of the confident joint, as its authors define it: Northcutt, Jiang and Chuang, JAIR 70, 2021."""
    assert options == {"filter_by": "confident_learning", "n_jobs": 1}
    assert pred_probs.min() >= 0
    assert pred_probs.max() <= 1
    n_classes = pred_probs.shape[1]
    thresholds = [pred_probs[labels == one, one].mean() for one in range(n_classes)]
    found = []
    for label, row in zip(labels, pred_probs, strict=True):
        confident = [one for one in range(n_classes) if row[one] >= thresholds[one]]
        found.append(bool(confident) and max(confident, key=lambda one: row[one]) != label)
    return np.array(found)


@pytest.fixture
def cleanlab(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the library."""
    package, module = ModuleType("cleanlab"), ModuleType("cleanlab.filter")
    package.__spec__ = ModuleSpec("cleanlab", None)
    module.find_label_issues = confident_learning
    monkeypatch.setitem(sys.modules, "cleanlab", package)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", module)
    monkeypatch.setattr("benchmark.analysis.label_errors.LIBRARY", "cleanlab")


def three_folds(folder: Path, **columns: Any) -> dict[int, np.ndarray]:
    """Runs of the folds of a setting that are sure of another class for the first 30 images of the dataset."""
    return {
        seed: answer(folder, "digits", folds=(seed, 3), flip=30, run_id=f"fold{seed}", n_wrong=0, **columns)
        for seed in range(3)
    }


def test_labels_that_all_folds_contradict_with_certainty_are_marked(call: Call, tmp_path: Path, cleanlab: None):
    tested = three_folds(tmp_path / "results" / "toy")

    for seed, positions in tested.items():
        found = records(call, f"fold{seed}")

        assert {int(one["image"]) for one in found if one["likely_label_error"]} == {*positions[positions < 30]}
    assert "likely wrong" in call("fold0")[1]


def test_a_mistake_without_certainty_is_no_label_error(call: Call, tmp_path: Path, cleanlab: None):
    folder = tmp_path / "results" / "toy"
    for seed in range(3):
        tested = answer(folder, "digits", folds=(seed, 3), n_wrong=1, run_id=f"fold{seed}")
    (one,) = records(call, "fold2")

    assert int(one["image"]) == tested[0]
    assert one["likely_label_error"] == 0


def test_without_the_library_there_is_no_such_column(call: Call, tmp_path: Path):
    three_folds(tmp_path / "results" / "toy")

    assert "likely_label_error" not in records(call, "fold0")[0]


def test_without_folds_it_is_said_how_to_get_them(call: Call, pets: Ledger, cleanlab: None):
    assert "likely_label_error" not in records(call, "run0")[0]
    assert "run the setting with --folds 5" in " ".join(call("run0")[1].split())


def test_scores_that_are_no_probabilities_say_nothing_of_labels(call: Call, tmp_path: Path, cleanlab: None):
    three_folds(tmp_path / "results" / "toy", log_loss=None, head="ridge")

    assert "need probabilities, which the head ridge does not give" in " ".join(call("fold0")[1].split())


@pytest.mark.parametrize("what", ["row", "file", "score"])
def test_folds_that_are_missing_are_named(call: Call, tmp_path: Path, cleanlab: None, what: str):
    folder = tmp_path / "results" / "toy"
    for seed in (0, 1) if what == "row" else (0, 1, 2):
        answer(folder, "digits", folds=(seed, 3), run_id=f"fold{seed}", with_true_scores=(what, seed) != ("score", 2))
    if what == "file":
        (folder / PREDICTIONS / "fold2.npz").unlink()

    out = " ".join(call("fold0")[1].split())

    assert "in all 3 folds of the setting, and those of 2 are not there" in out


def test_what_a_ledger_does_not_keep_of_probabilities_is_shared_out_evenly():
    answers = Answers(
        np.array([0, 0, 2], np.int16), np.array([0, 1, 2], np.int16), np.array([0.5, 0.5, 1.0], np.float16),
        ("a", "b", "c"), np.array([0.5, 0.25, 1.0], np.float16),
    )  # fmt: skip

    assert probabilities(answers).tolist() == [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0, 0, 1]]


def test_the_library_itself_finds_the_same():
    filters = pytest.importorskip("cleanlab.filter")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    scores = rng.dirichlet(np.ones(4) / 2, 400) + 2 * np.eye(4)[np.where(rng.random(400) < 0.1, labels[::-1], labels)]
    scores /= scores.sum(axis=1, keepdims=True)
    answers = Answers(
        labels.astype(np.int16), scores.argmax(axis=1).astype(np.int16), scores.max(axis=1).astype(np.float16),
        tuple("abcd"), scores[np.arange(400), labels].astype(np.float16),
    )  # fmt: skip

    options = {"filter_by": "confident_learning", "n_jobs": 1}
    kept, whole = (filters.find_label_issues(labels, some, **options) for some in (probabilities(answers), scores))

    assert (kept != whole).mean() < 0.01
