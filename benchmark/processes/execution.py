"""Where and how jobs run, by the options of `run` and `verify`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, check_at_least, check_known

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.ledger import Ledger
    from benchmark.processes.executors import Execute

LOCAL, RAY = "local", "ray"
SHORTEST_S = 1e-3


@dataclass(frozen=True)
class Execution:
    """Where and how jobs run.

    Attributes:
        n_jobs: Jobs at the same time on a machine.
        timeout_s: Seconds that a cell may take; None = no limit.
        is_deterministic: Whether TensorFlow uses deterministic operations only; None = automatic, see `Conditions`.
        executor: `local` or `ray`.
        ray_address: Address of a running Ray cluster; None = start one on this machine.
        keep_weights: Whether what is trained goes into the ledger.

    Raises:
        BenchmarkError: A number is too small, or the executor is unknown, or is not Ray but has an address.
    """

    n_jobs: int = 1
    timeout_s: float | None = None
    is_deterministic: bool | None = None
    executor: str = LOCAL
    ray_address: str | None = None
    keep_weights: bool = False

    def __post_init__(self) -> None:
        check_known("executor", self.executor, (LOCAL, RAY))
        check_at_least("jobs", self.n_jobs, 1)
        check_at_least("timeout_s", self.timeout_s, SHORTEST_S)
        if self.ray_address is not None and self.executor != RAY:
            raise BenchmarkError("--ray-address needs --executor ray.")

    def start(self, ledger: "Ledger", runs: "pd.DataFrame") -> "Execute":
        """The executor for a ledger; slow parts begin to start in the background.

        Args:
            ledger: Holds the rows and the log of the workers.
            runs: Rows that say how much memory each backbone took.

        Raises:
            BenchmarkError: The cache or the ledger cannot be written.
        """
        from benchmark.isolation import start_server
        from benchmark.plan.estimate import expect_memory
        from benchmark.processes.conditions import Conditions
        from benchmark.processes.executors import LocalExecutor
        from benchmark.processes.ray_tasks import RayExecutor
        from benchmark.processes.runner import WORKER_LOG
        from benchmark.storage import check_cache

        conditions = Conditions(
            ledger.folder / WORKER_LOG, self.timeout_s, self.is_deterministic, self.n_jobs,
            keep_weights=self.keep_weights,
        )  # fmt: skip
        memory_mib = expect_memory(runs)
        ledger.remove_partial()
        if self.executor == RAY:
            return RayExecutor(conditions, memory_mib=memory_mib, address=self.ray_address)
        check_cache()
        with ledger.writing():  # a folder that cannot be written is reported now
            start_server(conditions.log_path)
        return LocalExecutor(conditions, memory_mib=memory_mib)
