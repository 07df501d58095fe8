"""The ledger keeps every finished row, whatever happens while the next one is written."""

import errno
import math
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.errors import LedgerError
from benchmark.escaping import in_utf8
from benchmark.ledger import CONFUSION, HISTORY, PER_CLASS, PREDICTIONS, RUNS, SCHEMA, TEXT_COLUMNS, Ledger
from benchmark.storage import write_whole

# The contract with everything that reads results: names and order.
RUN_COLUMNS = [
    "schema", "run_id", "cell_key", "setting_key", "status", "error_type", "error_message", "warning", "weights",
    "backbone", "dataset", "classes", "limit", "part", "drop_duplicates", "restrict_classes", "mode", "strategy",
    "stages", "folds", "shots", "head", "head_options", "input_size_px", "resize", "crop", "augment", "engine",
    "precision", "batch_size", "val_fraction", "seed",
    "n_train", "n_val", "n_test", "n_left_out", "n_duplicates", "n_classes", "chance", "accuracy", "accuracy_low",
    "accuracy_high", "top5_accuracy",
    "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall",
    "weighted_f1", "auroc", "log_loss", "calibration_error", "train_accuracy", "val_accuracy", "overfit_gap",
    "params_total", "params_backbone", "params_trainable", "efficiency",
    "efficiency_above_chance", "flops_g", "model_mib", "feature_dim", "epochs", "load_s", "build_s", "extract_s",
    "train_s", "eval_s", "wall_s", "elapsed_s", "features_cached", "images_per_s", "latency_ms", "latency_p95_ms",
    "peak_rss_mib", "peak_device_mib", "pooling",
    "weights_sha256", "network_sha256", "registry_sha256", "dataset_fingerprint", "feature_version", "split_version",
    "recipe_sha256", "harness_version", "git_commit", "is_dirty", "keras_version", "tensorflow_version",
    "openvino_version", "keras_hub_version", "pillow_version", "python_version", "platform", "cpu", "cpu_vectors",
    "cpu_count", "gpu", "n_jobs", "costs_from", "is_deterministic", "started_utc",
]  # fmt: skip
OTHER_COLUMNS = {
    HISTORY: ["run_id", "stage", "epoch", "split", "metric", "value"],
    PER_CLASS: ["run_id", "class_name", "precision", "recall", "f1", "support"],
    CONFUSION: ["run_id", "true_class", "predicted_class", "count"],
}

FULL_ROW: dict[str, Any] = {
    "schema": SCHEMA, "run_id": "00123", "cell_key": "1e5", "status": "done", "backbone": "ResNet50",
    "weights": "imagenet", "dataset": "digits", "mode": "native", "strategy": "probe", "head": "linear",
    "input_size_px": 224, "resize": "bilinear", "crop": "squash", "augment": "", "engine": "tensorflow",
    "precision": "float32", "seed": 0,
    "n_train": 1257, "n_val": 180, "n_test": 360, "n_classes": 10, "chance": 0.1, "accuracy": 0.123456789,
    "params_total": 58_898_058, "wall_s": 3.25, "features_cached": True, "top5_accuracy": None,
    "started_utc": "2024-05-01T10:00:00Z",
}  # fmt: skip


def a_row(run_id: str = "a", **columns: Any) -> dict[str, Any]:
    row = {"schema": SCHEMA, "run_id": run_id, "cell_key": f"key-{run_id}", "status": "done"}
    return {**row, "input_size_px": 32, "seed": 0, **columns}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "sweep")


def run_ids(ledger: Ledger) -> list[str]:
    return Ledger(ledger.folder).read_runs()["run_id"].tolist()


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_columns_of_runs_stand_in_the_order_of_the_contract(ledger: Ledger):
    ledger.append_run(FULL_ROW)

    assert (ledger.folder / RUNS).read_text().splitlines()[0].split(",") == RUN_COLUMNS


@pytest.mark.parametrize("name", OTHER_COLUMNS)
def test_the_columns_of_the_other_files_stand_in_the_order_of_the_contract(ledger: Ledger, name: str):
    ledger.append_run(FULL_ROW)

    assert (ledger.folder / name).read_text() == ",".join(OTHER_COLUMNS[name]) + "\n"


def test_a_row_reads_back_as_it_was_written(ledger: Ledger):
    ledger.append_run(FULL_ROW)

    (row,) = ledger.read_runs().to_dict("records")

    for column, value in FULL_ROW.items():
        if value is not None:
            assert row[column] == value, column


