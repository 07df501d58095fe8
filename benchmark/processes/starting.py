"""How worker processes begin: forked from a server that has TensorFlow imported, or else as new interpreters."""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

import psutil

from benchmark.isolation import choose_backend
from benchmark.provenance import environment

log = logging.getLogger(__name__)

# What takes seconds to import and starts no threads that a fork would lose. None of it is the user's: their modules
# are found by the workers, each with the path of its parent.
PRELOADED = ("tensorflow", "pandas", "scipy.special", "sklearn.linear_model", "sklearn.preprocessing")
# An import of TensorFlow that takes longer hangs.
PATIENCE_S = 120.0
# Of variables that Python, TensorFlow, Keras and libraries of threads read when they start, and never again.
READ_AT_START = (
    "PYTHON", "LD_", "HOME", "TMPDIR", "KERAS", "TF_", "TF2_", "XLA_", "CUDA", "OMP_", "KMP_", "GOMP_", "OPENBLAS_",
    "MKL_", "SCIPY_", "SKLEARN_",
)  # fmt: skip


class _Server:
    """The process that workers are forked from: of the standard library's one `forkserver`, the first and only start.

    One that does not start, or has died, is not replaced: something is wrong with it here, and new processes will do.
    """

    def __init__(self) -> None:
        self._process: psutil.Process | None = None
        self._variables: dict[str, str] | None = None  # what its forks cannot be told any more

    def start(self, log_path: Path) -> None:
        """Start it unless that was tried before; it imports meanwhile."""
        if self._variables is not None:
            return
        self._variables = _variables_now()
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(list(PRELOADED))
        before = set(psutil.Process().children())
        try:
            with _deaf_to_ctrl_c(), _environment_of_server(), _output_into(log_path):
                forkserver.ensure_running()
        except OSError as error:  # no room for its socket, or a path too long for one
            log.warning("Workers will take longer to start: no server for them can be started: %s", error)
            return
        new = set(psutil.Process().children()) - before  # the tracker of resources may be among them
        self._process = next((child for child in new if "forkserver" in " ".join(child.cmdline())), None)
        atexit.register(self.give_up)  # it ends by itself, too, but not while it imports

    def is_ready_for(self, variables: dict[str, str]) -> bool:
        """Whether it can make a worker with these variables."""
        if self._process is None or self._variables != variables:
            return False
        try:
            return self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def give_up(self) -> None:
        """Ask nothing of it any more, and see that it answers nothing late."""
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.kill()
        self._process = None


_SERVER = _Server()


def start_server(log_path: Path) -> None:
    """Begin to start what workers are forked from, if they are; otherwise it is started with the first worker.

    It ends with this process.

    Args:
        log_path: Where its output goes.
    """
    if _can_fork():
        _SERVER.start(log_path)


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
        OSError: The system has no room for one more process.
    """
    process_arguments = (target, arguments, dict(os.environ))
    start_server(log_path)
    if _SERVER.is_ready_for(_variables_now()):
        fork = multiprocessing.get_context("forkserver").Process(target=_begin, args=process_arguments, daemon=True)
        try:
            _start_within(PATIENCE_S, fork)
        except (OSError, EOFError) as error:
            log.warning("Workers will take longer to start: the server for them does not answer: %s", error)
            _SERVER.give_up()
        else:
            return fork
    new = multiprocessing.get_context("spawn").Process(target=_begin, args=process_arguments, daemon=True)
    with _deaf_to_ctrl_c():
        new.start()
    return new


def _start_within(seconds: float, process: BaseProcess) -> None:
    """Start a process by a thread, since nothing else ends the wait for a server that hangs while it imports.

    Raises:
        OSError: It was not started, or not in time.
        EOFError: The server closed the connection.
    """
    failures: list[OSError | EOFError] = []

    def start() -> None:
        try:
            process.start()
        except (OSError, EOFError) as error:
            failures.append(error)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer for {seconds:g} s")
    if failures:
        raise failures[0]


def _begin(target: Callable[..., None], arguments: tuple[Any, ...], variables: dict[str, str]) -> None:
    """The first function of a worker. A fork has its server's environment, so it is given its parent's."""
    _set_environment(variables)
    target(*arguments)


def _set_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _can_fork() -> bool:
    return sys.platform == "linux" and not environment()["gpu"]


def _variables_now() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_START)}


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process started inside ignores Ctrl-C from its first moment, and so do its forks."""
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody set what a signal does
        yield
        return
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
        file = stack.enter_context(_log_file(path))
        for descriptor in (1, 2):
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
        yield


def _log_file(path: Path) -> IO[bytes]:
    """The log, to append to. Whoever writes rows beside it says so if nothing can be written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")
