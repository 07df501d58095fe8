"""The recipe `imagenet` on a stand-in: images that are labelled by the networks' own answers in mode native."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sampling import sampled

from benchmark.analysis.loading import load_runs
from benchmark.analysis.soundness import find_faults
from benchmark.cli import main
from benchmark.datasets import imagenet_ids
from benchmark.datasets.resizing import resize
from benchmark.ledger import DONE, PER_CLASS, Ledger
from benchmark.preprocessing import MODES, View
from benchmark.recipes import find_recipe
from benchmark.registry import Backbone, load_registry
from benchmark.xray.verdicts import judge_mode

pytestmark = pytest.mark.slow

# Their native modes are tf and torch, and raw and caffe.
FEW = ("MobileNetV2", "DenseNet121")
SETS = [FEW, ("EfficientNetB0", "ResNet50", *FEW)]
REGISTRY = load_registry()
SIZE_PX, STORED_PX = 64, 80
N_DRAWN, N_KEPT = 48, 16
# Of an answer that rounding cannot change: the share by which the second class is less probable.
CLEAR = 1e-3
ENTRY = """
[{name}]
application = "{name}"
mode = "{mode}"
input_size_px = 64
weights = "file:{name}.weights.h5"
weights_classifier = true
"""
GRID = """
[[grid]]
backbones = ["{name}"]
datasets = ["folder:{folder}"]
"""


def draw_images(rng: np.random.Generator) -> np.ndarray:
    """Plain colours, gradients, rectangles and noise, in equal parts: `(n, 80, 80, 3)` uint8."""
    ramp = np.linspace(0, 1, STORED_PX)
    across, down = ramp[np.newaxis, :, np.newaxis], ramp[:, np.newaxis, np.newaxis]
    images = []
    for number in range(N_DRAWN):
        one, other = rng.uniform(0, 255, (2, 3))
        image = np.broadcast_to(one, (STORED_PX, STORED_PX, 3)).copy()
        if number % 4 == 1:
            image = one * across + other * (1 - across) * down
        elif number % 4 == 2:
            top, left = rng.integers(0, 40, 2)
            image[top : top + 30, left : left + 30] = other
        elif number % 4 == 3:
            image = rng.uniform(0, 1, (STORED_PX, STORED_PX, 3)) * one
        images.append(image)
    return np.clip(images, 0, 255).astype(np.uint8)


def telling_network(backbone: Backbone, pixels: np.ndarray) -> Any:
    """A network of Keras with random weights, and a classifier that tells these images apart: as if it were trained.

    With a random classifier, what all images have in common decides their class.
    """
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, str(backbone.application))(weights=None, input_shape=pixels.shape[1:])
    last = [layer for layer in network.layers if layer.weights][-1]
    kernel, bias = last.get_weights()
    features = np.asarray(keras.Model(network.input, last.input)(pixels, training=False))
    logits = features.reshape(len(pixels), -1) @ kernel.reshape(-1, len(bias))
    last.set_weights([kernel / logits.std(axis=0).mean(), -logits.mean(axis=0) / logits.std(axis=0).mean()])
    return network


def write_standin(root: Path, backbone: Backbone, images: np.ndarray) -> None:
    """The weights of a network, and the images with clear answers in folders that are named by its answers."""
    import keras

    view = View(SIZE_PX, "bilinear-antialias", 0.875)
    resized = np.stack([resize(Image.fromarray(image), view) for image in images]).astype(np.float32)
    pixels = getattr(keras.applications, str(backbone.preprocess)).preprocess_input(resized)
    network = telling_network(backbone, pixels)
    network.save_weights(root / f"{backbone.name}.weights.h5")
    probabilities = np.asarray(network(pixels, training=False))
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    kept = np.flatnonzero(second < (1 - CLEAR) * first)[:N_KEPT]
    assert len(kept) == N_KEPT, f"{backbone.name}: only {len(kept)} answers are clear"
    for index in kept:
        place = root / backbone.name / imagenet_ids()[probabilities[index].argmax()]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(place / f"{index}.png")


def program(*arguments: str) -> int:
    """Run the program in this process; its exit code."""
    with mock.patch.object(sys, "argv", ["benchmark", *arguments]), pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def options_of(root: Path) -> tuple[str, ...]:
    return (
        "--jobs",
        "2",
        "--modes",
        "*",
        "--registry",
        str(root / "networks.toml"),
        "--results",
        str(root / "results"),
    )


@pytest.fixture(scope="module", params=sampled(SETS, [FEW]), ids=len)
def networks(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The names of those that are run."""
    names: tuple[str, ...] = request.param
    return names


