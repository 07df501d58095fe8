"""The tables of ledgers from which charts and the report are made, each read on first use."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.ablation import SUBJECT, make_ablation
from benchmark.analysis.choosing import first_ranked, rows_where
from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import SETTING, finished, load_runs
from benchmark.analysis.published import compare_published, load_published
from benchmark.charts.labels import name_settings
from benchmark.errors import BenchmarkError
from benchmark.escaping import printable
from benchmark.ledger import CONFUSION, HISTORY, PER_CLASS, RUNS, TEXT_COLUMNS, Ledger
from benchmark.preprocessing import NATIVE

# What a chart or the report can show of a run. Names by which something is looked up stay as they are.
SHOWN = {*TEXT_COLUMNS[RUNS], "variant"}


class NothingToDrawError(Exception):
    """A chart does not apply to a dataset; the text says why.

    Attributes:
        is_fixable: Whether the user can supply what is missing.
    """

    def __init__(self, reason: str, *, is_fixable: bool = False) -> None:
        super().__init__(reason.removesuffix("."))
        self.is_fixable = is_fixable


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tables of some ledgers. Everything but `runs` is read or computed on first use, and kept.

    Attributes:
        runs: What `load_runs` gives.
        run_id: The run whose classes and images are shown; None for the best setting of each dataset.
        paths: Ledger folders, or folders of them, whose recipes may hold published figures.
        where: What `runs` were chosen by.
        top: Of each dataset, only settings of this rank by accuracy, or a better one, are shown, in all their modes.
            Ranks and tests are of all settings. None for all.
    """

    runs: pd.DataFrame
    run_id: str | None = None
    paths: tuple[Path, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    top: int | None = None

    def __post_init__(self) -> None:
        """Refuse a `run_id` that does not exist.

        Raises:
            BenchmarkError: No finished run has this `run_id`.
        """
        if self.run_id is not None and not (self.done["run_id"] == self.run_id).any():
            raise BenchmarkError(
                f"There is no finished run {self.run_id!r} in these ledgers: take a run_id from a runs.csv."
            )

    @classmethod
    def load(
        cls,
        paths: Sequence[Path],
        *,
        run_id: str | None = None,
        where: Mapping[str, str] | None = None,
        top: int | None = None,
    ) -> "Evidence":
        """The evidence of ledger folders, or of folders of them.

        Raises:
            LedgerError: There is no ledger, or one cannot be read.
            UnknownNameError: No row is as `where` wants it.
        """
        runs = rows_where(load_runs(paths), where or {})
        return cls(_printable(runs, SHOWN), run_id, tuple(paths), where or {}, top)

    @functools.cached_property
    def done(self) -> pd.DataFrame:
        """The finished runs that have an accuracy, of the settings that are shown."""
        return self._of_best(self._finished)

    @functools.cached_property
    def _finished(self) -> pd.DataFrame:
        return finished(self.runs)

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of cells whose last run has no accuracy."""
        return self.runs.drop(self._finished.index)

    def _of_best(self, table: pd.DataFrame) -> pd.DataFrame:
        """Those rows of a table whose settings are among the `top`, in any mode."""
        if self.top is None:
            return table
        best = first_ranked(make_leaderboard(self._finished), self.top)[[*SUBJECT]].drop_duplicates()
        return table.reset_index(names="place").merge(best, on=[*SUBJECT]).set_index("place").rename_axis(None)

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets with finished runs, sorted."""
        return sorted(self.done["dataset"].unique())

    @functools.cached_property
    def leaderboard(self) -> pd.DataFrame:
        """What `make_leaderboard` gives without ties and published figures: no predictions are read."""
        return self._of_best(make_leaderboard(self._finished))

    @functools.cached_property
    def ranking(self) -> pd.DataFrame:
        """What `make_leaderboard` gives with ties and published figures."""
        board = make_leaderboard(self._finished, published=self._published, correctness=self._correctness)
        return self._of_best(board)

    @functools.cached_property
    def comparison(self) -> pd.DataFrame:
        """What `compare_published` gives."""
        return compare_published(self.ranking, self._published)

    @functools.cached_property
    def ablation(self) -> pd.DataFrame:
        """What `make_ablation` gives."""
        return self._of_best(make_ablation(self._finished, self._correctness))

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """`history.csv` of all ledgers, with the column `folder`."""
        return self._read(HISTORY)

    @functools.cached_property
    def per_class(self) -> pd.DataFrame:
        """`per_class.csv` of all ledgers, with the column `folder`."""
        return self._read(PER_CLASS)

    @functools.cached_property
    def confusion(self) -> pd.DataFrame:
        """`confusion.csv` of all ledgers, with the column `folder`."""
        return self._read(CONFUSION)

    @functools.cached_property
    def _published(self) -> Sequence[Any]:
        return load_published(self.paths)

    @functools.cached_property
    def _correctness(self) -> Correctness:
        return Correctness(self._finished)

    def _read(self, name: str) -> pd.DataFrame:
        folders = self.done["folder"].unique()
        tables = [Ledger(Path(folder)).read_table(name).assign(folder=folder) for folder in folders]
        return _printable(pd.concat(tables, ignore_index=True), TEXT_COLUMNS[name])

    def settings(self, dataset: str) -> pd.DataFrame:
        """The leaderboard of one dataset, the best first, with the column `label`."""
        return self._settings[dataset]

    @functools.cached_property
    def _settings(self) -> dict[str, pd.DataFrame]:
        return {str(dataset): _best_first(rows) for dataset, rows in self.leaderboard.groupby("dataset")}

    def chance(self, dataset: str) -> float:
        """The accuracy of always naming the most frequent class, mean of the runs; NaN if it is not known."""
        return float(self.done.loc[self.done["dataset"] == dataset, "chance"].mean())

    def runs_of(self, settings: pd.DataFrame) -> pd.DataFrame:
        """The finished runs of these settings, with the columns `label` and `place`, the setting's row number."""
        places = settings[[*SETTING, "label"]].assign(place=range(len(settings)))
        return self.done.merge(places, on=list(SETTING)).sort_values(["place", "seed"], ignore_index=True)

    def shown_runs(self, dataset: str) -> pd.DataFrame:
        """The runs whose classes and images are shown: all seeds of the best ranked setting, or the chosen run.

        Raises:
            NothingToDrawError: The chosen run is of another dataset.
        """
        settings = self.settings(dataset)
        runs = self.runs_of(settings)
        if self.run_id is None:
            return runs[runs["place"] == best_ranked(settings).name]
        runs = runs[runs["run_id"] == self.run_id]
        if runs.empty:
            raise NothingToDrawError(f"the run {self.run_id} is of another dataset")
        return runs


def _best_first(rows: pd.DataFrame) -> pd.DataFrame:
    # Native comes first among equals: a mode that does the same for a backbone has the same accuracy.
    named = _native_first(rows.assign(label=name_settings(rows)))
    return named.sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)