def test_the_header_is_written_once(ledger: Ledger):
    for run_id in "abc":
        ledger.append_run(a_row(run_id))

    lines = (ledger.folder / RUNS).read_text().splitlines()

    assert len(lines) == 4
    assert [line.split(",")[1] for line in lines] == ["run_id", "a", "b", "c"]


def test_what_was_not_measured_is_empty_and_reads_as_nan(ledger: Ledger):
    ledger.append_run(a_row(accuracy=None, log_loss=None, gpu=None))

    (row,) = ledger.read_runs().to_dict("records")

    fields = (ledger.folder / RUNS).read_text().splitlines()[1].split(",")
    assert fields[RUN_COLUMNS.index("accuracy")] == ""
    assert math.isnan(row["accuracy"])
    assert math.isnan(row["params_total"])
    assert row["gpu"] == ""


@pytest.mark.parametrize("text", ["00123", "1e5", "NA", "nan", "NULL", "None", "True", "-inf", "2024-05-01", "0x10"])
def test_text_that_looks_like_something_else_stays_text(ledger: Ledger, text: str):
    row = a_row(text, backbone=text)

    of_class = {"run_id": text, "class_name": text, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    ledger.append_run(row, {PER_CLASS: [of_class]})

    assert ledger.read_runs()["backbone"].tolist() == [text]
    assert ledger.read_table(PER_CLASS)["class_name"].tolist() == [text]


def test_a_loss_that_diverged_reads_back_as_the_number_it_was(ledger: Ledger):
    point = {"run_id": "a", "stage": "head", "split": "train", "metric": "loss"}
    values = [0.5, math.inf, math.nan]

    ledger.append_run(
        a_row(), {HISTORY: [{**point, "epoch": epoch, "value": value} for epoch, value in enumerate(values, 1)]}
    )

    assert ledger.read_table(HISTORY)["value"].dtype == np.float64
    np.testing.assert_array_equal(ledger.read_table(HISTORY)["value"], values)


def test_a_message_of_any_form_stays_on_one_line(ledger: Ledger):
    message = 'First, "second";\r\n  third\tline: Größe 馬 ≠ 3\n'

    ledger.append_run(a_row("a", status="failed", error_type="bad_data", error_message=message))
    ledger.append_run(a_row("b"))

    assert len((ledger.folder / RUNS).read_bytes().splitlines()) == 3
    assert ledger.read_runs()["error_message"].tolist() == ['First, "second"; third line: Größe 馬 ≠ 3', ""]


def test_a_message_with_a_file_name_that_is_no_unicode_is_written(ledger: Ledger):
    """Names of files can hold any bytes; Python keeps those as lone surrogates, which UTF-8 does not have."""
    name = os.fsdecode(b"photo-\xff.png")

    ledger.append_run(a_row(status="failed", error_message=f"{name} cannot be decoded"))

    assert ledger.read_runs()["error_message"].tolist() == [r"photo-\udcff.png cannot be decoded"]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.characters()), min_size=1, max_size=4))
