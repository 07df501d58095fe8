"""The plots by name, drawn and written."""

import io
import itertools
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark.charts.ablation import draw_ablation, draw_ablation_heatmap
from benchmark.charts.bars import draw_accuracy, draw_efficiency, draw_memory, draw_time
from benchmark.charts.classes import draw_confusion, draw_per_class
from benchmark.charts.curves import draw_curves
from benchmark.charts.evidence import Evidence, NothingToDrawError
from benchmark.charts.gallery import draw_gallery
from benchmark.charts.records import Drawn, Picture, Skipped
from benchmark.charts.scatter import draw_pareto
from benchmark.charts.seeds import draw_seeds
from benchmark.charts.style import settle, theme
from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.storage import write_whole

log = logging.getLogger(__name__)

FORMATS = ("png", "svg")
DPI = 125

PLOTS: dict[str, Callable[[Evidence, str], Picture]] = {
    "accuracy": draw_accuracy,
    "pareto": draw_pareto,
    "efficiency": draw_efficiency,
    "time": draw_time,
    "memory": draw_memory,
    "ablation": draw_ablation,
    "ablation-heatmap": draw_ablation_heatmap,
    "curves": draw_curves,
    "seeds": draw_seeds,
    "confusion": draw_confusion,
    "per-class": draw_per_class,
    "gallery": draw_gallery,
}


def draw(name: str, evidence: Evidence, dataset: str) -> Drawn | Skipped:
    """One plot of one dataset.

    Args:
        name: A key of `PLOTS`.
        evidence: Of the ledgers.
        dataset: One of `evidence.datasets`.

    Returns:
        The figure, or why there is none.

    Raises:
        UnknownNameError: There is no such plot or dataset.
    """
    _check_names([name], ())
    if dataset not in evidence.datasets:
        raise UnknownNameError("dataset in these ledgers", dataset, evidence.datasets)
    try:
        with theme():
            picture = PLOTS[name](evidence, dataset)
            settle(picture.figure)
    except NothingToDrawError as error:
        return Skipped(name, dataset, str(error), error.is_lack)
    return Drawn(name, dataset, picture.figure, picture.alt)


def draw_all(evidence: Evidence, only: Sequence[str] | None = None) -> Iterator[Drawn | Skipped]:
    """The plots of every dataset, one at a time.

    Args:
        evidence: Of the ledgers.
        only: Names of `PLOTS`; all where it is None.
    """
    for dataset in evidence.datasets:
        for name in only or PLOTS:
            yield draw(name, evidence, dataset)


def render(drawn: Drawn, format_name: str) -> bytes:
    """The content of a PNG or SVG file; the same plot gives the same bytes with the same version of Matplotlib.

    Args:
        drawn: What `draw` gave.
        format_name: Of `FORMATS`.

    Raises:
        UnknownNameError: There is no such format.
    """
    _check_names((), [format_name])
    file = io.BytesIO()
    # Neither date nor version in the file, but what the picture shows.
    metadata: dict[str, Any] = {"Title": f"{drawn.name} of {drawn.dataset}", "Description": drawn.alt}
    metadata |= {"Date": None, "Creator": None} if format_name == "svg" else {"Software": None}
    with theme():
        drawn.figure.savefig(file, format=format_name, dpi=DPI, metadata=metadata)
    return file.getvalue()


def save_plots(
    evidence: Evidence, folder: Path, *, only: Sequence[str] | None = None, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Draw the plots of every dataset and return the files written.

    A plot that a dataset cannot have is left out. Why is logged as a warning where it was asked for by name, and
    where something is missing that can be brought.

    Args:
        evidence: Of the ledgers.
        folder: Where the files go, `<plot>-<dataset>.<format>`.
        only: Names of `PLOTS`; all where it is None.
        formats: Of `FORMATS`.

    Raises:
        BenchmarkError: There is nothing to draw.
        UnknownNameError: A plot or format is unknown.
    """
    _check_names(only or (), formats)
    if not evidence.datasets:
        raise BenchmarkError("The ledger has no finished run to draw.")
    paths, skipped = [], []
    stems = _file_stems(evidence.datasets)
    for one in draw_all(evidence, only):
        if isinstance(one, Drawn):
            stem = f"{one.name}-{stems[one.dataset]}"
            paths += [_save(one, folder / f"{stem}.{format_name}", format_name) for format_name in formats]
        elif only or one.is_lack:
            skipped.append(f"{one.name} of {one.dataset} is left out: {one.reason.removesuffix('.')}.")
    if not paths:
        raise BenchmarkError("\n".join(["There is nothing to draw.", *skipped]))
    for message in skipped:
        log.warning(message)
    return paths


def _check_names(plots: Sequence[str], formats: Sequence[str]) -> None:
    for kind, names, known in (("plot", plots, PLOTS), ("format", formats, FORMATS)):
        for name in names:
            if name not in known:
                raise UnknownNameError(kind, name, known)


def _save(drawn: Drawn, path: Path, format_name: str) -> Path:
    with write_whole(path) as file:
        file.write(render(drawn, format_name))
    return path


def _file_stems(datasets: Sequence[str]) -> dict[str, str]:
    """A part of a file's name for each dataset, no two alike."""
    stems: dict[str, str] = {}
    for dataset in datasets:
        plain = re.sub(r"[^\w.-]+", "_", dataset).strip("_")
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        stems[dataset] = next(stem for stem in itertools.chain([plain], numbered) if stem not in stems.values())
    return stems
