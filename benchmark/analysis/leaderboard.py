"""The leaderboard: rows of ledgers, averaged over seeds and ranked within each dataset."""

from collections.abc import Sequence

import pandas as pd

from benchmark.analysis.loading import SETTING
from benchmark.analysis.published import published_accuracy
from benchmark.errors import UnknownNameError
from benchmark.ledger import DONE
from benchmark.metrics import wilson_interval
from benchmark.recipes import Published

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
    table["published"] = [published_accuracy(setting, published) for setting in table.to_dict("records")]
    table["difference"] = table["accuracy"] - table["published"].astype(float)
    return _ranked(table, by)


def _ranked(table: pd.DataFrame, by: str) -> pd.DataFrame:
    ascending = by in LOWER_IS_BETTER
    ranks = table.groupby("dataset")[by].rank(method="min", ascending=ascending, na_option="bottom")
    table.insert(0, "rank", ranks.astype(int))
    return table.sort_values(["dataset", "rank", *SETTING], ignore_index=True)
