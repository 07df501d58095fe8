"""The reference of names: modes, strategies, heads, datasets, resizing, backbones and kinds of failure."""

import inspect
import re
from collections.abc import Mapping

from markdown_tables import table

from benchmark.datasets import DATASETS
from benchmark.errors import (
    BenchmarkError,
    DataError,
    DownloadError,
    FeaturesError,
    LedgerError,
    UnknownNameError,
    WeightsError,
)
from benchmark.options import STRATEGIES
from benchmark.preprocessing import CROPS, MODES, RESIZERS
from benchmark.processes.death import CellTimeoutError, WorkerCrashError, WorkerMemoryError
from benchmark.recipes import read_recipe, recipe_paths
from benchmark.registry.files import shipped_entries
from benchmark.strategies.heads import describe_heads
from benchmark.strategies.outcome import DivergedError
from benchmark.work.rows import error_type
from benchmark.xray.verdicts import VERDICTS

FAILURES = (
    BenchmarkError, UnknownNameError, DownloadError, WeightsError, DataError, FeaturesError, LedgerError, DivergedError,
    WorkerCrashError, WorkerMemoryError, CellTimeoutError,
)  # fmt: skip
# What has no class of its own, and comes from Python or the system.
OTHER_FAILURES = {
    "disk_full": "The disk is full.",
    "unexpected": "Any other error; the worker's log has its traceback.",
}


def modes() -> str:
    """The preprocessing modes."""
    return _names("mode", MODES)


def strategies() -> str:
    """The strategies."""
    return _names("strategy", STRATEGIES)


def head_names() -> str:
    """The heads of a probe."""
    return _names("head", describe_heads())


def datasets() -> str:
    """The names of datasets."""
    return _names("dataset", DATASETS)


def recipes() -> str:
    """The recipes that are shipped."""
    return _names("recipe", {name: read_recipe(path).description for name, path in recipe_paths().items()})


def resizers() -> str:
    """The interpolations and crops."""
    filters = {
        name: f"{kind}, {'with' if is_wide else 'without'} antialias" for name, (kind, is_wide) in RESIZERS.items()
    }
    share = {"0.875": "or another share: the shorter side is resized to size / share, and the centre is kept"}
    return f"{_names('resize', filters)}\n\n{_names('crop', {**CROPS, **share})}"


def backbones() -> str:
    """Every entry of the registry that comes with the project."""
    entries = shipped_entries().values()
    facts = (
        [
            f"`{one.name}`", f"`{one.native_mode}`", one.input_size_px, _millions(one.params_backbone),
            "" if one.flops_g is None else one.flops_g, one.feature_dim or "", f"`{one.weights.partition(':')[0]}`",
        ]
        for one in entries
    )  # fmt: skip
    headings = ["backbone", "native mode", "input, px", "parameters, M", "GFLOP", "features", "weights"]
    return table(headings, facts)


def _millions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f}"


def error_types() -> str:
    """The kinds of failure, as the column `error_type` has them."""
    classes = {kind.error_type: (kind.__doc__ or "").partition("\n")[0] for kind in FAILURES}
    return _names("error_type", {**classes, **OTHER_FAILURES})


def failures_without_a_class() -> set[str]:
    """The kinds that `error_type` gives to errors that are not the project's own."""
    return set(re.findall(r'return "(\w+)"', inspect.getsource(error_type)))


def xray_verdicts() -> str:
    """The verdicts of the x-ray on a mode."""
    return _names("verdict", VERDICTS)


def _names(kind: str, names: Mapping[str, str]) -> str:
    return table([kind, "meaning"], ([f"`{name}`", what] for name, what in names.items()))
