"""What plots are drawn from: the tables of ledgers, each read when a plot first asks for it."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark.analysis.ablation import NATIVE, make_ablation
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import SETTING, finished, load_runs
from benchmark.charts.labels import name_settings
from benchmark.errors import BenchmarkError
from benchmark.ledger import Ledger


class NothingToDrawError(Exception):
    """A plot does not apply to a dataset; the text says why.

    Attributes:
        is_lack: Whether something is missing that the user can bring.
    """

    def __init__(self, reason: str, *, is_lack: bool = False) -> None:
        super().__init__(reason)
        self.is_lack = is_lack


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tables of some ledgers. Nothing but `runs` is read before it is asked for.

    Attributes:
        runs: What `load_runs` gives.
        run_id: The run whose classes and images are looked at; None for the best setting of each dataset.
    """

    runs: pd.DataFrame
    run_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a run that is not there.

        Raises:
            BenchmarkError: No finished run has this `run_id`.
        """
        if self.run_id is not None and not (self.done["run_id"] == self.run_id).any():
            raise BenchmarkError(
                f"There is no finished run {self.run_id!r} in these ledgers: take a run_id from a runs.csv."
            )

    @classmethod
    def load(cls, paths: Sequence[Path], *, run_id: str | None = None) -> "Evidence":
        """The evidence of these ledgers.

        Args:
            paths: Ledger folders, or folders of them.
            run_id: See the class.

        Raises:
            LedgerError: There is no ledger, or one cannot be read.
            BenchmarkError: No finished run has this `run_id`.
        """
        return cls(load_runs(paths), run_id)

    @functools.cached_property
    def done(self) -> pd.DataFrame:
        """The finished runs that have an accuracy."""
        return finished(self.runs)

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets with finished runs, sorted."""
        return sorted(self.done["dataset"].unique())

    @functools.cached_property
    def leaderboard(self) -> pd.DataFrame:
        """What `make_leaderboard` gives."""
        return make_leaderboard(self.done)

    @functools.cached_property
    def ablation(self) -> pd.DataFrame:
        """What `make_ablation` gives."""
        return make_ablation(self.done, Correctness(self.done))

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """`history.csv` of all ledgers, with the column `folder`."""
        return self._read(Ledger.read_history)

    @functools.cached_property
    def per_class(self) -> pd.DataFrame:
        """`per_class.csv` of all ledgers, with the column `folder`."""
        return self._read(Ledger.read_per_class)

    @functools.cached_property
    def confusion(self) -> pd.DataFrame:
        """`confusion.csv` of all ledgers, with the column `folder`."""
        return self._read(Ledger.read_confusion)

    def _read(self, read: Callable[[Ledger], pd.DataFrame]) -> pd.DataFrame:
        folders = self.done["folder"].unique()
        return pd.concat([read(Ledger(Path(folder))).assign(folder=folder) for folder in folders], ignore_index=True)

    def settings(self, dataset: str) -> pd.DataFrame:
        """The leaderboard of one dataset, the best first, with the column `label`."""
        rows = self.leaderboard[self.leaderboard["dataset"] == dataset]
        rows = rows.assign(is_other=rows["mode"] != NATIVE, label=name_settings(rows))
        # Of equals native is the first: a mode that does the same for a backbone has the same accuracy.
        ordered = rows.sort_values(["accuracy", "is_other"], ascending=[False, True], kind="stable")
        return ordered.drop(columns="is_other").reset_index(drop=True)

    def runs_of(self, settings: pd.DataFrame) -> pd.DataFrame:
        """The finished runs of these settings, with the columns `label` and `place`, the setting's row number."""
        places = settings[[*SETTING, "label"]].assign(place=range(len(settings)))
        return self.done.merge(places, on=list(SETTING)).sort_values(["place", "seed"], ignore_index=True)

    def looked_at(self, dataset: str) -> pd.DataFrame:
        """The runs whose classes and images are looked at: all seeds of the best setting, or the run chosen.

        Raises:
            NothingToDrawError: The chosen run is of another dataset.
        """
        runs = self.runs_of(self.settings(dataset))
        if self.run_id is None:
            return runs[runs["place"] == 0]
        runs = runs[runs["run_id"] == self.run_id]
        if runs.empty:
            raise NothingToDrawError(f"the run {self.run_id} is of another dataset")
        return runs


def in_one_mode(settings: pd.DataFrame) -> pd.DataFrame:
    """One setting a label: the native mode where it was done, else the most accurate one."""
    is_other = settings["mode"] != NATIVE
    ordered = settings.assign(is_other=is_other).sort_values(
        ["is_other", "accuracy"], ascending=[True, False], kind="stable"
    )
    return ordered.drop_duplicates("label").drop(columns="is_other").sort_index()