def test_every_name_reads_back_as_it_was_and_every_message_on_one_line(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
):
    """Names with two blanks, line breaks or bytes that are no UTF-8 are the same in every file of a ledger."""
    ledger = Ledger(tmp_path_factory.mktemp("sweep"))

    for number, text in enumerate(texts):
        of_class = {"run_id": str(number), "class_name": text, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1}
        ledger.append_run(a_row(str(number), error_message=text, backbone=text), {PER_CLASS: [of_class]})

    runs = ledger.read_runs()
    texts = [in_utf8(text) for text in texts]
    assert runs["error_message"].tolist() == [" ".join(text.split()) for text in texts]
    assert runs["backbone"].tolist() == ledger.read_table(PER_CLASS)["class_name"].tolist() == texts
    assert (ledger.folder / RUNS).read_bytes().count(b"\n") == 1 + len(texts)
    assert runs["run_id"].tolist() == [str(number) for number in range(len(texts))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(value=st.floats(min_value=1e-300, max_value=1e300), count=st.integers(0, 2**53))
def test_numbers_read_back_to_nine_digits_and_counts_exactly(
    tmp_path_factory: pytest.TempPathFactory, value: float, count: int
):
    ledger = Ledger(tmp_path_factory.mktemp("sweep"))

    ledger.append_run(a_row(wall_s=value, params_total=count))

    (row,) = ledger.read_runs().to_dict("records")
    assert row["wall_s"] == pytest.approx(value, rel=1e-8)
    assert row["params_total"] == count


def test_a_column_that_the_ledger_does_not_have_is_a_mistake_of_the_code(ledger: Ledger):
    with pytest.raises(ValueError, match="accuracy_percent"):
        ledger.append_run(a_row(accuracy_percent=91.2))


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_folder_without_a_ledger_has_no_rows(ledger: Ledger):
    runs = ledger.read_runs()

    assert runs.columns.tolist() == RUN_COLUMNS
    assert runs.empty
    assert not ledger.folder.exists(), "reading made the folder"


def test_the_files_of_a_run_read_back(ledger: Ledger):
    history = [{"run_id": "a", "stage": "head", "epoch": 1, "split": "val", "metric": "loss", "value": 0.25}]
    per_class = [
        {"run_id": "a", "class_name": "T-shirt/top", "precision": 0.5, "recall": 1.0, "f1": 0.75, "support": 9}
    ]
    confusion = [{"run_id": "a", "true_class": "cat", "predicted_class": "dog, big", "count": 3}]

    ledger.append_run(a_row(), {HISTORY: history, PER_CLASS: per_class, CONFUSION: confusion})

    assert ledger.read_table(HISTORY).to_dict("records") == history
    assert ledger.read_table(PER_CLASS).to_dict("records") == per_class
    assert ledger.read_table(CONFUSION).to_dict("records") == confusion


def test_rows_of_a_run_that_has_no_row_of_its_own_are_ignored(ledger: Ledger):
    """A kill between two files leaves them: the row in runs.csv is written last."""
    pair = {"run_id": "a", "true_class": "x", "predicted_class": "y", "count": 1}
    ledger.append_run(a_row("a"), {CONFUSION: [pair]})
    orphan = {
        HISTORY: "b,head,1,val,loss,0.5\n",
        PER_CLASS: "b,x,0.5,0.5,0.5,3\n",
        CONFUSION: "b,x,x,2\n",
    }
    for name, line in orphan.items():
        with (ledger.folder / name).open("a") as file:
            file.write(line)

    tables = ledger.read_table(HISTORY), ledger.read_table(PER_CLASS), ledger.read_table(CONFUSION)

    assert [table["run_id"].tolist() for table in tables] == [[], [], ["a"]]


def test_has_done_sees_the_rows_that_another_process_wrote(ledger: Ledger):
    other = Ledger(ledger.folder)
    answers = [ledger.has_done("key-a")]
    other.append_run(a_row("f", status="failed"))
    answers.append(ledger.has_done("key-f"))
    other.append_run(a_row("a"))

    answers += [ledger.has_done("key-a"), ledger.has_done("key-f"), ledger.has_done("key-b")]

    assert answers == [False, False, True, False, False]


def test_has_done_waits_for_the_end_of_a_torn_line(ledger: Ledger):
    ledger.append_run(a_row("a"))
    with (ledger.folder / RUNS).open("a") as file:
        file.write("1,b,key-b,done")
    before = ledger.has_done("key-b")
    Ledger(ledger.folder).append_run(a_row("b"))

    after = ledger.has_done("key-b")

    assert (before, after) == (False, True)


# --- torn files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_bytes", [1, 20, 60])
def test_a_torn_last_line_is_ignored_when_read(ledger: Ledger, n_bytes: int):
    ledger.append_run(a_row("a"))
    size = (ledger.folder / RUNS).stat().st_size
    ledger.append_run(a_row("b"))
    os.truncate(ledger.folder / RUNS, size + n_bytes)

    assert run_ids(ledger) == ["a"]


@pytest.mark.parametrize("n_bytes", [1, 20, 60])
def test_a_torn_last_line_is_cut_off_before_the_next_row(ledger: Ledger, n_bytes: int):
    ledger.append_run(a_row("a"))
    size = (ledger.folder / RUNS).stat().st_size
    ledger.append_run(a_row("b"))
    os.truncate(ledger.folder / RUNS, size + n_bytes)

    ledger.append_run(a_row("c"))

    assert run_ids(ledger) == ["a", "c"]
    assert len((ledger.folder / RUNS).read_text().splitlines()) == 3


@pytest.mark.parametrize("n_bytes", [0, 1, 30])
def test_a_torn_header_reads_as_a_ledger_without_rows(ledger: Ledger, n_bytes: int):
    ledger.append_run(a_row("a"))
    for name in (RUNS, HISTORY):
        os.truncate(ledger.folder / name, n_bytes)

    assert ledger.read_runs().empty
    assert ledger.read_table(HISTORY).empty


@pytest.mark.parametrize("n_bytes", [0, 1, 30])
def test_a_torn_header_is_written_anew_with_the_next_row(ledger: Ledger, n_bytes: int):
    ledger.append_run(a_row("a"))
    os.truncate(ledger.folder / RUNS, n_bytes)

    ledger.append_run(a_row("b"))

    assert run_ids(ledger) == ["b"]


# --- what is refused -------------------------------------------------------------------------------------------------


def edit(ledger: Ledger, old: str, new: str) -> None:
    path = ledger.folder / RUNS
    path.write_text(path.read_text().replace(old, new, 1))


def test_rows_of_an_unknown_schema_are_refused_with_what_to_do(ledger: Ledger):
    ledger.append_run(a_row("a"))
    edit(ledger, "\n2,a", "\n7,a")

    with pytest.raises(
        LedgerError, match=r"schema \[7\].*reads schemas 1 to 2: use the version .*or run .* new folder"
    ):
        ledger.read_runs()


def test_unknown_and_missing_columns_are_refused_by_name(ledger: Ledger):
    ledger.append_run(a_row("a"))
    edit(ledger, "accuracy,", "precision_at_1,")

    with pytest.raises(LedgerError, match=r"unknown columns \['precision_at_1'\], missing columns \['accuracy'\]"):
        ledger.read_runs()


def test_a_row_is_not_appended_under_other_columns(ledger: Ledger):
    ledger.append_run(a_row("a"))
    edit(ledger, ",started_utc", ",started_utc,notes")
    before = (ledger.folder / RUNS).read_bytes()

    with pytest.raises(LedgerError, match=r"unknown columns \['notes'\].*--results"):
        ledger.append_run(a_row("b"))

    assert (ledger.folder / RUNS).read_bytes() == before


def test_a_file_that_is_no_ledger_is_refused(ledger: Ledger):
    ledger.folder.mkdir()
    (ledger.folder / RUNS).write_text("name;score\nx;3\n")

    with pytest.raises(LedgerError, match=r"runs\.csv has other columns .* unknown columns \['name;score'\]"):
        ledger.read_runs()


@pytest.mark.parametrize("damage", [b"," * 90 + b"\n", b'1,"a\n', b"1,\xff\xfe\n"], ids=["fields", "quote", "bytes"])
def test_a_damaged_line_is_refused_with_the_name_of_its_file(ledger: Ledger, damage: bytes):
    ledger.append_run(a_row("a"))
    with (ledger.folder / RUNS).open("ab") as file:
        file.write(damage)

    with pytest.raises(LedgerError, match=r"runs\.csv"):
        ledger.read_runs()


def test_a_row_with_too_many_fields_does_not_shift_the_columns(ledger: Ledger):
    ledger.append_run(a_row("a"))
    path = ledger.folder / RUNS
    path.write_text(path.read_text().removesuffix("\n") + ",more\n")

    with pytest.raises(LedgerError, match=r"runs\.csv"):
        ledger.read_runs()


# --- writing that fails ----------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_a_ledger_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "sweep")

    with pytest.raises(LedgerError, match=r"sweep cannot be written: .*--results"):
        ledger.append_run(a_row())


def full_disk(monkeypatch: pytest.MonkeyPatch, *, n_bytes_left: int) -> None:
    """From now on so many bytes of each write fit; without any left the system says ENOSPC."""
    really_write = os.write

    def write(descriptor: int, content: bytes) -> int:
        if n_bytes_left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, content[:n_bytes_left])

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("n_bytes_left", [0, 10])
def test_a_full_disk_is_a_ledger_error_and_leaves_the_file_as_it_was(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, n_bytes_left: int
):
    ledger.append_run(a_row("a"))
    before = (ledger.folder / RUNS).read_bytes()
    full_disk(monkeypatch, n_bytes_left=n_bytes_left)

    with pytest.raises(LedgerError, match=r"Finished rows are kept; free some space"):
        ledger.append_run(a_row("b"))

    assert (ledger.folder / RUNS).read_bytes() == before
    assert run_ids(ledger) == ["a"]


