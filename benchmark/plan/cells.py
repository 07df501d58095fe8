"""Cells: the points of a sweep's grid, and the keys that tell whether one was done."""

import itertools
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from benchmark.backbones.sources import weights_identity
from benchmark.datasets import Dataset, Progress, load_dataset
from benchmark.features.cache import cache_key
from benchmark.options import (
    FINETUNE_STAGES,
    NO_AUGMENTATION,
    SCRATCH_STAGES,
    Augmentation,
    DenseOptions,
    Stage,
    stages_label,
)
from benchmark.preprocessing import resolve_mode
from benchmark.provenance import framework_versions, minor_version
from benchmark.registry import Backbone

PROBE, FINETUNE, SCRATCH = "probe", "finetune", "scratch"
STRATEGIES = {
    PROBE: "the backbone is frozen; a head is trained on its features, which are extracted once",
    FINETUNE: "the head first, then the backbone's last layers at a lower rate, in stages",
    SCRATCH: "random weights, everything is trained",
}
# The head that TensorFlow trains.
TRAINED_HEAD = "dense"
# Of that head: what it is, not how a probe trains it.
SHAPE_OPTIONS = ("units", "dropout")
# What cells must agree in to be done by one process.
JobKey = tuple[Any, ...]
USUAL_STAGES = {FINETUNE: FINETUNE_STAGES, SCRATCH: SCRATCH_STAGES}


@dataclass(frozen=True)
class DatasetRequest:
    """A dataset as a recipe asks for it."""

    name: str
    limit: int | None = None
    classes: tuple[str, ...] | None = None
    max_bad_images: int = 0

    def load(self, on_progress: Progress | None = None) -> Dataset:
        """The dataset; see `datasets.load_dataset` for what it raises."""
        return load_dataset(
            self.name,
            limit=self.limit,
            classes=self.classes,
            max_bad_images=self.max_bad_images,
            on_progress=on_progress,
        )


