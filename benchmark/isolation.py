"""Functions that run in a child process, so that this process does not import their libraries."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, cast

from benchmark.errors import BenchmarkError

_R = TypeVar("_R")


def call_silently_in_child(function: Callable[..., _R], *arguments: Any) -> _R:
    """What a function returns in a new process, which prints nothing and uses no GPU.

    Args:
        function: A function of a module; its result can be pickled.
        arguments: For the function; they can be pickled.

    Raises:
        BenchmarkError: The function raised it, or its process died.
    """
    (result,) = iterate_in_child(_once, function, arguments)
    return cast(_R, result)


def _once(function: Callable[..., _R], arguments: tuple[Any, ...]) -> Iterator[_R]:
    yield function(*arguments)


def iterate_in_child(function: Callable[..., Iterator[_R]], *arguments: Any) -> Iterator[_R]:
    """As `call_silently_in_child`, for a function that yields its results; leaving the iterator ends the process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_iterate, args=(function, arguments, sender), daemon=True)
    child.start()
    sender.close()
    try:
        while (sent := receiver.recv()) is not None:
            result, error = sent
            if error is not None:
                raise error
            yield result
    except EOFError as error:
        raise BenchmarkError(f"The child process of {_name(function, arguments)} died.") from error
    finally:
        child.kill()
        child.join()


def _name(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    named: Callable[..., Any] = arguments[0] if function is _once else function
    return named.__name__


def apply_backend_settings() -> None:
    """Set the environment variables that Keras and TensorFlow read when they are first imported.

    oneDNN is on by default on some processors only. Where it is not (x86 without AVX-512) it makes MobileNetV2 and
    EfficientNetB0 1.5 times as fast, and none of seven networks slower.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


@contextmanager
def silence() -> Iterator[None]:
    """Inside, stderr is discarded, also what C++ code writes to it: TensorFlow has messages without a switch."""
    sys.stderr.flush()
    kept = os.dup(2)
    _discard(2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _discard(*descriptors: int) -> None:
    """Send what is written to these file descriptors nowhere."""
    with Path(os.devnull).open("w") as nowhere:
        for descriptor in descriptors:
            os.dup2(nowhere.fileno(), descriptor)


def _iterate(function: Callable[..., Iterator[Any]], arguments: tuple[Any, ...], sender: Connection) -> None:
    """Send each result with None, or None with the error, and None at the end."""
    apply_backend_settings()
    # TensorFlow would take GPU memory that a run at the same time needs.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    _discard(1, 2)
    try:
        for result in function(*arguments):
            sender.send((result, None))
        sender.send(None)
    except BenchmarkError as error:
        sender.send((None, error))
    except Exception as error:  # noqa: BLE001  # what this process prints, nobody sees
        sender.send((None, BenchmarkError(f"{_name(function, arguments)}: {type(error).__name__}: {error}")))
