"""Runs the cells of a job, which share a dataset, a backbone and features."""

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import Dataset, OnProgress, Split, split_dataset
from benchmark.errors import BenchmarkError
from benchmark.features.cache import BuildFacts, CachedFeatures, cached_features
from benchmark.features.engine import Extraction, extract_features
from benchmark.memory import PeakMemory
from benchmark.options import FINETUNE, PROBE
from benchmark.plan.cells import Cell, feature_facts, view_key
from benchmark.plan.planning import PlannedCell
from benchmark.preprocessing import View
from benchmark.storage import cache_root
from benchmark.strategies.heads import prepare_head
from benchmark.strategies.outcome import Outcome
from benchmark.strategies.probe import run_probe
from benchmark.work.events import CellEnded, Report, StageProgress
from benchmark.work.rows import Costs, class_rows, history_rows, result_columns

REPORT_INTERVAL_S = 0.2


class CellRunner:
    """Runs cells that share a backbone, a dataset and a size: each of these, and the features, is made once.

    They are made when first asked for. What failed once is not tried again: the next cell gets the same error.
    """

    def __init__(self, any_cell: Cell, report: Report) -> None:
        self._cell = any_cell
        self._report = report
        self._view: tuple[str, View] | None = None
        self._features: CachedFeatures | Exception | None = None

    def run(self, planned: PlannedCell, row: dict[str, Any]) -> CellEnded:
        """Train and test one cell.

        Args:
            planned: Agrees with the others in backbone, dataset and size. An interrupted training is found by its key.
            row: The columns known so far. Not changed.
        """
        started = time.perf_counter()
        cell = planned.cell
        dataset, _ = self._dataset()
        split = split_dataset(dataset, seed=cell.seed, val_fraction=cell.val_fraction, folds=cell.folds)
        do = self._probe if cell.strategy == PROBE else self._train
        costs, outcome, peak_rss_mib = do(planned, split)
        row = {
            **row,
            **result_columns(dataset, split, costs, outcome),
            "peak_rss_mib": max([peak_rss_mib, *(one.peak_rss_mib for one in costs.extractions)]),
            "elapsed_s": time.perf_counter() - started,
        }
        labels, scores = dataset.labels[split.test], outcome.scores
        history = history_rows(row["run_id"], outcome, costs)
        per_class, confusion = class_rows(row["run_id"], labels, scores, dataset.class_names)
        return CellEnded(planned, row, history, per_class, confusion, scores, labels, dataset.class_names)

    def _probe(self, planned: PlannedCell, split: Split) -> tuple[Costs, Outcome, float]:
        """What came before the training, its outcome, and the peak memory of training and testing in MiB."""
        cell = planned.cell
        dataset, load_s = self._dataset()
        cached = self._features_of(cell)
        prepare_head(cell.head)
        with PeakMemory() as memory:
            outcome = run_probe(
                cached.features,
                dataset.labels,
                split,
                n_classes=len(dataset.class_names),
                head=cell.head,
                seed=cell.seed,
                options=cell.dense,
                params_backbone=cached.build.params_backbone,
            )
        costs = Costs(cached.build, load_s, (cached.extraction,), cached.extraction.feature_dim, cached.was_cached)
        return costs, outcome, memory.rss_mib

    def _train(self, planned: PlannedCell, split: Split) -> tuple[Costs, Outcome, float]:
        """As `_probe`, of a cell that trains more than a head."""
        from benchmark.features.graph import FrozenNetwork
        from benchmark.strategies.classifier import Cut
        from benchmark.strategies.finetune import Pixels, run_training
        from benchmark.strategies.stages import DivergedError, Task
        from benchmark.work.classifiers import build_classifier

        cell = planned.cell
        dataset, load_s = self._dataset()
        _let_gpu_memory_grow()
        self._report(StageProgress("building the network", 0, 1))
        classifier, built = build_classifier(cell, dataset)
        passes: dict[str, CachedFeatures] = {}

        def activations(cut: Cut) -> NDArray[np.float32]:
            if cut.name not in passes:
                facts = {} if classifier.is_output(cut) else {"cut": cut.name}
                passes[cut.name] = self._cached(
                    cell, facts, lambda: (FrozenNetwork(classifier.front(cut), cell.input_size_px), built)
                )
            return passes[cut.name].features

        checkpoint = checkpoint_path(planned.key)
        pixels = Pixels(dataset.images, cell.view, cell.augmentation)
        task = Task(dataset.labels, dataset.class_names, split, cell.seed)
        try:
            with PeakMemory() as memory:
                outcome = run_training(
                    classifier,
                    pixels,
                    task,
                    cell.stages,
                    activations=activations if cell.strategy == FINETUNE else None,
                    checkpoint=checkpoint,
                    on_epoch=self._report_epoch,
                )
        except DivergedError:
            checkpoint.unlink(missing_ok=True)
            raise
        extractions = tuple(one.extraction for one in passes.values())
        were_cached = all(one.was_cached for one in passes.values()) if passes else None
        costs = Costs(built, load_s, extractions, classifier.feature_dim, were_cached)
        return costs, outcome, memory.rss_mib

    def _report_epoch(self, stage: int, n_done: int, n_epochs: int) -> None:
        self._report(StageProgress(f"training stage {stage + 1}", n_done, n_epochs))

    @functools.cached_property
    def _loaded(self) -> tuple[Dataset, float] | Exception:
        started = time.perf_counter()
        try:
            dataset = self._cell.dataset.load(self._reporter("reading"))
        except BenchmarkError as error:
            return error
        return dataset, time.perf_counter() - started

    def _dataset(self) -> tuple[Dataset, float]:
        """The dataset and the seconds it took to load."""
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded

    def _features_of(self, cell: Cell) -> CachedFeatures:
        """The features of a cell's view, from the cache or extracted now."""
        if view_key(cell) != self._view:
            self._view, self._features = view_key(cell), None
            try:
                self._features = self._cached(cell, {}, self._build)
            except Exception as error:  # noqa: BLE001  # raised below, and again for the cells that share it
                self._features = error
        elif isinstance(self._features, CachedFeatures):
            self._features = replace(self._features, was_cached=True)
        if isinstance(self._features, Exception):
            raise self._features
        assert self._features is not None
        return self._features

    def _cached(self, cell: Cell, facts: dict[str, Any], build: Callable[[], tuple[Any, BuildFacts]]) -> CachedFeatures:
        """The output of a frozen network for all images, from the cache or computed now.

        Args:
            cell: Says how images are prepared.
            facts: What distinguishes the output from features.
            build: Gives the frozen network.
        """
        dataset, _ = self._dataset()

        def extract(file: IO[bytes]) -> tuple[Extraction, BuildFacts]:
            from benchmark.features.graph import set_precision

            frozen, built = build()
            set_precision(cell.precision)
            on_progress = self._reporter(f"extracting {cell.mode}")
            return extract_features(frozen, dataset.images, cell.view, file, on_progress=on_progress), built

        facts = {**feature_facts(cell, dataset.fingerprint), **facts}
        return cached_features(facts, extract, dataset=cell.dataset.name)

    def _build(self) -> tuple[Any, BuildFacts]:
        if isinstance(self._built, Exception):
            raise self._built
        return self._built

    @functools.cached_property
    def _built(self) -> tuple[Any, BuildFacts] | Exception:
        from benchmark.backbones.build import build_backbone, weights_sha256
        from benchmark.features.graph import FrozenNetwork

        _let_gpu_memory_grow()
        self._report(StageProgress("building the backbone", 0, 1))
        backbone, size_px = self._cell.backbone, self._cell.input_size_px
        started = time.perf_counter()
        try:
            network = build_backbone(backbone, size_px)
            frozen = FrozenNetwork(network, size_px)
        except Exception as error:  # noqa: BLE001  # raised for each cell that needs the backbone
            return error
        build_s = time.perf_counter() - started
        return frozen, BuildFacts(build_s, frozen.params, frozen.flops_g(), weights_sha256(backbone, network))

    def _reporter(self, stage: str) -> OnProgress:
        """A progress callback that reports a few times a second."""
        last = 0.0

        def on_progress(n_done: int, n_total: int) -> None:
            nonlocal last
            now = time.perf_counter()
            if n_done == n_total or now - last > REPORT_INTERVAL_S:
                last = now
                self._report(StageProgress(stage, n_done, n_total))

        return on_progress


def checkpoint_path(key: str) -> Path:
    """Where the training of the cell with that key keeps its checkpoint until its row is written."""
    return cache_root() / "training" / f"{key}.npz"


def _let_gpu_memory_grow() -> None:
    # TensorFlow otherwise takes all of a GPU's memory at once, and its peak would mean nothing.
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
