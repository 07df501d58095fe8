"""Runs the cells of a job, which share a dataset, a backbone and features."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets import OWN_CLASSES, Dataset, OnProgress, Split, imagenet_classes, split_dataset
from benchmark.errors import FeaturesError
from benchmark.features.cache import BuildFacts, CachedFeatures, cache_key, cached_features, earlier_features
from benchmark.features.engine import Extraction, extract_features
from benchmark.features.extractor import BATCH_SIZE, Latency, has_gpu, measure_latency
from benchmark.ledger import HISTORY
from benchmark.memory import Footprint, PeakMemory
from benchmark.options import CLASSIFY, FINETUNE, PROBE
from benchmark.plan.cells import Cell, feature_facts, view_key
from benchmark.plan.planning import PlannedCell
from benchmark.preprocessing import View, line_of
from benchmark.storage import cache_root
from benchmark.strategies.checkpoint import values_of
from benchmark.strategies.classify import run_classify
from benchmark.strategies.outcome import DivergedError, Outcome
from benchmark.strategies.probe import run_probe
from benchmark.work.events import CellEnded, Report, StageProgress
from benchmark.work.rows import Costs, class_rows, conditions_of, costs_from, history_rows, result_columns

if TYPE_CHECKING:
    from benchmark.features.engines import CompiledNetwork
    from benchmark.features.graph import FrozenNetwork
    from benchmark.strategies.classifier import Classifier, Cut

REPORT_INTERVAL_S = 0.2
# What is made once for all cells of a job.
DATASET, TENSORFLOW_ITSELF = "dataset", "tensorflow"
# Of every pixel of the image whose latency is measured.
GREY = 127

_T = TypeVar("_T")


class Ready(NamedTuple):
    """A network that is ready to be compiled.

    Attributes:
        network: The network.
        built: What is known of it.
        parts: Of `Footprint`, the parts that hold it; the last one is its graph.
    """

    network: "CompiledNetwork"
    built: BuildFacts
    parts: tuple[str, ...]


class CellRunner:
    """Runs cells that share a backbone, a dataset and a size: these and the features are made once, when first needed.

    A step that failed is not tried again: the next cell that needs it gets the same error. With `again`, features that
    are in the cache are extracted once more, each set once. With `keep_weights`, what was trained is returned.
    """

    def __init__(self, any_cell: Cell, report: Report, *, again: bool = False, keep_weights: bool = False) -> None:
        self._cell = any_cell
        self._report = report
        self._again = again
        self._keep_weights = keep_weights
        self._extracted: set[str] = set()
        self._made: dict[str, Any] = {}
        self._view: tuple[str, str, View] | None = None
        self._footprint = Footprint()
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
        dataset, _ = self._dataset()
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
        dataset, load_s = self._dataset()
        cached = self._features_of(cell)
        if cell.is_trained_by_tensorflow:
            self._once(TENSORFLOW_ITSELF, self._start_tensorflow)
        used = (DATASET, TENSORFLOW_ITSELF) if cell.is_trained_by_tensorflow else (DATASET,)
        with PeakMemory(self._footprint.of_parts(*used)) as memory:
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
        dataset, load_s = self._dataset()
        cached = self._features_of(planned.cell)
        is_restricted = request.imagenet_classes == OWN_CLASSES
        classes = imagenet_classes(dataset.name, dataset.class_names) if is_restricted else None
        with PeakMemory(self._footprint.of_parts(DATASET)) as memory:
            outcome = run_classify(
                cached.features, split.test, classes=classes, params_total=cached.build.params_backbone
            )
        params = backbone.params_backbone if backbone.is_shipped else None
        costs = Costs(cached.build, params, load_s, (cached.extraction,), None, cached.was_cached, (cached.made,))
        return costs, outcome, memory.rss_mib

    def _train(self, planned: PlannedCell, split: Split) -> tuple[Costs, Outcome, float]:
        """As `_probe`, for a cell that trains more than a head."""
        from benchmark.strategies.finetune import Pixels, run_training
        from benchmark.strategies.stages import Task
        from benchmark.work.classifiers import build_classifier

        cell = planned.cell
        dataset, load_s = self._dataset()
        own = f"classifier of {planned.key}"
        self._once(TENSORFLOW_ITSELF, self._start_tensorflow)
        self._report(StageProgress("building the network", 0, 1))
        self._once("builder", self._check_builder)
        with self._footprint.keeping(own):
            classifier, built = build_classifier(cell, dataset)
        start_mib = self._footprint.of_parts(DATASET, TENSORFLOW_ITSELF, own)
        passes: dict[str, CachedFeatures] = {}
        shared_mib = [0.0]  # what extractions make meanwhile that later cells use too

        def activations(cut: "Cut") -> NDArray[np.float32]:
            before_mib = self._footprint.kept_mib
            if cut.name not in passes:
                passes[cut.name] = self._activations(planned, classifier, cut, built, own)
            if classifier.is_output(cut):
                shared_mib.append(self._footprint.kept_mib - before_mib)
            return passes[cut.name].features

        checkpoint = checkpoint_path(planned.key)
        pixels = Pixels(dataset.images, cell.view, cell.augmentation, self._reporter("decoding images"))
        task = Task(dataset.labels, dataset.class_names, split, cell.seed)
        try:
            with PeakMemory(start_mib) as memory:
                outcome = run_training(
                    classifier,
                    pixels,
                    task,
                    cell.stages,
                    activations=activations if cell.strategy == FINETUNE else None,
                    checkpoint=checkpoint,
                    on_epoch=lambda stage, n_done, n_epochs: self._report(
                        StageProgress(f"training stage {stage + 1}", n_done, n_epochs)
                    ),
                )
        except DivergedError:
            checkpoint.unlink(missing_ok=True)
            raise
        if self._keep_weights:
            outcome = replace(outcome, weights=tuple(values_of(classifier.variables)))
        extractions = tuple(one.extraction for one in passes.values())
        were_cached = all(one.was_cached for one in passes.values()) if passes else None
        made = tuple(one.made for one in passes.values())
        costs = Costs(built, built.params_backbone, load_s, extractions, classifier.feature_dim, were_cached, made)
        return costs, outcome, memory.rss_mib - sum(shared_mib)

    def _activations(
        self, planned: PlannedCell, classifier: "Classifier", cut: "Cut", built: BuildFacts, own: str
    ) -> CachedFeatures:
        """What the lower layers of a classifier give for all images; at its output, the features of a probe."""
        from benchmark.features.graph import FrozenNetwork

        cell = planned.cell

        def front() -> Ready:
            network = self._compiled(FrozenNetwork(classifier.front(cut), cell.input_size_px), cell)
            return Ready(network, built, (own, f"{cut.name} of {planned.key}"))

        if classifier.is_output(cut):
            return self._cached(cell, {}, lambda: self._timed_backbone(cell))
        return self._cached(cell, {"cut": cut.name}, front)

    def _once(self, name: str, make: Callable[[], _T]) -> _T:
        """The result of the first call under this name; its error is raised again for all cells that share it."""
        if name not in self._made:
            try:
                with self._footprint.keeping(name):
                    self._made[name] = make()
            except Exception as error:  # noqa: BLE001  # raised below
                self._made[name] = error
        made = self._made[name]
        if isinstance(made, Exception):
            raise made
        return cast(_T, made)

    def _dataset(self) -> tuple[Dataset, float]:
        """The dataset and the seconds it took to load."""

        def load() -> tuple[Dataset, float]:
            started = time.perf_counter()
            dataset = self._cell.dataset.load(self._reporter("reading"), {self._cell.view.before_mode})
            return dataset, time.perf_counter() - started

        return self._once(DATASET, load)

    def _features_of(self, cell: Cell) -> CachedFeatures:
        """The features of a cell's view, from the cache or extracted now."""
        is_same_view = view_key(cell) == self._view
        if not is_same_view:
            self._view = view_key(cell)
            self._made.pop("features", None)
        features = self._once("features", lambda: self._cached(cell, {}, lambda: self._timed_backbone(cell)))
        return replace(features, was_cached=True) if is_same_view else features

    def _cached(self, cell: Cell, facts: dict[str, Any], build: Callable[[], Ready]) -> CachedFeatures:
        """The output of a frozen network for all images, from the cache or computed now.

        Args:
            cell: Says how images are prepared.
            facts: For the key of the cache, what distinguishes the output from features.
            build: Returns the network.
        """
        dataset, _ = self._dataset()

        def extract(
            file: IO[bytes], so_far: Extraction | None, save: Callable[[Extraction], None]
        ) -> tuple[Extraction, BuildFacts]:
            from benchmark.features.engines import TENSORFLOW
            from benchmark.features.graph import set_precision

            # The bits of a GPU can depend on more than the image.
            may_reuse = not (again or self._conditions["gpu"])
            earlier = earlier_features(facts, self._conditions, dataset.images.identities) if may_reuse else []
            source = dataset.images.source(cell.view, self._reporter("decoding images"))
            network, built, parts = build()
            with self._footprint.keeping(parts[-1]):
                extractor = network.extractor(cell.view.steps)
            start_mib = self._footprint.of_parts(DATASET, TENSORFLOW_ITSELF, *parts)
            batch_size = cell.batch_size or (None if cell.engine == TENSORFLOW and has_gpu() else BATCH_SIZE)
            stage = f"extracting {cell.mode}" + ("" if source.is_cached else ", decoding again: the disk is full")
            try:
                with self._footprint.keeping(parts[-1]):  # TensorFlow makes some of a graph when it first runs
                    extraction = extract_features(
                        extractor,
                        source,
                        len(dataset),
                        file,
                        batch_size=batch_size,
                        so_far=so_far,
                        save=save,
                        earlier=earlier,
                        on_progress=self._reporter(stage),
                        start_mib=start_mib,
                    )
            except FeaturesError as error:
                raise FeaturesError(f"{cell.view}: {error}") from error
            finally:
                set_precision("float32")
            return extraction, built

        facts = {**feature_facts(cell, dataset.fingerprint), **facts}
        key = cache_key(facts)
        again = self._again and key not in self._extracted
        found = cached_features(
            facts,
            extract,
            dataset=cell.dataset.name,
            made=self._conditions,
            identities=lambda: dataset.images.identities,
            again=again,
        )
        self._extracted.add(key)
        return found

    def _timed_backbone(self, cell: Cell) -> Ready:
        """The backbone for the engine and precision of a cell, with the latency of one image."""
        self._once(TENSORFLOW_ITSELF, self._start_tensorflow)
        backbone = f"backbone in {cell.precision if has_gpu() else 'float32'}"
        frozen, built = self._once(backbone, lambda: self._build_backbone(cell.precision))
        dataset, _ = self._dataset()

        def measure() -> Latency:
            self._report(StageProgress("measuring the latency", 0, 1))
            shape = (1, cell.input_size_px, cell.input_size_px, dataset.images.n_channels)
            extractor = self._compiled(frozen, cell, 1).extractor(cell.view.steps)
            return measure_latency(extractor, np.full(shape, GREY, np.uint8))

        def compile_network() -> tuple["CompiledNetwork", float]:
            started = time.perf_counter()
            network = self._compiled(frozen, cell)
            network.extractor(cell.view.steps)
            return network, time.perf_counter() - started

        how = f"{cell.engine} in {cell.precision}, batches of {cell.batch_size}"
        is_swapped = line_of(cell.view.steps, frozen.n_channels).is_swapped
        graph = f"graph by {how}{', channels swapped' if is_swapped else ''}"
        # The latency first: then the memory that an engine takes once is not counted for the first graph only.
        engine = f"latency by {how}"
        latency = self._once(engine, measure)
        network, compile_s = self._once(graph, compile_network)
        timed = replace(
            built,
            build_s=built.build_s + compile_s,
            latency_ms=latency.median_ms,
            latency_p95_ms=latency.p95_ms,
        )
        return Ready(network, timed, (backbone, engine, graph))

    def _compiled(self, frozen: "FrozenNetwork", cell: Cell, batch_size: int | None = None) -> "CompiledNetwork":
        from benchmark.features.engines import CompiledNetwork

        dataset, _ = self._dataset()
        size = batch_size or cell.batch_size or BATCH_SIZE
        return CompiledNetwork(cell.engine, frozen, dataset.images.n_channels, cell.precision, size)

    def _build_backbone(self, precision: str) -> tuple["FrozenNetwork", BuildFacts]:
        """See `build_frozen`."""
        from benchmark.work.networks import build_frozen

        self._report(StageProgress("building the backbone", 0, 1))
        self._check_builder()
        return build_frozen(self._cell, precision)

    def _check_builder(self) -> None:
        from benchmark.work.networks import check_builder

        check_builder(self._cell, self._dataset()[0])

    def _start_tensorflow(self) -> None:
        """Import the libraries of networks, which no cell is to be charged for; let the memory of GPUs grow with need.

        By default TensorFlow takes all of a GPU's memory at once, and its peak would mean nothing.
        """
        import keras  # noqa: F401  # see above
        import tensorflow as tf

        if self._cell.backbone.hub is not None:
            import keras_hub  # noqa: F401

        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)

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
    """The checkpoint file of the cell with that key, which is kept until its row is written."""
    return cache_root() / "training" / f"{key}.npz"
