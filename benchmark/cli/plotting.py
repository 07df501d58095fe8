"""`benchmark plot`: ledgers as charts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import RESULTS, PathsArgument, complete, split_names


def _plot_names() -> Iterable[str]:
    from benchmark.charts import PLOTS

    return PLOTS


def _format_names() -> Iterable[str]:
    from benchmark.charts import FORMATS

    return FORMATS


def plot(
    paths: PathsArgument = None,
    out: Annotated[Path, typer.Option(help="The folder of the files.")] = Path("plots"),
    only: Annotated[
        str | None,
        typer.Option(
            help="Names of plots, comma separated: accuracy, pareto, efficiency, time, memory, ablation, "
            "ablation-heatmap, curves, seeds, confusion, per-class, gallery.",
            show_default="all that the ledgers can give",
            autocompletion=complete(_plot_names),
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option(help="png, svg or both, comma separated.", autocompletion=complete(_format_names))
    ] = "png",
    run: Annotated[
        str | None,
        typer.Option(
            help="The run_id whose classes and images are shown in confusion, per-class and gallery.",
            show_default="the best setting",
        ),
    ] = None,
) -> None:
    """Draw the plots of one or many ledgers, one file per plot and dataset."""
    from benchmark.charts import Evidence, save_plots

    evidence = Evidence.load(paths or [RESULTS], run_id=run)
    for path in save_plots(evidence, out, only=split_names(only), formats=split_names(formats) or ()):
        typer.echo(path)
