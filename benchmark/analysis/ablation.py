"""The cost of wrong preprocessing: every mode of a backbone compared with its native one."""

from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Correct, Correctness
from benchmark.analysis.folds import corrected_interval
from benchmark.analysis.loading import SETTING, finished
from benchmark.analysis.significance import compare_runs
from benchmark.preprocessing import NATIVE

# Settings that agree in these columns differ only in their mode and are compared.
SUBJECT = tuple(column for column in SETTING if column not in ("mode", "variant"))
# And these must be the same too: what a number was made from, whether or not the table has several.
ORIGINS = ("weights", "val_fraction", "registry_sha256", "network_sha256", "dataset_fingerprint")
# A mode is as good as native if its whole interval lies within this distance of native.
MARGIN = 0.01

HARMFUL = "harmful"
HARMLESS = "harmless"
HELPFUL = "helpful"
UNCLEAR = "unclear"
SAME_AS_NATIVE = "same as native"
# All columns of the table, in their order.
COLUMNS = (
    "rank", *SETTING, "n_seeds", "accuracy", "accuracy_native", "accuracy_lost", "lost_low", "lost_high",
    "interval_over", "relative_gain", "verdict",
)  # fmt: skip
# Two runs that are equal in all of these have given the same scores.
SCORES = ("accuracy", "log_loss", "macro_f1")


def make_ablation(runs: pd.DataFrame, correctness: Correctness) -> pd.DataFrame:
    """Every mode except native compared with native in the same seeds, for each backbone, dataset, head and so on.

    Args:
        runs: What `load_runs` returns.
        correctness: Of the runs.

    Returns:
        One row per setting and wrong mode, the most harmful of a dataset first: `rank` (within the dataset), the
        columns of `SETTING`, `n_seeds` (seeds that both have), `accuracy` (in this mode, mean of those seeds),
        `accuracy_native`, `accuracy_lost` (native minus this mode, 0.1 is ten points) with its 95 % interval `lost_low`
        and `lost_high`, `interval_over`, `relative_gain` (of native over this mode: 1.44 is +144 %), and `verdict`:

        - `harmless`: the interval lies within one point of zero;
        - `harmful`, `helpful`: it lies above, or below, zero;
        - `same as native`: accuracy, log loss and F1 are equal in every seed, for example `tf` where `tf` is native;
        - `unclear`: none of these, or no interval.

        The interval is that of `significance.compare_runs`, for folds that of `folds.corrected_interval`. It holds for
        what `interval_over` names: `images and seeds`, that is other images and other seeds; `images` if there is one
        seed, so that seeds were not varied; `folds`, that is other folds; nothing, and there is no interval, without
        predictions, or with one fold. It is not corrected for the number of comparisons.
    """
    # Few columns, since there may be thousands of pairs.
    needed = [*SETTING, *ORIGINS, "seed", *SCORES, "n_train", "n_test", "folder", "run_id"]
    done = finished(runs)[needed].drop_duplicates([*SETTING, "seed"], keep="last")
    native = done[done["mode"] == NATIVE]
    pairs = done[done["mode"] != NATIVE].merge(native, on=[*SUBJECT, *ORIGINS, "seed"], suffixes=("", "_native"))
    # Of several native settings, such as those of two versions of Keras, the one that agrees in everything.
    pairs = pairs.sort_values("variant", key=lambda variant: variant == pairs["variant_native"], kind="stable")
    pairs = pairs.drop_duplicates([*SETTING, "seed"], keep="last")
    rows = [
        {**dict(zip(SETTING, setting, strict=True)), **_compare(pair, correctness)}
        for setting, pair in pairs.groupby(list(SETTING), sort=False, dropna=False)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS[1:])
    ranks = table.groupby("dataset")["accuracy_lost"].rank(method="min", ascending=False)
    table.insert(0, "rank", ranks.astype(int))
    return table.sort_values(["dataset", "rank", *SETTING], ignore_index=True)


def _compare(pair: pd.DataFrame, correctness: Correctness) -> dict[str, Any]:
    """One setting compared with native; `pair` has one row per seed, native's columns with the suffix `_native`."""
    loss = _accuracy_lost(pair, correctness)
    accuracy, native = pair["accuracy"].mean(), pair["accuracy_native"].mean()
    return {
        "n_seeds": len(pair),
        "accuracy": accuracy,
        "accuracy_native": native,
        **loss,
        "relative_gain": native / accuracy - 1 if accuracy else np.nan,
        "verdict": SAME_AS_NATIVE if _is_same(pair) else _verdict(loss["lost_low"], loss["lost_high"]),
    }


def _is_same(pair: pd.DataFrame) -> bool:
    here, native = pair[list(SCORES)], pair[[f"{column}_native" for column in SCORES]]
    are_known = bool(pair["macro_f1"].notna().all())  # not every head gives a log loss
    return are_known and np.array_equal(here.to_numpy(float), native.to_numpy(float), equal_nan=True)


def _accuracy_lost(pair: pd.DataFrame, correctness: Correctness) -> dict[str, Any]:
    """The columns of the accuracy lost: its mean, the interval, and what the interval holds for."""
    differences = pair["accuracy_native"] - pair["accuracy"]
    low, high, over = np.nan, np.nan, ""
    if pair["folds"].notna().all() and len(pair) > 1:
        low, high = corrected_interval(differences, float((pair["n_test"] / pair["n_train"]).mean()))
        over = "folds"
    native, here = (_right(pair, side, correctness) for side in ("_native", ""))
    if native is not None and here is not None:
        low, high, _ = compare_runs(native, here)
        over = "images and seeds" if len(pair) > 1 else "images"
    return {"accuracy_lost": differences.mean(), "lost_low": low, "lost_high": high, "interval_over": over}


def _right(pair: pd.DataFrame, side: str, correctness: Correctness) -> Correct | None:
    """`(s, n)`: whether each seed of one side names each image correctly; None without predictions of all seeds."""
    runs = zip(pair[f"folder{side}"], pair[f"run_id{side}"], strict=True)
    known = [right for run in runs if (right := correctness.of_run(*run)) is not None]
    return np.stack(known) if len(known) == len(pair) else None


def _verdict(low: float, high: float) -> str:
    if low > -MARGIN and high < MARGIN:
        return HARMLESS
    if low > 0:
        return HARMFUL
    return HELPFUL if high < 0 else UNCLEAR
