"""One job in a process of its own: TensorFlow is imported here and nowhere upstream."""

import functools
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Dataset, partition
from benchmark.errors import BenchmarkError
from benchmark.features.cache import BuildFacts, CachedFeatures, cached_features
from benchmark.features.engine import Extraction, View, extract_features
from benchmark.isolation import choose_backend
from benchmark.memory import PeakMemory
from benchmark.strategies.heads import prepare_head
from benchmark.strategies.probe import run_probe
from benchmark.sweep.cells import Cell, Job, feature_facts, view_key
from benchmark.sweep.rows import Rows, class_rows, failure_columns, history_rows, new_row, result_columns

log = logging.getLogger(__name__)

REPORT_INTERVAL_S = 0.2


@dataclass(frozen=True)
class CellStarted:
    """The worker begins the job's cell of that index."""

    index: int


@dataclass(frozen=True)
class Progress:
    """So many of a stage's images are done."""

    stage: str
    n_done: int
    n_total: int


@dataclass(frozen=True)
class CellEnded:
    """A cell's row and what goes with it; a failed one has no scores.

    Attributes:
        index: Of the cell in its job.
        row: For `runs.csv`.
        history: For `history.csv`.
        per_class: For `per_class.csv`.
        confusion: For `confusion.csv`.
        scores: `(n, k)` of the test images.
        labels: `(n,)` true classes of the test images.
        class_names: In the order of the labels.
    """

    index: int
    row: dict[str, Any]
    history: Rows
    per_class: Rows
    confusion: Rows
    scores: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()


Event = CellStarted | Progress | CellEnded
Report = Callable[[Event], None]


def work(job: Job, sender: Connection, log_path: Path) -> None:
    """Do the cells of a job and send what happens; the entry point of the child process.

    Args:
        job: What to do.
        sender: Takes `Event` records.
        log_path: Where everything goes that libraries print.
    """
    _send_output_to(log_path)
    choose_backend()
    run_job(job, sender.send)
    sender.close()


def _send_output_to(log_path: Path) -> None:
    """Standard output and error of this process, TensorFlow's C++ lines included, into a file."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr, force=True)


def run_job(job: Job, report: Report) -> None:
    """Do the cells of a job in this process; a failure ends its cell, or those that share what failed."""
    workshop = _Workshop(job.cells[0], report)
    for index, (cell, key) in enumerate(zip(job.cells, job.keys, strict=True)):
        report(CellStarted(index))
        started = datetime.now().astimezone()
        row = new_row(cell, key, job.recipe_sha256, started)
        try:
            ended = _run_cell(workshop, cell, index, row)
        # Whatever goes wrong becomes the cell's row, and the sweep goes on.
        except Exception as error:
            log.exception("%s failed", cell)
            ended = CellEnded(index, {**row, **failure_columns(error)}, [], [], [])
        report(ended)


def _run_cell(workshop: "_Workshop", cell: Cell, index: int, row: dict[str, Any]) -> CellEnded:
    started = time.perf_counter()
    dataset, load_s = workshop.dataset()
    cached = workshop.features(cell)
    split = partition(dataset, seed=cell.seed, val_fraction=cell.val_fraction)
    prepare_head(cell.head)
    with PeakMemory() as memory:
        result = run_probe(
            cached.features,
            dataset.labels,
            split,
            n_classes=len(dataset.class_names),
            head=cell.head,
            seed=cell.seed,
            options=cell.dense,
        )
    labels = dataset.labels[split.test]
    row |= result_columns(dataset, split, cached, result, load_s)
    row["peak_rss_mib"] = max(memory.rss_mib, cached.extraction.peak_rss_mib)
    row["elapsed_s"] = time.perf_counter() - started
    history = history_rows(row["run_id"], result.head, cached)
    per_class, confusion = class_rows(row["run_id"], labels, result.scores, dataset.class_names)
    return CellEnded(index, row, history, per_class, confusion, result.scores, labels, dataset.class_names)


class _Workshop:
    """What the cells of a job share: the dataset, the frozen backbone, and the features of the view at hand.

    Each is made when first asked for. What failed once is not tried again: the next cell gets the same error.
    """

    def __init__(self, any_cell: Cell, report: Report) -> None:
        self._cell = any_cell
        self._report = report
        self._view: tuple[str, ...] | None = None
        self._features: CachedFeatures | Exception | None = None

    @functools.cached_property
    def _loaded(self) -> "tuple[Dataset, float] | Exception":
        started = time.perf_counter()
        try:
            dataset = self._cell.dataset.load(self._reporter("reading"))
        except BenchmarkError as error:
            return error
        return dataset, time.perf_counter() - started

    def dataset(self) -> tuple[Dataset, float]:
        """The dataset and the seconds it took to load."""
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded

    def features(self, cell: Cell) -> CachedFeatures:
        """The features of a cell's view, extracted unless they are in the cache."""
        if view_key(cell) != self._view:
            self._view, self._features = view_key(cell), None
            try:
                self._features = self._get_features(cell)
            except Exception as error:  # noqa: BLE001  # raised below, and again for the cells that share it
                self._features = error
        elif isinstance(self._features, CachedFeatures):
            self._features = replace(self._features, was_cached=True)
        if isinstance(self._features, Exception):
            raise self._features
        assert self._features is not None
        return self._features

    def _get_features(self, cell: Cell) -> CachedFeatures:
        dataset, _ = self.dataset()

        def extract(file: IO[bytes]) -> tuple[Extraction, BuildFacts]:
            from benchmark.features.graph import set_precision

            frozen, build = self._build()
            set_precision(cell.precision)
            view = View(cell.steps, cell.resize, cell.crop)
            stage = f"extracting {cell.mode}"
            return extract_features(frozen, dataset.images, view, file, on_progress=self._reporter(stage)), build

        return cached_features(feature_facts(cell, dataset.fingerprint), extract)

    def _build(self) -> tuple[Any, BuildFacts]:
        if isinstance(self._built, Exception):
            raise self._built
        return self._built

    @functools.cached_property
    def _built(self) -> tuple[Any, BuildFacts] | Exception:
        from benchmark.backbones.build import build_backbone, weights_sha256
        from benchmark.features.graph import FrozenBackbone

        _let_gpu_memory_grow()
        self._report(Progress("building the backbone", 0, 1))
        backbone, size_px = self._cell.backbone, self._cell.input_size_px
        started = time.perf_counter()
        try:
            network = build_backbone(backbone, size_px)
            frozen = FrozenBackbone(network, size_px)
        except Exception as error:  # noqa: BLE001  # raised by whoever asks for the backbone
            return error
        build_s = time.perf_counter() - started
        return frozen, BuildFacts(build_s, frozen.params, frozen.flops_g(), weights_sha256(backbone, network))

    def _reporter(self, stage: str) -> Callable[[int, int], None]:
        """A progress callback that reports a few times a second."""
        last = 0.0

        def on_progress(n_done: int, n_total: int) -> None:
            nonlocal last
            now = time.perf_counter()
            if n_done == n_total or now - last > REPORT_INTERVAL_S:
                last = now
                self._report(Progress(stage, n_done, n_total))

        return on_progress


def _let_gpu_memory_grow() -> None:
    # TensorFlow otherwise takes all of a GPU's memory at once, and its peak would mean nothing.
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
