"""The leaderboard: rows of ledgers, averaged over seeds and ranked within each dataset."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.loading import SETTING, are_times_comparable, finished
from benchmark.analysis.published import published_accuracy
from benchmark.analysis.significance import SeedRun, SeedRuns, Standing, rank_with_ties
from benchmark.errors import check_known
from benchmark.metrics import wilson_interval
from benchmark.recipes import Published

AVERAGED = (
    "balanced_accuracy", "macro_f1", "log_loss", "train_accuracy", "val_accuracy", "overfit_gap", "efficiency",
    "efficiency_above_chance", "params_total", "params_trainable", "flops_g", "extract_s", "train_s", "eval_s",
    "wall_s", "images_per_s", "latency_ms", "latency_p95_ms", "model_mib", "peak_rss_mib",
)  # fmt: skip
TIMES = ("extract_s", "train_s", "eval_s", "wall_s", "images_per_s", "latency_ms", "latency_p95_ms")
HIGHER_IS_BETTER = frozenset(
    {"accuracy", "balanced_accuracy", "macro_f1", "efficiency", "efficiency_above_chance", "images_per_s"}
)
LOWER_IS_BETTER = frozenset(
    {
        *("log_loss", "overfit_gap", "params_total", "flops_g", "extract_s", "train_s", "wall_s", "peak_rss_mib"),
        *("latency_ms", "latency_p95_ms", "model_mib"),
    }
)


def make_leaderboard(
    runs: pd.DataFrame,
    *,
    by: str = "accuracy",
    published: Sequence[Published] = (),
    correctness: Correctness | None = None,
) -> pd.DataFrame:
    """Settings ranked within their dataset, each the mean of its seeds.

    Args:
        runs: What `load_runs` returns.
        by: The column to rank by.
        published: Figures to show beside the measured ones.
        correctness: Of the runs; without it no settings are tied.

    Returns:
        One row per setting: `rank`, `rank_first` and `rank_last` (if ranked by accuracy, the range of ranks that the
        test set allows), the columns of `SETTING`, `n_seeds`, `n_test`, `accuracy`, `accuracy_std`
        (sample deviation over seeds, empty for one), `accuracy_low` and `accuracy_high` (95 % Wilson interval of the
        mean accuracy at the size of the test set, which all seeds share), the means of the costs (times without rows of
        jobs that ran at the same time as others), `p_best` (Holm-adjusted p-value of McNemar's test against the most
        accurate setting of the dataset), `smallest_difference` (from the most accurate setting, the smallest difference
        in accuracy that this test set can show; see `significance`), `published` (accuracy), and `difference` (measured
        minus published).

    Raises:
        UnknownNameError: There is no such column to rank by.
    """
    check_known("column to rank by", by, HIGHER_IS_BETTER | LOWER_IS_BETTER)
    done = finished(runs)
    table = _averaged(done)
    ties = _standings(done, table, correctness)
    for column in ("p_best", "smallest_difference"):
        table[column] = [getattr(tie, column) if tie else np.nan for tie in ties]
    table["published"] = [published_accuracy(setting, published) for setting in table.to_dict("records")]
    table["difference"] = table["accuracy"] - table["published"].astype(float)
    return _ranked(table, by, ties)


def _averaged(done: pd.DataFrame) -> pd.DataFrame:
    comparable = are_times_comparable(done)
    done = done.assign(**{column: done[column].where(comparable) for column in TIMES})
    groups = done.groupby(list(SETTING), sort=False, dropna=False)
    accuracy = groups["accuracy"].mean()
    n_test = groups["n_test"].first()
    intervals = [wilson_interval(round(share * n), int(n)) for share, n in zip(accuracy, n_test, strict=True)]
    measured = {
        "n_seeds": groups["seed"].nunique(),
        "n_test": n_test,
        "accuracy": accuracy,
        "accuracy_std": groups["accuracy"].std(),
        "accuracy_low": [low for low, _ in intervals],
        "accuracy_high": [high for _, high in intervals],
    }
    return pd.DataFrame(measured, index=accuracy.index).join(groups[list(AVERAGED)].mean()).reset_index()


def _standings(done: pd.DataFrame, table: pd.DataFrame, correctness: Correctness | None) -> list[Standing | None]:
    """For every row of the table, its range of ranks among the settings of its dataset."""
    standings: list[Standing | None] = [None] * len(table)
    if correctness is None:
        return standings
    # Plain records, because one DataFrame per setting takes seconds in a ledger of thousands of settings.
    runs: list[list[SeedRun]] = [[] for _ in table.index]
    places = done.groupby(list(SETTING), sort=False, dropna=False).ngroup()
    for place, run in zip(places, done[list(SeedRun._fields)].itertuples(index=False, name=None), strict=True):
        runs[place].append(SeedRun(*run))
    settings = [SeedRuns(some, correctness) for some in runs]
    for _, rows in table.sort_values("accuracy", ascending=False, kind="stable").groupby("dataset"):
        for position, standing in zip(rows.index, rank_with_ties([settings[row] for row in rows.index]), strict=True):
            standings[position] = standing
    return standings


def _ranked(table: pd.DataFrame, by: str, ties: Sequence[Standing | None]) -> pd.DataFrame:
    ascending = by in LOWER_IS_BETTER
    ranks = table.groupby("dataset")[by].rank(method="min", ascending=ascending, na_option="bottom").astype(int)
    # Equal values have equal ranks, whether or not there are predictions to compare.
    ranges = [
        (tie.first, tie.last) if tie and by == "accuracy" and tie.first < tie.last else (rank, rank)
        for tie, rank in zip(ties, ranks, strict=True)
    ]
    table.insert(0, "rank", ranks)
    table.insert(1, "rank_first", [first for first, _ in ranges])
    table.insert(2, "rank_last", [last for _, last in ranges])
    return table.sort_values(["dataset", "rank", *SETTING], ignore_index=True)
