"""Races of tiny networks, run for real: the answer, going on after a kill, and that nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.analysis.soundness import find_faults
from benchmark.datasets import load_dataset
from benchmark.ledger import RUNS, Ledger

pytestmark = pytest.mark.slow

# The first sees the images, the second only how bright they are; the third cannot be built.
BUILDERS = """
def edges(input_shape):
    import keras

    keras.utils.set_random_seed(0)
    images = keras.Input(input_shape)
    features = keras.layers.Conv2D(32, 5, strides=4, activation="relu")(images)
    return keras.Model(images, keras.layers.Flatten()(features))


def brightness(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))


def broken(input_shape):
    import os

    if os.environ.get("CUDA_VISIBLE_DEVICES") != "-1":  # the check before a sweep
        raise MemoryError("no room")
    return edges(input_shape)
"""
TABLE = """
[{name}]
builder = "race_backbones:{name}"
mode = "tf"
input_size_px = 32
flops_g = 0.001
weights = "builder"
"""
Program = Callable[..., SimpleNamespace]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "race_backbones.py").write_text(BUILDERS)
    for names in (("edges", "brightness"), ("edges", "broken")):
        (tmp_path / f"{names[1]}.toml").write_text("".join(TABLE.format(name=name) for name in names))
    return tmp_path


def arguments(registry: str = "brightness", *more: str) -> list[str]:
    names = f"edges,{registry}"
    chosen = ["--registry", f"{registry}.toml", "--backbones", names, "--seeds", "2", "--budget", "20m"]
    return ["recommend", "digits", *chosen, *more]


def answer_of(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(text)
    return answer


def test_the_better_network_is_taken_and_asking_again_runs_nothing(program: Program, folder: Path):
    first = program(folder, *arguments("brightness", "--json"))
    assert not find_faults([folder / "results"], _rows(folder))
    _append_rows_of_another_version(Ledger(folder / "results/recommend"))
    rows = (folder / "results/recommend" / RUNS).read_bytes()
    again = program(folder, *arguments())

    answer = answer_of(first.stdout)
    assert first.returncode == again.returncode == 0
    assert answer["chosen"] == "edges"
    assert [one["result"] for one in answer["backbones"]] == ["take", "out"]
    assert answer["backbones"][0]["n_test"] == len(load_dataset("digits").test)
    assert answer["sentences"][0] in " ".join(again.stdout.split())
    assert (folder / "results/recommend" / RUNS).read_bytes() == rows


def _append_rows_of_another_version(ledger: Ledger) -> None:
    """Later rows of all cells, as another version of Keras would have made them."""
    for row in ledger.read_runs().to_dict("records"):
        keys = {key: row[key][::-1] for key in ("run_id", "cell_key", "setting_key")}
        ledger.append_run({**row, **keys, "keras_version": "2.0.0"})


def _rows(folder: Path) -> Any:
    from benchmark.analysis.loading import load_all_runs

    return load_all_runs([folder / "results"])


@pytest.mark.exhaustive
def test_a_network_that_fails_is_named_and_the_others_go_on(program: Program, folder: Path):
    answer = program(folder, *arguments("broken"))

    assert answer.returncode == 1
    assert "Take edges" in answer.stdout
    assert "broken (no room)" in " ".join(answer.stdout.split())


@pytest.mark.exhaustive
def test_a_limit_that_was_measured_and_that_nobody_keeps_is_a_mistake(program: Program, folder: Path):
    answer = program(folder, *arguments("brightness", "--min-images-per-s", "1e9"))

    assert answer.returncode == 2
    assert "The limits leave no backbone. The nearest is" in answer.stderr
    assert "fewer than --min-images-per-s 1e+09" in " ".join(answer.stderr.split())


@pytest.mark.exhaustive
def test_a_race_that_is_killed_again_and_again_gives_the_answer_of_one_that_is_not(program: Program, folder: Path):
    whole = answer_of(program(folder, *arguments("brightness", "--json", "--results", "whole")).stdout)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "BENCHMARK_CACHE": str(folder / "cache")
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmark", *arguments("brightness", "--results", "killed")]
    runs = folder / "killed/recommend" / RUNS

    for n_rows in (1, 4):
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as race:
            while race.poll() is None and _count_lines(runs) < n_rows + 1:
                time.sleep(0.05)
            race.send_signal(signal.SIGKILL)
    killed = answer_of(program(folder, *arguments("brightness", "--json", "--results", "killed")).stdout)

    assert killed["chosen"] == whole["chosen"]
    for answer in (whole, killed):
        for one in answer["backbones"]:
            for cost in ("latency_ms", "images_per_s"):
                del one[cost]
    assert killed["backbones"] == whole["backbones"]
    rows = Ledger(folder / "killed/recommend").read_runs()
    assert not rows["cell_key"].duplicated().any()


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
