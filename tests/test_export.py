"""`benchmark export` makes one model of a run, and `benchmark predict` uses it."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sampling import sampled
from toy_images import write_grey

from benchmark.actions.exporting import are_exportable
from benchmark.actions.predicting import predict_table
from benchmark.cli import main
from benchmark.datasets import load_dataset
from benchmark.datasets.resizing import resize
from benchmark.errors import BenchmarkError
from benchmark.exporting.files import FACTS
from benchmark.exporting.predicting import Prediction, find_images, predict_files
from benchmark.isolation import start_server
from benchmark.ledger import WEIGHTS, Ledger
from benchmark.preprocessing import RESIZERS, View

pytestmark = pytest.mark.slow  # nearly all of them need a sweep

Program = Callable[..., SimpleNamespace]

NETWORKS = """
def grey(input_shape):
    import keras

    images = keras.Input((*input_shape[:2], 1))
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images))


def tiny(input_shape):
    import keras

    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(images, keras.layers.Conv2D(8, 3, activation="relu")(x))
"""
REGISTRY = """
[Tiny]
builder = "networks:tiny"
mode = "caffe"
input_size_px = 24
feature_dim = 8
weights = "random"
[Grey]
builder = "networks:grey"
mode = "tf"
input_size_px = 24
feature_dim = 8
weights = "random"
"""
RECIPE = """
name = "pets"
datasets = ["folder:pets"]
val_fraction = 0.25
backbones = ["Tiny"]
dense = { epochs = 30 }
[[grid]]
heads = ["linear", "dense", "knn", "prototype"]
crop = 0.875
[[grid]]
backbones = ["Grey"]
[[grid]]
strategies = ["finetune"]
stages = [{ unfreeze = 0, epochs = 2, learning_rate = 1e-2 }, { unfreeze = 3, epochs = 2, learning_rate = 1e-3 }]
[[grid]]
backbones = ["small_cnn"]
strategies = ["scratch"]
stages = [{ epochs = 2 }]
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a registry and the ledger `results/pets`, whose runs kept their weights."""
    folder = tmp_path_factory.mktemp("export")
    rng = np.random.default_rng(5)
    for name, low, high in (("cat", 0, 170), ("dog", 90, 256), ("emu", 40, 220)):
        (folder / "pets" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(low, high, (20 + number, 40 - number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pets" / name / f"{number}.png")
    (folder / "networks.py").write_text(NETWORKS)
    (folder / "tiny.toml").write_text(REGISTRY)
    (folder / "pets.toml").write_text(RECIPE)
    start_server(folder / "server.log")
    with pytest.MonkeyPatch.context() as context:
        context.chdir(folder)
        context.setenv("BENCHMARK_CACHE", str(folder / "cache"))
        context.setattr(sys, "argv", ["benchmark", "run", "pets.toml", "--registry", "tiny.toml", "--keep-weights"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    return folder


@pytest.fixture
def rows(sweep: Path) -> pd.DataFrame:
    """The rows of the ledger by strategy and head, but for those of the grey network."""
    runs = Ledger(sweep / "results" / "pets").read_runs()
    return runs[runs["backbone"] != "Grey"].set_index(["strategy", "head"])


EXPORTED = [("probe", "linear"), ("probe", "dense"), ("finetune", "dense"), ("scratch", "")]


@pytest.mark.parametrize("kind", sampled(EXPORTED, EXPORTED[1:3]), ids=lambda kind: " ".join(kind).strip())
def test_an_exported_model_predicts_for_files_what_its_run_predicted(
    kind: tuple[str, str], sweep: Path, rows: pd.DataFrame, program: Program, tmp_path: Path
):
    run_id, out = rows.loc[kind, "run_id"], tmp_path / "model.keras"

    exported = program(sweep, "export", run_id, "--registry", "tiny.toml", "--out", str(out), "--json")

    assert exported.returncode == 0, exported.stderr
    made = json.loads(exported.stdout)
    assert (made["n_checked"], made["n_undecided"], made["row"]["run_id"]) == (12, 0, run_id)
    assert "training again" not in exported.stderr
    dataset = load_dataset(f"folder:{sweep / 'pets'}")
    files = [str(dataset.images.places[place]) for place in dataset.test]
    predicted = program(sweep, "predict", str(out), *files, "--json", "--top", "1")
    assert predicted.returncode == 0, predicted.stderr
    found = [one["classes"][0] for one in json.loads(predicted.stdout)]
    classes, scores = Ledger(sweep / "results" / "pets").read_predictions(run_id) or ((), ())
    assert [one["class"] for one in found] == [dataset.class_names[place] for place in classes]
    np.testing.assert_allclose([one["probability"] for one in found], scores, atol=1e-3)  # kept as float16


def test_a_network_of_grey_images_takes_the_luminance_of_colours_as_in_its_run(
    sweep: Path, program: Program, tmp_path: Path
):
    runs = Ledger(sweep / "results" / "pets").read_runs().set_index("backbone")

    exported = program(
        sweep, "export", runs.loc["Grey", "run_id"], "--registry", "tiny.toml", "--out", str(tmp_path / "grey.keras")
    )

    assert exported.returncode == 0, exported.stderr
    assert "12 of 12 test images" in exported.stdout


def test_without_kept_weights_a_run_is_trained_again(sweep: Path, rows: pd.DataFrame, program: Program, tmp_path: Path):
    run_id, out = rows.loc[("finetune", "dense"), "run_id"], tmp_path / "model.keras"
    kept = sweep / "results" / "pets" / WEIGHTS / f"{run_id}.npz"
    hidden = kept.rename(tmp_path / "hidden.npz")

    exported = program(sweep, "export", run_id[:10], "--registry", "tiny.toml", "--out", str(out))

    hidden.rename(kept)
    assert exported.returncode == 0, exported.stderr
    assert "training again, about" in exported.stderr
    assert "12 of 12 test images" in exported.stdout


def test_the_best_run_is_one_of_mode_native_and_says_where_it_comes_from(sweep: Path, program: Program, tmp_path: Path):
    out = tmp_path / "best.keras"

    exported = program(sweep, "export", "--best", "results/pets", "--registry", "tiny.toml", "--out", str(out))

    assert exported.returncode == 0, exported.stderr
    facts = json.loads(zipfile.ZipFile(out).read(FACTS))
    runs = Ledger(sweep / "results" / "pets").read_runs()
    assert facts["row"]["accuracy"] == runs["accuracy"].max()
    assert facts["class_names"] == ["cat", "dog", "emu"]
    assert facts["row"]["dataset_fingerprint"] == runs["dataset_fingerprint"][0]


ALONE = """
import sys
sys.modules["benchmark"] = None  # as if it were not installed
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
images = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(images, verbose=0))
"""


def test_a_keras_file_needs_nothing_but_keras(sweep: Path, rows: pd.DataFrame, program: Program, tmp_path: Path):
    out, images, found = tmp_path / "model.keras", tmp_path / "images.npy", tmp_path / "found.npy"
    run_id = rows.loc[("probe", "linear"), "run_id"]
    program(sweep, "export", run_id, "--registry", "tiny.toml", "--out", str(out))
    dataset = load_dataset(f"folder:{sweep / 'pets'}")
    place = int(dataset.test[0])
    np.save(images, dataset.images.read([place])[0][np.newaxis])

    subprocess.run([sys.executable, "-c", ALONE, *map(str, (out, images, found))], check=True, capture_output=True)

    classes, scores = Ledger(sweep / "results" / "pets").read_predictions(run_id) or ((), ())
    probabilities = np.load(found)[0]
    assert probabilities.argmax() == classes[0]
    assert probabilities.max() == pytest.approx(scores[0], abs=0.02)  # resized by Keras, not by Pillow


@pytest.mark.parametrize("suffix", sampled([".onnx", ".tflite", ""], [".onnx"]))
def test_other_formats_are_run_before_they_are_kept(
    suffix: str, sweep: Path, rows: pd.DataFrame, program: Program, tmp_path: Path
):
    out = tmp_path / f"model{suffix}"
    run_id = rows.loc[("finetune", "dense"), "run_id"]
    form = () if suffix else ("--format", "saved_model")

    exported = program(sweep, "export", run_id, "--registry", "tiny.toml", "--out", str(out), *form)

    assert exported.returncode == 0, exported.stderr
    assert "12 of 12 test images" in exported.stdout
    assert out.exists()
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_model_that_predicts_otherwise_is_not_written(
    sweep: Path, rows: pd.DataFrame, program: Program, tmp_path: Path
):
    run_id = rows.loc[("probe", "linear"), "run_id"]
    ledger = Ledger(sweep / "results" / "pets")
    weights = ledger.read_weights(run_id) or []
    ledger.save_weights(run_id, [-weights[0], weights[1]])

    exported = program(sweep, "export", run_id, "--registry", "tiny.toml", "--out", str(tmp_path / "model.keras"))

    ledger.save_weights(run_id, weights)
    assert exported.returncode == 2
    assert "otherwise than the run" in exported.stderr
    assert not list(tmp_path.iterdir())


def refused(program: Program, folder: Path, *arguments: str) -> str:
    ended = program(folder, *arguments)
    assert ended.returncode == 2, ended.stdout
    assert "Traceback" not in ended.stderr
    return " ".join(ended.stderr.split())


@pytest.mark.parametrize("head", ["knn", "prototype"])
def test_a_head_without_layers_is_refused(head: str, sweep: Path, rows: pd.DataFrame, program: Program):
    run_id = rows.loc[("probe", head), "run_id"]

    assert "export a run with the head linear or dense" in refused(program, sweep, "export", run_id)


def test_data_that_is_gone_or_changed_is_refused(sweep: Path, rows: pd.DataFrame, program: Program, tmp_path: Path):
    run_id = rows.loc[("probe", "linear"), "run_id"]
    call = ("export", run_id, str(sweep / "results"), "--registry", str(sweep / "tiny.toml"))

    assert "pets is not a folder" in refused(program, tmp_path, *call)

    (tmp_path / "pets").symlink_to(sweep / "pets")
    extra = sweep / "pets" / "cat" / "another.png"
    extra.write_bytes((sweep / "pets" / "dog" / "1.png").read_bytes())
    said = refused(program, tmp_path, *call)
    extra.unlink()
    assert "has changed since run" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give the run_id of a row, or --best LEDGER."),
        (("--best", "results/pets", "--out", "model.pt"), "give --out a name that ends in .keras, .onnx, .tflite"),
        (("--best", "results/pets", "--out", "model.keras", "--format", "tflite"), "is named *.tflite"),
        (("--best", "results/pets", "--format", "saved_model", "--out", "a.keras"), "a name without this suffix"),
        (("--best", "results/pets", "--format", "pickle"), "Unknown format 'pickle'"),
        (("--best", "results/pets", "--format", "saved_model", "--out", "pets"), "is a folder of other things"),
        (("--best", "results/pets", "--out", "results/pets/weights/a.keras"), "belongs to the ledger"),
        (("nonsense",), "No run begins with 'nonsense'"),
    ],
)
def test_a_mistake_in_the_call_says_what_to_do(arguments: tuple[str, ...], said: str, sweep: Path, program: Program):
    assert said in refused(program, sweep, "export", *arguments)


def test_a_failed_run_is_refused(sweep: Path, program: Program, tmp_path: Path):
    table = Ledger(sweep / "results" / "pets").read_runs()
    failed = Ledger(tmp_path / "failed")
    row = table.iloc[0].to_dict()
    failed.append_run({**row, "status": "failed", "error_type": "oom", "error_message": "too large", "accuracy": None})

    assert "failed (oom: too large)" in refused(program, sweep, "export", row["run_id"], str(tmp_path / "failed"))


def test_a_ledger_of_a_newer_version_is_refused(sweep: Path, program: Program, tmp_path: Path):
    table = (sweep / "results" / "pets" / "runs.csv").read_text().replace("\n2,", "\n99,")
    (tmp_path / "runs.csv").write_text(table)

    assert "has rows of schema [99]" in refused(program, sweep, "export", "--best", str(tmp_path))


@pytest.mark.parametrize("content", [b"no model", b""])
def test_a_file_that_is_no_exported_model_is_refused(content: bytes, sweep: Path, program: Program, tmp_path: Path):
    (tmp_path / "other.keras").write_bytes(content)

    said = refused(program, sweep, "predict", str(tmp_path / "other.keras"), "pets")

    assert "is not a model that 'benchmark export' wrote" in said


def test_a_model_of_another_version_is_refused(program: Program, sweep: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "new.keras", "w") as members:
        members.writestr(FACTS, json.dumps({"version": 99, "harness_version": "9.9"}))

    assert "another version of backbone-benchmark (9.9)" in refused(
        program, sweep, "predict", str(tmp_path / "new.keras"), "pets"
    )


@pytest.mark.parametrize("name", ["model.tflite", "folder", "model.toml"])
def test_what_is_no_keras_file_is_not_predicted_with(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()

    with pytest.raises(BenchmarkError, match=r"predict takes a \.keras file: export the run with --out NAME\.keras"):
        predict_table(tmp_path / name, [tmp_path])


@pytest.mark.parametrize("place", ["..", ".photos"])
def test_images_are_found_in_a_folder_that_is_named_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    inside = tmp_path / ".photos" / "inside"
    inside.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / ".photos" / "a.png")
    (tmp_path / ".photos" / ".b.png").touch()
    monkeypatch.chdir(inside if place == ".." else tmp_path)

    assert find_images([Path(place)]) == [Path(place, "a.png")]


def test_grey_of_16_bits_is_scaled_as_it_was_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(5):
            write_grey(tmp_path / "pets" / name / f"{number}.png", [0, 16 * (200 + number)])
    file = tmp_path / "pets" / "cat" / "3.png"
    dataset = load_dataset(f"folder:{tmp_path / 'pets'}")
    facts = {
        "view": {"size_px": 1, "resize": "nearest", "crop": "squash"}, "n_channels": 3,
        "grey_shift": dataset.grey_shift,
    }  # fmt: skip
    extractor = SimpleNamespace(features=lambda pixels: pixels.reshape(len(pixels), -1))
    monkeypatch.setattr("benchmark.exporting.predicting.read_facts", lambda _: facts)
    monkeypatch.setattr("benchmark.exporting.predicting._extractor", lambda *_: extractor)

    (predicted,) = predict_files(Path("model.keras"), [file], "tensorflow")

    (pixels,) = dataset.images.take([3]).source(View(1, "nearest", "squash")).take(np.array([0]))
    assert predicted.probabilities.tolist() == pixels.ravel().tolist()
    assert predicted.probabilities.max() == 203


def test_a_class_may_have_the_name_of_a_column(monkeypatch: pytest.MonkeyPatch):
    predictions = [Prediction(0, np.array([0.25, 0.75], np.float32), "")]
    monkeypatch.setattr("benchmark.exporting.files.read_facts", lambda _: {"class_names": ["file", "fault"]})
    monkeypatch.setattr("benchmark.exporting.predicting.find_images", lambda _: [Path("a.png")])
    monkeypatch.setattr("benchmark.actions.predicting.iterate_in_child", lambda *_: iter(predictions))

    table = predict_table(Path("model.keras"), [Path("a.png")])

    assert table.columns.tolist() == ["file", "fault", "file", "fault"]
    assert table.iloc[0].tolist() == ["a.png", "", 0.25, 0.75]


@pytest.mark.parametrize(
    ("row", "is_exportable"),
    [
        ({}, True),
        ({"head": "knn"}, False),
        ({"mode": "unit"}, False),
        ({"strategy": "finetune", "head": "dense"}, True),
        ({"strategy": "finetune", "head": "dense", "mode": "unit"}, False),
        ({"strategy": "scratch", "head": "", "mode": "unit"}, True),
        ({"strategy": "classify", "head": ""}, False),
        ({"status": "failed"}, False),
    ],
)
def test_the_best_row_is_one_that_can_be_exported_and_whose_preprocessing_is_right(
    row: dict[str, str], is_exportable: bool
):
    rows = pd.DataFrame([{"status": "done", "mode": "native", "strategy": "probe", "head": "linear", **row}])

    assert are_exportable(rows).tolist() == [is_exportable]


def test_bad_files_are_named_and_the_others_predicted(
    sweep: Path, rows: pd.DataFrame, program: Program, tmp_path: Path
):
    out, photos = tmp_path / "model.keras", tmp_path / "photos"
    photos.mkdir()
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "notes.txt").write_text("no image either")
    for number in range(40):
        Image.new("RGB", (30, 20 + number), (number, 0, 200)).save(photos / f"{number:02d}.png")
    program(sweep, "export", rows.loc[("probe", "dense"), "run_id"], "--registry", "tiny.toml", "--out", str(out))

    predicted = program(sweep, "predict", str(out), str(photos), "--csv", "--top", "2")

    assert predicted.returncode == 1
    assert "bad.png cannot be decoded" in predicted.stderr
    assert "1 file of 41 could not be predicted" in predicted.stderr
    lines = predicted.stdout.splitlines()
    assert lines[0] == "file,rank,class,probability"
    assert len(lines) == 1 + 40 * 2
    assert lines[1].split(",")[0] == str(photos / "00.png")


SIZES = ((8, 8), (24, 24), (96, 64), (64, 50), (500, 333), (30, 29), (29, 30))
# In other sizes the edge of a filter meets the middle of a pixel, and Pillow's own rounding decides.
SIZES_OF_STEPS = {"nearest": ((25, 25), (333, 501), (29, 31)), "area": ((8, 8), (96, 64), (40, 72), (800, 32))}
VIEWS = [View(24, name, crop) for name in RESIZERS for crop in ("squash", "crop")] + [
    View(24, name, 0.875) for name in RESIZERS if name not in SIZES_OF_STEPS
]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_images_are_resized_in_the_model_as_in_the_run(view: View, rng: np.random.Generator):
    import keras

    from benchmark.exporting.resizing import resized

    images = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(images, resized(keras.ops.cast(images, "float32"), view))
    for size in SIZES_OF_STEPS.get(view.resize, SIZES):
        smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size)

        made = np.asarray(model(np.asarray(smooth)[np.newaxis]))[0]

        off = np.abs(made - resize(smooth, view).astype(np.float32))
        is_exact = view.resize == "bilinear-antialias" and isinstance(view.crop, str)
        assert off.max() <= (0 if is_exact else 2), size  # one for each axis, where the sum ends in about .5
        assert off.mean() < (0.05 if isinstance(view.crop, str) else 0.25), size


def test_grey_is_that_of_pillow(rng: np.random.Generator):
    import keras

    from benchmark.exporting.predicting import _grey
    from benchmark.exporting.resizing import to_grey

    pixels = rng.integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in pixels])[..., np.newaxis]

    assert np.array_equal(np.asarray(to_grey(keras.ops.cast(pixels, "float32"))), expected)
    assert np.array_equal(np.stack([*map(_grey, pixels)]), expected)


def test_standardisation_is_folded_into_the_weights(rng: np.random.Generator):
    from benchmark.options import DenseOptions
    from benchmark.strategies.linear import fit_linear
    from benchmark.strategies.outcome import HeadData

    features = (rng.normal(3, 2, (200, 6)) * [1, 10, 0.1, 1, 1, 0]).astype(np.float32)
    labels = (features[:, 0] > 3).astype(np.int64) + 2 * (features[:, 1] > 30)  # class 4 has no image
    data = HeadData(features[:150], labels[:150], features[150:], labels[150:], 5)

    fitted = fit_linear(data, 0, DenseOptions())

    kernel, bias = fitted.weights
    logits = features @ kernel + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, fitted.scores(features), atol=1e-5)
    assert not shares[:, 4].any()
