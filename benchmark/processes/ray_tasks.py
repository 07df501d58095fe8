"""The executor of a Ray cluster: each job is a task in a process of its own, on any node."""

import logging
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from socket import create_connection
from typing import Any

import benchmark
from benchmark.errors import BenchmarkError
from benchmark.plan.cells import Cell
from benchmark.plan.planned import Job, PlannedCell
from benchmark.processes.conditions import Conditions
from benchmark.processes.death import CellTimeoutError, WorkerCrashError, WorkerMemoryError
from benchmark.processes.worker import run_job, send_output_to
from benchmark.provenance import usable_cpus
from benchmark.storage import CACHE_VARIABLE, MIB
from benchmark.work.events import CellEnded, CellStarted, Event, StageProgress, cell_failed

log = logging.getLogger(__name__)

# The folders of features, weights and data. A node uses the driver's folders where these are set, else its own.
FOLDER_VARIABLES = (CACHE_VARIABLE, "KERAS_HOME", "TFDS_DATA_DIR")
# A cell fails when this many nodes were lost while it ran, since it may be the cause.
MOST_NODES_LOST = 3
# How long to wait for an event before checking whether any node is left.
PATIENCE_S = 30.0
CONNECT_TIMEOUT_S = 6.0

Workplace = tuple[str, str, list[str], dict[str, str]]


class NodeError(BenchmarkError):
    """A node of the cluster that cannot run any job."""


@dataclass
class _Task:
    """The cells of a job that have not ended; the first one is the current cell, which is late after `deadline`.

    `row` has the columns of the current cell that its node told.
    """

    rest: list[PlannedCell]
    deadline: float = math.inf
    n_nodes_lost: int = 0
    row: dict[str, Any] = field(default_factory=dict)


class RayExecutor:
    """Runs jobs as tasks of Ray.

    An error in a task fails its current cell, as on one machine; a new task runs the others. If a node is lost, its
    cells that have not ended run again elsewhere. Only the caller writes the ledger. Features stay on the node that
    computed them, unless `BENCHMARK_CACHE` names a folder that all nodes share.

    Args:
        conditions: How to run them; cores and GPUs of a node are divided among its jobs. Where a node does not have the
            folder of the log, the log goes to its folder for temporary files.
        memory_mib: MiB that the job of a cell is expected to need.
        address: Of a running cluster, as `ray.init` takes it; None = start one on this machine and stop it at the end.
    """

    def __init__(
        self, conditions: Conditions, *, memory_mib: Callable[[Cell], float], address: str | None = None
    ) -> None:
        self._conditions = replace(conditions, log_path=conditions.log_path.resolve())
        self._memory_mib = memory_mib
        self._address = address

    def __call__(self, jobs: Sequence[Job], again: bool) -> Iterator[Event]:
        """See `Execute`.

        Raises:
            BenchmarkError: Ray is not installed, no cluster answers at the address, or a node cannot run any job.
        """
        self._conditions.log_path.parent.mkdir(parents=True, exist_ok=True)  # a node that shares it logs there
        with _connection(self._address) as ray:
            share = share_of_node(_resources(ray), self._conditions.n_jobs)
            # A task's process ends with it, so that its memory and its GPU are free again.
            remote = ray.remote(max_calls=1, max_retries=0)(_run_on_node)
            given = (replace(self._conditions, again=again), share["num_cpus"], _workplace())
            running: dict[Any, _Task] = {}

            def start(task: _Task) -> None:
                memory = min(share["memory"], int(self._memory_mib(task.rest[0].cell) * MIB))
                running[remote.options(**{**share, "memory": memory}).remote(task.rest, *given)] = task

            for job in jobs:
                start(_Task(list(job)))
            try:
                while running:
                    left_s = min(task.deadline for task in running.values()) - time.monotonic()
                    ready, _ = ray.wait(list(running), timeout=min(PATIENCE_S, max(0.0, left_s)))
                    late = [events for events, task in running.items() if task.deadline <= time.monotonic()]
                    if not ready and not _resources(ray):
                        log.warning("No node of the Ray cluster is left; waiting for one.")
                    for events in ready or late:
                        task = running[events]
                        outcome = self._next_event(ray, events, task, is_late=not ready)
                        if isinstance(outcome, Event):
                            yield outcome
                            continue
                        del running[events]
                        if outcome is not None:
                            yield cell_failed(task.rest[0], outcome, task.row)
                            task = _Task(task.rest[1:])
                        if task.rest:
                            start(replace(task, deadline=math.inf))
            finally:
                for events in running:
                    ray.cancel(events, force=True)

    def _next_event(self, ray: Any, events: Any, task: _Task, *, is_late: bool) -> Event | BenchmarkError | None:
        """The next event of a task, or the error of its current cell; None if it is done or must start elsewhere.

        Raises:
            NodeError: The node cannot run any job.
        """
        if is_late:
            ray.cancel(events, force=True)
            return CellTimeoutError(self._conditions)
        try:
            event: Event = ray.get(next(events))
        except StopIteration:
            return WorkerCrashError("The Ray task ended before its last cell.") if task.rest else None
        except ray.exceptions.RayTaskError as error:  # raised outside of any cell
            raise NodeError(f"A node of the Ray cluster cannot run jobs: {error.cause}") from error
        except ray.exceptions.OutOfMemoryError as error:
            return WorkerMemoryError(f"Ray ended the job because its node ran out of memory: {error}")
        except ray.exceptions.WorkerCrashedError as error:
            return WorkerCrashError(f"The worker process ended in this cell: {error}")
        except ray.exceptions.RayError as error:
            task.n_nodes_lost += 1
            lost = WorkerCrashError(f"{MOST_NODES_LOST} nodes of the Ray cluster were lost: {error}")
            return lost if task.n_nodes_lost == MOST_NODES_LOST else None
        if isinstance(event, CellEnded):
            del task.rest[0]
            task.n_nodes_lost, task.row = 0, {}
        if isinstance(event, CellStarted):
            task.row = event.row
        if not isinstance(event, StageProgress):
            task.deadline = time.monotonic() + (self._conditions.timeout_s or math.inf)
        return event


