"""A benchmark harness for pretrained image backbones, with the preprocessing as a swept axis.

What a ledger says, as pandas tables:

>>> from benchmark import ablation, leaderboard, load_ledger
>>> runs = load_ledger("results/fashion_mnist")
>>> leaderboard(runs).loc[0, "backbone"]
'MobileNetV2-dogs'
>>> ablation(runs).loc[0, ["backbone", "mode", "head", "verdict"]].tolist()
['VGG16-hed', 'unit', 'dense', 'harmful']
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__version__ = "0.1.0"
__all__ = ["ablation", "leaderboard", "load_ledger"]

# The functions import what they need themselves, so that `benchmark --help` need not wait for pandas.


def load_ledger(*paths: str | Path) -> "pd.DataFrame":
    """The last row of every cell of one or many ledgers, failures too.

    Args:
        paths: Folders that `benchmark run` wrote, or folders of them; `results` without any.

    Returns:
        The columns of `runs.csv`, which results/README.md explains, then `sweep`, the name of the ledger's folder, and
        `folder`, its path.

    Raises:
        LedgerError: There is no ledger, or one cannot be read.
    """
    from benchmark.analysis.loading import load_runs

    return load_runs([Path(path) for path in paths or ("results",)])


def leaderboard(runs: "pd.DataFrame", *, by: str = "accuracy") -> "pd.DataFrame":
    """The settings of these runs, each the mean of its seeds, ranked within their dataset; wrong modes stand below.

    Args:
        runs: What `load_ledger` gives, or some of its rows.
        by: The column to rank by, such as `accuracy`, `efficiency` or `wall_s`.

    Returns:
        The columns of `benchmark.analysis.leaderboard.make_leaderboard`: ranks with ties (`not_ranked` says why there
        is none), the setting, `n_seeds`, `accuracy` in 0..1 with its deviation and interval, and the means of the rest.

    Raises:
        UnknownNameError: There is no such column to rank by.
    """
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.leaderboard import make_leaderboard
    from benchmark.analysis.published import load_published

    folders = [Path(folder) for folder in runs["folder"].unique()]
    return make_leaderboard(runs, by=by, published=load_published(folders), correctness=Correctness(runs))


def ablation(runs: "pd.DataFrame") -> "pd.DataFrame":
    """What every wrong preprocessing mode of these runs costs against native, the most harmful first.

    Args:
        runs: What `load_ledger` gives, or some of its rows.

    Returns:
        The columns of `benchmark.analysis.ablation.make_ablation`: the setting, `accuracy` and `accuracy_native` in
        0..1, `accuracy_lost` with its 95 % interval, `relative_gain`, and `verdict`.
    """
    from benchmark.analysis.ablation import make_ablation
    from benchmark.analysis.correctness import Correctness

    return make_ablation(runs, Correctness(runs))
