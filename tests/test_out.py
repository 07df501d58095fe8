"""Where `--out` may go: files are replaced whole, devices are written through, ledgers are never touched."""

import os
import stat
import threading
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.ledger import CONFUSION, HISTORY, PER_CLASS, RUNS, Ledger
from benchmark.outputs import check_folder, check_output, write_output

CONTENT = b"a table\n"


def test_a_file_is_replaced_whole(tmp_path: Path):
    path = tmp_path / "new" / "board.csv"
    write_output(path, b"earlier and longer\n")

    write_output(path, CONTENT)

    assert path.read_bytes() == CONTENT
    assert [*path.parent.iterdir()] == [path]


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path):
    path = tmp_path / ("x" * 255)

    write_output(path, CONTENT)

    assert path.read_bytes() == CONTENT


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "board.csv", tmp_path / "link.csv"
    link.symlink_to(target)

    write_output(link, b"earlier")
    write_output(link, CONTENT)

    assert link.is_symlink()
    assert target.read_bytes() == CONTENT


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_written_through(tmp_path: Path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    write_output(pipe, CONTENT)

    reader.join(10)
    assert read == [CONTENT]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs the device")
def test_a_device_stays_a_device(tmp_path: Path):
    link = tmp_path / "null"
    link.symlink_to("/dev/null")

    write_output(link, CONTENT)

    assert Path("/dev/null").is_char_device()
    assert link.is_symlink()


@pytest.mark.parametrize("name", [".", "", "..", "folder"])
def test_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BenchmarkError, match="is a folder: give --out the name of a file"):
        check_output(Path(name))


@pytest.mark.parametrize("check", [check_folder, lambda path: check_output(path / "board.csv")])
def test_a_folder_below_a_file_is_refused(tmp_path: Path, check):
    (tmp_path / "file").write_text("")

    with pytest.raises(BenchmarkError, match=r"cannot be a folder, because .*file is a file"):
        check(tmp_path / "file" / "deeper")


@pytest.mark.parametrize(
    "name", [RUNS, HISTORY, PER_CLASS, CONFUSION, ".lock", "predictions/new.csv", "recipes/a/b.md", "RUNS.csv"]
)
@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_of_a_ledger_is_refused(tmp_path: Path, name: str, is_link: bool):
    Ledger(tmp_path / "toy").append_run({"schema": 2, "run_id": "a", "cell_key": "k", "status": "done"})
    path = tmp_path / "toy" / name
    if is_link:
        path = tmp_path / "link"
        path.symlink_to(tmp_path / "toy" / name)
    before = (tmp_path / "toy" / RUNS).read_bytes()

    with pytest.raises(BenchmarkError, match=r"belongs to the ledger .*toy, and output would destroy it"):
        write_output(path, CONTENT)

    assert (tmp_path / "toy" / RUNS).read_bytes() == before


def test_a_file_beside_those_of_a_ledger_is_written(tmp_path: Path):
    Ledger(tmp_path).append_run({"schema": 2, "run_id": "a", "cell_key": "k", "status": "done"})

    write_output(tmp_path / "leaderboard.csv", CONTENT)

    assert (tmp_path / "leaderboard.csv").read_bytes() == CONTENT
