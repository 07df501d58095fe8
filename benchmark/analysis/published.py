"""Published figures beside the measured ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.loading import find_ledgers
from benchmark.ledger import RECIPE_COPY
from benchmark.recipes import Published, read_recipe, recipe_paths
from benchmark.registry import read_toml


def load_published(paths: Sequence[Path]) -> list[Published]:
    """The published figures of the recipes that lie beside these ledgers, each once.

    Of a shipped recipe, those that it has now count, which may have been corrected since.
    """
    shipped = recipe_paths()
    figures: dict[Published, None] = {}
    for folder in find_ledgers(paths):
        copy = folder / RECIPE_COPY
        if copy.exists():
            recipe = read_recipe(shipped.get(read_toml(copy).get("name", ""), copy))
            figures.update(dict.fromkeys(recipe.published))
    return list(figures)


def published_accuracy(setting: Mapping[Any, Any], published: Sequence[Published]) -> float | None:
    """The published accuracy of a setting; None where there is none."""
    for figure in published:
        if figure.metric == "accuracy" and is_about(figure, setting):
            return figure.value
    return None


def is_about(figure: Published, setting: Mapping[Any, Any]) -> bool:
    """Whether a published figure is about this setting."""
    names_options = "(" in figure.strategy
    found = {
        "dataset": _without_options(setting["dataset"], "["),
        "backbone": setting["backbone"],
        "strategy": setting["strategy"] if names_options else _without_options(setting["strategy"], "("),
        "mode": setting["mode"],
        "head": setting["head"],
    }
    asked = figure.model_dump(include=set(found), exclude_none=True)
    return all(found[column] == value for column, value in asked.items())


def _without_options(label: str, opening: str) -> str:
    """A name without its bracket; what follows the bracket stays, so that a subset is no whole dataset."""
    name, bracket, rest = label.partition(opening)
    closing = {"[": "]", "(": ")"}[opening]
    return name + rest.rpartition(closing)[2] if bracket else name


def compare_published(board: pd.DataFrame, published: Sequence[Published]) -> pd.DataFrame:
    """Every published figure that a setting of the leaderboard has measured too.

    Returns:
        A row a figure: `dataset`, `backbone`, `strategy`, `mode`, `head`, `metric`, `published`, `measured` (mean of
        the seeds), `difference` (measured less published) and `note`.
    """
    columns = ["dataset", "backbone", "strategy", "mode", "head"]
    rows = [
        {
            **{column: setting[column] for column in columns},
            "metric": figure.metric,
            "published": figure.value,
            "measured": setting[figure.metric],
            "difference": setting[figure.metric] - figure.value,
            "note": figure.note,
        }
        for figure in published
        for setting in board.to_dict("records")
        if figure.metric in setting and is_about(figure, setting)
    ]
    return pd.DataFrame(rows, columns=[*columns, "metric", "published", "measured", "difference", "note"])
