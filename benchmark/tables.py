"""TOML files: how they are read, and what is said about a table with wrong content."""

import difflib
import math
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from benchmark.errors import ConfigError

# Far more than a person writes: what is larger or deeper is something else.
MOST_BYTES = 16 * 2**20
DEEPEST = 16
# TOML's integers; beyond them, arithmetic with floats fails.
INTEGERS = range(-(2**63), 2**63)
# What pydantic says in words of Python.
PLAIN_WORDS = {
    "tuple_type": "Input should be a list",
    "model_type": "Input should be a table",
    "too_short": "Give at least one",
}
# What patterns ask for, by what they begin with.
FORMS = {"file:": "'file:PATH'", "pypi:": "'pypi:NAME==VERSION/MEMBER'"}
# How near a key of an inner table must be to be suggested for one of this table.
NEAR = 0.85
LONGEST_SHOWN = 80


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; a byte order mark at its beginning is allowed.

    Raises:
        ConfigError: It is missing, unreadable, not TOML, or holds a number that is not finite or a text with a NUL.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device could wait for ever
            raise ConfigError(f"{path} cannot be read: it is not a regular file. Give a TOML file.")
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is no recipe or registry: it is larger than {MOST_BYTES // 2**20} MiB.")
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8 text ({error}). Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    except ValueError as error:  # not only tomllib's own: also a number of thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deeply.") from error
    _check_values(path, content, "", 0)
    return content


def _check_values(path: Path, value: Any, place: str, depth: int) -> None:
    """Refuse what nothing here can use, wherever it stands."""
    if depth > DEEPEST:
        raise ConfigError(f"{path}: {place} is nested too deeply: at most {DEEPEST} levels.")
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_values(path, inner, f"{place}.{key}" if place else str(key), depth + 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise ConfigError(f"{path}: {place} holds a NUL character (got {_shortened(value)}).")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: {place} should be a finite number (got {value}).")
    elif isinstance(value, int) and value not in INTEGERS:
        raise ConfigError(f"{path}: {place} should be an integer of at most 64 bits (got {_shortened(value)}).")


def config_error(
    place: str,
    model: type[BaseModel],
    error: ValidationError,
    *,
    top_keys: Collection[str] = (),
    written: Callable[[str], str] = str,
) -> ConfigError:
    """The problems that pydantic found in one table, one line per key.

    Args:
        place: The file, and the table as the file writes it.
        model: Of the table.
        error: What pydantic raised.
        top_keys: Keys of the top of the file, if they are not all keys of the model.
        written: From a key to how the user writes it.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    for problem in error.errors():
        loc, is_unknown = problem["loc"], problem["type"] == "extra_forbidden"
        if problem["type"] == "too_short" and problem["input"]:
            continue  # its items are wrong, which has lines of its own
        # Other parts name a choice of a union; each choice has its problem, and they stand in one line.
        known = [part for end, part in enumerate(loc) if isinstance(part, int) or part in _keys_at(model, loc[:end])]
        if is_unknown:
            hint = _suggestion(str(loc[-1]), _keys_at(model, loc[:-1]), top_keys if len(loc) == 1 else ())
            key, text, got = (*known, loc[-1]), f"not a key here.{hint}", ""
        else:
            key, text = tuple(known), _plain(problem["type"], problem["msg"])
            got = "" if problem["type"] == "missing" else f" (got {_shortened(problem['input'])})"
        name = written(".".join(map(str, key))) if key else "(the table)"
        lines.setdefault((name, got), []).append(text)
    texts = [f"  {name}: {'; or '.join(problems)}{got}" for (name, got), problems in lines.items()]
    return ConfigError("\n".join([f"{place}:", *texts]))


def _plain(kind: str, message: str) -> str:
    """What pydantic says, without its own terms."""
    if kind == "string_pattern_mismatch":
        message = next((form for begin, form in FORMS.items() if f"'^{begin}" in message), message)
    return PLAIN_WORDS.get(kind) or message.removeprefix("Value error, ")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _keys_at(model: type[BaseModel], loc: Sequence[str | int]) -> dict[str, type[BaseModel] | None]:
    """The keys of the table at this place, each with the model of the tables that it holds."""
    keys = {info.alias or name: next(_models_in(info.annotation), None) for name, info in model.model_fields.items()}
    for number, part in enumerate(loc, start=1):
        if part in keys:  # other parts name a choice of a union
            inner = keys[str(part)]
            return _keys_at(inner, loc[number:]) if inner else {}
    return keys


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _suggestion(key: str, known: Mapping[str, type[BaseModel] | None], top_keys: Collection[str]) -> str:
    """Where a key belongs; else the nearest key of this table, or of a table in it; else all keys."""
    if key in top_keys:
        return " It belongs at the top of the file."
    own = (*known, *top_keys)
    if near := difflib.get_close_matches(key, own, n=1):
        return f" Did you mean {near[0]!r}?"
    inner = {table: _keys_at(model, ()) for table, model in known.items() if model}
    if near := difflib.get_close_matches(key, {name for keys in inner.values() for name in keys}, n=1, cutoff=NEAR):
        homes = [table for table, keys in inner.items() if near[0] in keys]
        return f" Did you mean {near[0]!r} in {' or '.join(homes)}?"
    return f" Known: {', '.join(own)}."
