"""Runs the cells of a job, which share a dataset, a backbone and features."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.caching import TRAINING
from benchmark.datasets import OWN_CLASSES, Split, imagenet_positions, split_dataset
from benchmark.features.cache import BuildFacts, CachedFeatures
from benchmark.ledger import HISTORY
from benchmark.memory import PeakMemory
from benchmark.options import CLASSIFY, FINETUNE, PROBE
from benchmark.plan.cells import Cell
from benchmark.plan.planned import PlannedCell
from benchmark.storage import cache_root
from benchmark.strategies.checkpoint import values_of
from benchmark.strategies.classify import run_classify
from benchmark.strategies.heads import HEADS
from benchmark.strategies.outcome import DivergedError, Outcome
from benchmark.strategies.probe import run_probe
from benchmark.work.events import CellEnded, Report, StageProgress
from benchmark.work.features import JobFeatures
from benchmark.work.rows import Costs, class_rows, conditions_of, costs_from, history_rows, result_columns
from benchmark.work.state import DATASET, TENSORFLOW_ITSELF, JobState

if TYPE_CHECKING:
    from benchmark.strategies.classifier import Classifier, Cut
    from benchmark.strategies.finetune import Activations


class CellRunner:
    """Runs cells that share a backbone, a dataset and a size: these and the features are made once, when first needed.

    With `again`, features that are in the cache are extracted once more, each set once. With `keep_weights`, what was
    trained is returned.
    """

    def __init__(self, any_cell: Cell, report: Report, *, again: bool = False, keep_weights: bool = False) -> None:
        self._job = JobState(any_cell, report)
        self._features = JobFeatures(self._job, again=again)
        self._keep_weights = keep_weights
        self._conditions: dict[str, Any] = {}

    def run(self, planned: PlannedCell, row: dict[str, Any]) -> CellEnded:
        """Train and test one cell.

        Args:
            planned: Shares its backbone, dataset and size with the others. Its key finds an interrupted training.
            row: The columns known so far. Not changed.
        """
        started = time.perf_counter()
        cell = planned.cell
        self._conditions = conditions_of(row)
        dataset, _ = self._job.dataset()
        split = split_dataset(
            dataset, seed=cell.seed, val_fraction=cell.val_fraction, folds=cell.folds, shots=cell.shots
        )
        do = {PROBE: self._probe, CLASSIFY: self._classify}.get(cell.strategy, self._train)
        costs, outcome, peak_rss_mib = do(planned, split)
        row = {
            **row,
            **result_columns(dataset, split, costs, outcome),
            "peak_rss_mib": max([peak_rss_mib, *(one.peak_rss_mib for one in costs.extractions)]),
            "costs_from": costs_from(row, costs.made),
            "elapsed_s": time.perf_counter() - started,
        }
        labels, scores = dataset.labels[split.test], outcome.scores
        tables = class_rows(row["run_id"], labels, scores, dataset.class_names)
        tables[HISTORY] = history_rows(row["run_id"], outcome, costs)
        kept = outcome.weights if self._keep_weights else ()
        return CellEnded(planned, row, tables, scores, labels, dataset.class_names, kept)

    def _probe(self, planned: PlannedCell, split: Split) -> tuple[Costs, Outcome, float]:
        """The costs before training, its outcome, and the peak memory of training and testing in MiB."""
        cell = planned.cell
        dataset, load_s = self._job.dataset()
        cached = self._features.of_view(cell, self._conditions)
        if needs_tensorflow := HEADS[cell.head].needs_tensorflow:
            self._job.start_tensorflow()
        used = (DATASET, TENSORFLOW_ITSELF) if needs_tensorflow else (DATASET,)
        with PeakMemory(self._job.footprint.of_parts(*used)) as memory:
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
        params, dim = cached.build.params_backbone, cached.extraction.feature_dim
        costs = Costs(cached.build, params, load_s, (cached.extraction,), dim, cached.was_cached, (cached.made,))
        return costs, outcome, memory.rss_mib

    def _classify(self, planned: PlannedCell, split: Split) -> tuple[Costs, Outcome, float]:
        """As `_probe`, for a network with its own classifier; its answers are cached like features."""
        backbone, request = planned.cell.backbone, planned.cell.dataset
        dataset, load_s = self._job.dataset()
        cached = self._features.of_view(planned.cell, self._conditions)
        is_restricted = request.imagenet_classes == OWN_CLASSES
        classes = imagenet_positions(dataset.name, dataset.class_names) if is_restricted else None
        with PeakMemory(self._job.footprint.of_parts(DATASET)) as memory:
            outcome = run_classify(
                cached.features, split.test, classes=classes, params_total=cached.build.params_backbone
            )
        params = backbone.params_backbone if backbone.is_shipped else None
        costs = Costs(cached.build, params, load_s, (cached.extraction,), None, cached.was_cached, (cached.made,))
        return costs, outcome, memory.rss_mib

    def _train(self, planned: PlannedCell, split: Split) -> tuple[Costs, Outcome, float]:
        """As `_probe`, for a cell that trains more than a head."""
        _, load_s = self._job.dataset()
        classifier, built = self._build_classifier(planned)
        footprint, own = self._job.footprint, _own_part(planned)
        start_mib = footprint.of_parts(DATASET, TENSORFLOW_ITSELF, own)
        passes: dict[str, CachedFeatures] = {}
        shared_mib = [0.0]  # what extractions make meanwhile that later cells use too

        def activations(cut: "Cut") -> NDArray[np.float32]:
            before_mib = footprint.kept_mib
            if cut.name not in passes:
                passes[cut.name] = self._activations(planned, classifier, cut, built)
            if classifier.is_output(cut):
                shared_mib.append(footprint.kept_mib - before_mib)
            return passes[cut.name].features

        with PeakMemory(start_mib) as memory:
            outcome = self._run_training(planned, split, classifier, activations)
        if self._keep_weights:
            outcome = replace(outcome, weights=tuple(values_of(classifier.variables)))
        extractions = tuple(one.extraction for one in passes.values())
        were_cached = all(one.was_cached for one in passes.values()) if passes else None
        made = tuple(one.made for one in passes.values())
        costs = Costs(built, built.params_backbone, load_s, extractions, classifier.feature_dim, were_cached, made)
        return costs, outcome, memory.rss_mib - sum(shared_mib)

    def _build_classifier(self, planned: PlannedCell) -> tuple["Classifier", BuildFacts]:
        """See `build_classifier`."""
        from benchmark.work.classifiers import build_classifier
        from benchmark.work.networks import check_builder

        job = self._job
        dataset, _ = job.dataset()
        job.start_tensorflow()
        job.report(StageProgress("building the network", 0, 1))
        job.once("builder", lambda: check_builder(job.any_cell, dataset))
        with job.footprint.keeping(_own_part(planned)):
            return build_classifier(planned.cell, dataset)

    def _activations(
        self, planned: PlannedCell, classifier: "Classifier", cut: "Cut", built: BuildFacts
    ) -> CachedFeatures:
        """What the lower layers of a classifier give for all images; at its output, the features of a probe."""
        from benchmark.features.graph import FrozenNetwork

        cell = planned.cell
        if classifier.is_output(cut):
            return self._features.of_backbone(cell, self._conditions)
        return self._features.of_layers(
            cell,
            self._conditions,
            name=cut.name,
            build=lambda: FrozenNetwork(classifier.front(cut), cell.input_size_px),
            built=built,
            parts=(_own_part(planned), f"{cut.name} of {planned.key}"),
        )

    def _run_training(
        self, planned: PlannedCell, split: Split, classifier: "Classifier", activations: "Activations"
    ) -> Outcome:
        """See `run_training`; what diverged does not go on later."""
        from benchmark.strategies.finetune import Pixels, run_training
        from benchmark.strategies.stages import Task

        cell, job = planned.cell, self._job
        dataset, _ = job.dataset()
        checkpoint = checkpoint_path(planned.key)
        try:
            return run_training(
                classifier,
                Pixels(dataset.images, cell.view, cell.augmentation, job.reporter("decoding images")),
                Task(dataset.labels, dataset.class_names, split, cell.seed),
                cell.stages,
                activations=activations if cell.strategy == FINETUNE else None,
                checkpoint=checkpoint,
                on_epoch=lambda stage, n_done, n_epochs: job.report(
                    StageProgress(f"training stage {stage + 1}", n_done, n_epochs)
                ),
            )
        except DivergedError:
            checkpoint.unlink(missing_ok=True)
            raise


def _own_part(planned: PlannedCell) -> str:
    """The part of `Footprint` that holds the classifier of a cell."""
    return f"classifier of {planned.key}"


def checkpoint_path(key: str) -> Path:
    """The checkpoint file of the cell with that key, which is kept until its row is written."""
    return cache_root() / TRAINING / f"{key}.npz"
