"""The versions, machine and commit that made a result, read without importing TensorFlow."""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import benchmark

# Where Linux describes its processors.
CPUINFO = Path("/proc/cpuinfo")
# Vector instructions by their flags in that file, the widest first.
VECTORS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}


@functools.cache
def installed_version(distribution: str) -> str:
    """The version of an installed distribution; empty if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def framework_versions() -> dict[str, str]:
    """The Keras and TensorFlow versions, by the names of their ledger columns."""
    return {f"{name}_version": installed_version(name) for name in ("keras", "tensorflow")}


def minor_version(version: str) -> str:
    """The first two parts of a version: `3.15.1` gives `3.15`."""
    return ".".join(version.split(".")[:2])


@functools.cache
def environment() -> dict[str, str | int]:
    """The columns of a row that depend only on the installation and the machine."""
    return {
        "harness_version": benchmark.__version__,
        "git_commit": git_commit(),
        "is_dirty": int(is_dirty()),
        **framework_versions(),
        "openvino_version": installed_version("openvino"),
        "keras_hub_version": installed_version("keras-hub"),
        "pillow_version": installed_version("pillow"),
        "python_version": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "cpu": cpu_name(),
        "cpu_vectors": cpu_vectors(),
        "cpu_count": usable_cpus(),
        "gpu": gpu_name(),
    }


def git_commit() -> str:
    """The commit of the harness's own checkout; empty outside one."""
    return _git("rev-parse", "HEAD")


def is_dirty() -> bool:
    """Whether the harness's own checkout has changes that no commit holds."""
    return bool(_git("status", "--porcelain", "--", "benchmark", "backbones.toml", "recipes"))


def _git(*arguments: str) -> str:
    root = Path(__file__).parents[1]
    # Without optional locks: "status" may write the index, and a killed process would leave its lock behind.
    command = ("git", "-C", str(root), "--no-optional-locks", *arguments)
    return _output(*command) if (root / ".git").exists() else ""


def _output(*command: str) -> str:
    """The output of a program; empty if it is not installed, fails or hangs."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_vectors() -> str:
    """The widest vector instructions of the processor, such as `AVX-512`; empty if unknown.

    They decide which kernels TensorFlow uses, and so the last digits of a number. On virtual machines, processors
    with different instructions can have the same name.
    """
    flags = _cpuinfo().get("flags", "").split()
    return next((name for flag, name in VECTORS.items() if flag in flags), "")


def _cpuinfo() -> dict[str, str]:
    """How Linux describes the first processor; empty elsewhere."""
    try:
        first = CPUINFO.read_text().split("\n\n", 1)[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def gpu_name() -> str:
    """The first GPU, as NVIDIA's own tool names it; empty without one."""
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").split("\n", 1)[0]


def usable_cpus() -> int:
    """The number of cores that this process may use; in a container it can be less than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