@pytest.mark.parametrize("n_bytes_left", [0, 10])
def test_a_disk_that_is_full_at_the_first_row_does_not_stand_in_the_way_of_the_next_run(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, n_bytes_left: int
):
    with monkeypatch.context() as context:
        full_disk(context, n_bytes_left=n_bytes_left)
        with pytest.raises(LedgerError, match="cannot be written"):
            ledger.append_run(a_row("a"))

    assert run_ids(ledger) == []
    ledger.append_run(a_row("b"))
    assert run_ids(ledger) == ["b"]


def append_many(folder: Path, name: str, n_rows: int) -> None:
    ledger = Ledger(folder)
    for number in range(n_rows):
        row = a_row(f"{name}{number}", error_message="long " * 200)
        confusion = [{"run_id": row["run_id"], "true_class": "x", "predicted_class": "y", "count": 1}]
        ledger.append_run(row, {CONFUSION: confusion})


@pytest.mark.slow
def test_of_two_processes_that_append_at_once_no_row_is_lost_or_torn(ledger: Ledger):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=append_many, args=(ledger.folder, name, 40)) for name in "ab"]

    for child in children:
        child.start()
    for child in children:
        child.join(60)

    expected = {f"{name}{number}" for name in "ab" for number in range(40)}
    assert [child.exitcode for child in children] == [0, 0]
    assert len(run_ids(ledger)) == 80
    assert set(run_ids(ledger)) == expected
    assert set(ledger.read_table(CONFUSION)["run_id"]) == expected


