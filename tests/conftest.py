"""Fixtures that keep every test away from the user's own caches and give it small, known data."""

import gc
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from PIL import Image

# Keras and TensorFlow Datasets read these once, when first imported, so a test's own folders could come too late.
_OF_PROCESS = tempfile.TemporaryDirectory(prefix="benchmark-tests-")
os.environ["KERAS_HOME"] = str(Path(_OF_PROCESS.name, "keras"))
os.environ["TFDS_DATA_DIR"] = str(Path(_OF_PROCESS.name, "tensorflow_datasets"))
_NUMBERS = itertools.count()
# For fixtures of whole modules, which come before the cache of a test.
os.environ["BENCHMARK_CACHE"] = str(Path(_OF_PROCESS.name, "cache"))
# TensorFlow and scikit-learn set these when they are imported. Workers are forked from a server only while such
# variables keep their values, and otherwise import TensorFlow themselves.
os.environ |= {"TF2_BEHAVIOR": "1", "KMP_DUPLICATE_LIB_OK": "True", "KMP_INIT_AT_FORK": "FALSE"}

EXHAUSTIVE = "exhaustive"
# `--dist=loadfile` hands out files in this order, so that none of the long ones is left for the end.
LONGEST = (
    "test_kills.py", "test_export.py", "test_training.py", "test_ray.py", "test_presets.py", "test_outputs.py",
    "test_imagenet_sweep.py", "test_recommend.py", "test_plots.py", "test_isolation.py", "test_alterations.py",
    "test_workflow.py", "test_report_browser.py", "test_report.py", "test_experiments.py", "test_runner.py",
    "test_race.py", "test_engine.py", "test_builders.py", "test_constructors.py", "test_docs_commands.py",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long files first, in a stable order otherwise; exhaustive tests only where `-m` names them."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    if EXHAUSTIVE not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if EXHAUSTIVE in item.keywords])
        items[:] = [item for item in items if EXHAUSTIVE not in item.keywords]


def pytest_collection_finish() -> None:
    """Keep what the modules of the tests have imported out of every later garbage collection.

    There are half a million objects of TensorFlow alone, and Keras collects before each network.
    """
    import hypothesis  # noqa: F401  # once it is imported it looks for references, among which frozen ones are missing

    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="how often tests/faults/test_kills.py kills a sweep")


@pytest.fixture(autouse=True)
def _own_folders() -> Iterator[None]:
    """Each test has its own feature cache, finds the Keras folder of the process empty, and leaves no variables.

    Nothing waits until a file is on the disk, since no test takes the power away.
    """
    shutil.rmtree(os.environ["KERAS_HOME"], ignore_errors=True)
    own = Path(_OF_PROCESS.name, "own", str(next(_NUMBERS)), "cache")
    with mock.patch.dict(os.environ, BENCHMARK_CACHE=str(own)), mock.patch("os.fsync"):
        yield


@pytest.fixture(scope="module")
def unexamined() -> Iterator[None]:
    """Plans build no networks: those of some tests do not exist, or do harm when they are first built."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr("benchmark.plan.planning.examine_networks", lambda *_: {})
        yield


@pytest.fixture
def forked_children(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Processes that import TensorFlow are forked from the workers' server, which has imported it already."""
    from benchmark.isolation import start_server

    start_server(tmp_path_factory.mktemp("server") / "log")


class Answer(NamedTuple):
    """Of the program: its exit code, and what it wrote to standard output and standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Call the program in this process, in the folder of the test."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Answer:
        from benchmark.cli import main

        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Answer(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def program(
    forked_children: None, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SimpleNamespace]:
    """As `call`, in any folder; it starts workers and other processes as ever."""

    def program(folder: Path, *arguments: str) -> SimpleNamespace:
        with monkeypatch.context() as context:
            context.chdir(folder)
            code, out, err = call(*arguments)
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return program


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def image_folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two classes of ten PNG files of different sizes: dark images in `cat`, bright ones in `dog`."""
    root = tmp_path / "pets"
    for class_name, low, high in (("cat", 0, 100), ("dog", 150, 256)):
        folder = root / class_name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(low, high, (20 + number, 30 - number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return root
