"""The five published experiments: their parameter counts, and a short run of each on stand-in data."""

import gzip
import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sampling import sampled

from benchmark.analysis.labels import dataset_labels
from benchmark.analysis.published import is_about
from benchmark.cli import main
from benchmark.datasets.keras_cache import keep_keras_dataset
from benchmark.ledger import DONE, Ledger
from benchmark.plan.cells import Cell
from benchmark.plan.grid import expand
from benchmark.recipes import Published, Sweep, find_recipe, read_recipe
from benchmark.registry import load_registry
from benchmark.work.counting import count_params

EXPERIMENTS = ("cifar10", "fashion_mnist_mobilenetv2", "fashion_mnist_networks", "stanford_dogs", "animals5")
N_FIGURES = {
    "cifar10": 32, "fashion_mnist_mobilenetv2": 4, "fashion_mnist_networks": 7, "stanford_dogs": 5, "animals5": 4,
}  # fmt: skip
N_EXACT = {"cifar10": 13, "stanford_dogs": 2}

# Stands in for every pretrained backbone: deep enough for the last twenty layers to be some of them, and most of these
# without weights, because TensorFlow takes long to trace the training of many.
BUILDER = """
def deep(input_shape):
    import keras

    inputs = x = keras.Input(input_shape)
    for strides in (4, 1, 1):
        x = keras.layers.Conv2D(4, 1, strides=strides)(x)
        x = keras.layers.BatchNormalization()(x)
        for _ in range(7):
            x = keras.layers.Identity()(x)
    return keras.Model(inputs, x)
"""
TABLE = """
[{name}]
builder = "deep_backbone:deep"
mode = "{mode}"
input_size_px = 32
feature_dim = 4
weights = "random"
"""


def sweep_of(experiment: str) -> Sweep:
    return read_recipe(find_recipe(experiment))


def cells_of(experiment: str) -> list[Cell]:
    return expand(sweep_of(experiment), load_registry())


def cells_about(figure: Published, experiment: str) -> list[Cell]:
    return [cell for cell in cells_of(experiment) if is_about(figure, named(cell.columns))]


def named(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of a cell with its dataset as leaderboards name it."""
    usual = {"limit": None, "part": "", "restrict_classes": None}
    return {**columns, "dataset": dataset_labels(pd.DataFrame([{**usual, **columns}]))[0]}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_published_figure_is_about_a_cell_of_its_recipe(experiment: str):
    figures = sweep_of(experiment).published

    assert len(figures) == N_FIGURES[experiment]
    for figure in figures:
        assert cells_about(figure, experiment), figure


@pytest.mark.slow
@pytest.mark.usefixtures("forked_children")
@pytest.mark.parametrize("experiment", N_EXACT)
def test_every_exact_count_comes_out_without_weights_and_data(experiment: str):
    counts = count_params(cells_of(experiment))
    exact = [figure for figure in sweep_of(experiment).published if figure.is_exact]

    assert len(exact) == N_EXACT[experiment]
    for figure in exact:
        found = {
            count[figure.metric]
            for count in counts
            if is_about(figure, {"mode": figure.mode, "shots": None, **named(count)})
        }
        assert found == {figure.value}, figure


def test_probes_of_shipped_backbones_are_counted_without_building_any(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr("benchmark.work.counting.call_silently_in_child", refuse)
    probes = [cell for cell in cells_of("cifar10") if cell.strategy == "probe"]

    assert len(count_params(probes)) == 9 + 1


# --- stand-in data ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _own_records() -> Iterator[None]:
    """TensorFlow Datasets keeps one folder for the whole process: leave it as it was found."""
    yield
    shutil.rmtree(os.environ["TFDS_DATA_DIR"], ignore_errors=True)


def write_cifar10(rng: np.random.Generator) -> None:
    """The arrays of Keras's loader in our cache: the loader itself takes only the true archive, by its checksum."""
    folder = Path(os.environ["KERAS_HOME"]) / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"%d" % number for number in range(10)]}))
    train, test = (
        (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n, dtype=np.uint8)[:, np.newaxis] % 10)
        for n in (500, 100)
    )
    with mock.patch("keras.datasets.cifar10.load_data", return_value=(train, test)):
        keep_keras_dataset("cifar10")


