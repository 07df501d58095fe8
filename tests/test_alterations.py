"""Whatever is altered in a ledger, by however little, verification finds it.

The table below says for each column of each file what verification must make of an alteration: on the type of machine
that made the ledger, and on another one, where a few predictions and the last digits of figures are others anyway.
"""

import csv
import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from whole_ledgers import DEMO, elsewhere, make_ledger

from benchmark.actions.verifying import check_ledgers
from benchmark.analysis.loading import load_all_runs
from benchmark.analysis.pairs import has_regressed
from benchmark.cli import main
from benchmark.errors import LedgerError
from benchmark.ledger import COLUMNS, CONFUSION, HISTORY, PER_CLASS, PREDICTIONS, RECIPES, RUNS, Ledger
from benchmark.plan import planning
from benchmark.plan.repeating import find_cells, rows_again
from benchmark.registry import load_registry

pytestmark = [pytest.mark.usefixtures("unexamined"), pytest.mark.slow]

# What verification must make of an alteration: exit code 3 or 2, a note beside the row, or nothing.
CAUGHT, SHOWN, SILENT = "caught", "shown", "silent"
N_ROWS = 6
REGISTRY = load_registry()
FOLDER = "toy"

Alter = Callable[[str], str]


def text(field: str) -> str:
    """Another text of the same form."""
    return field[:-1] + ("0" if field[-1] != "0" else "1") if field else "1"


def number(share: float = 0.0, plus: float = 0.0) -> Alter:
    return lambda field: f"{float(field or 0) * (1 + share) + plus:.9g}"


def to(value: str) -> Alter:
    return lambda _: value


LITTLE, ONE_MORE = number(share=-1e-4), number(plus=1)


class Rule(NamedTuple):
    """What must become of an alteration here, and of one elsewhere, which may have to be larger to be seen."""

    alter: Alter
    here: str = CAUGHT
    elsewhere: str = CAUGHT
    larger: Alter | None = None


def rules(rule: Rule, columns: str) -> dict[str, Rule]:
    return dict.fromkeys(columns.split(), rule)


OF_RUNS: dict[str, Rule] = {
    "schema": Rule(ONE_MORE),
    "status": Rule(to("failed")),
    **rules(
        Rule(text),
        """
        run_id cell_key setting_key error_type error_message warning weights backbone dataset classes mode strategy
        stages head head_options resize crop augment engine precision weights_sha256 network_sha256 registry_sha256
        dataset_fingerprint recipe_sha256 part pooling
        """,
    ),
    **rules(
        Rule(ONE_MORE),
        """
        limit drop_duplicates restrict_classes folds shots input_size_px batch_size seed n_train n_val n_test n_left_out
        n_duplicates n_classes params_total params_backbone params_trainable feature_dim epochs feature_version
        split_version
        """,
    ),
    **rules(
        Rule(LITTLE),
        """
        val_fraction chance accuracy accuracy_low accuracy_high balanced_accuracy macro_precision macro_recall macro_f1
        weighted_precision weighted_recall weighted_f1 train_accuracy overfit_gap efficiency efficiency_above_chance
        flops_g model_mib
        """,
    ),
    **rules(Rule(number(plus=0.01)), "load_s build_s extract_s train_s eval_s wall_s"),
    # They follow from nothing that is kept, so they are only compared; without a training accuracy, this one too.
    "val_accuracy": Rule(LITTLE, larger=number(plus=-0.2)),
    "top5_accuracy": Rule(LITTLE, larger=number(plus=-0.04)),
    "auroc": Rule(LITTLE),  # these ledgers have more than two classes
    "calibration_error": Rule(LITTLE, larger=number(plus=0.19)),
    "log_loss": Rule(LITTLE, larger=number(plus=-0.19)),
    # Costs are advisory.
    **rules(Rule(number(share=9), SHOWN, SHOWN), "images_per_s latency_ms latency_p95_ms peak_rss_mib peak_device_mib"),
    # What a row was made with explains differences.
    **rules(
        Rule(text, SHOWN, SHOWN),
        """
        keras_version tensorflow_version openvino_version keras_hub_version pillow_version python_version platform cpu
        cpu_vectors gpu
        """,
    ),
    **rules(Rule(ONE_MORE, SHOWN, SHOWN), "cpu_count n_jobs"),
    # When, by whom and beside what a row was made cannot come out again.
    **rules(
        Rule(text, SILENT, SILENT),
        "harness_version git_commit started_utc elapsed_s is_dirty is_deterministic features_cached costs_from",
    ),
}
OF_TABLES: dict[str, dict[str, Rule]] = {
    RUNS: OF_RUNS,
    HISTORY: {**rules(Rule(text), "run_id stage split metric"), "epoch": Rule(ONE_MORE), "value": Rule(LITTLE)},
    PER_CLASS: {
        **rules(Rule(text), "run_id class_name"), **rules(Rule(LITTLE), "precision recall f1"),
        "support": Rule(ONE_MORE),
    },
    CONFUSION: {**rules(Rule(text), "run_id true_class predicted_class"), "count": Rule(ONE_MORE)},
}  # fmt: skip
# The values of `HISTORY`: how their metric begins, the rows of the ledger that have it, and the rule.
OF_HISTORY = {
    "loss": ((0, 1, 4, 5), Rule(LITTLE, larger=number(share=1))),
    "accuracy": ((0, 1, 2, 4, 5), Rule(LITTLE, larger=number(plus=-0.12))),
    "batch_size": ((0, 1, 2, 3, 4), Rule(ONE_MORE)),
    # Which candidate validation chose can differ between processors, and when a rate falls.
    "chosen": ((0, 2), Rule(LITTLE, elsewhere=SHOWN)),
    "learning_rate": ((4, 5), Rule(LITTLE, elsewhere=SHOWN)),
    "seconds": ((4, 5), Rule(LITTLE, SILENT, SILENT)),
    "first_batch_s": ((0, 1, 2, 3, 4), Rule(LITTLE, SILENT, SILENT)),
}