@dataclass(frozen=True)
class Cell:
    """One point of the grid: everything a run needs to know except where its files are."""

    backbone: Backbone
    dataset: DatasetRequest
    mode: str
    strategy: str
    head: str
    seed: int
    input_size_px: int
    resize: str
    crop: str
    precision: str
    val_fraction: float
    dense: DenseOptions
    stages: tuple[Stage, ...] = ()
    augmentation: Augmentation = NO_AUGMENTATION
    folds: int | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """What the mode does for this backbone."""
        return resolve_mode(self.mode, self.backbone.native_mode)

    @property
    def dataset_label(self) -> str:
        """The dataset as the ledger writes it: `folder:pets[cat,dog]@100` is 100 images of two of its classes."""
        classes = f"[{','.join(self.dataset.classes)}]" if self.dataset.classes else ""
        limit = f"@{self.dataset.limit}" if self.dataset.limit else ""
        return f"{self.dataset.name}{classes}{limit}"

    @property
    def head_label(self) -> str:
        """The head as the ledger writes it: `dense(units=512)` where an option is not the usual one."""
        if self.head != TRAINED_HEAD:
            return self.head
        # How a probe trains it does not matter to a strategy with stages of its own.
        return _labelled(self.head, self.dense.label() if self.strategy == PROBE else self.dense.label(*SHAPE_OPTIONS))

    @property
    def strategy_label(self) -> str:
        """The strategy as the ledger writes it, with what differs from its usual stages."""
        stages = "" if self.stages == USUAL_STAGES.get(self.strategy, ()) else stages_label(self.stages)
        folds = f"folds={self.folds}" if self.folds else ""
        return _labelled(self.strategy, "; ".join(filter(None, (stages, folds))))

    @property
    def is_trained_by_tensorflow(self) -> bool:
        """Whether TensorFlow trains something in it; other heads are scikit-learn's and NumPy's."""
        return self.strategy != PROBE or self.head == TRAINED_HEAD

    @property
    def columns(self) -> dict[str, Any]:
        """The ledger columns that name this cell."""
        return {
            "backbone": self.backbone.name,
            "dataset": self.dataset_label,
            "mode": self.mode,
            "strategy": self.strategy_label,
            "head": self.head_label,
            "network": "",
            "input_size_px": self.input_size_px,
            "resize": self.resize,
            "crop": self.crop,
            "augment": self.augmentation.label(),
            "precision": self.precision,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        return (
            f"{self.backbone.name} {self.dataset_label} {self.mode} {self.strategy} {self.head} "
            f"{self.input_size_px} px seed {self.seed}"
        )


def _labelled(name: str, options: str) -> str:
    return f"{name}({options})" if options else name


def feature_facts(cell: Cell, dataset_fingerprint: str) -> dict[str, Any]:
    """Everything that can change a feature of this cell, for the key of the feature cache."""
    return {
        "backbone": cell.backbone.name,
        "build": cell.backbone.build_facts,
        "weights": weights_identity(cell.backbone),
        "dataset": cell.dataset_label,
        "dataset_fingerprint": dataset_fingerprint,
        "input_size_px": cell.input_size_px,
        "steps": list(cell.steps),
        "resize": cell.resize,
        "crop": cell.crop,
        "precision": cell.precision,
        **{name: minor_version(version) for name, version in framework_versions().items()},
    }


def cell_key(cell: Cell, dataset_fingerprint: str) -> str:
    """The key of everything that can change this cell's numbers: 32 hexadecimal digits."""
    options: dict[str, Any] = {}
    if cell.strategy == PROBE:
        options = {"dense": cell.dense.model_dump()} if cell.head == TRAINED_HEAD else {}
    else:
        options = {
            "units": cell.dense.widths,
            "dropout": cell.dense.dropout,
            "stages": [stage.model_dump() for stage in cell.stages],
            "augmentation": cell.augmentation.model_dump(),
        }
    if cell.folds:
        options["folds"] = cell.folds
    return cache_key(
        {
            "features": feature_facts(cell, dataset_fingerprint),
            "registry": cell.backbone.facts,
            **cell.columns,
            "val_fraction": cell.val_fraction,
            **options,
        }
    )


@dataclass(frozen=True)
class Job:
    """The cells that share a backbone, a dataset and a size, done by one process.

    Attributes:
        cells: What to do, cells of one view next to each other.
        keys: The key of each cell.
        recipe_sha256: For the rows.
        again: Whether trainings begin anew, whatever is left of earlier ones.
        has_training: Whether TensorFlow trains something in the job when all of it is done.
    """

    cells: tuple[Cell, ...]
    keys: tuple[str, ...]
    recipe_sha256: str
    again: bool = False
    has_training: bool = False


def group_into_jobs(
    cells: Iterable[tuple[Cell, str]],
    recipe_sha256: str,
    *,
    again: bool = False,
    with_training: Container[JobKey] = frozenset(),
) -> list[Job]:
    """Jobs in the order of their first cells.

    Args:
        cells: Each with its key.
        recipe_sha256: For the rows.
        again: Whether trainings begin anew.
        with_training: Jobs in which TensorFlow trains something, if not in these cells, then in others.
    """
    jobs: dict[JobKey, dict[Any, list[tuple[Cell, str]]]] = {}
    for cell, key in cells:
        jobs.setdefault(job_key(cell), {}).setdefault(view_key(cell), []).append((cell, key))
    made = []
    for name, views in jobs.items():
        ordered = list(itertools.chain.from_iterable(views.values()))
        has_training = name in with_training or any(cell.is_trained_by_tensorflow for cell, _ in ordered)
        chosen, keys = zip(*ordered, strict=True)
        made.append(Job(chosen, keys, recipe_sha256, again=again, has_training=has_training))
    return made


def jobs_with_training(cells: Iterable[Cell]) -> frozenset[JobKey]:
    """The jobs in which TensorFlow trains something."""
    return frozenset(job_key(cell) for cell in cells if cell.is_trained_by_tensorflow)


def job_key(cell: Cell) -> JobKey:
    """What cells must agree in to be done by one process."""
    return (cell.backbone.name, cell.dataset, cell.input_size_px)


def view_key(cell: Cell) -> tuple[str, ...]:
    """What cells of a job must agree in to share one pass over the images."""
    return (cell.precision, cell.resize, cell.crop, *cell.steps)
