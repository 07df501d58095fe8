"""Ledgers of schema 1 are read, appended to, migrated and taken over; nothing of a row is lost."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.ledger import RUN_COLUMNS, RUNS, Ledger
from benchmark.migration import BEFORE_THE_COLUMN, LATER_COLUMNS, to_present_schema

SCHEMA_1 = Path(__file__).parent / "golden" / "schema-1" / RUNS
# The columns of schema 1 that held more than one fact.
SPLIT = {"dataset", "strategy", "head", "cpu", "platform", "git_commit", "error_type", "error_message"}
SUFFIXED = {
    "dataset": "folder:my pets", "classes": "cat,hot dog", "limit": 100, "strategy": "finetune", "stages": "0,epochs=5",
    "folds": 3, "head": "dense", "head_options": "units=(64, 32)", "cpu": "AMD EPYC", "cpu_vectors": "AVX-512",
    "n_jobs": 2, "platform": "Linux-x86_64", "is_deterministic": 1, "is_dirty": 1, "error_type": "",
    "error_message": "", "warning": "mode unit is not what VGG16-hed was trained with (not scaled)",
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    shutil.copy(SCHEMA_1, tmp_path)
    return Ledger(tmp_path)


def row_of(runs: pd.DataFrame, run_id: str) -> dict[Any, Any]:
    (row,) = runs[runs["run_id"] == run_id].to_dict("records")
    return row


def text_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_suffix_of_schema_1_becomes_a_column(ledger: Ledger):
    row = row_of(ledger.read_runs(), "0123456789abcdef")

    assert {column: row[column] for column in SUFFIXED} == SUFFIXED
    assert len(row["git_commit"]) == 40


def test_a_failure_keeps_its_reason_and_has_no_warning(ledger: Ledger):
    row = row_of(ledger.read_runs(), "fedcba9876543210")

    assert (row["status"], row["error_type"], row["warning"], row["folds"]) == ("failed", "oom", "", 4)


def test_what_schema_1_did_not_hold_stays_empty(ledger: Ledger):
    runs = ledger.read_runs()

    assert set(runs["setting_key"]) == {""}
    assert runs["val_fraction"].isna().all()
    assert set(runs.loc[runs["run_id"] != "0123456789abcdef", "n_jobs"]) == {1}


def test_reading_leaves_the_file_as_it_is(ledger: Ledger):
    ledger.read_runs()

    assert (ledger.folder / RUNS).read_bytes() == SCHEMA_1.read_bytes()


def test_appending_writes_the_whole_file_in_the_present_schema(ledger: Ledger):
    before = ledger.read_runs()

    new = {"schema": 2, "run_id": "new", "cell_key": "k", "status": "done", "seed": 0, "input_size_px": 32}
    ledger.append_run(new)

    lines = text_rows(ledger.folder / RUNS)
    assert tuple(lines[0]) == RUN_COLUMNS
    assert {line["schema"] for line in lines} == {"2"}
    pd.testing.assert_frame_equal(ledger.read_runs().iloc[:-1], before, check_dtype=False)


def test_every_other_text_of_a_row_is_kept_to_the_last_character(ledger: Ledger):
    ledger.migrate()

    for old, new in zip(text_rows(SCHEMA_1), text_rows(ledger.folder / RUNS), strict=True):
        kept = set(old) - SPLIT - {"schema", "network"}
        assert {column: new[column] for column in kept} == {column: old[column] for column in kept}


def test_migrating_twice_changes_nothing_more(ledger: Ledger):
    ledger.migrate()
    once = (ledger.folder / RUNS).read_bytes()

    ledger.migrate()

    assert (ledger.folder / RUNS).read_bytes() == once
    assert to_present_schema(once, ledger.folder / RUNS, RUN_COLUMNS) is once


def test_a_torn_last_line_of_schema_1_is_left_out(ledger: Ledger):
    n_rows = len(ledger.read_runs())
    with (ledger.folder / RUNS).open("ab") as file:
        file.write(b"1,torn")

    ledger.migrate()

    assert len(ledger.read_runs()) == n_rows


def test_new_keys_are_written_beside_what_is_kept(ledger: Ledger):
    ledger.migrate({"0123456789abcdef": {"setting_key": "s" * 32, "val_fraction": 0.25}})

    row = row_of(ledger.read_runs(), "0123456789abcdef")
    assert (row["setting_key"], row["val_fraction"], row["limit"]) == ("s" * 32, 0.25, 100)


def test_a_file_without_a_later_column_means_what_there_was_before_it(ledger: Ledger):
    ledger.migrate()
    path = ledger.folder / RUNS
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=[*LATER_COLUMNS]).to_csv(path, index=False)

    runs = ledger.read_runs()

    assert set(runs["engine"]) == {"tensorflow"}
    assert set(runs["split_version"]) == {1}
    assert runs[[*LATER_COLUMNS - BEFORE_THE_COLUMN.keys()]].replace("", None).isna().all(axis=None)


def test_keys_can_be_given_to_rows_that_were_migrated_earlier(ledger: Ledger):
    ledger.migrate()

    ledger.migrate({"0123456789abcdef": {"setting_key": "s" * 32}})

    assert row_of(ledger.read_runs(), "0123456789abcdef")["setting_key"] == "s" * 32
