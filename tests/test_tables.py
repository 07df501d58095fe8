"""TOML files read, whatever they are, and the words for what is wrong in one."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from benchmark.errors import ConfigError
from benchmark.tables import MOST_BYTES, config_error, read_toml


class Handle(BaseModel, extra="forbid"):
    length_mm: int = 80


class Cup(BaseModel, extra="forbid"):
    volume_ml: int
    sizes: tuple[int, ...] = ()
    handles: tuple[Handle, ...] = ()


def complaint(**values: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Cup(**values)  # type: ignore[arg-type]
    return str(config_error("cups.toml, table [Mug]", Cup, caught.value)).splitlines()


def test_the_place_every_key_and_every_value_are_named():
    first, *lines = complaint(volume_ml="full", sizes=(1, "big"))

    assert first == "cups.toml, table [Mug]:"
    assert [line.split(":")[0] for line in lines] == ["  volume_ml", "  sizes.1"]
    assert lines[0].endswith("(got 'full')")
    assert lines[1].endswith("(got 'big')")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"volum_ml": 3}, "  volum_ml: not a key here. Did you mean 'volume_ml'?"),
        ({"length": 3}, "  length: not a key here. Known: volume_ml, sizes, handles."),
        ({"length_m": 3}, "  length_m: not a key here. Did you mean 'length_mm' in handles?"),
        ({"handles": [{"lenght_mm": 3}]}, "  handles.0.lenght_mm: not a key here. Did you mean 'length_mm'?"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_one_of_its_table(values: dict[str, object], line: str):
    assert line in complaint(volume_ml=1, **values)


def test_a_long_value_is_shortened():
    _, line = complaint(volume_ml="x" * 1000)

    assert line.endswith("xxx…)")
    assert len(line) < 200


def test_a_byte_order_mark_is_no_content(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbfname = 'x'")

    assert read_toml(path) == {"name": "x"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[Mine", "is not valid TOML"),
        (b"\xff\xfe[Mine]", "is not UTF-8 text"),
        ("name = 'x'".encode("utf-16"), "is not UTF-8 text"),
        ("name = 'x'".encode("utf-16-le"), "is not valid TOML"),
        (b"x = " + b"[" * 2000 + b"]" * 2000, "is nested too deeply"),
        (b"x." * 2000 + b"x = 1", "is nested too deeply: at most 16 levels"),
        (b"x = " + b"1" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"x = " + b"1" * 30, "x should be an integer of at most 64 bits"),
        (b"[a]\nx = [1.0, inf]", "a.x.1 should be a finite number (got inf)"),
        (b"x = nan", "x should be a finite number (got nan)"),
        (b'x = "a\\u0000b"', "x holds a NUL character"),
        (b"#" * (MOST_BYTES + 1), "is larger than 16 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_configuration_is_named_with_the_reason(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        read_toml(path)

    assert str(path) in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("depth", [90, 300, 900])
def test_nesting_that_the_parser_still_takes_is_refused(tmp_path: Path, depth: int):
    (tmp_path / "mine.toml").write_text(f"x = {'[' * depth}{']' * depth}")

    with pytest.raises(ConfigError, match="nested too deeply"):
        read_toml(tmp_path / "mine.toml")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read: .*No such file"):
        read_toml(tmp_path / "absent.toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.toml")

    for path in (tmp_path / "pipe.toml", tmp_path, Path(os.devnull)):
        with pytest.raises(ConfigError, match="cannot be read: it is not a regular file"):
            read_toml(path)