# --- the ledgers, and the same cells run again -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, unexamined: None) -> Path:
    """Ledgers, and what running their cells again gave.

    `here/0` to `here/5` hold a ledger of one row each; `elsewhere/0` is its cell run again on another processor.
    """
    folder = tmp_path_factory.mktemp("alterations")
    whole = make_ledger(folder / "whole" / FOLDER)
    other = elsewhere(whole, folder / "other" / FOLDER)
    for place in range(N_ROWS):
        for ledger, name in ((whole, "here"), (other, "elsewhere")):
            copied = folder / name / str(place) / FOLDER
            shutil.copytree(ledger.folder, copied)
            keep_one(copied, place)
    return folder


def at(folder: Path, name: str, place: int) -> Path:
    return folder / name / str(place) / FOLDER


def keep_one(folder: Path, place: int) -> None:
    run_ids = [row["run_id"] for row in read(folder / RUNS)]
    for name in COLUMNS:
        write(folder / name, [row for row in read(folder / name) if row["run_id"] == run_ids[place]])
    kept = read(folder / RUNS)[0]
    for path in [*folder.glob(f"{PREDICTIONS}/*"), *folder.glob(f"{RECIPES}/*")]:
        names = (run_ids[place], kept["recipe_sha256"], f"true-{kept['dataset_fingerprint'][:16]}")
        if path.stem not in names:
            path.unlink()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS[path.name], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module", autouse=True)
def _known_facts() -> Iterator[None]:
    """Each dataset is read once."""
    facts = planning._dataset_facts
    known = functools.cache(lambda request: facts(request, [], None))
    with pytest.MonkeyPatch.context() as context:
        context.setattr(planning, "_dataset_facts", lambda request, *_: known(request))
        yield


class Unchanged(Ledger):
    """A ledger whose rows are read once."""

    read_runs = functools.cache(Ledger.read_runs)


unchanged = functools.cache(Unchanged)


def verify(altered: Path, made: Path) -> pd.DataFrame:
    """As `benchmark verify` does it once cells were run again; `made` holds what that gave."""

    def run_again(rows: pd.DataFrame) -> dict[tuple[str, str], dict[Any, Any]]:
        return rows_again(rows, find_cells(rows, REGISTRY, unchanged(made)), unchanged(made))

    return check_ledgers([altered], lambda rows: rows, run_again)


def verdict(altered: Path, made: Path, notes: list[str]) -> str:
    """What verification makes of a ledger; `notes` are those of the ledger as it was."""
    try:
        table = verify(altered, made)
    except LedgerError:
        return CAUGHT
    if has_regressed(table):
        return CAUGHT
    return SILENT if table["note"].tolist() == notes else SHOWN