@pytest.fixture(scope="module")
def sweep(networks: tuple[str, ...], unexamined: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the ledger of the recipe on the stand-in, all modes, and with the networks that were run."""
    root = tmp_path_factory.mktemp("standin")
    images = draw_images(np.random.default_rng(0))
    for name in networks:
        write_standin(root, REGISTRY[name], images)
    shipped = find_recipe("imagenet").read_text()
    top, figures = shipped[: shipped.index("backbones = [")], shipped[shipped.index("[[published]]") :]
    grids = "".join(GRID.format(name=name, folder=root / name) for name in networks)
    (root / "standin.toml").write_text(f"{top}{grids}\n{figures}")
    entries = (ENTRY.format(name=name, mode=REGISTRY[name].native_mode) for name in networks)
    (root / "networks.toml").write_text("".join(entries))
    with mock.patch.dict("os.environ", BENCHMARK_CACHE=str(root / "cache"), COLUMNS="200"):
        assert program("run", str(root / "standin.toml"), *options_of(root)) == 0
        yield root


@pytest.fixture(scope="module")
def runs(sweep: Path) -> pd.DataFrame:
    return load_runs([sweep / "results"])


def test_all_modes_of_the_networks_are_run(networks: tuple[str, ...], runs: pd.DataFrame):
    assert set(runs["status"]) == {DONE}
    assert sorted(zip(runs["backbone"], runs["mode"], strict=True)) == sorted(
        (name, mode) for name in networks for mode in MODES
    )
    assert set(runs["n_test"]) == {N_KEPT}
    assert set(runs["n_classes"]) == {1000}


def test_every_answer_is_right_in_native_and_not_in_modes_that_are_wrong(runs: pd.DataFrame):
    for name, of_network in runs.groupby("backbone"):
        accuracy = dict(zip(of_network["mode"], of_network["accuracy"], strict=True))

        is_wrong = {mode: bool(judge_mode(mode, REGISTRY[name].native_mode).findings) for mode in accuracy}

        assert accuracy["native"] == 1, name
        assert {mode: value < 1 for mode, value in accuracy.items()} == is_wrong, name
        assert sum(is_wrong.values()) >= 6, name


def test_the_rows_agree_with_everything_that_is_kept(sweep: Path, runs: pd.DataFrame):
    assert find_faults([sweep / "results"], runs) == {}


def test_a_row_has_the_costs_of_the_whole_network(runs: pd.DataFrame):
    import keras

    row = runs[(runs["backbone"] == "MobileNetV2") & (runs["mode"] == "native")].iloc[0]

    whole = keras.applications.MobileNetV2(weights=None, input_shape=(SIZE_PX, SIZE_PX, 3)).count_params()
    assert row["params_total"] == whole
    assert np.isnan(row["params_backbone"]), "of an entry of one's own it is not known"
    assert row["efficiency"] == pytest.approx(1 / (whole / 1e6))
    assert min(row["latency_ms"], row["images_per_s"], row["extract_s"], row["peak_rss_mib"], row["flops_g"]) > 0
    assert row[["n_train", "n_val", "train_s", "params_trainable"]].tolist() == [0, 0, 0, 0]
    assert row[["top5_accuracy"]].tolist() == [1.0]
    assert row[["log_loss", "calibration_error"]].notna().all()


def test_few_classes_of_the_thousand_have_a_row(sweep: Path, runs: pd.DataFrame):
    table = Ledger(sweep / "results" / "imagenet").read_table(PER_CLASS)

    assert 1 <= table.groupby("run_id").size().max() <= 2 * N_KEPT


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = program(*arguments)
    return code, " ".join(" ".join(capsys.readouterr()).split())


def test_the_documented_figures_stand_beside_the_measured_ones(sweep: Path, capsys: pytest.CaptureFixture[str]):
    code, out = output_of(capsys, "leaderboard", str(sweep / "results"), "--where", "backbone=DenseNet121")

    assert code == 0
    assert "DenseNet121 (classify): published and measured" in out
    assert all(text in out for text in ("Top-5", "Calibration", "top5_accuracy", "0.9230", "depth 242"))
    assert "unbalanced" not in out, "most of the classes do not occur"
    assert "Seeds were not varied" not in out, "nothing is drawn"


def test_the_ablation_of_the_classifier_says_what_each_wrong_mode_costs(sweep: Path, runs: pd.DataFrame, capsys):
    code, out = output_of(capsys, "ablation", str(sweep / "results"), "--where", "backbone=DenseNet121", "--top", "3")

    assert (code, "harmful" in out, "Seeds were not varied" in out) == (0, True, False)


def test_the_mistakes_of_a_run_are_named_by_ids_and_files(sweep: Path, runs: pd.DataFrame, capsys):
    row = runs[(runs["backbone"] == "DenseNet121") & (runs["mode"] == "unit")].iloc[0]

    code, out = output_of(capsys, "mistakes", row["run_id"], str(sweep / "results"), "--format", "csv")

    assert code == 0
    assert out.count(".png,n") == round((1 - row["accuracy"]) * N_KEPT)


def test_a_row_is_not_exported_and_the_reason_is_said(sweep: Path, runs: pd.DataFrame, capsys):
    arguments = ("export", runs["run_id"][0], str(sweep / "results"), "--out", str(sweep / "model.keras"))

    code, out = output_of(capsys, *arguments)

    assert code == 2
    assert "trained nothing, so there is nothing to export" in out


def test_another_run_finds_everything_done_and_a_row_is_made_again(sweep: Path, capsys: pytest.CaptureFixture[str]):
    registry = ("--registry", str(sweep / "networks.toml"))
    ledger = ("--cells", "1", "--where", "backbone=MobileNetV2")

    code, out = output_of(capsys, "run", str(sweep / "standin.toml"), *options_of(sweep))
    verified, said = output_of(capsys, "verify", str(sweep / "results"), *registry, *ledger)

    assert (code, "Nothing to do" in out) == (0, True)
    assert verified == 0, said
    assert "reproduced" in said