def share_of_node(resources: Sequence[Mapping[str, float]], n_jobs: int) -> dict[str, float]:
    """The options of a Ray task of which at most `n_jobs` fit on the smallest node.

    Args:
        resources: Of every node that has cores, in Ray's form; memory is in bytes.
        n_jobs: How many jobs a node runs at a time.

    Returns:
        `num_cpus`; `num_gpus`, below 1 where jobs share one; and `memory`, the largest of any node, because a task that
        demands more would wait forever.

    Raises:
        BenchmarkError: `resources` is empty.
    """
    if not resources:
        raise BenchmarkError("No node of the Ray cluster offers any CPU: add one with 'ray start --address=...'.")
    gpus = [node["GPU"] for node in resources if node.get("GPU")]
    return {
        "num_cpus": math.ceil(min(node["CPU"] for node in resources) / n_jobs),
        "num_gpus": 1 / math.ceil(n_jobs / min(gpus)) if gpus else 0,
        "memory": int(max(node.get("memory", 0) for node in resources)),
    }


def _resources(ray: Any) -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def _workplace() -> Workplace:
    """The driver's version, current folder, search path without Python's own folders, and variables."""
    own = [str(Path(name).resolve()) for name in sys.path if not name.startswith((sys.prefix, sys.base_prefix))]
    variables = {name: os.environ[name] for name in FOLDER_VARIABLES if name in os.environ}
    return benchmark.__version__, str(Path.cwd()), own, variables


def _run_on_node(job: Job, conditions: Conditions, n_cpus: int, workplace: Workplace) -> Iterator[Event]:
    """The events of a job, which a thread runs in this process; the body of a task.

    Args:
        job: The cells to run.
        conditions: How to run them.
        n_cpus: Cores of the task. Ray limits the threads of BLAS to this number; this function limits TensorFlow's.
        workplace: See `_workplace`.

    Raises:
        NodeError: The node has another version of the harness.
    """
    version, folder, search_path, variables = workplace
    if benchmark.__version__ != version:
        raise NodeError(
            f"Node {os.uname().nodename} has backbone-benchmark {benchmark.__version__}, the driver {version}: "
            "install the same version on all nodes."
        )
    threads = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(n_cpus))
    os.environ.update(threads | variables)
    sys.path += [name for name in search_path if name not in sys.path and Path(name).is_dir()]
    if Path(folder).is_dir():  # paths of data and weights may be relative to it
        os.chdir(folder)
    has_log = conditions.log_path.parent.is_dir()
    log_path = conditions.log_path if has_log else Path(tempfile.gettempdir(), conditions.log_path.name)
    conditions = replace(conditions, log_path=log_path, n_jobs=max(1, usable_cpus() // n_cpus))
    send_output_to(log_path)
    events: SimpleQueue[Any] = SimpleQueue()

    def run() -> None:
        try:
            run_job(job, events.put, conditions)
        finally:
            events.put(None)

    threading.Thread(target=run, daemon=True).start()
    for event in iter(events.get, None):  # noqa: UP028  # Ray sends into the generator, which an iterator does not take
        yield event


@contextmanager
def _connection(address: str | None) -> Iterator[Any]:
    """Ray, connected; an existing connection is used and left open."""
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
        host, colon, port = (address or "").rpartition(":")
        if colon and port.isdigit() and "/" not in host:  # Ray itself would try for minutes
            create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
        # A local cluster has no dashboard, which would need more packages.
        has_dashboard = None if address else False
        ray.init(address or "local", include_dashboard=has_dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise BenchmarkError(
            f"No Ray cluster answers at {address!r}: {str(error).rstrip('.')}. Start one with 'ray start --head', or "
            "leave --ray-address out."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