# --- predictions -----------------------------------------------------------------------------------------------------


def test_predictions_read_back_as_small_numbers(ledger: Ledger):
    scores = np.array([[0.1, 0.9], [0.75, 0.25]], np.float32)

    ledger.save_predictions("a", scores)
    predictions = ledger.read_predictions("a")

    assert predictions is not None
    predicted, confidence = predictions
    assert (predicted.dtype, predicted.tolist()) == (np.int16, [1, 0])
    assert (confidence.dtype, confidence.tolist()) == (np.float16, [float(np.float16(0.9)), 0.75])


def test_the_scores_of_true_classes_read_back(ledger: Ledger):
    scores = np.array([[0.125, 0.875], [0.75, 0.25]], np.float32)

    ledger.save_predictions("a", scores, np.array([0, 0]))
    ledger.save_predictions("of an earlier version", scores)

    true_scores = ledger.read_true_scores("a")
    assert (true_scores.dtype, true_scores.tolist()) == (np.float16, [0.125, 0.75])
    assert ledger.read_predictions("a")[1].tolist() == [0.875, 0.75]
    assert ledger.read_true_scores("of an earlier version") is None
    assert ledger.read_true_scores("gone") is None


@pytest.mark.parametrize("damage", [[0.5], [0.5, math.nan], [1, 2], [[0.5, 0.5]]], ids=str)
def test_wrong_scores_of_true_classes_are_refused(ledger: Ledger, damage: list):
    (ledger.folder / PREDICTIONS).mkdir(parents=True)
    arrays = {"predicted": np.array([0, 1], np.int16), "confidence": np.array([1, 1], np.float16)}
    np.savez(ledger.folder / PREDICTIONS / "a.npz", **arrays, true_score=np.asarray(damage))

    with pytest.raises(LedgerError, match=r"a\.npz is damaged: not every true class has a score"):
        ledger.read_true_scores("a")


def test_true_labels_are_kept_once_a_dataset(ledger: Ledger):
    ledger.save_true_labels("f" * 64, np.array([0, 1, 1]), ("cat", "dog"))
    (path,) = (ledger.folder / PREDICTIONS).iterdir()
    inode = path.stat().st_ino
    ledger.save_true_labels("f" * 64, np.array([0, 1, 1]), ("cat", "dog"))

    found = ledger.read_true_labels("f" * 64)

    assert found is not None
    labels, class_names = found
    assert labels.tolist() == [0, 1, 1]
    assert class_names == ("cat", "dog")
    assert path.stat().st_ino == inode, "the file was written again"
    with np.load(path) as arrays:
        assert arrays["class_names"].tolist() == ["cat", "dog"]


def test_predictions_that_were_not_kept_are_none(ledger: Ledger):
    assert ledger.read_predictions("a") is None
    assert ledger.read_true_labels("f" * 64) is None


Damage = dict[str, Any]


