"""Cells: the points of a sweep's grid, and the keys that tell whether one was done."""

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.backbones.sources import weights_identity
from benchmark.datasets import OWN_CLASSES, SPLIT_VERSION, Dataset, OnProgress, load_dataset
from benchmark.features.cache import FEATURE_VERSION, cache_key
from benchmark.features.engines import OPENVINO
from benchmark.options import (
    CLASSIFY,
    DENSE_OPTIONS_BEFORE,
    NO_AUGMENTATION,
    PROBE,
    USUAL_STAGES,
    Augmentation,
    DenseOptions,
    Stage,
    stages_label,
)
from benchmark.preprocessing import Crop, View, resolve_mode
from benchmark.provenance import environment, minor_version
from benchmark.registry import Backbone
from benchmark.storage import digest_of_text
from benchmark.tidycsv import to_text

# The head that Keras trains.
TRAINED_HEAD = "dense"
# The options of that head that describe the head, not how a probe trains it.
SHAPE_OPTIONS = ("units", "dropout")
# The versions that can change features, by the names of ledger columns.
KEYED_VERSIONS = ("keras_version", "tensorflow_version", "pillow_version")


@dataclass(frozen=True)
class DatasetRequest:
    """A dataset as a recipe asks for it; see `datasets.load_dataset`."""

    name: str
    limit: int | None = None
    classes: tuple[str, ...] | None = None
    max_bad_images: int = 0
    drop_duplicates: bool = False
    part: str | None = None
    imagenet_classes: str | None = None

    def load(self, on_progress: OnProgress | None = None, views: Collection[View] = ()) -> Dataset:
        """The dataset; see `datasets.load_dataset` for `views` and for what it raises."""
        return load_dataset(
            self.name,
            limit=self.limit,
            part=self.part,
            classes=self.classes,
            max_bad_images=self.max_bad_images,
            drop_duplicates=self.drop_duplicates,
            imagenet_classes=self.imagenet_classes,
            views=views,
            on_progress=on_progress,
        )


@dataclass(frozen=True)
class Cell:
    """One point of the grid: everything that a run needs except the paths of its files."""

    backbone: Backbone
    dataset: DatasetRequest
    mode: str
    strategy: str
    head: str
    seed: int
    input_size_px: int
    resize: str
    crop: Crop
    engine: str
    precision: str
    val_fraction: float
    dense: DenseOptions
    stages: tuple[Stage, ...] = ()
    augmentation: Augmentation = NO_AUGMENTATION
    folds: int | None = None
    shots: int | None = None
    batch_size: int | None = None
    # Of the network that a builder of the user's makes; empty for others, and until it was built.
    network_sha256: str = ""

    @property
    def view(self) -> View:
        """How the images are prepared."""
        steps = resolve_mode(self.mode, self.backbone.native_mode)
        return View(self.input_size_px, self.resize, self.crop, steps)

    @property
    def is_trained_by_keras(self) -> bool:
        """Whether Keras trains something in it, so that its numbers depend on the seed; the other heads are solved."""
        return self.strategy != CLASSIFY and (self.strategy != PROBE or self.head == TRAINED_HEAD)

    @functools.cached_property
    def columns(self) -> dict[str, Any]:
        """The cell as the recipe asks for it, by `ledger.CELL_COLUMNS`; None or empty where it asks for nothing."""
        return {
            "backbone": self.backbone.name,
            "dataset": self.dataset.name,
            "classes": ",".join(self.dataset.classes or ()),
            "limit": self.dataset.limit,
            "part": self.dataset.part or "",
            "drop_duplicates": int(self.dataset.drop_duplicates) or None,
            "restrict_classes": int(self.dataset.imagenet_classes == OWN_CLASSES) or None,
            "mode": self.mode,
            "strategy": self.strategy,
            "stages": "" if self.stages == USUAL_STAGES.get(self.strategy, ()) else stages_label(self.stages),
            "folds": self.folds,
            "shots": self.shots,
            "head": self.head,
            "head_options": self.head_options,
            "input_size_px": self.input_size_px,
            "resize": self.resize,
            "crop": str(self.crop),
            "augment": self.augmentation.label(),
            "engine": self.engine,
            "precision": self.precision,
            "batch_size": self.batch_size,
            "val_fraction": float(to_text(self.val_fraction)),  # to the digits that a row keeps
            "seed": self.seed,
        }

    @property
    def name(self) -> tuple[Any, ...]:
        """The values of its columns, as `ledger.cell_names` returns them for its rows."""
        return tuple(self.columns.values())

    @property
    def earlier_name(self) -> tuple[Any, ...]:
        """Its name in rows from before `DENSE_OPTIONS_BEFORE` were changed."""
        return tuple({**self.columns, "head_options": self._head_options(DENSE_OPTIONS_BEFORE)}.values())

    @property
    def facts(self) -> dict[str, Any]:
        """The other facts that its key depends on, except the dataset, by the names of ledger columns."""
        return {
            "weights": self.backbone.weights,
            "pooling": self.backbone.pooling or "",
            "registry_sha256": digest_of_text(json.dumps(self.backbone.facts, sort_keys=True)),
            "feature_version": FEATURE_VERSION,
            "split_version": SPLIT_VERSION,
            "network_sha256": self.network_sha256,
        }

    @property
    def head_options(self) -> str:
        """The options of the head that differ from their defaults, such as `units=512`."""
        return self._head_options(DenseOptions())

    def _head_options(self, usual: DenseOptions) -> str:
        if self.head != TRAINED_HEAD:
            return ""
        # A strategy with stages of its own does not use the options by which a probe trains the head.
        names = () if self.strategy == PROBE else SHAPE_OPTIONS
        return self.dense.label(*names, usual=usual)

    def __str__(self) -> str:
        return (
            f"{self.backbone.name} {self.dataset.name} {self.mode} {self.strategy} {self.head} "
            f"{self.input_size_px} px{f' batches of {self.batch_size}' if self.batch_size else ''}"
            f"{f' shots {self.shots}' if self.shots else ''} seed {self.seed}"
        )


