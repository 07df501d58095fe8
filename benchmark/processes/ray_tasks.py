"""Jobs as Ray tasks, on this machine or on a cluster; each is done there by the node's own `LocalExecutor`."""

import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import create_connection
from typing import Any

import benchmark
from benchmark.errors import BenchmarkError
from benchmark.memory import MIB
from benchmark.plan.cells import Job
from benchmark.processes.conditions import Conditions
from benchmark.processes.death import WorkerCrashError, WorkerMemoryError
from benchmark.processes.executors import JobEvent, LocalExecutor
from benchmark.processes.placement import claim_cores
from benchmark.provenance import usable_cpus
from benchmark.storage import CACHE_VARIABLE
from benchmark.work.events import CellEnded, CellStarted, Event, cell_lost

log = logging.getLogger(__name__)

# Where data, weights and features are. A node uses the driver's folders where they are named, its own otherwise.
FOLDER_VARIABLES = (CACHE_VARIABLE, "KERAS_HOME", "TFDS_DATA_DIR")
# A job whose nodes were lost so often takes them with it.
MOST_NODES_LOST = 3
# After so long without any news the nodes are looked at.
PATIENCE_S = 30.0
CONNECT_TIMEOUT_S = 6.0


class NodeError(BenchmarkError):
    """A node of the cluster on which no job can be done."""


@dataclass(frozen=True)
class _Workplace:
    """What a task takes over from the driver.

    Attributes:
        folder: The current one.
        search_path: Where Python looks for modules, its own places left out: the user's builders may be there.
        variables: Of the environment.
        version: Of the harness.
    """

    folder: str
    search_path: tuple[str, ...]
    variables: Mapping[str, str]
    version: str = benchmark.__version__

    @classmethod
    def of_driver(cls) -> "_Workplace":
        """That of this process."""
        own = [str(Path(name).resolve()) for name in sys.path if not name.startswith((sys.prefix, sys.base_prefix))]
        return cls(
            str(Path.cwd()), tuple(own), {name: os.environ[name] for name in FOLDER_VARIABLES if name in os.environ}
        )

    def enter(self) -> None:
        """Make this process work there.

        Raises:
            NodeError: The node has another version of the harness.
        """
        if benchmark.__version__ != self.version:
            raise NodeError(
                f"Node {os.uname().nodename} has backbone-benchmark {benchmark.__version__}, the driver "
                f"{self.version}: install the same version on all nodes."
            )
        os.environ.update(self.variables)
        sys.path += [name for name in self.search_path if name not in sys.path and Path(name).is_dir()]
        if Path(self.folder).is_dir():  # paths of data and weights may be relative to it
            os.chdir(self.folder)


@dataclass(frozen=True)
class _Share:
    """What a job gets of a node.

    Attributes:
        cpus: Cores.
        gpus: Devices; less than one where jobs share one.
        most_memory_mib: What the largest node has; a demand of more would wait for ever.
    """

    cpus: int
    gpus: float
    most_memory_mib: float

    @classmethod
    def of_nodes(cls, resources: Sequence[Mapping[str, float]], n_jobs: int) -> "_Share":
        """A share of which the smallest node has no more than `n_jobs`.

        Args:
            resources: Of every node, as Ray gives them: memory in bytes.
            n_jobs: How many jobs a node does at a time.
        """
        gpus = [node["GPU"] for node in resources if node.get("GPU")]
        return cls(
            cpus=math.ceil(min(node["CPU"] for node in resources) / n_jobs),
            gpus=1 / math.ceil(n_jobs / min(gpus)) if gpus else 0.0,
            most_memory_mib=max(node.get("memory", 0) for node in resources) / MIB,
        )

    def demand(self, memory_mib: float) -> dict[str, float]:
        """The options of a task that is expected to need so much memory."""
        memory = min(memory_mib, self.most_memory_mib) * MIB
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": int(memory)}


@dataclass
class _Task:
    """A job, and how much of it the driver knows to be done."""

    number: int
    job: Job
    n_ended: int = 0
    n_nodes_lost: int = field(default=0, init=False)

    @property
    def is_over(self) -> bool:
        return self.n_ended == len(self.job.cells)

    @property
    def rest(self) -> Job:
        """The cells that have not ended."""
        return replace(self.job, cells=self.job.cells[self.n_ended :], keys=self.job.keys[self.n_ended :])

    def told(self, event: Event, first: int) -> JobEvent:
        """An event of a part of the job that began at the cell `first`, as one of the whole job."""
        if isinstance(event, CellStarted | CellEnded):
            event = replace(event, index=event.index + first)
        if isinstance(event, CellEnded):
            self.n_ended += 1
            self.n_nodes_lost = 0
        return JobEvent(self.number, event)

    def failed(self, error: BenchmarkError) -> JobEvent:
        """The end of the cell at hand."""
        return self.told(cell_lost(self.job, self.n_ended, error), first=0)


