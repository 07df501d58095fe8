"""Images per second against parameters."""

import pandas as pd

from benchmark.analysis.formats import count_of
from benchmark.analysis.loading import SETTING
from benchmark.charts.chart import Chart, make_chart
from benchmark.charts.evidence import Evidence, NothingToDrawError, in_one_mode, of_one_machine
from benchmark.charts.labels import described
from benchmark.charts.naming import POINT_SIZE, write_names
from benchmark.charts.style import INK, logarithmic_x, logarithmic_y, mode_colour, new_figure
from benchmark.preprocessing import NATIVE

HEIGHT_IN = 7.0
FEWEST_BACKBONES = 3
TOO_FEW = f"fewer than {FEWEST_BACKBONES} backbones were timed on one machine"


def draw_speed(evidence: Evidence, dataset: str) -> Chart:
    """Images per second of extraction against parameters, both logarithmic, each backbone at its fastest setting.

    Rows of jobs that ran beside others are left out; of several machines, that of most backbones is shown.
    """
    import seaborn as sns

    fastest, where = _fastest(evidence, dataset)
    figure, ((axes,),) = new_figure(HEIGHT_IN)
    sns.scatterplot(
        fastest, x="millions", y="images_per_s", color=mode_colour(NATIVE), s=POINT_SIZE, edgecolor=INK,
        linewidth=0.6, zorder=3, ax=axes,
    )  # fmt: skip
    tips = fastest.apply(described, axis=1) + fastest.apply(_measured, axis=1)
    axes.collections[-1].set_urls(tips.tolist())
    logarithmic_x(axes, fastest["millions"].min(), fastest["millions"].max())
    logarithmic_y(axes, fastest["images_per_s"].min(), fastest["images_per_s"].max())
    axes.set_ylabel("images per second, logarithmic")
    first, last = fastest.iloc[0], fastest.iloc[-1]
    backbones = count_of(len(fastest), "backbone")
    chart = make_chart(
        figure,
        dataset,
        f"speed and size of {backbones}{where}",
        f"Images per second against millions of parameters of {backbones} on {dataset}. Fastest: "
        f"{first['backbone']}{_measured(first)}; slowest: {last['backbone']}{_measured(last)}.",
        data=fastest,
    )
    write_names(figure, axes, fastest, fastest, "images_per_s")
    return chart


def _fastest(evidence: Evidence, dataset: str) -> tuple[pd.DataFrame, str]:
    """The fastest setting of each backbone, the fastest first, and the machine if there are several.

    Raises:
        NothingToDrawError: Too few backbones were timed.
    """
    settings = evidence.settings(dataset)
    timed = settings[(settings["images_per_s"] > 0) & (settings["params_total"] > 0)]
    if timed.empty:
        raise NothingToDrawError(TOO_FEW)
    timed, where = of_one_machine(timed, "backbone")
    if timed["backbone"].nunique() < FEWEST_BACKBONES:
        raise NothingToDrawError(TOO_FEW)
    timed = in_one_mode(timed)
    fastest = timed.sort_values(["images_per_s", *SETTING], ascending=False, kind="stable").drop_duplicates("backbone")
    return fastest.assign(millions=fastest["params_total"] / 1e6).reset_index(drop=True), where


def _measured(row: pd.Series) -> str:
    return f", {row['images_per_s']:,.0f} images/s, {row['millions']:.3g} M parameters"