@pytest.fixture(scope="module")
def check(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Alter a copy of the ledger at a place, once for each kind of machine, and return both verdicts."""
    notes = {
        (name, place): verify(folder / "here" / str(place) / FOLDER, folder / name / str(place) / FOLDER)[
            "note"
        ].tolist()
        for name in ("here", "elsewhere")
        for place in range(N_ROWS)
    }
    scratch = tmp_path_factory.mktemp("altered")

    def check(place: int, here: Callable[[Path], Any], larger: Callable[[Path], Any] | None = None) -> dict[str, str]:
        verdicts = {}
        for name, alter in (("here", here), ("elsewhere", larger or here)):
            altered = scratch / FOLDER
            shutil.rmtree(altered, ignore_errors=True)
            shutil.copytree(at(folder, "here", place), altered)
            alter(altered)
            verdicts[name] = verdict(altered, at(folder, name, place), notes[name, place])
        return verdicts

    return check


def test_a_ledger_that_was_left_alone_is_reproduced_here_and_close_elsewhere(folder: Path):
    marks = {
        name: [verify(at(folder, "here", place), at(folder, name, place))["mark"].tolist() for place in range(N_ROWS)]
        for name in ("here", "elsewhere")
    }

    assert marks == {"here": [["="]] * N_ROWS, "elsewhere": [["~"]] * N_ROWS}


def test_the_committed_demo_does_not_contradict_itself():
    table = check_ledgers([DEMO], lambda rows: rows, as_they_are)

    assert set(table["mark"]) == {"="}
    assert len(table) == len(load_all_runs([DEMO]))


def as_they_are(rows: pd.DataFrame) -> dict[tuple[str, str], dict[Any, Any]]:
    return {(row["folder"], row["run_id"]): row for row in rows.to_dict("records")}


# --- one alteration at a time ----------------------------------------------------------------------------------------


def test_every_column_of_every_file_has_a_rule():
    assert {name: set(columns) for name, columns in OF_TABLES.items()} == {
        name: set(columns) for name, columns in COLUMNS.items()
    }


def in_one_row(number: int) -> dict[int, Any]:
    """Marks by place: something is tried in one row by the usual run, and in the others by `tox run -e exhaustive`."""
    return {place: () if place == number % N_ROWS else pytest.mark.exhaustive for place in range(N_ROWS)}


PLACES = [pytest.param(place, marks=marks) for place, marks in in_one_row(1).items()]
ALTERATIONS = [
    pytest.param(name, column, place, id=f"{name}-{column}-{place}", marks=marks)
    for name, columns in OF_TABLES.items()
    for number, column in enumerate(columns)
    for place, marks in in_one_row(number).items()
    if (name, column) != (HISTORY, "value")
]


def in_table(name: str, column: str, by: Alter, choose: Callable[[dict[str, str]], bool]) -> Callable[[Path], None]:
    """Alters the middle one of the chosen rows of a file."""

    def alter(folder: Path) -> None:
        rows = read(folder / name)
        chosen = [row for row in rows if choose(row)]
        row = chosen[len(chosen) // 2]
        assert by(row[column]) != row[column]
        row[column] = by(row[column])
        write(folder / name, rows)

    return alter


def every(row: dict[str, str]) -> bool:
    return True


@pytest.mark.parametrize(("name", "column", "place"), ALTERATIONS)
def test_a_value_that_was_altered_is_found(check, name: str, column: str, place: int):
    rule = OF_TABLES[name][column]
    little, larger = (in_table(name, column, by, every) for by in (rule.alter, rule.larger or rule.alter))

    assert check(place, little, larger) == {"here": rule.here, "elsewhere": rule.elsewhere}


@pytest.mark.parametrize(
    ("metric", "place"),
    [
        pytest.param(metric, place, marks=() if place == places[0] else pytest.mark.exhaustive)
        for metric, (places, _) in OF_HISTORY.items()
        for place in places
    ],
)
def test_a_point_of_a_curve_that_was_altered_is_found(check, metric: str, place: int):
    _, rule = OF_HISTORY[metric]
    little, larger = (
        in_table(HISTORY, "value", by, lambda row: row["metric"].startswith(metric))
        for by in (rule.alter, rule.larger or rule.alter)
    )

    assert check(place, little, larger) == {"here": rule.here, "elsewhere": rule.elsewhere}


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "n_filled"), [(RUNS, 56), (HISTORY, 5), (PER_CLASS, 6), (CONFUSION, 4)])
def test_a_value_that_was_emptied_is_found(check, folder: Path, name: str, n_filled: int):
    """Of each column in the first ledger whose rows have all a value there."""
    tables = [read(at(folder, "here", place) / name) for place in range(N_ROWS)]
    places = {
        column: place
        for column, rule in OF_TABLES[name].items()
        for place in reversed(range(N_ROWS))
        if rule.here == rule.elsewhere == CAUGHT and all(row[column] for row in tables[place])
    }

    verdicts = {column: check(place, in_table(name, column, to(""), every)) for column, place in places.items()}

    assert len(verdicts) >= n_filled
    assert {column: verdict for column, verdict in verdicts.items() if set(verdict.values()) != {CAUGHT}} == {}


def without_one(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    middle = len(rows) // 2
    return [*rows[:middle], *rows[middle + 1 :]]


def with_one_twice(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [*rows, rows[len(rows) // 2]]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", [without_one, with_one_twice])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_that_was_removed_or_doubled_is_found(check, name: str, change: Callable[[Any], Any], place: int):
    verdicts = check(place, lambda folder: write(folder / name, change(read(folder / name))))

    assert verdicts == {"here": CAUGHT, "elsewhere": CAUGHT}


@pytest.mark.parametrize("pattern", [*COLUMNS, f"{PREDICTIONS}/[!t]*", f"{PREDICTIONS}/t*", f"{RECIPES}/*"])
def test_a_file_that_was_removed_is_found(check, pattern: str):
    def remove(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        path.unlink()

    assert check(1, remove) == {"here": CAUGHT, "elsewhere": CAUGHT}


def test_a_ledger_that_lost_its_rows_beside_others_is_found(folder: Path, tmp_path: Path):
    for place in (0, 1):
        shutil.copytree(at(folder, "here", place), tmp_path / "results" / str(place))
    (tmp_path / "results" / "1" / RUNS).unlink()

    table = verify(tmp_path / "results", at(folder, "here", 0))

    assert table["change"].tolist() == ["reproduced", "incomplete"]
    assert "runs.csv has no row of run" in table["note"][1]


def in_array(pattern: str, name: str, change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        (path,) = (folder / PREDICTIONS).glob(pattern)
        with np.load(path) as arrays:
            kept = dict(arrays)
        change(kept[name])
        np.savez_compressed(path, **kept)

    return alter


def one_class_on(array: np.ndarray) -> None:
    array[3] = (array[3] + 1) % 10


def one_name(array: np.ndarray) -> None:
    array[3] = "x"


def less(by: float) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[array.argmax()] -= np.float16(by)

    return change


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("pattern", "name", "little", "larger"),
    [
        ("[!t]*", "predicted", one_class_on, one_class_on),
        ("[!t]*", "confidence", less(0.01), less(0.5)),
        ("[!t]*", "true_score", less(0.01), less(0.5)),
        ("true-*", "true", one_class_on, one_class_on),
        ("true-*", "class_names", one_name, one_name),
    ],
)
def test_an_array_that_was_altered_is_found(check, pattern: str, name: str, little, larger, place: int):
    verdicts = check(place, in_array(pattern, name, little), in_array(pattern, name, larger))

    assert verdicts == {"here": CAUGHT, "elsewhere": CAUGHT}


def test_a_confidence_that_is_no_probability_is_found_everywhere(check):
    assert check(5, in_array("[!t]*", "confidence", less(0.95))) == {"here": CAUGHT, "elsewhere": CAUGHT}


def test_a_recipe_that_was_altered_is_found(check):
    def alter(folder: Path) -> None:
        (path,) = (folder / RECIPES).glob("*")
        path.write_text(path.read_text().replace("description", "# description", 1))

    assert check(1, alter) == {"here": CAUGHT, "elsewhere": CAUGHT}


def test_a_recipe_under_another_name_is_found(check):
    def rename(folder: Path) -> None:
        (path,) = (folder / RECIPES).glob("*")
        path.rename(path.with_stem("0" * 64))

    assert check(1, rename) == {"here": CAUGHT, "elsewhere": CAUGHT}


@pytest.mark.parametrize("column", ["keras_version", "tensorflow_version", "pillow_version"])
def test_another_minor_version_contradicts_the_keys(check, column: str):
    alter = in_table(RUNS, column, to("1.0.0"), every)

    assert check(1, alter) == {"here": CAUGHT, "elsewhere": CAUGHT}


# --- the command -----------------------------------------------------------------------------------------------------


def nothing(folder: Path) -> None:
    """The ledger stays as it is."""


@pytest.mark.parametrize(
    ("alter", "change", "code"),
    [
        (nothing, "reproduced", 0),
        (in_table(RUNS, "flops_g", LITTLE, every), "changed", 3),
        (in_table(RUNS, "chance", LITTLE, every), "changed", 3),
        (lambda folder: shutil.rmtree(folder / PREDICTIONS), "incomplete", 3),
    ],
)
def test_the_command_ends_with_3_unless_everything_was_reproduced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, alter, change: str, code: int
):
    made = Ledger(at(folder, "here", 1))
    monkeypatch.setattr(
        "benchmark.cli.verifying.run_again",
        lambda rows, *_: rows_again(rows, find_cells(rows, REGISTRY, made), made),
    )
    shutil.copytree(made.folder, tmp_path / "results" / "toy")
    alter(tmp_path / "results" / "toy")
    monkeypatch.chdir(tmp_path)

    for options in (("--format", "json"), ()):
        monkeypatch.setattr(sys, "argv", ["benchmark", "verify", *options])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr().out

        assert int(ended.value.code or 0) == code
        assert [row["change"] for row in json.loads(out)] == [change] if options else f"1 {change}" in out
