"""The features of a job's cells: from the cache, or extracted by a network that is built once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.errors import FeaturesError
from benchmark.features.cache import BuildFacts, CachedFeatures, cache_key, cached_features, earlier_features
from benchmark.features.engine import Extraction, extract_features
from benchmark.features.extractor import BATCH_SIZE, Latency, has_gpu, measure_latency
from benchmark.plan.cells import Cell, feature_facts, view_key
from benchmark.preprocessing import line_of
from benchmark.work.events import StageProgress
from benchmark.work.state import DATASET, TENSORFLOW_ITSELF, JobState

if TYPE_CHECKING:
    from benchmark.features.engines import CompiledNetwork
    from benchmark.features.graph import FrozenNetwork

# Of every pixel of the image whose latency is measured.
GREY = 127


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


class JobFeatures:
    """What frozen networks give for all images of a job's dataset.

    With `again`, features that are in the cache are extracted once more, each set once.
    """

    def __init__(self, job: JobState, *, again: bool) -> None:
        self._job = job
        self._again = again
        self._extracted: set[str] = set()
        self._view: tuple[Any, ...] | None = None

    def of_view(self, cell: Cell, conditions: Mapping[str, Any]) -> CachedFeatures:
        """The features of the cell's view. Those of the latest view are kept, since the next cell often has the same.

        Args:
            cell: Says how images are prepared.
            conditions: Under which the features are made now, if they are; see `rows.CONDITIONS`.
        """
        is_same_view = view_key(cell) == self._view
        if not is_same_view:
            self._view = view_key(cell)
            self._job.forget("features")
        features = self._job.once("features", lambda: self.of_backbone(cell, conditions))
        return replace(features, was_cached=True) if is_same_view else features

    def of_backbone(self, cell: Cell, conditions: Mapping[str, Any]) -> CachedFeatures:
        """As `of_view`, without keeping them."""
        return self._cached(cell, {}, conditions, partial(self._timed_backbone, cell))

    def of_layers(
        self,
        cell: Cell,
        conditions: Mapping[str, Any],
        *,
        name: str,
        build: Callable[[], "FrozenNetwork"],
        built: BuildFacts,
        parts: tuple[str, str],
    ) -> CachedFeatures:
        """What the lower layers of a network give for all images.

        Args:
            cell: Says how images are prepared.
            conditions: As of `of_view`.
            name: Of the last layer.
            build: Returns these layers.
            built: What is known of the whole network.
            parts: Of `Footprint`: the network, and the graph to be made of its layers.
        """

        def ready() -> Ready:
            return Ready(self._compiled(build(), cell), built, parts)

        return self._cached(cell, {"cut": name}, conditions, ready)

    def _cached(
        self, cell: Cell, more: Mapping[str, Any], conditions: Mapping[str, Any], build: Callable[[], Ready]
    ) -> CachedFeatures:
        """The output of a frozen network for all images; `more` distinguishes it from features in the cache's key."""
        dataset, _ = self._job.dataset()
        facts = {**feature_facts(cell, dataset.fingerprint), **more}
        key = cache_key(facts)
        again = self._again and key not in self._extracted
        # The bits of a GPU can depend on more than the image.
        may_reuse = not (again or conditions["gpu"])

        def extract(
            file: IO[bytes], so_far: Extraction | None, save: Callable[[Extraction], None]
        ) -> tuple[Extraction, BuildFacts]:
            earlier = earlier_features(facts, conditions, dataset.images.identities) if may_reuse else []
            return self._extract(cell, build, file, so_far=so_far, save=save, earlier=earlier)

        found = cached_features(
            facts,
            extract,
            dataset=cell.dataset.name,
            made=conditions,
            identities=lambda: dataset.images.identities,
            again=again,
        )
        self._extracted.add(key)
        return found

    def _extract(
        self, cell: Cell, build: Callable[[], Ready], file: IO[bytes], **progress: Any
    ) -> tuple[Extraction, BuildFacts]:
        """Features of all images, written to a file; `progress` is what `extract_features` takes of earlier work."""
        from benchmark.features.engines import TENSORFLOW
        from benchmark.features.graph import set_precision

        job = self._job
        dataset, _ = job.dataset()
        source = dataset.images.source(cell.view, job.reporter("decoding images"))
        stage = f"extracting {cell.mode}" + ("" if source.is_cached else ", decoding again: the disk is full")
        try:
            network, built, parts = build()
            with job.footprint.keeping(parts[-1]):
                extractor = network.extractor(cell.view.steps)
            start_mib = job.footprint.of_parts(DATASET, TENSORFLOW_ITSELF, *parts)
            batch_size = cell.batch_size or (None if cell.engine == TENSORFLOW and has_gpu() else BATCH_SIZE)
            try:
                with job.footprint.keeping(parts[-1]):  # TensorFlow makes some of a graph when it first runs
                    extraction = extract_features(
                        extractor,
                        source,
                        len(dataset),
                        file,
                        batch_size=batch_size,
                        on_progress=job.reporter(stage),
                        start_mib=start_mib,
                        **progress,
                    )
            except FeaturesError as error:
                raise FeaturesError(f"{cell.view}: {error}") from error
        finally:  # a later cell of this process may train in TensorFlow
            set_precision("float32")
        return extraction, built

    def _timed_backbone(self, cell: Cell) -> Ready:
        """The backbone for the engine and precision of a cell, with the latency of one image."""
        self._job.start_tensorflow()
        backbone = f"backbone in {cell.precision if has_gpu() else 'float32'}"
        frozen, built = self._job.once(backbone, partial(self._build_backbone, cell.precision))
        how = f"{cell.engine} in {cell.precision}, batches of {cell.batch_size}"
        is_swapped = line_of(cell.view.steps, frozen.n_channels).is_swapped
        graph = f"graph by {how}{', channels swapped' if is_swapped else ''}"
        # The latency first: then the memory that an engine takes once is not counted for the first graph only.
        engine = f"latency by {how}"
        latency = self._job.once(engine, partial(self._measure_latency, frozen, cell))
        network, compile_s = self._job.once(graph, partial(self._compile, frozen, cell))
        timed = replace(
            built,
            build_s=built.build_s + compile_s,
            latency_ms=latency.median_ms,
            latency_p95_ms=latency.p95_ms,
        )
        return Ready(network, timed, (backbone, engine, graph))

    def _build_backbone(self, precision: str) -> tuple["FrozenNetwork", BuildFacts]:
        """See `build_frozen`."""
        from benchmark.work.networks import build_frozen, check_builder

        self._job.report(StageProgress("building the backbone", 0, 1))
        check_builder(self._job.any_cell, self._job.dataset()[0])
        return build_frozen(self._job.any_cell, precision)

    def _measure_latency(self, frozen: "FrozenNetwork", cell: Cell) -> Latency:
        self._job.report(StageProgress("measuring the latency", 0, 1))
        dataset, _ = self._job.dataset()
        shape = (1, cell.input_size_px, cell.input_size_px, dataset.images.n_channels)
        extractor = self._compiled(frozen, cell, 1).extractor(cell.view.steps)
        return measure_latency(extractor, np.full(shape, GREY, np.uint8))

    def _compile(self, frozen: "FrozenNetwork", cell: Cell) -> tuple["CompiledNetwork", float]:
        """The network with its graph for this view, and the seconds that took."""
        started = time.perf_counter()
        network = self._compiled(frozen, cell)
        network.extractor(cell.view.steps)
        return network, time.perf_counter() - started

    def _compiled(self, frozen: "FrozenNetwork", cell: Cell, batch_size: int | None = None) -> "CompiledNetwork":
        from benchmark.features.engines import CompiledNetwork

        dataset, _ = self._job.dataset()
        size = batch_size or cell.batch_size or BATCH_SIZE
        return CompiledNetwork(cell.engine, frozen, dataset.images.n_channels, cell.precision, size)
