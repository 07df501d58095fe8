"""The charts by name, drawn and written."""

import io
import itertools
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.charts.accuracy import draw_accuracy, draw_seeds
from benchmark.charts.chart import Chart
from benchmark.charts.classes import draw_confusion, draw_per_class
from benchmark.charts.costs import draw_efficiency, draw_memory, draw_time
from benchmark.charts.curves import draw_curves
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.gallery import draw_gallery
from benchmark.charts.losses import draw_ablation, draw_ablation_heatmap
from benchmark.charts.pareto import draw_pareto
from benchmark.charts.shots import draw_shots
from benchmark.charts.speed import draw_speed
from benchmark.charts.style import settle, theme
from benchmark.errors import BenchmarkError, check_known
from benchmark.outputs import write_output
from benchmark.storage import digest_of_text

log = logging.getLogger(__name__)

FORMATS = ("png", "svg")
LONGEST_STEM = 120  # bytes, of the 255 that most file systems take for a name

PLOTS: dict[str, Callable[[Evidence, str], Chart]] = {
    "accuracy": draw_accuracy,
    "pareto": draw_pareto,
    "efficiency": draw_efficiency,
    "time": draw_time,
    "memory": draw_memory,
    "speed": draw_speed,
    "ablation": draw_ablation,
    "ablation-heatmap": draw_ablation_heatmap,
    "curves": draw_curves,
    "seeds": draw_seeds,
    "shots": draw_shots,
    "confusion": draw_confusion,
    "per-class": draw_per_class,
    "gallery": draw_gallery,
}


def draw(name: str, evidence: Evidence, dataset: str, *, theme_name: str = "screen") -> Chart | NothingToDrawError:
    """One chart of one dataset.

    Args:
        name: A key of `PLOTS`.
        evidence: Of the ledgers.
        dataset: One of `evidence.datasets`.
        theme_name: One of `style.THEMES`.

    Returns:
        The chart, or the reason why there is none.

    Raises:
        UnknownNameError: The plot, dataset or theme does not exist.
    """
    check_known("plot", name, PLOTS)
    check_known("dataset in these ledgers", dataset, evidence.datasets)
    try:
        with theme(theme_name):
            chart = PLOTS[name](evidence, dataset)
            settle(chart.figure)
    except NothingToDrawError as reason:
        return reason
    return chart


def render(chart: Chart, format_name: str) -> bytes:
    """The content of a PNG or SVG file; the same chart gives the same bytes with the same version of Matplotlib.

    Args:
        chart: What `draw` gave.
        format_name: One of `FORMATS`.

    Raises:
        UnknownNameError: The format does not exist.
    """
    check_known("format", format_name, FORMATS)
    file = io.BytesIO()
    # What the figure shows, but neither date nor version.
    metadata: dict[str, Any] = {"Title": chart.title, "Description": chart.alt}
    metadata |= {"Date": None, "Creator": None} if format_name == "svg" else {"Software": None}
    with theme():
        chart.figure.savefig(file, format=format_name, metadata=metadata)
    return _with_tooltips(file.getvalue()) if format_name == "svg" else file.getvalue()


def _with_tooltips(svg: bytes) -> bytes:
    """The links around artists, where Matplotlib writes their URL, turned into tooltips."""
    link = rb"""<a xlink:href=(?:"([^"]*)"|'([^']*)')[^>]*>"""  # in single quotes where the text has double ones
    return re.sub(link, rb"<g><title>\1\2</title>", svg).replace(b"</a>", b"</g>")


def save_plots(
    evidence: Evidence,
    folder: Path,
    *,
    only: Sequence[str] | None = None,
    formats: Sequence[str] = ("png",),
    theme_name: str = "screen",
) -> list[Path]:
    """Draw the charts of every dataset and return the files written.

    A chart that does not apply to a dataset is left out. The reason is logged as a warning if the chart was asked for
    by name, or if the user can supply what is missing.

    Args:
        evidence: Of the ledgers.
        folder: Where the files go, `<plot>-<dataset>.<format>`.
        only: Names of `PLOTS`; None for all.
        formats: Of `FORMATS`.
        theme_name: One of `style.THEMES`.

    Raises:
        BenchmarkError: There is nothing to draw.
        UnknownNameError: A plot, format or theme does not exist.
    """
    for name in only or ():
        check_known("plot", name, PLOTS)
    for format_name in formats:
        check_known("format", format_name, FORMATS)
    if not evidence.datasets:
        raise BenchmarkError("The ledger has no finished run to draw.")
    paths, skipped = [], []
    stems = _file_stems(evidence.datasets)
    for dataset, name in itertools.product(evidence.datasets, only or PLOTS):
        chart = draw(name, evidence, dataset, theme_name=theme_name)
        if isinstance(chart, NothingToDrawError):
            if only or chart.is_fixable:
                skipped.append(f"{name} of {dataset} is left out: {chart}.")
            continue
        for format_name in formats:
            path = folder / f"{name}-{stems[dataset]}.{format_name}"
            write_output(path, render(chart, format_name))
            paths.append(path)
    if not paths:
        raise BenchmarkError("\n".join(["There is nothing to draw.", *skipped]))
    for message in skipped:
        log.warning(message)
    return paths


def _file_stems(datasets: Sequence[str]) -> dict[str, str]:
    """A part of a file's name for each dataset, all different and short enough for any file system."""
    stems: dict[str, str] = {}
    for dataset in datasets:
        plain = re.sub(r"[^\w.-]+", "_", dataset).strip("_")
        if len(plain.encode()) > LONGEST_STEM:
            plain = f"{plain.encode()[:LONGEST_STEM].decode(errors='ignore')}-{digest_of_text(dataset)[:8]}"
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        stems[dataset] = next(stem for stem in itertools.chain([plain], numbered) if stem not in stems.values())
    return stems
