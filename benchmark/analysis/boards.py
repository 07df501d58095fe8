"""The leaderboards of a race: of its rounds, whose folds are pooled, and of its test."""

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Correct, Marks
from benchmark.analysis.leaderboard import make_leaderboard


class Folds:
    """Each backbone's folds of a round as one run, which named every image once.

    So backbones are compared on all images of a round and not on a fifth of them. The test counts images only: other
    trainings would give other heads, which it leaves to the rounds to come.

    Args:
        rows: Finished runs, all folds of each backbone.
        correctness: Of the runs.

    Attributes:
        pooled: One row per backbone, `run_id` and texts those of its first fold.
    """

    def __init__(self, rows: pd.DataFrame, correctness: Marks) -> None:
        ordered = rows.sort_values("seed", kind="stable")
        groups = ordered.groupby("backbone", sort=False)
        n_test = groups["n_test"].sum()
        accuracy = (ordered["accuracy"] * ordered["n_test"]).groupby(ordered["backbone"]).sum() / n_test
        first = ordered.drop_duplicates("backbone").set_index("backbone", drop=False)
        means = {
            str(name): column for name, column in groups[["latency_ms", "images_per_s", "model_mib"]].mean().items()
        }
        pooled = first.assign(accuracy=accuracy, n_test=n_test, seed=0, folds=np.nan, **means)
        self.pooled = pooled.reset_index(drop=True)
        runs = (list(zip(one["folder"], one["run_id"], strict=True)) for _, one in groups)
        self._runs = {folds[0][1]: folds for folds in runs}
        self._correctness = correctness

    def of_run(self, _: str, run_id: str) -> Correct | None:
        """`(n,)`: whether each image of the round was named correctly; `run_id` is that of the pooled row."""
        parts = [self._correctness.of_run(*run) for run in self._runs[run_id]]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None


class Boards:
    """Leaderboards of rows, each made once, since a race asks for them after each of its steps."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ...], pd.DataFrame] = {}

    def of_rows(self, rows: pd.DataFrame, correctness: Marks) -> pd.DataFrame:
        """See `make_leaderboard`."""
        key = tuple(rows["run_id"])
        if key not in self._made:
            self._made[key] = make_leaderboard(rows, correctness=correctness)
        return self._made[key]
