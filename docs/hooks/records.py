"""The reference of recipes and registry files, from the models that read them."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from markdown_tables import table
from pydantic import BaseModel

from benchmark.options import Augmentation, DenseOptions, Stage
from benchmark.preprocessing import Normalisation
from benchmark.recipes import Grid, Published, Sweep
from benchmark.registry import Backbone
from benchmark.registry.files import EXTENDS, OF_READER

# Larger bounds only say what fits into memory.
LARGEST_BOUND = 2**20


def recipe_keys() -> str:
    """The keys of a recipe file, table by table."""
    return "\n\n".join(
        f"## {heading} {{#{kind.__name__.lower()}}}\n\n{keys_table(kind)}"
        for heading, kind in (
            ("The top of the file", Sweep), ("A grid", Grid), ("dense", DenseOptions), ("stages", Stage),
            ("augment", Augmentation), ("published", Published),
        )
    )  # fmt: skip


def registry_keys() -> str:
    """The keys of a backbone in a registry file, and those of a normalisation."""
    extends = "Name of another entry, of any file, from which all keys that are not given are taken."
    return (
        f"{keys_table(Backbone, OF_READER)}\n| `{EXTENDS}` | text | – | {extends} |\n\n"
        f"## mode as a table {{#normalisation}}\n\n{keys_table(Normalisation)}"
    )


def keys_table(kind: type[BaseModel], left_out: tuple[str, ...] = ()) -> str:
    """Key, type, default and meaning of each field."""
    schemas, texts = kind.model_json_schema()["properties"], attributes(kind)
    rows = [
        [f"`{key}`", in_words(schemas[key]), _default(field), texts[name]]
        for name, field in kind.model_fields.items()
        for key in (field.alias or name,)
        if name not in left_out
    ]
    return table(["key", "value", "default", "meaning"], rows)


def attributes(kind: type) -> dict[str, str]:
    """The texts of the section `Attributes` of a docstring."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def in_words(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[table](#{name.lower()})"
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(in_words(one) for one in several if one != {"type": "null"})
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return " or ".join(f'`"{value}"`' for value in values)
    return _of_type(schema)


def _of_type(schema: Mapping[str, Any]) -> str:
    match schema["type"]:
        case "array":
            return _of_list(schema)
        case "boolean":
            return "`true` or `false`"
        case "integer":
            return "whole number" + _bounds(schema)
        case "number":
            return "number" + _bounds(schema)
        case "object":
            return "table"
    begin = re.match(r"\^(\w+:)", schema.get("pattern", ""))
    return f'`"{begin[1]}…"`' if begin else "text"


def _of_list(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}: {in_words(schema['prefixItems'][0])}"
    # Pairs are how a table is kept.
    return "table" if "prefixItems" in schema["items"] else f"list: {in_words(schema['items'])}"


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    given = [
        f"{word} {schema[key]:,}" for key, word in words.items() if abs(schema.get(key, LARGEST_BOUND)) < LARGEST_BOUND
    ]
    return f", {', '.join(given)}" if given else ""


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "–"
    if isinstance(field.default, BaseModel):
        return "its own defaults"
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{str(default).lower() if isinstance(default, bool) else repr(default)}`".replace("'", '"')
