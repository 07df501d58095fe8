"""Whatever happens to a file of a ledger, what reads it works or says which file is damaged."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_ledgers import FINGERPRINT, SETTING, add, add_predicted

from benchmark.analysis.ablation import make_ablation
from benchmark.analysis.changes import changes_sections
from benchmark.analysis.comparison import compare_ledgers
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.formats import FORMATS
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import finished, load_all_runs, load_runs
from benchmark.analysis.presentation import ablation_sections, leaderboard_sections
from benchmark.analysis.published import compare_published, load_published
from benchmark.analysis.soundness import find_faults
from benchmark.charts import Evidence
from benchmark.cli.running import _records_of_ledger
from benchmark.errors import BenchmarkError
from benchmark.escaping import in_utf8
from benchmark.ledger import CONFUSION, HISTORY, PER_CLASS, PREDICTIONS, RUNS, Ledger, true_labels_name
from benchmark.metrics import score_metrics
from benchmark.plan.repeating import choose_rows
from benchmark.report.sections import environment_table, failures_table, weights_table
from benchmark.work.rows import class_rows

N_TEST = 12
VALUES = (
    "",
    "0",
    "-1",
    "1.2",
    "1e30",
    "nan",
    "inf",
    "-inf",
    "9" * 30,
    "x",
    " ",
    "=1+1",
    "\\",
    "\\n",
    '"',
    "a\nb",
    "\ufffd",
)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small ledger by their paths in it."""
    ledger = Ledger(tmp_path_factory.mktemp("intact") / "toy")
    for number, (mode, seed) in enumerate([("native", 0), ("native", 1), ("unit", 0), ("unit", 1)]):
        right = np.arange(N_TEST) < 9 - 2 * number
        add_predicted(ledger, right, mode=mode, seed=seed, log_loss=0.5, macro_f1=0.4)
    add(ledger, backbone="Net, B", status="failed", error_type="oom", error_message="no room")
    scores = np.eye(2, dtype=np.float32)[[1] * 9 + [0] * 3]
    tables = class_rows("run0", np.ones(N_TEST, int), scores, ["no", "yes"])
    point = {"run_id": "run0", "stage": "head", "epoch": 1, "split": "val", "metric": "loss", "value": 0.5}
    ledger.append_run({**ledger.read_runs().iloc[0].dropna().to_dict(), "run_id": "run9"}, {**tables, HISTORY: [point]})
    return {str(path.relative_to(ledger.folder)): path.read_bytes() for path in ledger.folder.rglob("*.*")}


FILES = (
    RUNS,
    HISTORY,
    PER_CLASS,
    CONFUSION,
    f"{PREDICTIONS}/run0.npz",
    f"{PREDICTIONS}/{true_labels_name(FINGERPRINT)}",
)
TABLES = FILES[:4]


def read_everything(folder: Path) -> None:
    """What the commands that read ledgers do, without drawing."""
    runs = load_runs([folder])
    board = make_leaderboard(runs, published=load_published([folder]), correctness=Correctness(runs))
    losses = make_ablation(runs, Correctness(runs))
    changes = compare_ledgers(runs, runs)
    for table, sections in (
        (board, leaderboard_sections(board, compare_published(board, []))),
        (losses, ablation_sections(losses)),
        (changes, changes_sections(changes)),
    ):
        for write in FORMATS.values():
            write(table, sections).encode()
    choose_rows(finished(runs), 3)
    find_faults([folder], load_all_runs([folder]))
    _records_of_ledger(folder)
    evidence = Evidence.load([folder])
    tables = [evidence.history, evidence.per_class, evidence.confusion] if len(evidence.done) else []
    assert all("folder" in table for table in tables)
    environment_table(evidence), weights_table(evidence), failures_table(evidence)


def read_files(folder: Path) -> None:
    """What every command reads first."""
    ledger = Ledger(folder)
    ledger.read_runs()
    for name in TABLES[1:]:
        ledger.read_table(name)
    ledger.read_predictions("run0")
    ledger.read_true_labels(FINGERPRINT)


def write(folder: Path, intact: dict[str, bytes], name: str, content: bytes) -> None:
    for other, unchanged in intact.items():
        path = folder / other
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content if other == name else unchanged)


def check(folder: Path, intact: dict[str, bytes], name: str, content: bytes, *, fully: bool = True) -> None:
    write(folder, intact, name, content)
    try:
        (read_everything if fully else read_files)(folder)
    except BenchmarkError as error:
        message = str(error)
    else:
        return
    assert Path(name).name in message


def flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        changed[draw.randrange(len(changed))] = draw.choice((draw.randrange(256), *b'",\n\r\\0\x00-'))
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def cut_out(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 40) :]


