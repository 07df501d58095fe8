"""The command line: what it prints, how it ends, and what it says to a mistake."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from sampling import sampled
from toy_images import write_classes
from toy_ledgers import add
from toys import a_run

from benchmark import __version__
from benchmark.charts import PLOTS
from benchmark.cli.app import app
from benchmark.errors import DownloadError
from benchmark.ledger import DONE, FAILED, RUNS, SCHEMA, Ledger

NAMES = sorted(typer.main.get_command(app).commands)

# Dense(256) on nine frozen backbones and ten classes: the published parameter counts of experiment E1.
E1_PARAMS = {
    "ResNet50": 24_114_826,
    "ResNet101": 43_185_290,
    "ResNet152": 58_898_058,
    "VGG16": 14_848_586,
    "VGG19": 20_158_282,
    "EfficientNetB0": 4_380_077,
    "EfficientNetB3": 11_179_577,
    "MobileNetV3Large": 3_244_938,
    "MobileNetV2": 2_588_490,
}

# Runs the program and fails if that imported TensorFlow.
WITHOUT_TENSORFLOW = """
import sys
from benchmark.cli import main
loaded = {"numpy", "pandas"} & set(sys.modules)  # `--help` and completion need not wait for them
try:
    main()
except SystemExit as ended:
    code = ended.code