def feature_facts(cell: Cell, dataset_fingerprint: str, versions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything that can change a feature of this cell, for the key of the feature cache.

    `versions` are those of another installation, by the names of ledger columns; without them, of this one.
    """
    versions = versions or environment()
    return {
        "backbone": cell.backbone.name,
        "build": cell.backbone.build_facts,
        "weights": weights_identity(cell.backbone),
        "dataset_fingerprint": dataset_fingerprint,
        "view": str(cell.view),
        "engine": cell.engine,
        "precision": cell.precision,
        **({"batch_size": cell.batch_size} if cell.batch_size else {}),
        **({"network_sha256": cell.network_sha256} if cell.network_sha256 else {}),
        **({"output": "classifier"} if cell.strategy == CLASSIFY else {}),
        **{name: minor_version(str(versions[name])) for name in KEYED_VERSIONS},
        **({"keras_hub_version": minor_version(str(versions["keras_hub_version"]))} if cell.backbone.hub else {}),
        **({"openvino_version": minor_version(str(versions["openvino_version"]))} if cell.engine == OPENVINO else {}),
    }


def make_keys(cell: Cell, dataset_fingerprint: str, versions: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """The key of a cell and that of its setting; they depend on the dataset's content, not on its name.

    Args:
        cell: The cell.
        dataset_fingerprint: Of its dataset.
        versions: See `feature_facts`.

    Returns:
        The hash of everything that can change the cell's numbers, 32 hexadecimal digits; and the same without the seed.
        Only rows with equal setting keys are averaged.
    """
    options: dict[str, Any] = {}
    if cell.strategy == PROBE:
        options = {"dense": cell.dense.model_dump()} if cell.head == TRAINED_HEAD else {}
    elif cell.strategy != CLASSIFY:
        options = {
            "units": cell.dense.widths,
            "dropout": cell.dense.dropout,
            "stages": [stage.model_dump() for stage in cell.stages],
            "augmentation": cell.augmentation.model_dump(),
        }
    setting = cache_key(
        {
            "features": feature_facts(cell, dataset_fingerprint, versions),
            "registry": cell.backbone.facts,
            "mode": cell.mode,
            "strategy": cell.strategy,
            "head": cell.head,
            "folds": cell.folds,
            **({"shots": cell.shots} if cell.shots else {}),
            "val_fraction": cell.val_fraction,
            "split_version": SPLIT_VERSION,
            **options,
        }
    )
    return key_of_seed(setting, cell.seed), setting


def key_of_seed(setting_key: str, seed: int) -> str:
    """The key of a cell, from that of its setting."""
    return cache_key({"setting": setting_key, "seed": seed})


def job_key(cell: Cell) -> tuple[Any, ...]:
    """Cells with equal keys can run in one process."""
    return (cell.backbone, cell.dataset, cell.input_size_px)


def view_key(cell: Cell) -> tuple[str, str, int | None, View]:
    """Cells of a job with equal keys share one pass over the images."""
    return cell.engine, cell.precision, cell.batch_size, cell.view
