"""Builders: the code of a registry entry's own module, where it may run, and what is said when it fails."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.backbones.build import build_backbone
from benchmark.backbones.builders import BuilderError, import_builder
from benchmark.cli.app import app
from benchmark.errors import ConfigError
from benchmark.ledger import Ledger
from benchmark.registry import Backbone, load_registry

BUILDERS = """
import keras

ALPHA = 4


def tiny(input_shape):
    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(ALPHA, 3, strides=2, activation="relu")(images))


def dividing(input_shape):
    return 1 / 0


def inside_keras(input_shape):
    return keras.layers.Conv2D(-1, 3)


def nothing(input_shape):
    pass


def full(input_shape):
    raise OSError(28, "No space left on device")
"""
Program = Callable[..., Any]
TABLE = '[Mine]\nbuilder = "{module}:tiny"\nmode = "tf"\ninput_size_px = 16\n'


def entry(folder: Path, function: str, module: str, **facts: Any) -> Backbone:
    return Backbone(
        **{"name": "Mine", "folder": folder, "mode": "tf", "input_size_px": 16, "builder": f"{module}:{function}"}
        | facts
    )


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The name of a module that no other test imports; its folder is not on the path."""
    name = f"nets_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(BUILDERS)
    return name


# Where it may run


def test_a_module_beside_the_registry_is_found_and_the_path_is_left_as_it_was(tmp_path: Path, module: str):
    before = list(sys.path)

    network = build_backbone(entry(tmp_path, "tiny", module), 16)

    assert network.output_shape == (None, 4)
    assert sys.path == before


def test_a_file_beside_the_registry_does_not_take_the_place_of_an_installed_module(tmp_path: Path):
    (tmp_path / "wave.py").write_text("def open(input_shape):\n    raise RuntimeError('ran')\n")

    function = import_builder(entry(tmp_path, "open", "wave"))

    assert str(tmp_path) not in function.__code__.co_filename


def test_code_of_a_registry_that_only_lies_in_the_working_folder_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef tiny(input_shape): ...\n")
    (tmp_path / "backbones.toml").write_text(TABLE.format(module="evil"))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(
        ConfigError, match=r"Mine: builder 'evil:tiny' of \./backbones\.toml is code.*--registry backbones"
    ):
        import_builder(load_registry()["Mine"])
    assert not Path("ran").exists()
    with pytest.raises(BuilderError, match="returned NoneType"):
        build_backbone(load_registry([Path("backbones.toml")])["Mine"], 16)
    assert Path("ran").exists()


@pytest.mark.parametrize(
    "command", [("run", "--backbones", "Mine"), ("inspect", "Mine"), ("params", "--backbones", "Mine")]
)
@pytest.mark.slow
def test_no_command_runs_it_and_each_says_that_the_file_is_used(
    tmp_path: Path, program: Program, command: tuple[str, ...]
):
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef tiny(input_shape): ...\n")
    (tmp_path / "backbones.toml").write_text(TABLE.format(module="evil"))

    ended = program(tmp_path, *command)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("./backbones.toml: adds Mine; lacks ResNet50, ")
    assert "builder 'evil:tiny' of ./backbones.toml is code" in ended.stderr
    assert not (tmp_path / "ran").exists()


def test_a_registry_in_the_working_folder_is_named_with_what_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from typer.testing import CliRunner

    from benchmark.registry import shipped_path

    shipped = shipped_path("backbones.toml").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    said = []
    for text in (shipped, shipped.replace("feature_dim = 1664", "feature_dim = 1") + TABLE.format(module="mine")):
        Path("backbones.toml").write_text(text, encoding="utf-8")
        said.append(CliRunner().invoke(app, ["list", "backbones", "--json"]).stderr)

    assert said == ["", "./backbones.toml: adds Mine; changes DenseNet169\n"]


