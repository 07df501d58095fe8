"""The peak memory of a stretch of work in this process, whatever ran in it before.

Pages of files (code, memory-mapped features) do not count: the system drops them when it needs room, and how many are
resident depends on what ran before.
"""

import ctypes
import gc
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import psutil

from benchmark.storage import MIB

SAMPLE_INTERVAL_S = 0.05
# Where version 2 of Linux's control groups keeps the memory limit and the memory use of a container.
CGROUP = Path("/sys/fs/cgroup")


def available_mib() -> float:
    """Available memory in MiB: of the machine, or of the container if it has less."""
    free = psutil.virtual_memory().available / MIB
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        details = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        droppable = int(details["inactive_file"])  # pages of files that were read a while ago count as used
    except (OSError, ValueError, KeyError):  # not in a container, or its limit is the word "max"
        return free
    return min(free, (limit - used + droppable) / MIB)


def resident_mib() -> float:
    """Memory of this process in MiB, without pages of files where the system tells them apart."""
    resident = psutil.Process().memory_info()
    return float(resident.rss - getattr(resident, "shared", 0)) / MIB


def settled_mib() -> float:
    """As `resident_mib`, after what is not used any more was given back to the system."""
    gc.collect()
    # Of glibc; others have no such function, or give memory back by themselves.
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    return resident_mib()


class Footprint:
    """What a process held before its work, and what parts of the work keep, each measured when it was made.

    The memory of a piece of work is then that of the process at first, of the parts it uses, and of its own growth.
    Parts that other work made do not count.
    """

    def __init__(self) -> None:
        self._base_mib = settled_mib()
        gc.freeze()  # what libraries made at import stays: looking for garbage in it takes 0.1 s each time
        self._parts_mib: dict[str, float] = {}

    @contextmanager
    def keeping(self, part: str) -> Iterator[None]:
        """Inside, something is made, or added to, that stays in memory."""
        before = settled_mib()
        yield
        self._parts_mib[part] = self._parts_mib.get(part, 0.0) + settled_mib() - before

    @property
    def kept_mib(self) -> float:
        """MiB of all parts together."""
        return sum(self._parts_mib.values())

    def of_parts(self, *parts: str) -> float:
        """MiB of the process at first, with these parts; those that were not made take none."""
        return self._base_mib + sum(self._parts_mib.get(part, 0.0) for part in parts)


class PeakMemory:
    """Measures the highest memory of this process between entering and leaving.

    On Linux the kernel records the peak: it is reset through `/proc/self/clear_refs` and read from `VmHWM`, so none is
    missed. Elsewhere, or where the reset is not permitted, psutil samples the memory. Measurements may be nested.

    Args:
        start_mib: What to count as the memory on entering, such as `Footprint.of_parts`; None counts all of it.

    Attributes:
        rss_mib: The peak in MiB; set on leaving. `peak_mib` gives it before.
    """

    rss_mib: float = 0.0
    # Those that were entered and not left, in this order.
    _open: ClassVar[list["PeakMemory"]] = []

    def __init__(self, start_mib: float | None = None) -> None:
        self._start_mib = start_mib
        self._highest_mib = -math.inf
        self._sampler: _Sampler | None = None

    def __enter__(self) -> "PeakMemory":
        self._left_out_mib = 0.0 if self._start_mib is None else settled_mib() - self._start_mib
        for outer in self._open:
            outer.peak_mib()  # before the reset, which takes it from the kernel's record
        if not _reset_high_water_mark():
            self._sampler = _Sampler()
            self._sampler.start()
        self._open.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.remove(self)
        if self._sampler:
            self._sampler.stop()
        self.rss_mib = self.peak_mib()

    def peak_mib(self) -> float:
        """The peak so far."""
        now_mib = self._sampler.peak_mib() if self._sampler else _high_water_mark_mib()
        self._highest_mib = max(self._highest_mib, now_mib)
        return self._highest_mib - self._left_out_mib


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark_mib() -> float:
    # The kernel writes KiB. Pages of files are read at first and then stay, so those at the peak are about those now.
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    found = {words[0]: int(words[1]) / 1024 for words in lines if words and words[0] in ("VmHWM:", "RssFile:")}
    return found["VmHWM:"] - found.get("RssFile:", 0.0)


class _Sampler(threading.Thread):
    """Reads the memory every `SAMPLE_INTERVAL_S` seconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self._peak_mib = resident_mib()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_INTERVAL_S):
            self._peak_mib = max(self._peak_mib, resident_mib())

    def stop(self) -> None:
        """Stop sampling."""
        self._stopped.set()
        self.join()

    def peak_mib(self) -> float:
        """The peak so far in MiB."""
        self._peak_mib = max(self._peak_mib, resident_mib())
        return self._peak_mib