def write_fashion_mnist(rng: np.random.Generator) -> None:
    """Gzipped IDX files, where Keras puts them."""
    folder = Path(os.environ["KERAS_HOME"]) / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for prefix, n in (("train", 300), ("t10k", 100)):
        pixels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8) % 10
        images = struct.pack(">IIII", 2051, n, 28, 28) + pixels.tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">II", 2049, n) + labels.tobytes())
        )


def write_animals10(rng: np.random.Generator) -> None:
    """Photographs of any sizes, a folder a class, more classes than are asked for."""
    for class_name in ("cat", "ragno", "butterfly", "elephant", "chicken", "cane"):
        folder = Path("animals10") / class_name
        folder.mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (30 + number, 50 - number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpeg")


def write_stanford_dogs(rng: np.random.Generator) -> None:
    """Records of TensorFlow Datasets, in the folder and with the features of the real dataset."""
    import tensorflow_datasets as tfds

    features = tfds.builder("stanford_dogs").info.features

    def examples(split: str, a_class: int):
        for number in range(120 * a_class):
            yield (
                number,
                {
                    "image": rng.integers(0, 256, (20, 30, 3), dtype=np.uint8),
                    "image/filename": f"{split}{number}.jpg",
                    "label": number % 120,
                    "objects": [],
                },
            )

    with tfds.core.registered.skip_registration():  # the real one has the name already

        class Builder(tfds.core.GeneratorBasedBuilder):
            name = "stanford_dogs"
            VERSION = tfds.core.Version("0.2.0")

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, _):
                return {"train": examples("train", 7), "test": examples("test", 1)}

            def _generate_examples(self):
                raise NotImplementedError

    Builder(data_dir=os.environ["TFDS_DATA_DIR"], file_format="array_record").download_and_prepare()


WRITERS: dict[str, Callable[[np.random.Generator], None]] = {
    "cifar10": write_cifar10,
    "fashion_mnist_mobilenetv2": write_fashion_mnist,
    "fashion_mnist_networks": write_fashion_mnist,
    "stanford_dogs": write_stanford_dogs,
    "animals5": write_animals10,
}
LIMITS = {"cifar10": 300, "fashion_mnist_mobilenetv2": 200, "fashion_mnist_networks": 200, "stanford_dogs": 840,
          "animals5": 80}  # fmt: skip
SIZES = {"fashion_mnist_networks": 28}
# Enough to see a recipe work, each of its grids but those that differ in the network alone; all would take minutes.
FEWER = {
    "cifar10": ("--where", "backbone=[Ms]*[2n]"),
    "fashion_mnist_networks": ("--seeds", "0", "--where", "backbone=[ls]*"),
    "stanford_dogs": ("--modes", "unit"),
}
# In stages and from scratch.
FEW = ("fashion_mnist_mobilenetv2",)
N_ROWS = {"cifar10": 5, "fashion_mnist_mobilenetv2": 3, "fashion_mnist_networks": 3, "stanford_dogs": 2,
          "animals5": 2}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("forked_children")
@pytest.mark.parametrize("experiment", sampled(EXPERIMENTS, FEW))
def test_every_recipe_runs_on_stand_in_data_in_the_true_format(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, capsys
):
    monkeypatch.chdir(tmp_path)
    # On AMD's processors with AVX-512, training so few filters aborts every other time; see docs/explanation/limits.md.
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.syspath_prepend(tmp_path)  # child processes get the parent's search path
    (tmp_path / "deep_backbone.py").write_text(BUILDER)
    pretrained = {
        cell.backbone.name: cell.backbone for cell in cells_of(experiment) if not cell.backbone.has_classifier
    }
    tables = [TABLE.format(name=name, mode=backbone.native_mode) for name, backbone in pretrained.items()]
    (tmp_path / "standin.toml").write_text("\n".join(tables))
    WRITERS[experiment](rng)
    capsys.readouterr()  # what was said while writing
    size = SIZES.get(experiment, 32)
    command = ["run", experiment, "--limit", str(LIMITS[experiment]), "--input-size", str(size), "--registry",
               "standin.toml", "--json", *FEWER.get(experiment, ())]  # fmt: skip

    monkeypatch.setattr(sys, "argv", ["benchmark", *command])
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    runs = Ledger(tmp_path / "results" / experiment).read_runs()
    assert len(runs) == N_ROWS[experiment]
    assert set(runs["status"]) == {DONE}
    assert json.loads(capsys.readouterr().out)
