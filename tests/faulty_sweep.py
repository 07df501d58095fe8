"""Sweeps of backbones that kill, block or mislead their worker when they are first built."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.ledger import Ledger
from benchmark.plan.planned import Plan
from benchmark.plan.planning import make_plan
from benchmark.processes.conditions import Conditions
from benchmark.processes.executors import LocalExecutor
from benchmark.processes.ray_tasks import RayExecutor
from benchmark.processes.runner import WORKER_LOG, run_cells
from benchmark.recipes import Grid, Sweep
from benchmark.registry import Registry, load_registry

# Networks that misbehave once, when they are first built. Child processes can import the module, too.
BUILDERS = """
import ctypes
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np


def tiny(input_shape):
    import keras

    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images))


def is_first_time(name):
    scar = Path(__file__).with_name(name)
    if scar.exists():
        return False
    scar.touch()
    return True


# The check of a network before a sweep uses no GPU, workers may.
IS_CHECK = os.environ.get("CUDA_VISIBLE_DEVICES") == "-1"


def once(fault):
    def build(input_shape):
        if not IS_CHECK and is_first_time(fault.__name__):
            fault()
        return tiny(input_shape)

    return build


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def segfault():
    ctypes.string_at(0)


def exit_silently():
    os._exit(7)


def want_too_much():
    soft = 64 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
    try:
        np.ones(2 * soft, np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def abort_for_memory():
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\\n")
    os.abort()


def sleep_for_ever():
    time.sleep(3600)


def spin_with_the_interpreter_locked():
    ctypes.PyDLL(None).sleep(3600)


def set_the_clock_back():
    now = time.time
    time.time = lambda: now() - 86_400


def fill_the_disk():
    raise OSError(28, "No space left on device")


killed, segfaulted, silent, greedy, aborted, sleeping, hung, backwards, full = map(
    once,
    (kill_itself, segfault, exit_silently, want_too_much, abort_for_memory, sleep_for_ever,
     spin_with_the_interpreter_locked, set_the_clock_back, fill_the_disk),
)


def poisoned(input_shape):
    network = tiny(input_shape)
    if is_first_time("poisoned"):
        network.set_weights([np.full_like(array, np.nan) for array in network.get_weights()])
    return network
"""

TABLE = """
[{name}]
builder = "faulty_backbones:{name}"
mode = "tf"
input_size_px = 16
feature_dim = 8
weights = "random"
"""


def write_backbones(folder: Path, *names: str) -> Registry:
    """A registry file of these backbones, and the module that builds them."""
    (folder / "faulty_backbones.py").write_text(BUILDERS)
    file = folder / "faulty.toml"
    file.write_text("".join(TABLE.format(name=name) for name in names))
    return load_registry([file])


@dataclass(frozen=True)
class Sick:
    """A sweep of faulty backbones, the healthy one last."""

    registry: Registry
    ledger: Ledger
    sweep: Sweep

    @property
    def plan(self) -> Plan:
        return make_plan(self.sweep, self.registry, self.ledger)

    def run(
        self,
        when: str,
        timeout_s: float | None = None,
        executor: type[LocalExecutor] | type[RayExecutor] = LocalExecutor,
    ) -> None:
        execute = executor(Conditions(self.ledger.folder / WORKER_LOG, timeout_s), memory_mib=lambda _: 0.0)
        list(run_cells(self.plan.to_run(when), self.ledger, execute, recipe_sha256="", again=when == "always"))


def faulty_sweep(folder: Path, *backbones: str, seeds: tuple[int, ...] = (0,)) -> Sick:
    """The sweep of these backbones on a few digits."""
    grid = Grid(backbones=backbones, limit=200, seeds=seeds, heads=("knn",))
    return Sick(write_backbones(folder, *backbones), Ledger(folder / "faults"), Sweep(name="faults", grid=(grid,)))
