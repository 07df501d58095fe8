"""Why a worker process ended before it sent its cell's row."""

import signal
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.processes.conditions import Conditions

LOG_TAIL_BYTES = 4000
# The C++ libraries under TensorFlow write one of these before they abort because they are out of memory.
OUT_OF_MEMORY_WORDS = ("bad_alloc", "out of memory", "oom when allocating", "cannot allocate memory", "memoryerror")
# Files in which Linux counts the processes that its out-of-memory killer ended: in this container, on the machine.
OOM_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


class WorkerCrashError(BenchmarkError):
    """The worker process ended during a cell."""

    error_type = "crashed"


class WorkerMemoryError(BenchmarkError):
    """The worker process ran out of memory, or could not be started because memory was short."""

    error_type = "oom"


class CellTimeoutError(BenchmarkError):
    """A cell took longer than its limit."""

    error_type = "timeout"

    def __init__(self, conditions: Conditions) -> None:
        super().__init__(
            f"The cell took longer than {conditions.timeout_s:g} s: raise the limit with --timeout, or look into "
            f"{conditions.log_path}."
        )


def count_oom_kills() -> int:
    """How many processes the kernel's out-of-memory killer has ended; 0 where the kernel does not count them."""
    total = 0
    for path in OOM_COUNTERS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return total


def cause_of_death(exit_code: int | None, log_path: Path, log_start: int, *, was_oom_kill: bool) -> BenchmarkError:
    """The error for the row of the cell during which a process died.

    Args:
        exit_code: Of the process: negative for a signal, None if it is not known.
        log_path: The log of the process.
        log_start: The size of the log in bytes when the cell began.
        was_oom_kill: Whether the kernel's out-of-memory killer has ended a process in the meantime.
    """
    how = _how(exit_code)
    # A library that is out of memory exits or aborts by itself; other signals have other causes, whatever the log says.
    gave_up = exit_code is not None and (exit_code > 0 or exit_code == -signal.SIGABRT)
    says_so = gave_up and any(words in _log_tail(log_path, log_start).lower() for words in OUT_OF_MEMORY_WORDS)
    if says_so or (was_oom_kill and exit_code == -signal.SIGKILL):
        return WorkerMemoryError(
            f"The worker process {how} because it ran out of memory: run fewer jobs at once, use a smaller input size, "
            f"or run this cell on a machine with more memory. The end of {log_path} may say more."
        )
    return WorkerCrashError(f"The worker process {how} in this cell; {log_path} may say why.")


def _log_tail(path: Path, start: int) -> str:
    """The end of what was written to a log file after its first `start` bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:  # real-time signals have no names
        return f"was killed by signal {-exit_code}"
