"""Two ledgers of the same sweep."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy_ledgers import add, add_predicted

from benchmark.analysis.comparison import compare_ledgers
from benchmark.analysis.loading import load_runs
from benchmark.analysis.pairs import has_regressed, is_comparable
from benchmark.analysis.revisions import ledgers_at
from benchmark.errors import LedgerError
from benchmark.ledger import FAILED, PREDICTIONS, Ledger

IMAGES = np.arange(1000)


@pytest.fixture
def before(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "before")


@pytest.fixture
def after(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "after")


def compare(before: Ledger, after: Ledger) -> pd.DataFrame:
    return compare_ledgers(load_runs([before.folder]), load_runs([after.folder]))


def test_the_same_ledger_is_the_same_in_every_cell(before: Ledger):
    for seed in range(3):
        add_predicted(before, IMAGES < 900, seed=seed)

    table = compare(before, before)

    assert table["change"].tolist() == ["same"] * 3
    assert not has_regressed(table)


def test_folds_are_not_taken_for_the_same_test_images(before: Ledger, after: Ledger):
    """They have images of their own, and not equally many."""
    for seed, n_images in enumerate((1000, 999)):
        for number in range(5):
            columns = {"folds": 2, "seed": seed, "backbone": f"Net{number}"}
            add_predicted(before, IMAGES[:n_images] < 900, **columns)
            add_predicted(after, IMAGES[:n_images] < 899, **columns)

    table = compare(before, after)

    assert table["change"].tolist() == ["within noise"] * 10
    assert set(table["overall_n_cells"]) == {10}


def test_a_cell_is_compared_image_by_image(before: Ledger, after: Ledger):
    """Unpaired, 900 and 890 of 1,000 could not be told apart."""
    add_predicted(before, IMAGES < 900)
    add_predicted(after, IMAGES < 890)

    (row,) = compare(before, after).to_dict("records")

    assert (row["mark"], row["change"]) == ("-", "worse")
    assert row["difference"] == pytest.approx(-0.01)
    assert row["p_value"] == pytest.approx(stats.binomtest(0, 10).pvalue)
    assert stats.fisher_exact([[900, 890], [100, 110]]).pvalue > 0.4


def test_of_several_weights_under_one_name_each_is_compared_with_itself(before: Ledger, after: Ledger):
    """Keys change with the version of Keras; the name and the weights do not."""
    for ledger, version in ((before, "3.14.0"), (after, "3.15.0")):
        for weights, n_right in (("imagenet", 900), ("random", 300)):
            add_predicted(ledger, n_right > IMAGES, weights=weights, keras_version=version)

    table = compare(before, after)

    assert table["change"].tolist() == ["same", "same"]
    assert sorted(table["accuracy_before"]) == sorted(table["accuracy_after"]) == [0.3, 0.9]


def test_a_row_without_an_accuracy_or_time_is_compared_without_them(before: Ledger, after: Ledger):
    add(before, accuracy=None, wall_s=0.0)
    add(after, accuracy=0.5, wall_s=1.0)

    (row,) = compare(before, after).to_dict("records")

    assert np.isnan(row["p_value"])
    assert np.isnan(row["wall_ratio"])


def test_damaged_predictions_are_named_and_do_without(before: Ledger, after: Ledger, caplog: pytest.LogCaptureFixture):
    for ledger in (before, after):
        run_id = add_predicted(ledger, IMAGES < 900)
    path = after.folder / PREDICTIONS / f"{run_id}.npz"
    path.write_bytes(b"")

    (row,) = compare(before, after).to_dict("records")

    assert row["change"] == "same"
    assert np.isnan(row["n_predictions_changed"])
    assert [str(path) in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("place", ["--output=F:HEAD", "--output=F:results", "--remote=x:results", "-o:x"])
def test_a_revision_never_reaches_git_as_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(LedgerError, match="is no revision"), ledgers_at(place):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_path_in_a_revision_is_no_pattern_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x").write_text("committed")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], check=True)
    (tmp_path / "results" / "x").write_text("changed")

    for path in ("results", f"{tmp_path}/results"):
        with ledgers_at(f"HEAD:{path}") as folder:
            assert (folder / "x").read_text() == "committed"
    for path in (":(glob)**", "res*", "--output=F"):
        with pytest.raises(LedgerError, match="git has no"), ledgers_at(f"HEAD:{path}"):
            pass


def test_without_predictions_fishers_test_decides(before: Ledger, after: Ledger):
    add(before, accuracy=0.50, n_test=100)
    add(after, accuracy=0.60, n_test=100)

    (row,) = compare(before, after).to_dict("records")

    assert (row["mark"], row["change"]) == ("~", "within noise")
    assert row["p_value"] == pytest.approx(stats.fisher_exact([[50, 60], [50, 40]]).pvalue)


def test_other_images_are_refused(before: Ledger, after: Ledger):
    add_predicted(before, IMAGES < 900)
    add_predicted(after, IMAGES < 450, dataset_fingerprint="0" * 64)

    table = compare(before, after)

    (row,) = table.to_dict("records")
    assert (row["mark"], row["change"], row["note"]) == ("?", "not comparable", "the images changed")
    assert np.isnan(row["p_value"])
    assert not has_regressed(table)
    assert not is_comparable(table)


def test_many_cells_are_corrected_for(before: Ledger, after: Ledger):
    """Six images of a thousand are beyond noise in one cell, not in one of ten."""
    for seed in range(10):
        add_predicted(before, IMAGES < 900, seed=seed)
        add_predicted(after, (894 if seed == 0 else 900) > IMAGES, seed=seed)

    table = compare(before, after)

    assert stats.binomtest(0, 6).pvalue < 0.05
    assert sorted(table["change"].unique()) == ["same", "within noise"]


@pytest.mark.parametrize(
    ("first", "second", "change", "regressed"),
    [
        ("done", "failed", "broken", True),
        ("failed", "done", "fixed", False),
        ("failed", "failed", "failed", False),
        ("done", None, "gone", False),
        (None, "done", "new", False),
    ],
)
def test_cells_that_are_not_done_twice(
    before: Ledger, after: Ledger, first: str | None, second: str | None, change: str, regressed: bool
):
    for ledger, status in ((before, first), (after, second)):
        add(ledger, backbone="Other", status=FAILED)  # so that neither ledger is empty
        if status:
            add(ledger, status=status)

    table = compare(before, after)

    assert change in table["change"].tolist()
    assert has_regressed(table) == regressed
    assert is_comparable(table) == (first is not None and second is not None and "done" in (first, second))


def test_what_else_changed_is_noted(before: Ledger, after: Ledger):
    add(before, keras_version="3.15.1", weights_sha256="a", wall_s=10.0)
    add(after, keras_version="3.16.0", weights_sha256="b", wall_s=15.0, params_total=7)

    (row,) = compare(before, after).to_dict("records")

    assert row["note"] == "the weights' values changed; parameters 2000000 then 7; Keras 3.15.1 then 3.16.0"
    assert row["wall_ratio"] == pytest.approx(1.5)


def test_what_got_worse_stands_first(before: Ledger, after: Ledger):
    for backbone, n_right in (("Same", 900), ("Better", 950), ("Worse", 800), ("Worst", 700)):
        add_predicted(before, IMAGES < 900, backbone=backbone)
        add_predicted(after, n_right > IMAGES, backbone=backbone)

    assert compare(before, after)["backbone"].tolist() == ["Worst", "Worse", "Better", "Same"]


# --- git revisions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *arguments], check=True)

    git("init", "--quiet")
    ledger = Ledger(tmp_path / "results" / "toy")
    add_predicted(ledger, IMAGES < 900)
    git("add", ".")
    git("commit", "--quiet", "--message", "First")
    add_predicted(ledger, IMAGES < 800)
    return tmp_path


def test_a_revision_is_read_as_it_was(repository: Path):
    with ledgers_at("HEAD:results") as folder:
        table = compare_ledgers(load_runs([folder]), load_runs([Path("results")]))

    assert table["change"].tolist() == ["worse"]
    assert not folder.exists()


@pytest.mark.parametrize("place", ["nowhere", "HEAD:nowhere", "no-such-revision:results"])
def test_a_place_that_is_not_there_is_refused(repository: Path, place: str):
    with pytest.raises(LedgerError, match=r"nowhere|no-such-revision"), ledgers_at(place):
        pass
