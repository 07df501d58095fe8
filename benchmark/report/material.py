"""What a report is made of: the tables of some ledgers, read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import finished, load_runs
from benchmark.analysis.published import compare_published, load_published
from benchmark.charts import Evidence
from benchmark.errors import BenchmarkError


@dataclass(frozen=True, eq=False)
class Material:
    """The tables of some ledgers.

    Attributes:
        paths: Ledger folders, or folders of them.
        runs: What `load_runs` gives.
        done: Those that can be ranked and compared.
        board: What `make_leaderboard` gives of them.
        ablation: What `make_ablation` gives of them.
        comparison: What `compare_published` gives of them.
        evidence: What pictures are drawn from.
    """

    paths: tuple[Path, ...]
    runs: pd.DataFrame
    done: pd.DataFrame
    board: pd.DataFrame
    ablation: pd.DataFrame
    comparison: pd.DataFrame
    evidence: Evidence

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "Material":
        """The tables of these ledgers.

        Args:
            paths: Ledger folders, or folders of them.

        Raises:
            LedgerError: There is no ledger, or one cannot be read.
            BenchmarkError: The ledgers have no row.
        """
        runs = load_runs(paths)
        if runs.empty:
            raise BenchmarkError(
                f"The ledgers in {', '.join(str(path) for path in paths)} have no row to report: "
                "run a sweep into them with 'benchmark run'."
            )
        done = finished(runs)
        published = load_published(paths)
        board = make_leaderboard(done, published=published, correctness=Correctness(done))
        evidence = Evidence(runs)
        return cls(
            paths=tuple(paths),
            runs=runs,
            done=done,
            board=board,
            ablation=evidence.ablation,
            comparison=compare_published(board, published),
            evidence=evidence,
        )

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of cells whose last run has no accuracy."""
        return self.runs.drop(self.done.index)

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets with finished runs, sorted."""
        return sorted(self.board["dataset"].unique())