class RayExecutor:
    """Does jobs as tasks of Ray, each in a process of its own on any node.

    What goes wrong in a job ends the cell at hand, as it does on one machine. If a node is lost, what its jobs had not
    told yet is done again elsewhere. Only the caller writes the ledger. Features stay where they were computed, unless
    `BENCHMARK_CACHE` names a folder that all nodes share.

    Args:
        conditions: Log and time limit. Where a node has no such folder, the log goes to its folder for temporary files.
        memory_mib: What a job is expected to need.
        n_jobs: How many at a time on a node; its cores and GPUs are divided among them.
        address: Of a running cluster, as `ray.init` takes it; None starts one of this machine for as long as it takes.
    """

    def __init__(
        self, conditions: Conditions, *, memory_mib: Callable[[Job], float], n_jobs: int = 1, address: str | None = None
    ) -> None:
        self._conditions = replace(conditions, log_path=conditions.log_path.resolve())
        self._memory_mib = memory_mib
        self._n_jobs = n_jobs
        self._address = address

    def __call__(self, jobs: Sequence[Job]) -> Iterator[JobEvent]:
        """The events of all jobs; every cell ends.

        Raises:
            BenchmarkError: Ray is not installed, there is no cluster at the address, or a node cannot do any job.
        """
        self._conditions.log_path.parent.mkdir(parents=True, exist_ok=True)  # by which a node knows a shared folder
        with _connection(self._address) as ray:
            share = _Share.of_nodes(_resources(ray), self._n_jobs)
            # A task's process ends with it, so that what it held of memory and of a GPU is free again.
            remote = ray.remote(max_calls=1, max_retries=0)(_do)
            workplace = _Workplace.of_driver()

            def start(task: _Task) -> Any:
                options = share.demand(self._memory_mib(task.job))
                return remote.options(**options).remote(task.rest, self._conditions, workplace, share.cpus)

            running = {start(task): (task, 0) for task in (_Task(number, job) for number, job in enumerate(jobs))}
            try:
                while running:
                    ready, _ = ray.wait(list(running), num_returns=1, timeout=PATIENCE_S)
                    if not ready:
                        _warn_if_nowhere(ray, share)
                        continue
                    (events,) = ready
                    task, first = running[events]
                    told, has_ended = _next_event(ray, events, task, first)
                    if told is not None:
                        yield told
                    if has_ended:
                        del running[events]
                        if not task.is_over:
                            running[start(task)] = task, task.n_ended
            finally:
                for events in running:
                    ray.cancel(events, force=True)


def _warn_if_nowhere(ray: Any, share: _Share) -> None:
    """Say that jobs wait for a node, where no living one is large enough."""
    if not any(node["Alive"] and node["Resources"].get("CPU", 0) >= share.cpus for node in ray.nodes()):
        log.warning("No node of the Ray cluster has %d CPUs any more; waiting for one.", share.cpus)


def _resources(ray: Any) -> list[dict[str, float]]:
    """What each node that has any cores for tasks has."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not found:
        raise BenchmarkError("No node of the Ray cluster offers any CPU: add one with 'ray start --address=...'.")
    return found


def _next_event(ray: Any, events: Any, task: _Task, first: int) -> tuple[JobEvent | None, bool]:
    """What a task says next, if anything, and whether that was its last word.

    Raises:
        NodeError: The node cannot do any job.
    """
    try:
        return task.told(ray.get(next(events)), first), False
    except StopIteration:
        return None, True
    except ray.exceptions.OutOfMemoryError as error:
        return task.failed(WorkerMemoryError(f"Ray ended the job for want of memory on its node: {error}")), True
    except ray.exceptions.RayError as error:
        if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, NodeError | ImportError):
            raise NodeError(f"A node of the Ray cluster cannot do jobs: {error.cause}") from error
        task.n_nodes_lost += 1
        if task.n_nodes_lost < MOST_NODES_LOST:
            return None, True
        return task.failed(WorkerCrashError(f"{MOST_NODES_LOST} nodes of the Ray cluster were lost: {error}")), True


def _do(job: Job, conditions: Conditions, workplace: _Workplace, cpus: int) -> Iterator[Event]:
    """The events of a job; the body of a task."""
    workplace.enter()
    if not conditions.log_path.parent.is_dir():
        conditions = replace(conditions, log_path=Path(tempfile.gettempdir(), conditions.log_path.name))
    with claim_cores(max(1, usable_cpus() // cpus)) as placement:
        execute = LocalExecutor(conditions, memory_mib=lambda _: 0.0, placement=placement)
        for told in execute([job]):
            yield told.event


@contextmanager
def _connection(address: str | None) -> Iterator[Any]:
    """Ray, connected; the connection that was there already, if any, is used and left."""
    try:
        import ray
    except ImportError as error:
        raise BenchmarkError(
            "--executor ray needs Ray, which is not installed: pip install 'backbone-benchmark[ray]'."
        ) from error
    if ray.is_initialized():
        yield ray
        return
    try:
        _reach(address)
        # A dashboard, which would want more packages, only where the cluster has one.
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise BenchmarkError(
            f"No Ray cluster answers at {address!r}: {str(error).rstrip('.')}. Start one with 'ray start --head', or "
            "leave --ray-address out."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str | None) -> None:
    """Knock where Ray itself would go on trying for minutes.

    Raises:
        OSError: Nobody answers.
    """
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
