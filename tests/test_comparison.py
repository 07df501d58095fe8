"""Two ledgers of the same sweep."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy_ledgers import add, add_predicted

from benchmark.analysis.comparison import compare_ledgers, has_regressed, is_comparable
from benchmark.analysis.loading import load_runs
from benchmark.analysis.revisions import ledgers_at
from benchmark.errors import LedgerError
from benchmark.ledger import FAILED, Ledger

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


def test_a_cell_is_compared_image_by_image(before: Ledger, after: Ledger):
    """Unpaired, 900 and 890 of 1,000 could not be told apart."""
    add_predicted(before, IMAGES < 900)
    add_predicted(after, IMAGES < 890)

    (row,) = compare(before, after).to_dict("records")

    assert (row["mark"], row["change"]) == ("-", "worse")
    assert row["difference"] == pytest.approx(-0.01)
    assert row["p_value"] == pytest.approx(stats.binomtest(0, 10).pvalue)
    assert stats.fisher_exact([[900, 890], [100, 110]]).pvalue > 0.4


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
