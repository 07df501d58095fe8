"""What the cells of a job share: a dataset, a backbone, and whatever is made of them once."""

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from benchmark.datasets import Dataset, OnProgress
from benchmark.memory import Footprint
from benchmark.plan.cells import Cell
from benchmark.work.events import Report, StageProgress

REPORT_INTERVAL_S = 0.2
# The names of two things that are made once; see `Footprint`.
DATASET, TENSORFLOW_ITSELF = "dataset", "tensorflow"

_T = TypeVar("_T")


class JobState:
    """What is made once for all cells of a job, when one first needs it.

    A step that failed is not tried again: the next cell that needs it gets the same error.

    Attributes:
        any_cell: One of the job; all have its dataset, backbone and size.
        report: Takes events.
        footprint: The memory that each thing keeps, by its name.
    """

    def __init__(self, any_cell: Cell, report: Report) -> None:
        self.any_cell = any_cell
        self.report = report
        import_libraries()
        self.footprint = Footprint()
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], _T]) -> _T:
        """The result of the first call under this name; its error is raised again for all cells that share it."""
        if name not in self._made:
            try:
                with self.footprint.keeping(name):
                    self._made[name] = make()
            except Exception as error:  # noqa: BLE001  # raised below
                self._made[name] = error
        made = self._made[name]
        if isinstance(made, Exception):
            raise made
        return cast(_T, made)

    def forget(self, name: str) -> None:
        """Let go of what was made under this name; the next cell that needs it makes it again."""
        self._made.pop(name, None)

    def dataset(self) -> tuple[Dataset, float]:
        """The dataset and the seconds it took to load."""

        def load() -> tuple[Dataset, float]:
            started = time.perf_counter()
            dataset = self.any_cell.dataset.load(self.reporter("reading"), {self.any_cell.view.before_mode})
            return dataset, time.perf_counter() - started

        return self.once(DATASET, load)

    def start_tensorflow(self) -> None:
        """Import TensorFlow and Keras, so that no cell's times include it, and let GPU memory grow on demand.

        By default TensorFlow takes all of a GPU's memory at once, and its peak would mean nothing.
        """
        self.once(TENSORFLOW_ITSELF, lambda: _start_tensorflow(has_preset=self.any_cell.backbone.hub is not None))

    def reporter(self, stage: str) -> OnProgress:
        """A progress callback that reports a few times a second."""
        last = 0.0

        def on_progress(n_done: int, n_total: int) -> None:
            nonlocal last
            now = time.perf_counter()
            if n_done == n_total or now - last > REPORT_INTERVAL_S:
                last = now
                self.report(StageProgress(stage, n_done, n_total))

        return on_progress


def import_libraries() -> None:
    """Import what heads and metrics use, so that the first cell is not charged for it."""
    import scipy.linalg
    import scipy.optimize
    import scipy.special
    import scipy.stats  # noqa: F401
    import sklearn.metrics
    import sklearn.neighbors  # noqa: F401


def _start_tensorflow(*, has_preset: bool) -> None:
    import keras  # noqa: F401  # so that its import is not part of what comes after
    import tensorflow as tf

    if has_preset:
        import keras_hub  # noqa: F401

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
