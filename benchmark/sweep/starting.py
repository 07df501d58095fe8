"""How worker processes begin: forked from a server that has TensorFlow imported, or else as new interpreters."""

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from benchmark.isolation import choose_backend
from benchmark.provenance import environment

# What takes seconds to import and starts no threads that a fork would lose. None of it is the user's: their modules
# are found by the workers, each with the path of its parent.
PRELOADED = ("tensorflow", "pandas", "scipy.special", "sklearn.linear_model", "sklearn.preprocessing")
# Of variables that TensorFlow, Keras, Python and the libraries of threads read when they start, and never again.
READ_AT_START = ("KERAS", "TF_", "XLA_", "CUDA", "OMP_", "OPENBLAS_", "MKL_", "PYTHON", "LD_")


class ServerError(OSError):
    """The server that workers are forked from does not answer."""


def start_server(log_path: Path) -> None:
    """Start what workers are forked from, if they are and it does not run yet; it imports meanwhile.

    It ends with this process, or with the last worker.

    Args:
        log_path: Where its output goes.
    """
    if not _can_be_forked():
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(list(PRELOADED))
    with _deaf_to_ctrl_c(), _environment_of_server(), _output_into(log_path):
        forkserver.ensure_running()


def start_worker(target: Callable[..., None], arguments: tuple[Any, ...], log_path: Path) -> BaseProcess:
    """A worker process, started. It is deaf to Ctrl-C: its parent decides what becomes of it.

    On Linux without a GPU it is a fork of a server. TensorFlow has been imported there and has done nothing yet, so a
    fork has what a new process would have, some seconds earlier. Elsewhere it is a new process: the libraries of other
    systems do not bear a fork, and whether drivers of GPUs do is not known here.

    Args:
        target: The function to run, importable by name.
        arguments: For the function.
        log_path: Where the output goes of what starts it.

    Raises:
        ServerError: The server died.
        OSError: The system has no room for one more process.
    """
    process_arguments = (target, arguments, dict(os.environ))
    if not _can_be_forked():
        new = multiprocessing.get_context("spawn").Process(target=_begin, args=process_arguments, daemon=True)
        with _deaf_to_ctrl_c():
            new.start()
        return new
    start_server(log_path)
    fork = multiprocessing.get_context("forkserver").Process(target=_begin, args=process_arguments, daemon=True)
    try:
        fork.start()
    except (EOFError, ConnectionError, FileNotFoundError) as error:
        raise ServerError(f"The process that starts the workers died; {log_path} may say why.") from error
    return fork


def _begin(target: Callable[..., None], arguments: tuple[Any, ...], variables: dict[str, str]) -> None:
    """The first function of a worker. A fork has its server's environment, so it is given its parent's."""
    _set_environment(variables)
    target(*arguments)


def _set_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _can_be_forked() -> bool:
    if sys.platform != "linux" or environment()["gpu"]:
        return False
    return _variables_of_server() == _variables_now()


@functools.cache
def _variables_of_server() -> dict[str, str]:
    """What a fork cannot be told any more; kept when it is first asked for, which is before the server starts."""
    return _variables_now()


def _variables_now() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_START)}


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process started inside ignores Ctrl-C from its first moment, and so do its forks."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _environment_of_server() -> Iterator[None]:
    """What TensorFlow has to read when it is imported; and the folder at hand is no place to import from."""
    previous = dict(os.environ)
    choose_backend()
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        _set_environment(previous)


@contextmanager
def _output_into(path: Path) -> Iterator[None]:
    """A process started inside writes into a file what it would write on the screen."""
    with ExitStack() as stack:
        log = stack.enter_context(_log_file(path))
        for descriptor in (1, 2):
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(log.fileno(), descriptor)
        yield


def _log_file(path: Path) -> IO[bytes]:
    """The log, to append to. Whoever writes rows beside it says so if nothing can be written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")
