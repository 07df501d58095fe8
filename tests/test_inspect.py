"""`benchmark inspect`: what people and programs read."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from documented_modes import EXPECTED
from typer.testing import CliRunner

from benchmark.actions.inspecting import xray_record
from benchmark.cli.app import app
from benchmark.cli.inspecting import formulas
from benchmark.cli.options import InspectedArgument
from benchmark.xray.affine import AffineMap
from benchmark.xray.stem import Stem
from benchmark.xray.verdicts import VERDICTS
from benchmark.xray.xray import XRay

TIMEOUT_S = 120


@pytest.fixture
def inspect(program: Callable[..., SimpleNamespace]) -> Callable[..., SimpleNamespace]:
    return lambda *arguments, cwd: program(cwd, "inspect", *arguments)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that rescales, one that does not, and one that takes no images."""
    import keras
    from keras import layers

    folder = tmp_path_factory.mktemp("models")
    for name, shape, stack in (
        ("rescaling", (16, 16, 3), [layers.Rescaling(1 / 255, name="[red]scale"), layers.Conv2D(2, 3, name="first")]),
        ("plain", (16, 16, 3), [layers.Conv2D(2, 3)]),
        ("vectors", (7,), [layers.Dense(2)]),
    ):
        keras.Sequential([keras.Input(shape), *stack]).save(folder / f"{name}.keras")
    return folder


# The words


def test_the_help_defines_every_verdict_as_the_output_does():
    text = CliRunner().invoke(app, ["inspect", "--help"], env={"COLUMNS": "200"}, color=False).output
    text = " ".join(text.split())

    for verdict, meaning in VERDICTS.items():
        assert f"• {verdict}: {meaning}" in text


def test_the_name_is_completed_from_the_registry_and_the_models_in_the_folder(tmp_path: Path, monkeypatch):
    (tmp_path / "ResNetMine.keras").touch()
    (tmp_path / "ResNet.txt").touch()
    monkeypatch.chdir(tmp_path)
    complete = InspectedArgument.__metadata__[0].autocompletion  # type: ignore[attr-defined]

    names = complete("ResNet")

    assert names == [
        "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2", "ResNetMine.keras",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("matrix", "offset", "expected"),
    [
        (np.eye(3)[::-1], [-103.939, 0, 0.5], ["B - 103.939", "G", "R + 0.5"]),
        (np.eye(3) / -127.5, [-1, 0, 1], ["-0.00784314 R - 1", "-0.00784314 G", "-0.00784314 B + 1"]),
        (np.array([[0.299, 0.587, 0.114]]), [0], ["0.299 R + 0.587 G + 0.114 B"]),
        (np.array([[1, -1, 0], [0, 0, 0], [0, 0, 0]]), [0, 0, -2], ["R - G", "0", "-2"]),
    ],
)
def test_a_map_is_written_as_people_write_it(matrix: Any, offset: list[float], expected: list[str]):
    assert formulas(AffineMap(np.asarray(matrix, float), np.array(offset, float))) == expected


def test_json_has_the_numbers_of_every_map():
    halved = AffineMap(np.eye(3) / 2, np.full(3, -1.0))
    xray = XRay(
        name="Mine",
        source="a saved model",
        stem=Stem((8, 9), (), halved, "first", "Conv2D"),
        native="caffe",
        native_source="--mode",
        notes=("note",),
    )

    record = json.loads(json.dumps(xray_record(xray, "unit")))

    assert (record["input_px"], record["fed"], record["notes"], record["preprocess_input"]) == (
        [8, 9], "unit", ["note"], None,
    )  # fmt: skip
    assert record["verdicts"] == VERDICTS
    native = record["modes"][0]
    assert native["channel_order"] == "BGR"
    assert native["outputs"][0] == {"R": 0.0, "G": 0.0, "B": 0.5, "offset": pytest.approx(-103.939 / 2 - 1)}
    assert (native["low"], native["high"]) == (pytest.approx(-123.68 / 2 - 1), pytest.approx(151.061 / 2 - 1))
    (caffe,) = [mode for mode in record["modes"] if mode["mode"] == "unit"]
    assert (caffe["verdict"], caffe["findings"]) == ("double-scaled", ["double-scaled", "channels swapped"])


# The program


@pytest.mark.slow
def test_a_backbone_as_json_has_a_verdict_for_every_mode_and_nothing_else_is_printed(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "benchmark", "inspect", "VGG16", "--json"], cwd=tmp_path, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")
    record = json.loads(ended.stdout)
    assert {mode["mode"]: mode["verdict"] for mode in record["modes"]} == {
        mode: findings[0] for mode, findings in EXPECTED["caffe"].items()
    }
    assert record["preprocess_input"]["name"] == "keras.applications.vgg16.preprocess_input"
    assert record["preprocess_input"]["channel_order"] == "BGR"
    assert record["native"] == "caffe"


@pytest.mark.slow
def test_a_backbone_for_people_names_its_layers_ranges_and_the_statistics_that_are_weights(
    tmp_path: Path, inspect: Callable[..., SimpleNamespace]
):
    ended = inspect("EfficientNetB0", "--mode", "unit", cwd=tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.search(r"rescaling +Rescaling +scale 0\.00392157; offset 0 ", ended.stdout)
    assert re.search(r"normalization +Normalization +mean 0, 0, 0; variance 1, 1, 1 \(weights\)", ended.stdout)
    assert re.search(r"unit \(yours\) +double-scaled +RGB +0 +0\.0039216\b", ended.stdout)
    assert "normalization: its mean and variance are weights." in ended.stdout
    assert ended.stdout.rstrip().endswith("You feed unit: double-scaled.")


@pytest.mark.slow
def test_an_entry_whose_mode_its_layers_contradict_is_judged_by_the_layers(
    inspect: Callable[..., SimpleNamespace], tmp_path: Path
):
    (tmp_path / "mine.toml").write_text(
        '[Mine]\napplication = "MobileNetV3Small"\nmode = "tf"\ninput_size_px = 32\nweights = "random"\n'
    )

    answer = inspect("Mine", "--registry", "mine.toml", "--json", cwd=tmp_path)

    record = json.loads(answer.stdout)
    verdicts = {one["mode"]: one["verdict"] for one in record["modes"]}
    assert (record["native"], verdicts["native"], verdicts["tf"], verdicts["raw"]) == (
        "tf", "double-scaled", "double-scaled", "right",
    )  # fmt: skip
    assert "made for mode 'raw', not for 'tf', which the registry names" in record["notes"][0]


@pytest.mark.slow
def test_a_model_that_rescales_and_is_fed_unit_pixels_is_double_scaled(
    models: Path, inspect: Callable[..., SimpleNamespace]
):
    ended = inspect("rescaling.keras", "--mode", "unit", cwd=models)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "[red]scale" in ended.stdout, "a name was taken for markup"
    assert "known from its built-in layers" in ended.stdout
    assert "You feed unit: double-scaled." in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plain.keras",), r"no built-in layers that show .*--mode raw\|unit\|tf\|caffe\|torch; got none"),
        (("vectors.keras", "--mode", "unit"), r"has no single input of RGB images .*it takes \(7,\)"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_model_that_cannot_be_judged_ends_with_2_and_the_reason(
    models: Path, inspect: Callable[..., SimpleNamespace], arguments: tuple[str, ...], message: str
):
    ended = inspect(*arguments, cwd=models)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.search(message, ended.stderr), ended.stderr
    assert ended.stderr.startswith("Error: ")
    assert "Traceback" not in ended.stderr
