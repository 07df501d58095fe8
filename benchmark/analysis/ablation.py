"""What a wrong preprocessing costs: every mode of a backbone against its native one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.loading import SETTING, finished

NATIVE = "native"
# What is compared: settings that differ in their mode only.
SUBJECT = tuple(column for column in SETTING if column != "mode")
CONFIDENCE = 0.95
# A mode whose whole interval lies within so much of native is as good as native.
MARGIN = 0.01
ROUNDING = 1e-12

HARMFUL = "harmful"
HARMLESS = "harmless"
HELPFUL = "helpful"
UNCLEAR = "unclear"


@dataclass(frozen=True)
class _Loss:
    """The accuracy lost, with its interval and what that was taken over."""

    mean: float
    low: float = np.nan
    high: float = np.nan
    over: str = ""


def make_ablation(runs: pd.DataFrame, correctness: Correctness) -> pd.DataFrame:
    """Every mode but native, for each backbone, dataset, head and so on, against native in the same seeds.

    Args:
        runs: What `load_runs` gives.
        correctness: Of the runs, where their predictions were kept.

    Returns:
        A row a subject and mode, the most harmful of a dataset first: `rank` (within the dataset), the columns of
        `SETTING`, `n_seeds` (that both have), `accuracy` (in this mode, mean of those seeds), `accuracy_native`,
        `accuracy_lost` (native less this mode, 0.1 is ten points) with its 95 % interval `lost_low` and `lost_high`,
        `interval_over`, `relative_gain` (of native over this mode: 1.44 is +144 %), and `verdict`:

        - `harmless`: the interval lies within one point of zero;
        - `harmful`, `helpful`: it lies above, or below, zero;
        - `unclear`: none of these, or no interval.

        The interval is Student's for the mean of paired differences: over seeds where there are several, else over
        the test images where the predictions were kept, which `interval_over` says (`seeds`, `images` or nothing).
    """
    done = finished(runs).drop_duplicates([*SETTING, "seed"], keep="last")
    native = done[done["mode"] == NATIVE]
    pairs = done[done["mode"] != NATIVE].merge(native, on=[*SUBJECT, "seed"], suffixes=("", "_native"))
    rows = [
        {**dict(zip(SETTING, setting, strict=True)), **_compare(pair, correctness)}
        for setting, pair in pairs.groupby(list(SETTING), sort=False, dropna=False)
    ]
    columns = [
        *SETTING, "n_seeds", "accuracy", "accuracy_native", "accuracy_lost", "lost_low", "lost_high", "interval_over",
        "relative_gain", "verdict",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    ranks = table.groupby("dataset")["accuracy_lost"].rank(method="min", ascending=False)
    table.insert(0, "rank", ranks.astype(int))
    return table.sort_values(["dataset", "rank", *SETTING], ignore_index=True)


def _compare(pair: pd.DataFrame, correctness: Correctness) -> dict[str, object]:
    """One setting against native, a row a seed."""
    loss = _accuracy_lost(pair, correctness)
    accuracy, native = pair["accuracy"].mean(), pair["accuracy_native"].mean()
    return {
        "n_seeds": len(pair),
        "accuracy": accuracy,
        "accuracy_native": native,
        "accuracy_lost": loss.mean,
        "lost_low": loss.low,
        "lost_high": loss.high,
        "interval_over": loss.over,
        "relative_gain": native / accuracy - 1 if accuracy else np.nan,
        "verdict": _verdict(loss),
    }


def _accuracy_lost(pair: pd.DataFrame, correctness: Correctness) -> _Loss:
    by_seed = (pair["accuracy_native"] - pair["accuracy"]).to_numpy(float)
    if len(by_seed) > 1:
        return _Loss(float(by_seed.mean()), *_interval(by_seed), "seeds")
    run = pair.iloc[0]
    here = correctness.of_run(run["folder"], run["run_id"])
    native = correctness.of_run(run["folder_native"], run["run_id_native"])
    if here is None or native is None or run["dataset_fingerprint"] != run["dataset_fingerprint_native"]:
        return _Loss(float(by_seed[0]))
    return _Loss(float(by_seed[0]), *_interval(native.astype(float) - here), "images")


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of their mean."""
    from scipy import stats

    # SciPy warns of a loss of precision where they are equal but for rounding.
    if np.ptp(differences) < ROUNDING:
        return float(differences[0]), float(differences[0])
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def _verdict(loss: _Loss) -> str:
    if np.isnan(loss.low):
        return UNCLEAR
    if loss.low > -MARGIN and loss.high < MARGIN:
        return HARMLESS
    if loss.low > 0:
        return HARMFUL
    return HELPFUL if loss.high < 0 else UNCLEAR
