"""How the text of options is read."""

import csv
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import console
from benchmark.errors import BenchmarkError, some_of

if TYPE_CHECKING:
    from benchmark.registry import Registry


def known_backbones(registry: Sequence[Path] | None) -> "Registry":
    """The backbones of a command; says what of `./backbones.toml`, which nobody named, is not as shipped."""
    from benchmark.registry import REGISTRY_FILE, load_registry, read_registry, shipped_path

    if Path(REGISTRY_FILE).exists():
        shipped, local = read_registry(shipped_path(REGISTRY_FILE)), load_registry()
        differences = {
            "adds": [name for name in local if name not in shipped],
            "changes": [name for name in local if name in shipped and not _is_shipped(local, name)],
            "lacks": [name for name in shipped if name not in local],
        }
        said = "; ".join(f"{verb} {some_of(names)}" for verb, names in differences.items() if names)
        if said:
            console.say(f"./{REGISTRY_FILE}: {said}")
    return load_registry(registry or ())


def _is_shipped(registry: "Registry", name: str) -> bool:
    try:
        return registry[name].is_shipped
    except BenchmarkError:  # a preset that is not here, which matters only if somebody asks for it
        return False


def registry_options(registry: Sequence[Path] | None) -> str:
    """What to add to a command so that it has the same registry files."""
    return "".join(f" --registry {shlex.quote(str(path))}" for path in registry or ())


def split_names(text: str | None) -> tuple[str, ...] | None:
    """The names of a comma separated option; None if it was not given."""
    if text is None:
        return None
    try:
        parts = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise BenchmarkError(f"Not a comma separated list: {text!r} ({error}). Put a name in double quotes.") from error
    return tuple(part.strip() for part in parts if part.strip())


def _split_numbers(key: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, split_names(text) or ()))
    except ValueError as error:
        raise BenchmarkError(
            f"--{key} takes whole numbers separated by commas, such as 0,1,2; got {text!r}."
        ) from error


def parse_where(conditions: Sequence[str] | None) -> dict[str, str]:
    """The columns of `--where` and the values or patterns wanted in them.

    Raises:
        BenchmarkError: A condition is not of the form column=value, or two are of one column.
    """
    pairs = [condition.partition("=") for condition in conditions or ()]
    for column, equals, _ in pairs:
        if not equals:
            raise BenchmarkError(f"--where takes column=value, such as seed=0; got {column!r}.")
    columns = [column.strip() for column, _, _ in pairs]
    if twice := {column for column in columns if columns.count(column) > 1}:
        raise BenchmarkError(f"--where gives {', '.join(sorted(twice))} twice: one pattern may match several values.")
    return {column.strip(): value.strip() for column, _, value in pairs}


# Options that are keys of a recipe's grid and comma separated lists.
_NUMBERS = ("seeds", "shots")
_LISTS = ("backbones", "datasets", "modes", "strategies", "heads", "classes", *_NUMBERS)


def grid_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe's grid that the options of a command give, from the `params` of its context."""
    from benchmark.recipes import Grid

    given = {key: params[key] for key in Grid.model_fields if params.get(key) is not None}
    for key in given.keys() & set(_LISTS):
        given[key] = _split_numbers(key, given[key]) if key in _NUMBERS else split_names(given[key])
    return given