def _printable(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table with texts that can be drawn: SVG has no place for control characters."""
    shown = {column: {text: printable(text) for text in table[column].unique()} for column in columns}
    return table.assign(**{column: table[column].map(texts) for column, texts in shown.items()})


def best_ranked(settings: pd.DataFrame) -> pd.Series:
    """The most accurate setting that has a rank, so that no wrong mode is called the best."""
    return settings[settings["rank"].notna()].iloc[0]


def in_one_mode(settings: pd.DataFrame) -> pd.DataFrame:
    """One setting per label: the native mode if it was run, otherwise the most accurate one."""
    ordered = _native_first(settings.sort_values("accuracy", ascending=False, kind="stable"))
    return ordered.drop_duplicates("label").sort_index()


def of_one_machine(settings: pd.DataFrame, by: str) -> tuple[pd.DataFrame, str]:
    """The settings of the machine with the most values of `by`; and its name for a title, if there are several."""
    counts = settings.groupby("machine")[by].nunique().sort_values(ascending=False, kind="stable")
    return settings[settings["machine"] == counts.index[0]], f", {counts.index[0]}" if len(counts) > 1 else ""


def _native_first(settings: pd.DataFrame) -> pd.DataFrame:
    return settings.sort_values("mode", key=lambda modes: modes != NATIVE, kind="stable")