loaded |= {"tensorflow", "keras"} & set(sys.modules)
sys.exit(f"loaded {loaded}" if loaded else code)
"""


Call = Callable[..., Any]


@pytest.fixture
def call(call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """As in all tests, on a wide screen."""
    monkeypatch.setenv("COLUMNS", "200")
    return call


def in_process_of_its_own(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def write_ledger(folder: Path) -> Ledger:
    ledger = Ledger(folder)
    for number, (backbone, accuracy) in enumerate((("NetA", 0.8), ("NetB", 0.9))):
        ledger.append_run(
            {
                "schema": SCHEMA, "run_id": f"run{number}", "cell_key": f"key{number}", "status": DONE,
                "backbone": backbone, "dataset": "digits", "mode": "native", "strategy": "probe", "head": "linear",
                "input_size_px": 64, "resize": "bilinear", "crop": "squash", "engine": "tensorflow",
                "precision": "float32", "seed": 0,
                "n_test": 100, "accuracy": accuracy, "params_total": 1_000_000 * (1 + number), "wall_s": 3.0,
                "efficiency": accuracy / (1 + number), "peak_rss_mib": 100.0, "images_per_s": 10.0,
            }
        )  # fmt: skip
    return ledger


# --- the program -----------------------------------------------------------------------------------------------------


def test_an_entry_of_a_preset_that_is_not_here_is_left_out_of_the_list(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    presets = '[Preset]\nhub = "vit_base"\n[ResNet50]\nhub = "vit_base"\n'
    (tmp_path / "backbones.toml").write_text(OWN_BACKBONE + presets)

    def refuse(*_: object) -> None:
        raise DownloadError("The preset vit_base is not on this machine.")

    monkeypatch.setattr("benchmark.registry.files.read_preset", refuse)
    answer = call("list", "backbones", "--json")

    assert answer.code == 0
    assert [record["name"] for record in json.loads(answer.out)] == ["Own"]
    said = " ".join(answer.err.split())
    assert "Left out: backbones.toml, table [Preset]: The preset vit_base is not on this machine." in said
    assert "changes ResNet50" in answer.err
    assert "Left out" not in call("list", "datasets").err, "nobody asked for them"


def test_where_nothing_failed_yet_there_is_nothing_to_do(call: Call, tmp_path: Path, unexamined: None):
    (tmp_path / "own.toml").write_text(OWN_BACKBONE)

    answer = call("run", "--backbones", "Own", "--datasets", "digits", "--registry", "own.toml", "--when", "failed")

    assert (answer.code, answer.out) == (0, "")
    assert "Nothing to do in results/custom: 1 missing." in answer.err


def test_help_names_every_command(call: Call):
    answer = call("--help")

    assert answer.code == 0
    assert len(NAMES) >= 19
    for command in NAMES:
        assert re.search(rf"\b{command}\b", answer.out), command


@pytest.mark.parametrize("command", NAMES)
def test_each_command_has_a_help_of_its_own(call: Call, command: str):
    answer = call(command, "--help")

    assert answer.code == 0
    assert re.search(rf"Usage: .*\b{command} ", answer.out)


def test_version_is_that_of_the_package(call: Call):
    answer = call("--version")

    assert (answer.code, answer.out) == (0, f"backbone-benchmark {__version__}\n")


def test_the_module_can_be_run(tmp_path: Path):
    ended = in_process_of_its_own("--version", cwd=tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"backbone-benchmark {__version__}\n", "")


@pytest.mark.slow
def test_a_mistake_ends_the_process_with_2_and_without_a_traceback(tmp_path: Path):
    ended = in_process_of_its_own("leaderboard", "absent", cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: There is no runs.csv in absent")
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path):
    command = f'"{sys.executable}" -m benchmark list backbones | head -1'

    ended = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr == ""


QUICK = ["--help", "leaderboard toy", "plot toy --out x", "report toy --out x.html", "list backbones", "cache list"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", sampled(QUICK, QUICK[2:4]))
def test_what_needs_no_network_does_not_import_tensorflow(tmp_path: Path, arguments: str):
    write_ledger(tmp_path / "toy")
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments.split()], cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stderr.replace("None yet.\n", "")) == (0, "")


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--timeout", ("run", "--timeout")),
        ("--jobs", ("run", "--jobs")),
        ("--timeout", ("verify", "toy", "--timeout")),
        ("--max-gib", ("cache", "prune", "--max-gib")),
        ("--older-than-days", ("cache", "prune", "--older-than-days")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
@pytest.mark.parametrize("number", ["nan", "inf", "-1", "1e300"])
def test_a_number_out_of_its_range_is_told_by_the_parser(
    call: Call, option: str, arguments: tuple[str, ...], number: str
):
    answer = call(*arguments, number)

    assert (answer.code, answer.out) == (2, "")
    assert f"Invalid value for '{option}'" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [("runn",), ("run", "--backbone", "x"), ("run", "--limit", "many"), ("list",), ("leaderboard", "--by")],
    ids=" ".join,
)
def test_a_wrong_usage_is_told_by_the_parser(call: Call, arguments: tuple[str, ...]):
    answer = call(*arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert "Error" in answer.err
    assert "Traceback" not in answer.err


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--backbones", "ResNet5O"), r"Unknown backbone 'ResNet5O'\. Did you mean 'ResNet50'\?"),
        (("run", "--datasets", "digit"), r"Unknown dataset 'digit'\. Did you mean 'digits'\?"),
        (("run", "--modes", "cafe"), r"Unknown mode 'cafe'\. Did you mean 'caffe'\?"),
        (("run", "--heads", "lineer"), r"Unknown head 'lineer'\. Did you mean 'linear'\?"),
        (("run", "--strategies", "prob"), r"Unknown strategy 'prob'\. Did you mean 'probe'\?"),
        (("run", "dmeo"), r"Unknown recipe 'dmeo'\. Did you mean 'demo'\?"),
        (("run", "absent.toml"), r"absent\.toml cannot be read"),
        (("run", "demo", "--when", "mising"), r"Unknown value of --when 'mising'\. Did you mean 'missing'\?"),
        (("run", "--resize", "bilinaer"), r"'bilinaer'.*Did you mean 'bilinear'\?"),
        (("run", "--crop", "squish"), r"'squish'.*Did you mean 'squash'\?"),
        (("run", "--precision", "float64"), r"precision: .*'float32', 'bfloat16' or 'float16'.*'float64'"),
        (("run", "--precision", "float16"), "float16 needs a GPU that TensorFlow can use"),
        (("run", "--crop", "1"), "crop: .*squash, crop, or a share"),
        (("run", "--seeds", "0,one"), r"--seeds takes whole numbers .* got '0,one'"),
        (("run", "--seeds", "-1"), r"seeds.*greater than or equal to 0.*-1"),
        (("run", "--seeds", ","), r"--seeds: Give at least one"),
        (("run", "--seeds", "4294967296"), r"--seeds: .*less than 4294967296"),
        (("run", "--seeds", "1,1"), r"--seeds: 1 is given twice"),
        (("run", "--modes", ""), r"--modes: Give at least one"),
        (("run", "--backbones", "a\nb"), r"Not a comma separated list: 'a\\nb'.*double quotes"),
        (("run", "--where", "seed=0", "--where", "seed=1"), r"--where gives seed twice"),
        (("run", "--folds", "1"), r"--folds: .*greater than or equal to 2"),
        (("run", "--folds", "1000"), r"folds = 1000: class '8' of digits has only 174 different images"),
        (("run", "--shots", "1,few"), r"--shots takes whole numbers .* got '1,few'"),
        (("run", "--shots", "5,0"), r"--shots: .*greater than or equal to 1"),
        (("run", "--shots", ","), r"--shots: Give at least one"),
        (("run", "--shots", "1,200"), r"shots = 200: class '8' of digits has only 125 different training images"),
        (("run", "--val-fraction", "0"), r"--val-fraction: .*greater than 0"),
        (("run", "--val-fraction", "1"), r"--val-fraction: .*less than 1"),
        (("run", "--val-fraction", "nan"), r"--val-fraction: .*finite number"),
        (("run", "--val-fraction", "0.001"), r"raise val_fraction \(--val-fraction\) to 0\.01 or more"),
        (("run", "--input-size", "0"), r"--input-size: .*greater than or equal to 1"),
        (("run", "--input-size", "100000"), r"--input-size: .*less than or equal to 4096"),
        (("run", "--max-bad-images", "-1"), r"--max-bad-images: .*greater than or equal to 0"),
        (("run", ""), r"Unknown recipe ''"),
        (("run", "."), r"Unknown recipe '\.'"),
        (("run", "--registry", "."), r"\. cannot be read: it is not a regular file"),
        (("status", ""), r"Unknown recipe ''"),
        (("verify", "toy", "--cells", "0"), r"--cells takes a number of cells or 'all', got '0'"),
        (("verify", "toy", "--cells", "²"), r"--cells takes a number of cells or 'all', got '²'"),
        (("run", "--limit", "0"), r"--limit: .*greater than or equal to 1.*got 0"),
        (("run", "--limit", "5"), r"--limit 5 of digits cannot be drawn"),
        (("run", "--name", "../up", "--seeds", "0"), r"name: .*'\.\./up'"),
        (
            ("run", "--backbones", "VGG16", "--input-size", "31"),
            r"VGG16 needs an input of at least 32 px, got 31 px: choose a larger --input-size",
        ),
        (("run", "--registry", "absent.toml"), r"absent\.toml cannot be read"),
        (("run", "--datasets", "folder:absent"), r"absent"),
        (("run", "--datasets", "idx:absent"), r"absent"),
        (("run", "--classes", "cat"), r"classes can be chosen for folder: datasets only, not for digits"),
        (("inspect", "ResNet5O"), r"Unknown backbone 'ResNet5O'\. Did you mean 'ResNet50'\?"),
        (("inspect", "VGG16", "--mode", "unti"), r"Unknown mode 'unti'\. Did you mean 'unit'\?"),
        (("inspect", "absent.keras"), r"There is no file absent\.keras"),
        (("inspect", "models/absent"), r"There is no file models/absent"),
        (("inspect", "toy/runs.csv"), r"toy/runs\.csv is not a \.keras or \.h5 file: save the model"),
        (("inspect", "VGG16", "--registry", "absent.toml"), r"absent\.toml cannot be read"),
        (("status", "dmeo"), r"Unknown recipe 'dmeo'\. Did you mean 'demo'\?"),
        (("list", "backbone"), r"Unknown list 'backbone'\. Did you mean 'backbones'\?"),
        (("leaderboard", "absent"), r"There is no runs\.csv in absent or below it: .*'benchmark run'"),
        (("leaderboard",), r"There is no runs\.csv in results"),
        (("leaderboard", "toy", "--by", "acuracy"), r"Unknown column to rank by 'acuracy'\. Did you mean 'accuracy'\?"),
        (("leaderboard", "toy", "--format", "markdown"), r"Unknown format 'markdown'.*csv, json, md, spreadsheet"),
        (("plot", "toy", "--only", "paretto"), r"Unknown plot 'paretto'\. Did you mean 'pareto'\?"),
        (("plot", "toy", "--formats", "pgn"), r"Unknown format 'pgn'\. Did you mean 'png'\?"),
        (("fetch", "--datasets", "digit"), r"Unknown dataset 'digit'\. Did you mean 'digits'\?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_named_with_what_to_do(call: Call, tmp_path: Path, arguments: tuple[str, ...], message: str):
    write_ledger(tmp_path / "toy")

    answer = call(*arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("Error: ")
    assert re.search(message, answer.err, re.DOTALL), answer.err
    assert not (tmp_path / "results").exists(), "a mistake left something behind"


def test_an_unknown_key_of_a_registry_is_named_with_its_file_and_table(call: Call, tmp_path: Path):
    (tmp_path / "mine.toml").write_text(
        '[Mine]\napplication = "VGG16"\nmode = "caffe"\nsize = 64\ninput_size_px = 64\n'
    )

    answer = call("list", "backbones", "--registry", "mine.toml")

    assert answer.code == 2
    assert re.search(r"mine\.toml, table \[Mine\]:\n  size: not a key here\. ", answer.err)


def test_an_unknown_key_of_a_recipe_is_named_with_its_file_and_table(call: Call, tmp_path: Path):
    (tmp_path / "mine.toml").write_text('name = "mine"\n[[grid]]\nbackbone = ["VGG16"]\n')

    answer = call("run", "mine.toml")

    assert answer.code == 2
    assert re.search(
        r"mine\.toml, table \[\[grid\]\] number 1:\n  backbone: not a key here\. Did you mean 'backbones'", answer.err
    )


def test_a_number_of_the_registry_cannot_upset_the_estimate(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("benchmark.plan.planning.examine_networks", lambda *_: {})  # its module does not exist
    entry = '[Big]\nbuilder = "nets:big"\nweights = "random"\nmode = "tf"\ninput_size_px = 4096\n'
    (tmp_path / "mine.toml").write_text(
        f"{entry}flops_g = 1.7e308\nfeature_dim = {2**63 - 1}\nparams_backbone = {2**63 - 1}"
    )

    answer = call("run", "--registry", "mine.toml", "--backbones", "Big", "--seeds", "0", "--dry-run", "--json")

    assert answer.code == 0
    assert math.isfinite(json.loads(answer.out)["estimate_s"])


def test_an_infinite_number_of_a_registry_is_named(call: Call, tmp_path: Path):
    (tmp_path / "mine.toml").write_text(
        '[Mine]\napplication = "VGG16"\nmode = "caffe"\ninput_size_px = 64\nflops_g = inf'
    )

    answer = call("run", "--registry", "mine.toml", "--backbones", "Mine", "--dry-run")

    assert answer.code == 2
    assert answer.err == "Error: mine.toml: Mine.flops_g should be a finite number (got inf).\n"


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_seeds_that_are_not_run_are_said_before_anything_runs(
    call: Call, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    n_run: list[int] = []
    monkeypatch.setattr("benchmark.actions.sweeps.run_chosen", lambda chosen, *_, **__: n_run.append(len(chosen)) or 0)
    monkeypatch.setattr("benchmark.cli.running.show_ended", lambda *_, **__: None)
    for split in ("train", "val", "test"):
        write_classes(tmp_path / "pets" / split, {"cat": 3, "dog": 3})

    answer = call("run", "--datasets", "folder:pets", "--heads", "knn", "--seeds", "0,1,2", *options)

    assert answer.code == 0
    assert "folder:pets: knn is not run with seed 1, 2: it would repeat seed 0" in " ".join(answer.err.split())
    assert n_run == ([] if options else [1])
    assert ("1 cell, 1 pass" in answer.out) == bool(options)


def test_the_validation_fraction_is_an_option(call: Call):
    answer = call("run", "demo", "--val-fraction", "0.25", "--dry-run", "--json")

    assert {cell["val_fraction"] for cell in json.loads(answer.out)["cells"]} == {0.25}


def test_results_that_cannot_be_written_end_with_2(call: Call, tmp_path: Path):
    (tmp_path / "file").write_text("")

    answer = call("run", "demo", "--results", "file")

    assert answer.code == 2
    assert re.search(r"Error: file/demo cannot be a folder: .*--results", answer.err)


def test_a_ledger_of_an_unknown_schema_ends_with_2(call: Call, tmp_path: Path):
    path = write_ledger(tmp_path / "toy").folder / RUNS
    path.write_text(path.read_text().replace("\n2,", "\n7,"))

    answer = call("leaderboard", "toy")

    assert answer.code == 2
    assert re.search(r"schema \[7\].*reads schemas 1 to 2", answer.err)


def test_what_is_left_out_of_a_dataset_is_said_once_and_not_in_the_json(call: Call, tmp_path: Path):
    write_classes(tmp_path / "pets", {"cat": 20, "dog": 20})
    shutil.copy(tmp_path / "pets" / "cat" / "0.png", tmp_path / "pets" / "dog" / "copy.png")
    (tmp_path / "pets" / "dog" / "a.heic").touch()
    (tmp_path / "pets" / "notes.txt").touch()
    arguments = ("run", "--datasets", "folder:pets", "--modes", "native,unit", "--seeds", "0,1", "--dry-run", "--json")

    plain, dropped = call(*arguments), call(*arguments, "--drop-duplicates")

    assert len(json.loads(plain.out)["cells"]) == 4
    for said in (
        "folder:pets: left out, images of a format that Pillow cannot read: 1 (.heic 1)\n",
        "folder:pets: copies of images in several classes: 2 (cat/0.png = dog/copy.png)\n",
        "folder:pets: left out, files that are no images: 1 (.txt 1)\n",
        "--drop-duplicates leaves them out.\n",
    ):
        assert plain.err.count(said) == 1, plain.err
    assert len(json.loads(dropped.out)["cells"]) == 4
    assert "left out, copies of images: 2 (cat/0.png, dog/copy.png)\n" in dropped.err
    assert "--drop-duplicates" not in dropped.err


def test_shots_are_shown_where_a_cell_has_some(call: Call):
    few, all_images = call("run", "--shots", "1,25", "--dry-run"), call("run", "--seeds", "0", "--dry-run")

    assert " Shots " in few.out
    assert " 25 " in few.out
    assert "2 cells, 1 pass over images" in few.out
    assert "Shots" not in all_images.out


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("backbones", {"ResNet50", "EfficientNetV2B0", "MobileNetV2-dogs", "VGG16-hed"}),
        ("datasets", {"digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "idx:FOLDER", "folder:PATH"}),
        ("modes", {"native", "unit", "raw", "tf", "caffe", "torch", "double", "bgr"}),
        ("heads", {"linear", "ridge", "knn", "prototype", "dense"}),
        ("networks", {"lenet5", "simple_cnn", "conv_bn", "small_cnn", "two_conv", "two_conv_bn", "separable_net"}),
        ("recipes", {"demo", "fashion_mnist", "few_shot"}),
    ],
)
def test_a_list_as_json_has_the_names(call: Call, kind: str, names: set[str]):
    answer = call("list", kind, "--json")

    assert answer.code == 0
    assert answer.err == ""
    assert names <= {record["name"] for record in json.loads(answer.out)}


@pytest.mark.parametrize("kind", ["backbones", "datasets", "modes", "heads", "networks", "recipes"])
def test_a_list_as_a_table_has_a_line_for_every_record(call: Call, kind: str):
    records = json.loads(call("list", kind, "--json").out)

    answer = call("list", kind)

    assert answer.code == 0
    for record in records:
        assert record["name"] in answer.out


def test_a_list_holds_the_backbones_of_a_registry_of_the_users(call: Call, tmp_path: Path):
    (tmp_path / "mine.toml").write_text('[Mine]\napplication = "VGG16"\nmode = "caffe"\ninput_size_px = 64\n')

    names = [
        record["name"] for record in json.loads(call("list", "backbones", "--registry", "mine.toml", "--json").out)
    ]

    assert names[-1] == "Mine"
    assert "ResNet50" in names


# --- dry runs --------------------------------------------------------------------------------------------------------


def test_the_published_parameter_counts_of_nine_backbones_come_out_exactly(call: Call):
    answer = call(
        "run", "--backbones", ",".join(E1_PARAMS), "--datasets", "digits", "--heads", "dense", "--dry-run", "--json"
    )

    assert answer.code == 0
    cells = json.loads(answer.out)["cells"]
    assert {cell["backbone"]: cell["params_total"] for cell in cells} == E1_PARAMS


def test_a_dry_run_of_imagenet_lists_every_network_and_says_that_its_images_are_not_here(
    call: Call, monkeypatch: pytest.MonkeyPatch
):
    def cannot_download(*_: object, **__: object) -> None:
        raise DownloadError("The dataset tfds:imagenet_v2 is not on this machine and cannot be downloaded.")

    monkeypatch.setattr("benchmark.plan.cells.load_dataset", cannot_download)

    answer, table = (call("run", "imagenet", "--limit", "100", "--dry-run", *more) for more in (("--json",), ()))

    cells = json.loads(answer.out)["cells"]
    assert len({cell["backbone"] for cell in cells}) == 38
    assert {(cell["limit"], cell["head"], cell["params_total"], cell["state"]) for cell in cells} == {
        (100, "", None, "missing")
    }
    assert table.err.count("tfds:imagenet_v2 is not on this machine") == 1
    assert "ConvNeXtXLarge" in table.out


def test_restricted_classes_need_the_strategy_that_has_them(call: Call):
    answer = call("run", "demo", "--restrict-classes")

    assert answer.code == 2
    assert "restrict_classes is for strategy 'classify'" in answer.err


@pytest.mark.slow
def test_a_dry_run_needs_neither_tensorflow_nor_weights_and_leaves_nothing(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, "run", "demo", "--dry-run", "--json"], cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")
    answer = json.loads(ended.stdout)
    assert len(answer["cells"]) == 2 * 3 * 2 * 3
    assert {cell["state"] for cell in answer["cells"]} == {"missing"}
    assert answer["estimate_s"] > 0
    assert list(tmp_path.iterdir()) == []


def test_options_replace_the_lists_of_a_recipe(call: Call):
    answer = call("run", "demo", "--modes", "bgr", "--seeds", "7,8", "--heads", "knn", "--dry-run", "--json")

    cells = json.loads(answer.out)["cells"]
    assert {(cell["mode"], cell["head"]) for cell in cells} == {("bgr", "knn")}
    assert {(cell["backbone"], cell["input_size_px"], cell["seed"]) for cell in cells} == {
        ("MobileNetV2-dogs", 64, 7), ("MobileNetV2-dogs", 64, 8), ("VGG16-hed", 32, 7), ("VGG16-hed", 32, 8),
    }  # fmt: skip


def test_a_wrong_mode_is_warned_of_once_a_backbone_and_mode(call: Call):
    answer = call(
        "run", "--backbones", "VGG16,MobileNetV2", "--modes", "unit,bgr", "--heads", "linear,knn", "--dry-run"
    )

    warnings = [line for line in answer.err.splitlines() if line.startswith("Warning: ")]
    assert warnings == [
        "Warning: mode unit is not what VGG16 was trained with (double-scaled, channels swapped).",
        "Warning: mode bgr is not what VGG16 was trained with (channels swapped).",
        "Warning: mode unit is not what MobileNetV2 was trained with (shifted).",
        "Warning: mode bgr is not what MobileNetV2 was trained with (channels swapped).",
    ]
    assert answer.err.count("'ablation = true' at the top of the recipe") == 1
    assert answer.code == 0
    assert "Warning" not in answer.out


@pytest.mark.parametrize(
    "lines", ['modes = ["native", "unit"]', 'modes = ["unit"]\nablation = true', 'modes = ["caffe"]'], ids=str
)
def test_what_is_meant_or_right_is_not_warned_of(call: Call, tmp_path: Path, lines: str):
    (tmp_path / "mine.toml").write_text(f'name = "mine"\nbackbones = ["VGG16"]\n{lines}\n')

    answer = call("run", "mine.toml", "--dry-run")

    assert (answer.code, answer.err) == (0, "")


def test_a_dry_run_for_people_says_how_many_cells_and_how_long(call: Call):
    answer = call("run", "demo", "--seeds", "0", "--dry-run")

    assert answer.code == 0
    assert re.search(r"12 cells, 6 passes over images\. About [\d.]+ (s|min|h)", answer.out)
    assert "MobileNetV2-dogs" in answer.out


def test_the_status_of_a_recipe_that_was_never_run(call: Call):
    records = json.loads(call("status", "demo", "--json").out)
    answer = call("status", "demo")

    assert {record["state"] for record in records} == {"missing"}
    assert answer.code == 0
    assert "demo: 36 missing." in answer.out


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_name", "first", "second"),
    [("table", "NetB", "NetA"), ("md", "| 1 | NetB |", "| 2 | NetA |"), ("csv", "\n1,1,1,,NetB,", "\n2,2,2,,NetA,")],
)
def test_a_leaderboard_is_printed_best_first(call: Call, tmp_path: Path, format_name: str, first: str, second: str):
    write_ledger(tmp_path / "toy")

    answer = call("leaderboard", "toy", "--format", format_name)

    assert (answer.code, answer.err) == (0, "")
    assert 0 <= answer.out.index(first) < answer.out.index(second)


def test_a_leaderboard_as_json_parses_and_ranks_by_the_column_asked_for(call: Call, tmp_path: Path):
    write_ledger(tmp_path / "toy")

    records = json.loads(call("leaderboard", "toy", "--by", "efficiency", "--format", "json").out)

    assert [(record["rank"], record["backbone"]) for record in records] == [(1, "NetA"), (2, "NetB")]


def test_failed_cells_are_mentioned_beside_the_leaderboard(call: Call, tmp_path: Path):
    ledger = write_ledger(tmp_path / "toy")
    ledger.append_run(
        {**a_run(), "run_id": "x", "cell_key": "x", "status": FAILED, "backbone": "NetC", "dataset": "digits"}
    )

    answer = call("leaderboard", "toy")

    assert answer.code == 0
    assert "Not ranked: 1 failed cell." in answer.out
    assert "NetC" not in answer.out


def test_names_with_brackets_are_shown_as_they_are(call: Call, tmp_path: Path):
    ledger = write_ledger(tmp_path / "toy")
    path = ledger.folder / RUNS
    path.write_text(path.read_text().replace("NetB", "Net[red]B").replace("digits", "folder:[bold]pets"))

    answer = call("leaderboard", "toy")

    assert "Net[red]B" in answer.out
    assert "folder:[bold]pets" in answer.out


def test_plots_are_written_and_named(call: Call, tmp_path: Path):
    write_ledger(tmp_path / "toy")

    answer = call("plot", "toy", "--out", "pictures", "--only", "pareto", "--formats", "svg")

    assert (answer.code, answer.out.split()) == (0, [str(Path("pictures", "pareto-digits.svg"))])
    assert (tmp_path / "pictures" / "pareto-digits.svg").stat().st_size > 1000


def test_a_plot_that_does_not_apply_is_explained_where_it_was_asked_for(call: Call, tmp_path: Path):
    write_ledger(tmp_path / "toy")

    alone = call("plot", "toy", "--out", "pictures", "--only", "seeds")
    other = call("plot", "toy", "--out", "pictures", "--only", "seeds,memory")

    reason = "seeds of digits is left out: every setting was run with one seed only."
    assert (alone.code, alone.out, alone.err) == (2, "", f"Error: There is nothing to draw.\n{reason}\n")
    assert (other.code, other.out.split()) == (0, [str(Path("pictures", "memory-digits.png"))])


def test_the_help_names_every_plot(call: Call):
    text = re.sub(r"[\s│]+", "", call("plot", "--help").out)

    assert ",".join(PLOTS) in text


def test_a_run_to_look_at_must_be_there(call: Call, tmp_path: Path):
    write_ledger(tmp_path / "toy")

    answer = call("plot", "toy", "--run", "run7")

    assert (answer.code, answer.out) == (2, "")
    assert "There is no finished run 'run7' in these ledgers" in answer.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("--only accuracy,abl", {"accuracy,ablation", "accuracy,ablation-heatmap"}),
        ("--formats svg,p", {"svg,png"}),
    ],
)
def test_names_of_plots_and_formats_are_completed(tmp_path: Path, words: str, names: set[str]):
    # Called by a file of its name, as the shell calls it.
    program = tmp_path / "benchmark"
    program.write_text("from benchmark.cli import main\nmain()\n")
    asked = {"_BENCHMARK_COMPLETE": "complete_bash", "COMP_WORDS": f"benchmark plot {words}", "COMP_CWORD": "3"}

    ended = subprocess.run(
        [sys.executable, str(program)], env=os.environ | asked, capture_output=True, text=True, timeout=60, check=False
    )

    assert set(ended.stdout.split()) == names, ended.stderr


# --- cache -----------------------------------------------------------------------------------------------------------


def test_an_empty_cache_is_listed_as_empty(call: Call):
    answer = call("cache", "list")
    records = json.loads(call("cache", "list", "--json").out)

    assert answer.code == 0
    assert answer.out.startswith("0 entries, 0.00 GiB in ")
    assert records == []


def test_an_empty_cache_can_be_pruned(call: Call):
    answer = call("cache", "prune")

    assert (answer.code, answer.out) == (0, "Removed 0 entries, 0.00 GiB.\n")


def test_fetching_data_that_is_at_hand_says_what_it_is(call: Call):
    answer = call("fetch", "--datasets", "digits")

    assert answer.code == 0
    assert re.search(r"^digits: 1,797 images, 10 classes, fingerprint [0-9a-f]{12}$", answer.out, re.MULTILINE)


# --- mistakes that a new user made -----------------------------------------------------------------------------------


def test_a_wrong_head_is_a_mistake_even_where_no_cell_has_a_head(call: Call):
    answer = call("run", "--backbones", "lenet5", "--strategies", "scratch", "--heads", "foo", "--dry-run")

    assert answer.code == 2
    assert "Unknown head 'foo'" in answer.err


def test_a_cache_that_cannot_be_written_is_said_before_anything_runs(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "file" / "cache"))

    answer = call("run", "demo", "--results", str(tmp_path / "results"))

    assert answer.code == 2
    assert "cannot be written" in answer.err
    assert "BENCHMARK_CACHE" in answer.err
    assert not (tmp_path / "results" / "demo" / "runs.csv").exists()


@pytest.mark.parametrize("place", ["mine", "results/mine", "./results/mine/"])
def test_status_knows_a_sweep_that_was_given_by_options(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(tmp_path / "results" / "mine")
    add(ledger, seed=0)
    add(ledger, seed=1, status=FAILED, error_type="oom", error_message="too big")

    answer = call("status", place, "--json")

    assert answer.code == 0
    assert [(cell["seed"], cell["state"], cell["reason"]) for cell in json.loads(answer.out)] == [
        (0, "done", ""), (1, "failed", "oom: too big"),
    ]  # fmt: skip


def test_a_text_where_a_number_belongs_is_named_with_its_column(call: Call, tmp_path: Path):
    ledger = Ledger(tmp_path / "results" / "mine")
    add(ledger)
    runs = (ledger.folder / "runs.csv").read_text().replace(",0.5,", ",hello,", 1)
    (ledger.folder / "runs.csv").write_text(runs)

    answer = call("leaderboard", str(tmp_path / "results"))

    assert answer.code == 2
    assert "column accuracy has 'hello': it is not a number" in answer.err


# --- recommend -------------------------------------------------------------------------------------------------------

OWN_BACKBONE = """
[Own]
application = "MobileNetV2"
mode = "tf"
input_size_px = 96
feature_dim = 1280
params_backbone = 2257984
flops_g = 0.1
weights = "random"
"""


@pytest.fixture
def recommend(call: Call, tmp_path: Path, unexamined: None) -> Call:
    """Ask for a backbone for the digits among one, which needs no download and is never built."""
    (tmp_path / "own.toml").write_text(OWN_BACKBONE)
    return lambda *arguments: call("recommend", "digits", "--registry", "own.toml", "--backbones", "Own", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "soon"], "--budget takes a time such as 90s, 10m or 2h, got 'soon'"),
        (["--budget", "0"], "--budget takes a time such as 90s, 10m or 2h, got '0'"),
        (["--budget", "10 years"], "--budget takes a time such as"),
        (["--budget", "nan"], "--budget takes a time such as"),
        (["--budget", "5s"], "The budget of 5 s is too small for one backbone: to time Own takes about 1[2-9].* s"),
        (["--max-params", "many"], "--max-params takes a number such as 10M or 500k, got 'many'"),
        (["--max-params", "-3"], "--max-params takes a number such as"),
        (["--max-params", "1M"], r"The nearest is Own, with 2.258 M parameters, more than --max-params 1M: change"),
        (["--max-model-mib", "2"], r"The nearest is Own, with 8.614 MiB of weights, more than --max-model-mib 2: "),
        (["--max-latency-ms", "nan"], "--max-latency-ms"),
        (["--max-latency-ms", "0"], "--max-latency-ms"),
        (["--seeds", "0"], "--seeds"),
        (["--seeds", "0,1"], "--seeds"),
        (["--input-size", "16"], "No backbone can be tried. Own: the input must have at least"),
        (["--crop", "round"], "round"),
        (["--limit", "30"], "cannot be drawn"),
        (["--classes", "one,two"], "classes can be chosen for folder: datasets only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_what_is_wanted_of_a_backbone_is_explained(recommend: Call, arguments: list[str], message: str):
    if "--input-size" in arguments:
        Path("own.toml").write_text(OWN_BACKBONE + "min_size_px = 32\n")

    answer = recommend(*arguments)

    assert answer.code == 2
    assert re.search(message, " ".join(answer.err.split())), answer.err
    assert not Path("results").exists(), "nothing was run"


def test_the_nearest_of_those_over_a_limit_is_named(call: Call):
    answer = call("recommend", "digits", "--max-params", "100k")

    assert answer.code == 2
    assert "The nearest is MobileNetV3Small" in answer.err


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("digit", "Unknown dataset 'digit'. Did you mean 'digits'?"),
        ("folder:nowhere", "nowhere"),
        ("", "Unknown dataset ''"),
    ],
)
def test_an_unknown_dataset_is_a_mistake(recommend: Call, call: Call, dataset: str, message: str):
    answer = call("recommend", dataset, "--registry", "own.toml", "--backbones", "Own")

    assert answer.code == 2
    assert message in answer.err


def test_without_a_dataset_there_is_nothing_to_recommend(call: Call):
    answer = call("recommend")

    assert answer.code == 2
    assert "DATASET" in answer.err


def test_too_small_a_budget_says_how_much_is_enough(recommend: Call):
    (needed,) = re.findall(r"give --budget (\d+)s", recommend("--budget", "5s").err)

    assert f"give --budget {needed}s" in recommend("--budget", f"{int(needed) - 2}s").err
    assert 24 <= int(needed) < 60


def test_the_help_says_what_is_downloaded(call: Call):
    text = " ".join(call("recommend", "--help").out.split())

    assert "Other weights are downloaded one by one" in text
    assert "The test images are looked at once" in text
