"""How long a sweep will take and how much memory a job needs, estimated from earlier runs or else guessed."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from benchmark.caching import measured_gflops
from benchmark.features.cache import is_cached
from benchmark.options import CLASSIFY, PROBE
from benchmark.plan.cells import Cell, feature_facts, job_key, view_key
from benchmark.plan.planned import PlannedCell
from benchmark.provenance import usable_cpus
from benchmark.strategies.heads import HEADS

# Guesses, used until this machine has extracted something: the sustained arithmetic of convolutions, and the time to
# start TensorFlow and build a network.
GUESSED_GFLOPS_PER_CORE = 20.0
JOB_OVERHEAD_S = 12.0
UNKNOWN_FLOPS_G = 5.0
UNKNOWN_FEATURE_DIM = 2048
UNKNOWN_NETWORK_FLOPS_G = 0.01
TRAINING_OVER_INFERENCE = 3.0
UNKNOWN_MEMORY_MIB = 3000.0
# More than any network has. A registry that claims more is not believed, so that the estimate stays finite.
LARGEST_FLOPS_G = 1e9


@dataclass(frozen=True)
class Estimate:
    """The cost of a set of cells.

    Attributes:
        n_passes: Passes over the images that are not in the feature cache yet.
        extract_s: Seconds for them.
        heads_s: Seconds to train and test the heads.
        overhead_s: Seconds to start processes and build backbones.
        n_backbones: Backbones of the cells.
        n_guessed: Those of them whose rate was not measured on this machine.
    """

    n_passes: int
    extract_s: float
    heads_s: float
    overhead_s: float
    n_backbones: int
    n_guessed: int

    @property
    def total_s(self) -> float:
        """Seconds for everything."""
        return self.extract_s + self.heads_s + self.overhead_s


def estimate(cells: Iterable[PlannedCell], *, again: bool = False) -> Estimate:
    """A rough estimate, within a factor of two or so, of running these cells now.

    With `again`, features in the cache are not used.
    """
    planned = [cell for cell in cells if cell.obstacle is None]
    rates = measured_gflops()
    # Tiny networks do a hundredth of the arithmetic in the time: they say nothing of others.
    fallback = max(guess_gflops(), statistics.median(rates.values()) if rates else 0.0)
    frozen = [one for one in planned if one.cell.strategy in (PROBE, CLASSIFY)]
    passes = {(job_key(one.cell), view_key(one.cell)): one for one in frozen}
    to_extract = [
        one for one in passes.values() if again or not is_cached(feature_facts(one.cell, one.dataset_fingerprint))
    ]
    jobs = {job_key(one.cell) for one in planned}
    backbones = {one.cell.backbone.name for one in planned}
    return Estimate(
        n_passes=len(to_extract),
        extract_s=sum(
            one.n_images * flops_g_at_size(one.cell) / rates.get(one.cell.backbone.name, fallback) for one in to_extract
        ),
        heads_s=sum(_head_s(one, rates.get(one.cell.backbone.name, fallback)) for one in planned),
        overhead_s=JOB_OVERHEAD_S * len(jobs),
        n_backbones=len(backbones),
        n_guessed=len(backbones - set(rates)),
    )


def guess_gflops() -> float:
    """Sustained 1e9 operations a second of this machine, as long as it has extracted nothing."""
    return GUESSED_GFLOPS_PER_CORE * usable_cpus()


def expect_memory(runs: pd.DataFrame) -> Callable[[Cell], float]:
    """A function that returns a cell's likely memory in MiB: its backbone's maximum in these rows, or a guess."""
    known = runs.groupby("backbone")["peak_rss_mib"].max().dropna()
    return lambda cell: float(known.get(cell.backbone.name, UNKNOWN_MEMORY_MIB))


def flops_g_at_size(cell: Cell) -> float:
    """Floating-point operations of one image in 1e9: the registry's, scaled by the area of the input."""
    scale = (cell.input_size_px / cell.backbone.input_size_px) ** 2
    unknown = UNKNOWN_NETWORK_FLOPS_G if cell.backbone.has_classifier else UNKNOWN_FLOPS_G
    return min(cell.backbone.flops_g or unknown, LARGEST_FLOPS_G) * scale


def _head_s(planned: PlannedCell, gflops: float) -> float:
    """Seconds to train and test: of a head on features, or of a network, forward and twice as much back."""
    if planned.cell.strategy == CLASSIFY:
        return 0.0
    shots = planned.cell.shots
    n_images = min(planned.n_images, 2 * shots * planned.n_classes) if shots else planned.n_images
    if planned.cell.strategy != PROBE:
        n_epochs = sum(stage.epochs for stage in planned.cell.stages)
        return n_epochs * n_images * flops_g_at_size(planned.cell) * TRAINING_OVER_INFERENCE / gflops
    numbers = n_images * (planned.cell.backbone.feature_dim or UNKNOWN_FEATURE_DIM)
    return HEADS[planned.cell.head].s_per_number * numbers
