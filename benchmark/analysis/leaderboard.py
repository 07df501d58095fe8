"""The leaderboard: rows of ledgers, averaged over seeds and ranked within each dataset."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Marks
from benchmark.analysis.loading import SETTING, SEVERAL, are_times_comparable, finished
from benchmark.analysis.published import published_accuracy
from benchmark.analysis.ranks import SeedRun, SeedRuns, Standing, rank_with_ties
from benchmark.errors import check_known
from benchmark.metrics import wilson_interval
from benchmark.preprocessing import NATIVE
from benchmark.recipes import Published

NOT_NATIVE, NOT_MEASURED = f"not in mode {NATIVE}", "not measured"  # why a setting has no rank
# Settings that agree in these are ranked together: few training images are no rival of many.
TOGETHER = ("dataset", "shots")
OF_ROW = (*SETTING, "machine")  # what a row of the table is about; see `SEVERAL`
HIGHER, LOWER = "higher", "lower"
# The figures that are averaged over seeds, and which value of them is better; None if neither is.
AVERAGED = {
    "chance": None, "top5_accuracy": HIGHER, "balanced_accuracy": HIGHER, "macro_f1": HIGHER, "log_loss": LOWER,
    "calibration_error": LOWER, "train_accuracy": None, "val_accuracy": None, "overfit_gap": LOWER,
    "efficiency": HIGHER, "efficiency_above_chance": HIGHER, "params_total": LOWER, "params_trainable": None,
    "flops_g": LOWER, "extract_s": LOWER, "train_s": LOWER, "eval_s": LOWER, "wall_s": LOWER, "images_per_s": HIGHER,
    "latency_ms": LOWER, "latency_p95_ms": LOWER, "model_mib": LOWER, "peak_rss_mib": LOWER,
}  # fmt: skip
HIGHER_IS_BETTER = frozenset({"accuracy", *(figure for figure, better in AVERAGED.items() if better == HIGHER)})
LOWER_IS_BETTER = frozenset(figure for figure, better in AVERAGED.items() if better == LOWER)
TIMES = ("extract_s", "train_s", "eval_s", "wall_s", "images_per_s", "latency_ms", "latency_p95_ms")
# All columns of the table, in their order.
COLUMNS = (
    "rank", "rank_first", "rank_last", "not_ranked", *OF_ROW, "n_seeds", "n_test", "n_classes", "n_jobs",
    "accuracy", "accuracy_std", "accuracy_low", "accuracy_high", *AVERAGED, "p_best", "smallest_difference",
    "published", "difference",
)  # fmt: skip


def make_leaderboard(
    runs: pd.DataFrame,
    *,
    by: str = "accuracy",
    published: Sequence[Published] = (),
    correctness: Marks | None = None,
    by_machine: bool = False,
) -> pd.DataFrame:
    """Settings ranked within their dataset and number of shots, each the mean of its seeds.

    Settings in mode native are ranked. Other modes show what a mistake costs, which is the subject of the ablation:
    they stand below, without a rank, and are not tested, so that sweeping them changes no rank. If a dataset has no
    setting in mode native with so many shots, all of these are ranked.

    Args:
        runs: What `load_runs` returns.
        by: The column to rank by.
        published: Figures to show beside the measured ones.
        correctness: Of the runs; without it no settings are tied.
        by_machine: Rank each machine's rows among themselves; for runs that were loaded by machine.

    Returns:
        One row per setting: `rank`, `rank_first` and `rank_last` (if ranked by accuracy, the range of ranks that images
        and seeds allow), `not_ranked` (why there is no rank, otherwise empty), the columns of `SETTING`, `machine`,
        `n_seeds`, `n_test`, `n_classes`, `n_jobs` (the most that ran at the same time), `accuracy`, `accuracy_std`
        (sample deviation over seeds, empty for one), `accuracy_low` and `accuracy_high` (95 % Wilson interval of the
        mean accuracy at the size of the test set, which all seeds share; folds are taken together), the means of the
        other figures (times without rows of jobs that ran at the same time as others), `p_best` (Holm-adjusted p-value
        of being as good as the most accurate of those that are ranked together), `smallest_difference` (from that
        setting, the smallest difference in accuracy that images and seeds can show; see `significance`), `published`
        (accuracy), and `difference` (measured minus published). Those with more training images come first.

    Raises:
        UnknownNameError: There is no such column to rank by.
    """
    check_known("column to rank by", by, HIGHER_IS_BETTER | LOWER_IS_BETTER)
    done = finished(runs)
    together = [*TOGETHER, "machine"] if by_machine else [*TOGETHER]
    table = _averaged(done, by)
    is_native = table["mode"] == NATIVE
    has_native = is_native.groupby([table[column] for column in together], dropna=False).transform("any")
    is_candidate = is_native | ~has_native.astype(bool)
    ties = _standings(done, table[is_candidate], correctness, together)
    for column in ("p_best", "smallest_difference"):
        table[column] = [getattr(tie, column) if tie else np.nan for tie in ties]
    table["published"] = [published_accuracy(setting, published) for setting in table.to_dict("records")]
    table["difference"] = table["accuracy"] - table["published"].astype(float)
    return _ranked(table, by, is_candidate, ties, together)


def _averaged(done: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row per setting; `is_measured` says whether `by` was measured, be it beside other jobs or elsewhere."""
    comparable = are_times_comparable(done)
    times = {column: done[column].where(comparable) for column in TIMES}
    done = done.assign(is_measured=done[by].notna(), **times)
    # Seeds share the test images; folds have some each, and together name each image once.
    has_folds = done["folds"].notna()
    done = done.assign(
        n_in_all=done["n_test"].where(has_folds), n_right=(done["accuracy"] * done["n_test"]).where(has_folds)
    )
    groups = done.groupby(list(OF_ROW), sort=False, dropna=False)
    of_folds = groups[["n_in_all", "n_right"]].sum()
    of_folds = of_folds[of_folds["n_in_all"] > 0]
    accuracy, n_test = groups["accuracy"].mean(), groups["n_test"].first()
    accuracy.update(of_folds["n_right"] / of_folds["n_in_all"])
    n_test.update(of_folds["n_in_all"])
    intervals = [wilson_interval(round(share * n), int(n)) for share, n in zip(accuracy, n_test, strict=True)]
    measured = {
        "n_seeds": groups["seed"].nunique(),
        "n_test": n_test,
        "n_classes": groups["n_classes"].first(),
        "n_jobs": groups["n_jobs"].max(),
        "is_measured": groups["is_measured"].any(),
        "accuracy": accuracy,
        "accuracy_std": groups["accuracy"].std(),
        "accuracy_low": [low for low, _ in intervals],
        "accuracy_high": [high for _, high in intervals],
    }
    return pd.DataFrame(measured, index=accuracy.index).join(groups[list(AVERAGED)].mean()).reset_index()