@pytest.mark.parametrize(
    "damage",
    [
        {"predicted": None},
        {"confidence": None},
        {"predicted": [[0, 1]]},
        {"predicted": [0.0, 1.0]},
        {"predicted": []},
        {"predicted": [0, 2**40]},
        {"predicted": ["a", "b"]},
        {"confidence": [0.5]},
        {"confidence": [0.5, math.nan]},
        {"confidence": [1, 2]},
        {"predicted": np.array([{}, 1], object)},
    ],
    ids=str,
)
def test_arrays_that_are_no_predictions_are_refused_by_the_name_of_their_file(ledger: Ledger, damage: Damage):
    ledger.save_predictions("a", np.eye(2, dtype=np.float32))
    arrays = {"predicted": np.array([0, 1], np.int16), "confidence": np.array([1, 1], np.float16), **damage}
    np.savez(
        ledger.folder / PREDICTIONS / "a.npz",
        **{name: np.asarray(array) for name, array in arrays.items() if array is not None},
    )

    with pytest.raises(LedgerError, match=r"a\.npz is damaged: .*Copy it again .* or delete it"):
        ledger.read_predictions("a")


@pytest.mark.parametrize("damage", [{"true": [0, 2]}, {"class_names": [["a", "b"]]}, {"class_names": [1, 2]}], ids=str)
def test_true_classes_without_names_are_refused(ledger: Ledger, damage: Damage):
    ledger.save_true_labels("f" * 64, np.array([0, 1]), ("cat", "dog"))
    (path,) = (ledger.folder / PREDICTIONS).iterdir()
    np.savez(path, **{"true": [0, 1], "class_names": ["cat", "dog"], **damage})

    with pytest.raises(LedgerError, match=r"npz is damaged: not every class has a name"):
        ledger.read_true_labels("f" * 64)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00", b"nonsense"])
def test_a_file_that_is_no_archive_is_refused(ledger: Ledger, content: bytes):
    ledger.save_predictions("a", np.eye(2, dtype=np.float32))
    (ledger.folder / PREDICTIONS / "a.npz").write_bytes(content)

    with pytest.raises(LedgerError, match=r"a\.npz is damaged"):
        ledger.read_predictions("a")


# --- rows edited by hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n_test", "1e30"), ("n_test", "-1"), ("n_test", "2.5"), ("accuracy", "1.2"), ("accuracy", "-0.1"),
        ("accuracy", "many"), ("accuracy", "nan"), ("accuracy", "True"), ("seed", ""), ("seed", "9" * 40),
        ("input_size_px", ""), ("input_size_px", "0"), ("wall_s", "-inf"), ("status", "doen"), ("run_id", "../a"),
        ("recipe_sha256", "/etc/passwd"), ("dataset_fingerprint", "a/b"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_file_line_run_and_column(ledger: Ledger, column: str, value: str):
    ledger.append_run(a_row("a"))
    ledger.append_run({**FULL_ROW, "run_id": "b"})
    path = ledger.folder / RUNS
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows.loc[1, column] = value
    rows.to_csv(path, index=False)

    with pytest.raises(LedgerError) as refused:
        ledger.read_runs()

    run = value if column == "run_id" else "b"
    assert f"{path} is damaged: line 3 (run {run}), column {column} has " in str(refused.value)
    assert "correct or delete the line" in str(refused.value)


def test_a_finished_cell_is_seen_in_a_file_that_another_process_replaced(ledger: Ledger):
    ledger.append_run(a_row("a"))
    ledger.append_run(a_row("b"))
    assert ledger.has_done("key-b")
    path = ledger.folder / RUNS
    content = path.read_bytes()
    with write_whole(path) as file:
        file.write(content.replace(b"key-b", b"key-c"))

    assert ledger.has_done("key-c")


def test_a_recipe_with_a_name_that_is_not_utf_8_is_refused(ledger: Ledger):
    with pytest.raises(LedgerError, match=r"a name in it is not: .*caf.udce9.*Rename the folder"):
        ledger.keep_recipe('datasets = ["folder:/data/caf\udce9"]')


def test_partial_files_of_killed_processes_are_removed(ledger: Ledger):
    ledger.append_run(a_row("a"))
    ledger.save_predictions("a", np.eye(2, dtype=np.float32))
    left = [ledger.folder / ".12-ab.partial", ledger.folder / PREDICTIONS / ".12-ab.partial"]
    for path in left:
        path.write_bytes(b"half")

    ledger.remove_partial()

    assert not any(path.exists() for path in left)
    assert run_ids(ledger) == ["a"]
    assert ledger.read_predictions("a") is not None


def test_every_column_is_text_or_a_number(ledger: Ledger):
    ledger.append_run(FULL_ROW)

    runs = ledger.read_runs()

    numbers = {column for column in runs if pd.api.types.is_numeric_dtype(runs[column])}
    assert numbers == set(RUN_COLUMNS) - TEXT_COLUMNS[RUNS]
