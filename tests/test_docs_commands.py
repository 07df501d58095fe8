"""Every command of README and the pages, typed as written, in a folder with what the pages say is there.

Backbones have the names of the pages, but all are one tiny network; images are small and few.
"""

import gzip
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_docs import LINES, ROOT, blocks

from benchmark.ledger import DONE, Ledger

pytestmark = pytest.mark.exhaustive

Program = Callable[..., SimpleNamespace]

# What a command needs is made by those before it.
ORDER = (
    "doctor", "list", "inspect", "params", "fetch", "run", "recommend", "status", "cache list", "leaderboard",
    "ablation", "plot", "report", "mistakes", "export", "predict", "rerun", "compare", "verify", "cache prune",
)  # fmt: skip
# Weights of ImageNet come from a host that tests do not ask, so these are only planned.
PLANNED = {line for line in LINES if line.startswith("run imagenet")}
# About networks that only the registry of the project has.
OF_PROJECT = {*PLANNED, "params fashion_mnist_networks"}
# These need that host, or rows of a command that was only planned: what they say where they are refused.
CAN_BE_REFUSED = {
    "ablation results/imagenet": "There is no runs.csv in results/imagenet",
    **{line: "www.kaggle.com cannot be reached" for line in LINES if "hub:dinov2_small" in line},
}
BACKBONES = {
    "MobileNetV2": "tf", "MobileNetV2-dogs": "tf", "VGG16-hed": "caffe", "ResNet50": "caffe", "EfficientNetB0": "raw",
    "EfficientNetV2B0": "raw",
}  # fmt: skip
ENTRY = """
[{name}]
model = "file:tiny.keras"
mode = "{mode}"
input_size_px = 32
flops_g = 0.001
"""
COLOURS = {"cat": (220, 60, 40), "dog": (40, 90, 210)}
N_OF_PET, N_OF_GARMENT = 40, 12
IDX_BYTES = 0x08


def key(line: str) -> tuple[int, bool, str]:
    """Sort key: commands in `ORDER`; sweeps of `few_shot` after the other runs."""
    place = next(number for number, words in enumerate(ORDER) if f"{line} ".startswith(f"{words} "))
    return place, line.startswith("run few_shot"), line


def save_network(path: Path) -> None:
    import keras

    images = keras.Input((None, None, 3))
    filters = keras.initializers.RandomNormal(seed=0)
    keras.Model(images, keras.layers.Conv2D(8, 8, strides=8, kernel_initializer=filters)(images)).save(path)


def write_idx(path: Path, content: np.ndarray) -> None:
    """A file of MNIST's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{content.ndim}I", 0, 0, IDX_BYTES, content.ndim, *content.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + content.astype(np.uint8).tobytes())


def write_fashion(folder: Path, rng: np.random.Generator) -> None:
    for part, n in (("train", N_OF_GARMENT), ("t10k", N_OF_GARMENT // 2)):
        labels = np.repeat(np.arange(10), n)
        images = np.clip(25 * labels[:, np.newaxis, np.newaxis] + rng.normal(0, 15, (len(labels), 28, 28)), 0, 255)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)


def write_pets(folder: Path, rng: np.random.Generator) -> None:
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(N_OF_PET):
            pixels = np.clip(np.array(colour) + rng.normal(0, 70, (40, 50, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photos, the recipe, the model and the registry of the pages, and with fast backbones."""
    place = tmp_path_factory.mktemp("user")
    rng = np.random.default_rng(0)
    write_fashion(place / "keras" / "datasets" / "fashion-mnist", rng)
    for name in ("pets", "emoji/images"):
        write_pets(place / name, rng)
    shutil.copytree(place / "pets" / "cat", place / "FOLDER")
    shutil.copytree(place / "pets" / "dog", place / "emoji" / "new")
    shutil.copy(place / "pets" / "cat" / "0.png", place / "photo.jpg")
    for name in ("fashion_mnist_networks", "fashion_mnist_mobilenetv2"):
        shutil.copytree(ROOT / "results" / name, place / "results" / name)
    save_network(place / "tiny.keras")
    shutil.copy(place / "tiny.keras", place / "petnet.keras")
    entries = "".join(ENTRY.format(name=name, mode=mode) for name, mode in BACKBONES.items())
    (place / "backbones.toml").write_text(entries)
    pages = [text for _, text in blocks("toml")]
    (entry,) = [text for text in pages if text.startswith("[PetNet]")]
    (place / "my.toml").write_text(entry.replace('cut = "top_dropout"', "# the tiny network has no classifier"))
    (recipe,) = [text for text in pages if text.startswith('name = "pets"\n') and "stages" in text]
    (place / "pets.toml").write_text(recipe.replace("unfreeze = 20", "unfreeze = 1"))
    for name in ("ILSVRC/n01440764/1.png", "ILSVRC/n01443537/1.png"):
        (place / name).parent.mkdir(parents=True)
        shutil.copy(place / "photo.jpg", place / name)
    (place / "ILSVRC").rename(place / "imagenet-val")
    for words in (["init", "-q"], ["config", "user.email", "a@b"], ["config", "user.name", "a"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


@pytest.fixture(autouse=True)
def _of_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))
    monkeypatch.setenv("BENCHMARK_CACHE", str(folder / "cache"))


def in_words(folder: Path, line: str) -> Iterator[str]:
    """The words of a command, with a run in place of `RUN_ID`."""
    for word in LINES[line]:
        yield a_run(folder, line) if word == "RUN_ID" else word


def a_run(folder: Path, line: str) -> str:
    ledgers = {"results/recommend": "results/recommend", "emoji/results": "emoji/results/recommend"}
    ledger = next((place for words, place in ledgers.items() if words in line), "results/pets")
    runs = Ledger(folder / ledger).read_runs()
    usable = runs[(runs["status"] == DONE) & (runs["head"] == "linear") & runs["folds"].isna()]
    usable = usable[usable["backbone"] != "PetNet"]  # whose registry these commands do not name
    return str(usable["run_id"].iloc[-1])


@contextmanager
def registry_of_project(folder: Path) -> Iterator[None]:
    """Without the file that replaces backbones by tiny ones."""
    (folder / "backbones.toml").rename(folder / "put-aside")
    try:
        yield
    finally:
        (folder / "put-aside").rename(folder / "backbones.toml")


def commit(folder: Path) -> None:
    for words in (["add", "-A", "results"], ["commit", "-q", "--allow-empty", "-m", "results"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


@pytest.mark.parametrize("line", sorted(LINES, key=key))
def test_every_command_of_the_pages_ends_without_a_mistake(
    program: Program, folder: Path, line: str, monkeypatch: pytest.MonkeyPatch
):
    words = [*in_words(folder, line)]
    if line in PLANNED:
        words += ["--dry-run"]
    if words[0] == "compare":
        for _ in range(2):
            commit(folder)
    with registry_of_project(folder) if line in OF_PROJECT else nullcontext():
        ended = program(folder, *words)

    if "--out pets.keras" in line:  # the script of the tutorial exports its own
        shutil.copy(folder / "pets.keras", folder / "emoji" / "emoji.keras")
    if line == "run --results mine":  # from here on beside the results of the user
        shutil.copytree(folder / "mine" / "demo", folder / "results" / "demo")
    output = f"{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in output
    if ended.returncode == 2 and line in CAN_BE_REFUSED:
        assert CAN_BE_REFUSED[line] in " ".join(output.split())
    else:
        assert ended.returncode == 0, output
