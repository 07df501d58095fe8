"""A race of backbones on one dataset: who takes part, on how many images, and the recipe of all cells it may need."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmark.backbones.sources import IMAGENET, are_weights_here
from benchmark.datasets import Dataset, check_splits
from benchmark.datasets.dataset import TRAIN_PART, take_subset, take_train_part
from benchmark.downloads import KERAS_HOST, can_reach
from benchmark.errors import BenchmarkError, DataError, DownloadError
from benchmark.recipes import Grid, Sweep
from benchmark.registry import Backbone, Registry, select_names
from benchmark.storage import MIB

SWEEP_NAME = "recommend"
# The share of the images in each round, and the fewest that are worth a round of their own.
SHARES = (1 / 16, 1 / 4, 1.0)
LEAST_IMAGES = 200
# Of the images of a round: each is tested once, by a head that was trained on the other folds.
N_FOLDS = 5
BYTES_PER_PARAMETER = 4


class Measure(NamedTuple):
    """A fact about a backbone that can be limited.

    Attributes:
        option: The command's.
        unit: As it follows a number.
        scale: By how much a number in this unit is multiplied for the ledger's column: 1e6 for millions.
        is_least: Whether the limit is the lowest value, not the highest.
    """

    option: str
    unit: str
    scale: float = 1.0
    is_least: bool = False


# By the ledger column that holds the fact.
MEASURES = {
    "params_backbone": Measure("--max-params", "M parameters", 1e6),
    "model_mib": Measure("--max-model-mib", "MiB of weights"),
    "latency_ms": Measure("--max-latency-ms", "ms an image"),
    "images_per_s": Measure("--min-images-per-s", "images/s", is_least=True),
}


@dataclass(frozen=True)
class Cut:
    """A backbone that takes no part, or not any longer.

    Attributes:
        backbone: Its name.
        reason: Why, as it follows the name and a colon.
        excess: By what factor it breaks the limit; infinite if it was cut for another reason.
        is_failure: Whether a cell of it failed for another reason than a download.
    """

    backbone: str
    reason: str
    excess: float = math.inf
    is_failure: bool = False


def cut_by_limits(backbone: str, limits: Mapping[str, float], facts: Mapping[Any, Any]) -> Cut | None:
    """The cut of a backbone that breaks limits; None if it breaks none that can be judged by these facts.

    Args:
        backbone: Its name.
        limits: By the keys of `MEASURES`.
        facts: By the same keys; None or NaN where not known.
    """
    broken = {}
    for column, limit in limits.items():
        measure, value = MEASURES[column], facts.get(column)
        if value is None or math.isnan(value):
            continue
        excess = limit / max(value, 1e-9) if measure.is_least else value / limit
        if excess > 1:
            suffix = "M" if measure.scale > 1 else ""
            than = (
                f"{'fewer' if measure.is_least else 'more'} than {measure.option} {limit / measure.scale:.4g}{suffix}"
            )
            broken[f"{value / measure.scale:.4g} {measure.unit}, {than}"] = excess
    return Cut(backbone, "; ".join(broken), max(broken.values())) if broken else None


def find_candidates(
    registry: Registry, patterns: Sequence[str] | None, limits: Mapping[str, float], size_px: int | None
) -> tuple[list[Backbone], list[Cut]]:
    """The backbones that can be tried, and those that cannot; nothing is downloaded.

    A candidate's weights are here, can be downloaded as far as that is known, or are random.

    Args:
        registry: The backbones.
        patterns: Names or shell patterns; None for all that can be probed.
        limits: Those of `cut_by_limits` that the registry can answer are applied.
        size_px: Side of the input, if it is not the registry's.

    Raises:
        UnknownNameError: A pattern matches nothing.
    """
    can_download = functools.cache(lambda: can_reach(KERAS_HOST))
    candidates, cuts = [], []
    for name in select_names("backbone", patterns or ("*",), registry):
        try:
            backbone = registry[name]
        except BenchmarkError as error:  # of the facts of a preset
            if patterns and not isinstance(error, DownloadError):
                raise
            cuts.append(Cut(name, str(error)))
            continue
        if backbone.has_classifier and not patterns:
            continue
        if cut := cut_by_limits(name, limits, _known_facts(backbone)):
            cuts.append(cut)
        elif problem := _problem(backbone, size_px) or _missing_weights(backbone, can_download):
            cuts.append(Cut(name, problem))
        else:
            candidates.append(backbone)
    return candidates, cuts


def _known_facts(backbone: Backbone) -> dict[str, float | None]:
    n_params = backbone.params_backbone
    return {"params_backbone": n_params, "model_mib": n_params and n_params * BYTES_PER_PARAMETER / MIB}


def _problem(backbone: Backbone, size_px: int | None) -> str:
    if backbone.has_classifier:
        return "a network with a classifier of its own gives no features"
    if size_px is not None and size_px < backbone.min_size_px:
        return f"the input must have at least {backbone.min_size_px} px"
    return ""


def _missing_weights(backbone: Backbone, can_download: Callable[[], bool]) -> str:
    """Why the weights are not available; empty if they are here or can probably be downloaded."""
    if are_weights_here(backbone):
        return ""
    if backbone.weights == IMAGENET and not can_download():
        return f"the ImageNet weights are not in Keras's cache, and {KERAS_HOST} does not answer"
    return f"the weights {backbone.weights} do not exist" if backbone.weights.startswith("file:") else ""


@dataclass(frozen=True)
class Round:
    """The images of one round.

    Attributes:
        limit: The subset of the dataset that it belongs to; None for all images.
        n_images: Images of the subset that are not test images: those of the round.
        n_all: Images of the subset.
    """

    limit: int | None
    n_images: int
    n_all: int


def plan_rounds(dataset: Dataset, limit: int | None, n_seeds: int, val_fraction: float) -> tuple[Round, ...]:
    """The rounds of a race on a dataset, the last one on all of its images.

    A smaller round is left out if it has too few images to be worth it, or to have every class in every split.

    Args:
        dataset: The whole dataset.
        limit: Of the images to use, over all rounds; None for all.
        n_seeds: Number of validation splits of the test.
        val_fraction: Their share.

    Raises:
        DataError: Even all images are too few for a split.
    """
    rounds = []
    n_most = min(limit or len(dataset), len(dataset))
    for share in SHARES:
        n_all, is_last = round(n_most * share), share == SHARES[-1]
        if n_all < LEAST_IMAGES and not is_last:
            continue
        try:
            subset = take_subset(dataset, n_all)
            part = take_train_part(subset)
            check_splits(part, [(fold, val_fraction, N_FOLDS, None) for fold in range(N_FOLDS)])
            check_splits(subset, [(seed, val_fraction, None, None) for seed in range(n_seeds)])
        except DataError:
            if is_last:
                raise
            continue
        rounds.append(Round(limit if is_last else n_all, len(part), n_all))
    return tuple(rounds)


def race_sweep(grid: Grid, backbones: Sequence[Backbone], rounds: Sequence[Round], n_seeds: int) -> Sweep:
    """The recipe of every cell that a race may need: of each round, and of its subset with the test images.

    Args:
        grid: The dataset and how its images are prepared.
        backbones: Who takes part.
        rounds: The rounds.
        n_seeds: Number of seeds of the test.
    """
    names = tuple(one.name for one in backbones)
    kinds: tuple[dict[str, Any], ...] = ({"part": TRAIN_PART, "folds": N_FOLDS}, {"seeds": tuple(range(n_seeds))})
    grids = tuple(
        grid.model_copy(update={"backbones": names, "limit": one.limit, **kind}) for one in rounds for kind in kinds
    )
    return Sweep(name=SWEEP_NAME, grid=grids)
