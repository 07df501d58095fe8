"""The script of the tutorial, on a small package of its own."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "examples" / "emoji.py"
COLOURS = {"Food & Drink": (220, 40, 40), "Flags": (40, 200, 60), "Objects": (50, 60, 220)}
N_IMAGES, N_SKIN_TONES = 24, 5
BUILDERS = """
def colours(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.AveragePooling2D(8)(images))


def grey(input_shape):
    import keras

    images = keras.Input(input_shape)
    weights = keras.initializers.Constant(1.0)
    return keras.Model(images, keras.layers.Conv2D(1, 16, strides=16, kernel_initializer=weights)(images))
"""
ENTRY = """
[{name}]
builder = "tutorial_backbones:{name}"
mode = "tf"
input_size_px = 32
flops_g = 0.001
weights = "builder"
"""


@pytest.fixture
def package(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Discs of three colours on transparent ground, in the layout of the npm package."""
    folder = tmp_path / "package"
    images = folder / "img" / "google" / "64"
    images.mkdir(parents=True)
    entries = []
    for category, colour in {**COLOURS, "Component": (200, 150, 100)}.items():
        for number in range(N_SKIN_TONES if category == "Component" else N_IMAGES):
            name = f"{category.split()[0].lower()}-{number}.png"
            y, x = np.indices((64, 64)) - rng.integers(24, 40, (2, 1, 1))
            alpha = np.where(x**2 + y**2 < rng.integers(14, 20) ** 2, 255, 0)
            pixels = np.clip(np.array(colour) + rng.normal(0, 20, (64, 64, 3)), 0, 255)
            Image.fromarray(np.dstack([pixels, alpha]).astype(np.uint8)).save(images / name)
            entries.append({"category": category, "image": name, "has_img_google": True})
    (folder / "emoji.json").write_text(json.dumps(entries))
    return folder


def test_the_tutorial_ends_in_a_model_that_names_new_images(
    package: Path,
    forked_children: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "tutorial_backbones.py").write_text(BUILDERS)
    (tmp_path / "tutorial.toml").write_text("".join(ENTRY.format(name=name) for name in ("colours", "grey")))
    out = tmp_path / "out"
    chosen = ["--registry", str(tmp_path / "tutorial.toml"), "--backbones", "colours", "grey", "--input-size", "32"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--package", str(package), "--out", str(out), *chosen])

    runpy.run_path(str(SCRIPT), run_name="__main__")

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Take colours:")
    assert (out / "emoji.keras").exists()
    assert len(list((out / "images").rglob("*.png"))) == len(COLOURS) * (N_IMAGES - 2)
    answers = [line.split(" -> ") for line in lines if " -> " in line]
    assert len(answers) == 2 * len(COLOURS)
    assert all(answer.startswith(line[:18].strip()) for line, answer in answers)
