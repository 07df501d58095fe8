"""How processes start: forked from a server that has imported TensorFlow, otherwise as new interpreters."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmark.isolation.settings import apply_backend_settings
from benchmark.provenance import environment

log = logging.getLogger(__name__)

# Libraries that take seconds to import and start no threads, which a fork would lose. None is the user's own code.
PRELOADED = ["tensorflow", "pandas", "scipy.special", "sklearn.linear_model", "sklearn.preprocessing"]
# A server that has not started a worker within this time counts as hanging.
PATIENCE_S = 120.0
# Prefixes of environment variables that Python, TensorFlow, Keras and threading libraries read only at import.
READ_AT_IMPORT = (
    "PYTHON", "LD_", "HOME", "TMPDIR", "KERAS", "TF_", "TF2_", "XLA_", "CUDA", "OMP_", "KMP_", "GOMP_", "OPENBLAS_",
    "MKL_", "SCIPY_", "SKLEARN_",
)  # fmt: skip
# "variables": those that the server of this process was first started with; None once it has failed.
_SERVER: dict[str, dict[str, str] | None] = {}


def start_server(log_path: Path) -> bool:
    """Start the standard library's fork server unless it runs already; it imports its libraries in the background.

    Workers are forked from it only on Linux without a GPU (GPU drivers may not survive a fork), until it fails, and
    while the variables that it has read at import keep their values. It ends with this process.

    Args:
        log_path: The file that takes its output.

    Returns:
        Whether workers can be forked from it.
    """
    if sys.platform != "linux" or environment()["gpu"]:
        return False
    if _SERVER.setdefault("variables", _variables()) != _variables():
        return False
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(PRELOADED)
    try:
        with _settings_of_children(log_path):
            forkserver.ensure_running()  # starts another one if it has died
    except OSError as error:  # for example a folder for temporary files whose path is too long for a socket
        return _give_up(error)
    return True


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT)}


def _give_up(error: Exception) -> bool:
    log.warning("Workers will take longer to start, because they cannot be forked from a server: %s", error)
    _SERVER["variables"] = None
    return False


def start_worker(
    target: Callable[..., None], arguments: tuple[Any, ...], log_path: Path, *, starts_server: bool = True
) -> tuple[BaseProcess, Connection]:
    """A started process that ignores Ctrl-C, since its parent decides when it ends, and a channel to it.

    Args:
        target: The function to run, importable by name. It takes the other end of the channel and the arguments.
        arguments: For the function.
        log_path: The file that takes what the process prints while it starts.
        starts_server: Whether to start the server if there is none: for one process it takes longer than it saves.

    Raises:
        OSError: The system cannot start another process.
    """
    settings = (dict(os.environ), target)
    if (starts_server or _SERVER) and start_server(log_path):
        try:
            return _start("forkserver", settings, arguments)
        except (OSError, EOFError) as error:
            _give_up(error)
    with _settings_of_children(log_path):
        return _start("spawn", settings, arguments)


def _start(method: str, settings: tuple[Any, ...], arguments: tuple[Any, ...]) -> tuple[BaseProcess, Connection]:
    ours, theirs = multiprocessing.Pipe()
    context: Any = multiprocessing.get_context(method)
    worker = context.Process(target=_begin, args=(*settings, theirs, *arguments), daemon=True)
    failures: list[Exception] = [TimeoutError(f"no answer within {PATIENCE_S:g} s")]

    def start() -> None:
        try:
            worker.start()
            failures.clear()
        except Exception as error:  # noqa: BLE001  # raised below
            failures[:] = [error]

    # In a thread, because `start` has no timeout and the server may hang.
    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    theirs.close()
    if failures:
        ours.close()  # a worker that starts later finds it closed, and ends
        raise failures[0]
    return worker, ours


def _begin(variables: dict[str, str], target: Callable[..., None], *arguments: Any) -> None:
    """The first function of a child. A fork has its server's environment; this replaces it with the parent's."""
    os.environ.clear()
    os.environ.update(variables)
    target(*arguments)


@contextmanager
def _settings_of_children(log_path: Path) -> Iterator[None]:
    """Inside, a new process ignores Ctrl-C, prints into the log, and has the variables that TensorFlow reads."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():  # only this one may set signal handlers
            stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
        stack.callback(os.environ.update, dict(os.environ))
        stack.callback(os.environ.clear)  # before the update
        apply_backend_settings()
        os.environ["PYTHONSAFEPATH"] = "1"  # the current folder may hold files named like modules
        file = stack.enter_context(log_path.open("ab"))
        for descriptor in (1, 2):
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
        yield
