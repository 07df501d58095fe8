"""Why a worker process ended without a word."""

import signal
from pathlib import Path

from benchmark.errors import BenchmarkError

LOG_TAIL_BYTES = 4000
# What the C++ libraries under TensorFlow write before they abort for want of memory.
OUT_OF_MEMORY_WORDS = ("bad_alloc", "out of memory", "oom when allocating", "cannot allocate memory", "memoryerror")
# Where Linux counts the processes that it killed for want of memory: of this container, or of the machine.
OOM_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


class WorkerCrashError(BenchmarkError):
    """The process of a job ended without a word."""

    error_type = "crashed"


class WorkerMemoryError(BenchmarkError):
    """The process of a job ended for want of memory."""

    error_type = "oom"


class CellTimeoutError(BenchmarkError):
    """A cell took longer than it was given."""

    error_type = "timeout"


def count_oom_kills() -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not say."""
    total = 0
    for path in OOM_COUNTERS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return total


def log_end(path: Path, start: int) -> str:
    """The last of what was written to a log file after so many bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def cause_of_death(exit_code: int | None, log_text: str, *, was_oom_kill: bool, log_path: Path) -> BenchmarkError:
    """What to write into the row of the cell in which a process died.

    Args:
        exit_code: Of the process: negative for a signal, None if it is not known.
        log_text: What it wrote last.
        was_oom_kill: Whether the kernel killed a process for want of memory meanwhile.
        log_path: Where the user can read more.
    """
    how = _how(exit_code)
    # Of the ends that a library chooses; a segmentation fault is one, whatever was written before.
    gave_up = exit_code is not None and (exit_code > 0 or exit_code == -signal.SIGABRT)
    is_short_of_memory = gave_up and any(words in log_text.lower() for words in OUT_OF_MEMORY_WORDS)
    if is_short_of_memory or (was_oom_kill and exit_code == -signal.SIGKILL):
        return WorkerMemoryError(
            f"The worker process {how} for want of memory: run fewer jobs at once, a smaller input size, or this cell "
            f"on a machine with more. {log_path} holds its last words."
        )
    return WorkerCrashError(f"The worker process {how} in this cell; {log_path} may say why.")


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended"
    if exit_code < 0:
        return f"was killed by {_signal_name(-exit_code)}"
    return f"ended with exit code {exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"
