"""Published figures beside the measured ones."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.loading import find_ledgers
from benchmark.ledger import RECIPES
from benchmark.recipes import Published, read_published, recipe_paths

# Where schema 1 kept the recipe of a ledger.
RECIPE_OF_SCHEMA_1 = "recipe.toml"


def load_published(paths: Sequence[Path]) -> list[Published]:
    """The published figures of the recipes beside these ledgers, each once.

    Those of a shipped recipe are taken from its present file, where they may have been corrected since.
    """
    shipped = recipe_paths()
    figures: dict[Published, None] = {}
    for folder in find_ledgers(paths):
        for path in (*sorted((folder / RECIPES).glob("*.toml")), folder / RECIPE_OF_SCHEMA_1):
            if path.exists():
                name, published = read_published(path)
                if name in shipped:
                    _, published = read_published(shipped[name])
                figures.update(dict.fromkeys(published))
    return list(figures)


def published_accuracy(setting: Mapping[Any, Any], published: Sequence[Published]) -> float | None:
    """The published accuracy of a setting; None where there is none."""
    for figure in published:
        if figure.metric == "accuracy" and is_about(figure, setting):
            return figure.value
    return None


def is_about(figure: Published, setting: Mapping[Any, Any]) -> bool:
    """Whether a published figure is about this setting; a column that the figure leaves open may have any value.

    Figures are of all training images, so none is about a setting with shots.
    """
    asked = figure.model_dump(include={"backbone", "strategy", "stages", "mode", "head", "head_options"})
    if figure.head is None:
        asked["head_options"] = None
    is_same = all(setting[column] == value for column, value in asked.items() if value is not None)
    return is_same and bool(pd.isna(setting["shots"])) and _is_dataset(figure.dataset, setting["dataset"])


def _is_dataset(asked: str, dataset: str) -> bool:
    # Names may hold brackets, so only a star makes a pattern.
    return asked == dataset or ("*" in asked and fnmatch.fnmatchcase(dataset, asked))


def compare_published(board: pd.DataFrame, published: Sequence[Published]) -> pd.DataFrame:
    """Every published figure that a setting of the leaderboard has measured too.

    Returns:
        One row per figure and setting: `dataset`, `backbone`, `strategy`, `stages`, `folds`, `shots`, `mode`,
        `head`, `head_options`, `metric`, `published`, `measured` (mean of the seeds), `difference` (measured minus
        published) and `note`.
    """
    columns = ["dataset", "backbone", "strategy", "stages", "folds", "shots", "mode", "head", "head_options"]
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