def _standings(
    done: pd.DataFrame, table: pd.DataFrame, correctness: Marks | None, together: Sequence[str]
) -> list[Standing | None]:
    """For every setting of `done`, its range of ranks among those of the table it is ranked with; None for others."""
    settings_of_rows = done.groupby(list(OF_ROW), sort=False, dropna=False)
    standings: list[Standing | None] = [None] * settings_of_rows.ngroups
    if correctness is None:
        return standings
    # Plain records, because one DataFrame per setting takes seconds in a ledger of thousands of settings.
    runs: list[list[SeedRun]] = [[] for _ in standings]
    for place, run in zip(
        settings_of_rows.ngroup(), done[list(SeedRun._fields)].itertuples(index=False, name=None), strict=True
    ):
        runs[place].append(SeedRun(*run))
    ordered = table.sort_values("accuracy", ascending=False, kind="stable")
    for _, rows in ordered.groupby(list(together), dropna=False):
        settings = [SeedRuns(runs[place], correctness) for place in rows.index]
        for place, standing in zip(rows.index, rank_with_ties(settings), strict=True):
            standings[place] = standing
    return standings


def _ranked(
    table: pd.DataFrame,
    by: str,
    is_candidate: "pd.Series[bool]",
    ties: Sequence[Standing | None],
    together: Sequence[str],
) -> pd.DataFrame:
    """The table with the columns of the ranks; of those ranked together, the candidates first."""
    order = table.groupby([*together, ~is_candidate], dropna=False)[by].rank(
        method="min", ascending=by in LOWER_IS_BETTER, na_option="bottom"
    )
    # Equal values have equal ranks, whether or not there are predictions to compare.
    ranges = [
        (tie.first, tie.last) if tie and by == "accuracy" and tie.first < tie.last else (rank, rank)
        for tie, rank in zip(ties, order, strict=True)
    ]
    firsts, lasts = zip(*ranges, strict=True) if ranges else ((), ())
    ranks = pd.DataFrame({"rank": order, "rank_first": firsts, "rank_last": lasts}, index=table.index)
    ranks = ranks.where(is_candidate & table[by].notna()).astype("Int64")
    beside_others = table["n_jobs"].map("measured while {:.0f} jobs ran".format)
    elsewhere = beside_others.where(table["n_jobs"] > 1, "measured under other conditions")
    elsewhere = elsewhere.where(table["machine"] != SEVERAL, f"measured on {SEVERAL}")
    ranks["not_ranked"] = np.select(
        [~is_candidate, table[by].notna(), table.pop("is_measured")], [NOT_NATIVE, "", elsewhere],
        NOT_MEASURED,
    )  # fmt: skip
    places = {"fewness": -table["shots"].fillna(np.inf), "is_other": ~is_candidate, "order": order}
    ordered = pd.concat([ranks, table], axis=1).assign(**places)
    machine = [column for column in together if column == "machine"]
    return ordered.sort_values(["dataset", *machine, *places, *SETTING], ignore_index=True).drop(columns=[*places])
