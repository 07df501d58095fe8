"""The leaderboard: rows of ledgers, averaged over seeds and ranked within each dataset."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import LedgerError, UnknownNameError
from benchmark.ledger import DONE, FAILED, IDENTITY, RECIPE_COPY, RUNS, Ledger
from benchmark.metrics import wilson_interval
from benchmark.recipes import Published, read_recipe

# A line of the leaderboard is one setting; its rows differ in their seed only.
SETTING = tuple(column for column in IDENTITY if column != "seed")
AVERAGED = (
    "balanced_accuracy", "macro_f1", "log_loss", "train_accuracy", "val_accuracy", "overfit_gap", "efficiency",
    "efficiency_above_chance", "params_total", "params_trainable", "flops_g", "extract_s", "train_s", "eval_s",
    "wall_s", "images_per_s", "peak_rss_mib",
)  # fmt: skip
HIGHER_IS_BETTER = frozenset(
    {"accuracy", "balanced_accuracy", "macro_f1", "efficiency", "efficiency_above_chance", "images_per_s"}
)
LOWER_IS_BETTER = frozenset(
    {"log_loss", "overfit_gap", "params_total", "flops_g", "extract_s", "train_s", "wall_s", "peak_rss_mib"}
)


def find_ledgers(paths: Iterable[Path]) -> list[Path]:
    """The folders that hold a `runs.csv`: each path itself or any folder below it, sorted.

    Raises:
        LedgerError: A path holds none.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        found = sorted(file.parent for file in path.rglob(RUNS)) if path.is_dir() else []
        if not found:
            raise LedgerError(f"There is no {RUNS} in {path} or below it: give a folder that 'benchmark run' wrote.")
        folders.update(dict.fromkeys(found))
    return list(folders)


def load_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """The last row of every cell of these ledgers, failures too, with the name of its folder as `sweep`.

    Args:
        paths: Ledger folders, or folders of them.

    Raises:
        LedgerError: There is no ledger, or one cannot be read.
    """
    tables = [Ledger(folder).read_runs().assign(sweep=folder.name) for folder in find_ledgers(paths)]
    runs = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    return runs.drop_duplicates(["sweep", *IDENTITY], keep="last", ignore_index=True)


def count_failed(runs: pd.DataFrame) -> int:
    """Number of cells whose last run failed."""
    return int((runs["status"] == FAILED).sum())


def load_published(paths: Sequence[Path]) -> list[Published]:
    """The published figures of the recipes that lie beside these ledgers."""
    recipes = [folder / RECIPE_COPY for folder in find_ledgers(paths)]
    return [figure for recipe in recipes if recipe.exists() for figure in read_recipe(recipe).published]


def make_leaderboard(runs: pd.DataFrame, *, by: str = "accuracy", published: Sequence[Published] = ()) -> pd.DataFrame:
    """Settings ranked within their dataset, each the mean of its seeds.

    Args:
        runs: What `load_runs` gives.
        by: The column to rank by.
        published: Figures to stand beside the measured ones.

    Returns:
        A row a setting: `rank`, the setting's columns, `n_seeds`, `accuracy`, `accuracy_std` (sample deviation
        over seeds, empty for one), `accuracy_low` and `accuracy_high` (95 % Wilson interval of the mean accuracy
        at the size of the test set, which all seeds share), the means of the costs, `published`
        (accuracy), and `difference` (measured less published).

    Raises:
        UnknownNameError: There is no such column to rank by.
    """
    if by not in HIGHER_IS_BETTER | LOWER_IS_BETTER:
        raise UnknownNameError("column to rank by", by, HIGHER_IS_BETTER | LOWER_IS_BETTER)
    done = runs[runs["status"] == DONE]
    groups = done.groupby(list(SETTING), sort=False, dropna=False)
    table = groups[list(AVERAGED)].mean()
    table.insert(0, "n_seeds", groups["seed"].nunique())
    table.insert(1, "accuracy", groups["accuracy"].mean())
    table.insert(2, "accuracy_std", groups["accuracy"].std())
    n_test = groups["n_test"].first()
    intervals = [
        wilson_interval(round(accuracy * n), int(n)) for accuracy, n in zip(table["accuracy"], n_test, strict=True)
    ]
    table.insert(3, "accuracy_low", [low for low, _ in intervals])
    table.insert(4, "accuracy_high", [high for _, high in intervals])
    table = table.reset_index()
    table["published"] = [_published_accuracy(setting, published) for setting in table.to_dict("records")]
    table["difference"] = table["accuracy"] - table["published"].astype(float)
    return _ranked(table, by)


def _ranked(table: pd.DataFrame, by: str) -> pd.DataFrame:
    ascending = by in LOWER_IS_BETTER
    ranks = table.groupby("dataset")[by].rank(method="min", ascending=ascending, na_option="bottom")
    table.insert(0, "rank", ranks.astype(int))
    return table.sort_values(["dataset", "rank", *SETTING], ignore_index=True)


def _published_accuracy(setting: Mapping[Any, Any], published: Sequence[Published]) -> float | None:
    for figure in published:
        if figure.metric == "accuracy" and is_about(figure, setting):
            return figure.value
    return None


def is_about(figure: Published, setting: Mapping[Any, Any]) -> bool:
    """Whether a published figure is about this setting."""
    found = {
        "dataset": _without_options(setting["dataset"], "["),
        "backbone": setting["backbone"],
        "strategy": _without_options(setting["strategy"], "("),
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
