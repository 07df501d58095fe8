"""What `from benchmark import …` gives."""

import doctest
import pkgutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

import benchmark
from benchmark import ablation, export, inspect, leaderboard, load_ledger, recommend, run
from benchmark.actions.keywords import SweepOptions, as_keys
from benchmark.errors import BenchmarkError, ConfigError, LedgerError, UnknownNameError
from benchmark.recipes import Grid

ROOT = Path(__file__).parents[1]


def test_the_example_of_the_package_runs_on_the_committed_results(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)

    assert doctest.testmod(benchmark) == (0, 3 + 1)


def test_the_tables_are_those_of_the_committed_leaderboard(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    committed = pd.read_csv("results/leaderboard.csv", keep_default_na=False)
    ranked = ("demo", "fashion_mnist", "fashion_mnist_mobilenetv2", "fashion_mnist_networks")

    board = leaderboard(load_ledger(*(f"results/{name}" for name in ranked)))

    assert board.columns.tolist() == committed.columns.tolist()
    assert board["accuracy"].tolist() == pytest.approx(committed["accuracy"].astype(float).tolist())
    ranges = board[["rank_first", "rank_last"]].astype(object).where(board["rank"].notna(), "")
    assert ranges.astype(str).to_numpy().tolist() == committed[["rank_first", "rank_last"]].to_numpy().tolist()


def test_some_rows_give_the_tables_of_those_rows():
    runs = load_ledger(ROOT / "results" / "fashion_mnist")

    some = runs[(runs["backbone"] == "VGG16-hed") & (runs["seed"] == 0)]

    assert set(leaderboard(some)["backbone"]) == {"VGG16-hed"}
    harm = ablation(some)
    assert set(harm.loc[harm["verdict"] != "same as native", "interval_over"]) == {"images"}


def test_a_place_without_a_ledger_is_refused(tmp_path: Path):
    with pytest.raises(LedgerError, match=r"There is no runs\.csv"):
        load_ledger(tmp_path)


def test_importing_the_package_imports_no_library():
    code = "import sys, benchmark; print(sorted({'pandas', 'numpy', 'tensorflow', 'typer'} & set(sys.modules)))"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def test_every_key_of_a_recipe_is_a_keyword_of_run():
    assert set(SweepOptions.__annotations__) == set(Grid.model_fields)


def test_one_name_is_a_list_of_one():
    assert as_keys({"backbones": "VGG*", "seeds": [0, 1], "crop": "crop"}) == {
        "backbones": ("VGG*",), "seeds": [0, 1], "crop": "crop",
    }  # fmt: skip


@pytest.mark.slow
def test_run_returns_the_rows_of_its_cells(tmp_path: Path):
    options = {"backbones": "MobileNetV2", "weights": "random", "input_size_px": 32, "limit": 300}
    first = run(heads=["ridge", "knn"], results=tmp_path, **options)

    again = run(heads="ridge", results=tmp_path, **options)

    assert sorted(first["head"]) == ["knn", "ridge"]
    assert (first["status"] == "done").all()
    assert again["run_id"].tolist() == first.loc[first["head"] == "ridge", "run_id"].tolist(), "it was done already"


def test_a_mistake_in_the_options_of_run_names_them(tmp_path: Path):
    with pytest.raises(ConfigError, match="limit"):
        run(limit=-1, results=tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'MobileNetV2-dogs'"):
        run(backbones="MobileNetV2-dog", results=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"jobs": -1}, "jobs must be at least 1, got -1"),
        ({"timeout_s": 0}, "timeout_s must be at least 0.001, got 0"),
    ],
)
def test_numbers_that_the_command_refuses_are_refused(tmp_path: Path, options: dict[str, float], message: str):
    with pytest.raises(BenchmarkError, match=message):
        run(results=tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_seeds": 0}, "n_seeds must be at least 1, got 0"),
        ({"max_params": 0}, "--max-params must be at least 1e-06, got 0"),
        ({"min_images_per_s": float("nan")}, "--min-images-per-s must be at least 1e-06, got nan"),
        ({"budget_s": 0}, "budget_s must be at least 0.001, got 0"),
    ],
)
def test_limits_that_the_command_refuses_are_refused(tmp_path: Path, options: dict[str, float], message: str):
    with pytest.raises(BenchmarkError, match=message):
        recommend("digits", results=tmp_path, **options)


def test_recommend_and_export_refuse_what_the_commands_refuse(tmp_path: Path):
    with pytest.raises(BenchmarkError, match=r"The limits leave no backbone\. The nearest is"):
        recommend("digits", max_params=1000, results=tmp_path)
    with pytest.raises(LedgerError, match=r"no runs\.csv"):
        export("abc", out=tmp_path / "model.keras", results=tmp_path)


@pytest.mark.slow
def test_inspect_gives_the_verdict_on_each_mode():
    found = inspect("ResNet50", mode="unit")

    verdicts = {one["mode"]: one["verdict"] for one in found["modes"]}
    assert (found["native"], verdicts["native"], verdicts["unit"]) == ("caffe", "right", "double-scaled")


def test_the_package_says_that_it_is_typed():
    assert (resources.files("benchmark") / "py.typed").is_file()


def test_no_module_of_the_package_hides_a_function_of_it():
    """Importing a submodule makes it an attribute of its package."""
    modules = {module.name for module in pkgutil.iter_modules(benchmark.__path__)}

    assert not modules & set(benchmark.__all__)
