"""The peak memory of a stretch of work in this process."""

import threading
from pathlib import Path

import psutil

MIB = 2**20
SAMPLE_INTERVAL_S = 0.05
# Where version 2 of Linux's control groups keeps the memory limit and the memory use of a container.
CGROUP = Path("/sys/fs/cgroup")


def available_mib() -> float:
    """Available memory in MiB: of the machine, or of the container if it has less."""
    free = psutil.virtual_memory().available / MIB
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # not in a container, or its limit is the word "max"
        return free
    return min(free, (limit - used) / MIB)


class PeakMemory:
    """Measures the highest resident memory of this process between entering and leaving.

    On Linux the kernel records the peak: it is reset through `/proc/self/clear_refs` and read from `VmHWM`, so none is
    missed. Elsewhere, or where the reset is not permitted, psutil samples the memory.

    Attributes:
        rss_mib: The peak in MiB; set on leaving. `peak_mib` gives it before.
    """

    rss_mib: float = 0.0

    def __enter__(self) -> "PeakMemory":
        self._sampler = None if _reset_high_water_mark() else _Sampler()
        if self._sampler:
            self._sampler.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._sampler:
            self._sampler.stop()
        self.rss_mib = self.peak_mib()

    def peak_mib(self) -> float:
        """The peak so far."""
        return self._sampler.peak_mib() if self._sampler else _high_water_mark_mib()


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024  # the kernel writes KiB
    raise AssertionError("/proc/self/status has no VmHWM")


class _Sampler(threading.Thread):
    """Reads the resident memory every `SAMPLE_INTERVAL_S` seconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process()
        self._stopped = threading.Event()
        self._peak_bytes = self._process.memory_info().rss

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_INTERVAL_S):
            self._peak_bytes = max(self._peak_bytes, self._process.memory_info().rss)

    def stop(self) -> None:
        """Stop sampling."""
        self._stopped.set()
        self.join()

    def peak_mib(self) -> float:
        """The peak so far in MiB."""
        self._peak_bytes = max(self._peak_bytes, self._process.memory_info().rss)
        return self._peak_bytes / MIB