# When it fails


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("dividing", r"failed: ZeroDivisionError: division by zero \(.*nets_\d+\.py, line 13\)\."),
        ("inside_keras", r"failed: ValueError: .* \(.*nets_\d+\.py, line 17\)\."),
        ("nothing", r"returned NoneType: expected a functional or Sequential keras\.Model"),
    ],
)
def test_what_a_builder_did_wrong_is_told_with_its_place(tmp_path: Path, module: str, function: str, told: str):
    with pytest.raises(BuilderError, match=rf"Mine: builder '{module}:{function}' {told}"):
        build_backbone(entry(tmp_path, function, module), 16)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*, line 1\)\."),
        ("def tiny(:", "SyntaxError: "),
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("", "AttributeError: "),
    ],
)
def test_what_a_module_does_wrong_is_told_with_its_place(tmp_path: Path, module: str, text: str, told: str):
    (tmp_path / f"{module}.py").write_text(text)

    with pytest.raises(ConfigError, match=rf"Mine: builder '{module}:tiny' cannot be imported: {told}"):
        import_builder(entry(tmp_path, "tiny", module))


def test_a_full_disk_is_no_fault_of_the_builder(tmp_path: Path, module: str):
    with pytest.raises(OSError, match="No space left"):
        build_backbone(entry(tmp_path, "full", module), 16)


# The program


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("feature_dim = 5", "Mine: feature_dim = 5, but its network has 4"),
        ('preprocess = "os"', "Mine: preprocess: Unknown module of keras.applications 'os'"),
        ('weights = "random"\npreprocess = "resnet"', 'Mine: mode = "tf", but preprocess_input'),
    ],
)
def test_a_wrong_fact_of_an_entry_ends_the_run_before_it_begins(
    tmp_path: Path, program: Program, lines: str, complaint: str
):
    (tmp_path / "mine.py").write_text(BUILDERS)
    (tmp_path / "own.toml").write_text(TABLE.format(module="mine") + lines)

    ended = program(tmp_path, "run", "--backbones", "Mine,VGG16", "--limit", "200", "--registry", "own.toml")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"Error: {complaint}" in ended.stderr
    assert not (tmp_path / "results").exists()


def script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script, which has neither the working folder nor that of the registry on its path."""
    code = "import sys; sys.argv[0] = 'benchmark'; from benchmark.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], cwd=folder, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_builder_that_changes_makes_its_rows_stale_and_a_new_run_uses_the_new_network(
    tmp_path: Path, program: Program
):
    """It returned MobileNet with another alpha, and the old number of parameters was reported for it."""
    nets = tmp_path / "own" / "mine.py"
    nets.parent.mkdir()
    nets.write_text(BUILDERS)
    (nets.parent / "own.toml").write_text(TABLE.format(module="mine"))
    (tmp_path / "toy.toml").write_text(
        'name = "toy"\ndatasets = ["digits"]\nlimit = 200\nbackbones = ["Mine"]\nheads = ["ridge"]\n'
    )
    own = ("toy.toml", "--registry", "own/own.toml")

    ran = script(tmp_path, "run", *own)
    same = program(tmp_path, "status", *own, "--json")
    nets.write_text(BUILDERS.replace("ALPHA = 4", "ALPHA = 6"))
    changed = program(tmp_path, "status", *own, "--json")
    again = program(tmp_path, "run", *own)
    always = program(tmp_path, "run", *own, "--when", "always")

    steps = (ran, same, changed, again, always)
    assert [one.returncode for one in steps] == [0] * 5, ran.stderr + again.stderr + always.stderr
    assert '"state": "done"' in same.stdout
    assert '"state": "stale"' in changed.stdout
    assert '"reason": "the network changed"' in changed.stdout
    runs = Ledger(tmp_path / "results" / "toy").read_runs()
    assert runs["feature_dim"].tolist() == [4, 6, 6]
    assert runs["params_backbone"].tolist() == [(27 + 1) * 4, (27 + 1) * 6, (27 + 1) * 6]
    assert runs["network_sha256"].str.len().tolist() == [64, 64, 64]
    assert runs["network_sha256"].nunique() == runs["cell_key"].nunique() == 2
    assert runs["features_cached"].tolist() == [0, 0, 0], "always means always"