def insert(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return (
        content[:place]
        + draw.choice((b'"', b",", b"\n", b"\0", b"\xff", b"\\x1b", draw.randbytes(5)))
        + content[place:]
    )


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, cut_out, insert)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    name=st.sampled_from(FILES), damage=st.sampled_from(DAMAGES), seed=st.integers(0, 2**32),
    fully=st.sampled_from([False] * 7 + [True]),
)  # fmt: skip
def test_a_file_with_wrong_bytes_is_read_or_named(tmp_path: Path, intact: dict[str, bytes], name, damage, seed, fully):
    check(tmp_path / "toy", intact, name, damage(intact[name], random.Random(seed)), fully=fully)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(name=st.sampled_from(TABLES), value=st.sampled_from(VALUES) | st.text(max_size=5), data=st.data())
def test_a_table_with_a_wrong_value_is_read_or_named(tmp_path: Path, intact: dict[str, bytes], name, value, data):
    rows = pd.read_csv(io.BytesIO(intact[name]), dtype=str, keep_default_na=False)
    column = data.draw(st.sampled_from(list(rows)))
    rows.loc[data.draw(st.sampled_from(range(len(rows)))), column] = value

    check(tmp_path / "toy", intact, name, rows.to_csv(index=False, lineterminator="\n").encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
@given(
    name=st.sampled_from(TABLES), order=st.randoms(use_true_random=False), ends=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), is_quoted=st.booleans(),
)  # fmt: skip
def test_a_table_in_any_form_says_the_same(tmp_path, intact, name, order, ends, encoding, is_quoted):
    rows = pd.read_csv(io.BytesIO(intact[name]), dtype=str, keep_default_na=False)
    columns = list(rows)
    order.shuffle(columns)
    text = rows[columns].to_csv(index=False, quoting=int(is_quoted), lineterminator=ends)
    folder = tmp_path / "toy"
    write(folder, intact, name, intact[name])
    ledger = Ledger(folder)
    expected = ledger.read_runs() if name == RUNS else ledger.read_table(name)

    write(folder, intact, name, text.encode(encoding))

    found = ledger.read_runs() if name == RUNS else ledger.read_table(name)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6, deadline=None)
@given(
    predicted=st.lists(st.integers(-2, 5), max_size=N_TEST + 1), kind=st.sampled_from(["int16", "float16", "U3", "?"]),
    n_scores=st.integers(0, N_TEST + 1), score=st.sampled_from([0.5, np.nan, np.inf]),
)  # fmt: skip
def test_other_predictions_are_used_or_named(tmp_path, intact, predicted, kind, n_scores, score):
    file = io.BytesIO()
    np.savez(file, predicted=np.array(predicted).astype(kind), confidence=np.full(n_scores, score, np.float16))

    check(tmp_path / "toy", intact, FILES[4], file.getvalue())


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(names=st.lists(st.text(st.characters(exclude_characters="\0")), min_size=2, max_size=4, unique=True))
def test_an_honest_ledger_is_sound_whatever_its_classes_are_called(tmp_path_factory, names: list[str]):
    """Such as `ice  cream` with two blanks."""
    ledger = Ledger(tmp_path_factory.mktemp("named") / "toy")
    true = np.arange(N_TEST) % len(names)
    scores = np.eye(len(names), dtype=np.float32)[(true + (np.arange(N_TEST) < 3)) % len(names)]
    row = {"run_id": "a", "n_test": N_TEST, "n_classes": len(names), "dataset_fingerprint": FINGERPRINT}
    row |= score_metrics(true, scores, are_probabilities=False)
    ledger.append_run(
        {**SETTING, "schema": 2, "cell_key": "k", "status": "done", **row}, class_rows("a", true, scores, names)
    )
    ledger.save_predictions("a", scores)
    ledger.save_true_labels(FINGERPRINT, true, names)

    faults = find_faults([ledger.folder], load_all_runs([ledger.folder]))
    assert {key: fault.text for key, fault in faults.items()} == {(str(ledger.folder), "a"): "not kept: history.csv"}
    names = [in_utf8(name) for name in names]
    assert ledger.read_true_labels(FINGERPRINT)[1] == tuple(names)
    assert ledger.read_table(PER_CLASS)["class_name"].tolist() == names


@pytest.mark.slow
def test_the_intact_ledger_is_read(tmp_path: Path, intact: dict[str, bytes]):
    """Else the tests above could not fail."""
    assert set(FILES) <= set(intact)
    check(tmp_path / "toy", {**intact, "none": b""}, "none", b"")
    read_everything(tmp_path / "toy")
    assert len(load_runs([tmp_path])) == 5
