"""The options of the command line that ask for what a row holds."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# The columns that name a cell, as `--where` compares them: as texts.
Labels = Mapping[str, str]
# Keys of a recipe's grid.
Options = Mapping[str, Any]

_DATASET = re.compile(r"(?P<name>.*?)(\[(?P<classes>.*)\])?(@(?P<limit>\d+))?")
_FOLDS = re.compile(r"folds=(\d+)\)$")
_LISTS = {"backbone": "backbones", "mode": "modes", "head": "heads"}
_VALUES = ("resize", "crop", "precision")


def label_of(value: Any) -> str:
    """A value of a ledger as a text; numbers of a ledger that has gaps are read as fractions: `64.0` is 64."""
    return str(int(value)) if isinstance(value, float) else str(value)


def base_name(label: str) -> str:
    """A head or strategy without its options."""
    return label.partition("(")[0]


def options_of(column: str, setting: Labels, seeds: Iterable[str]) -> dict[str, Any]:
    """The keys of a grid that ask for the value of a column.

    Args:
        column: Of `SETTING`, or `seed`.
        setting: The row's columns.
        seeds: What is wanted of them.

    Returns:
        Keys and values; none where no option can ask for it.
    """
    if column == "dataset":
        return _dataset_options(setting[column])
    if column == "strategy":
        return _strategy_options(setting)
    if column == "seed":
        # Folds number themselves.
        return {} if _FOLDS.search(setting["strategy"]) else {"seeds": tuple(sorted(int(seed) for seed in seeds))}
    if column == "input_size_px" or column in _VALUES:
        return {column: int(setting[column]) if column == "input_size_px" else setting[column]}
    if column == "backbone" and not setting["head"]:  # it has its own classifier
        return {"backbones": (setting[column],), "strategies": (base_name(setting["strategy"]),)}
    return {_LISTS[column]: (base_name(setting[column]),)} if column in _LISTS and setting[column] else {}


def _strategy_options(setting: Labels) -> dict[str, Any]:
    asked: dict[str, Any] = {"strategies": (base_name(setting["strategy"]),)}
    folds = _FOLDS.search(setting["strategy"])
    if folds:
        asked["folds"] = int(folds[1])
    return asked


def _dataset_options(label: str) -> dict[str, Any]:
    """Of `folder:pets[cat,dog]@100` the dataset, its classes and the number of images."""
    parts = _DATASET.fullmatch(label)
    if parts is None:  # a name of several lines, which no recipe of ours has
        return {"datasets": (label,)}
    asked: dict[str, Any] = {"datasets": (parts["name"],)}
    if parts["classes"]:
        asked["classes"] = tuple(parts["classes"].split(","))
    if parts["limit"]:
        asked["limit"] = int(parts["limit"])
    return asked
