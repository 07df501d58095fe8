"""Functions that run in a child process, so that this process does not import their libraries."""

import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, cast

from benchmark.errors import BenchmarkError
from benchmark.isolation.settings import apply_backend_settings, discard
from benchmark.isolation.starting import start_worker

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
    """As `call_silently_in_child`, for a function that yields its results; leaving the iterator ends the process.

    If there is a server of workers, the process is forked from it, which saves the import of TensorFlow.
    """
    child, channel = start_worker(_iterate, (function, arguments), Path(os.devnull), starts_server=False)
    try:
        while (sent := channel.recv()) is not None:
            result, error = sent
            if error is not None:
                raise error
            yield result
    except (EOFError, OSError) as error:  # closed, or killed in the middle of a message
        raise BenchmarkError(f"The child process of {_name(function, arguments)} died.") from error
    finally:
        child.kill()
        child.join()


def _name(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    named: Callable[..., Any] = arguments[0] if function is _once else function
    return named.__name__


def _iterate(channel: Connection, function: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> None:
    """Send `(result, None)` for each result, `(None, error)` for a failure, and None at the end."""
    apply_backend_settings()
    # TensorFlow would take GPU memory that a run at the same time needs.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    discard(1, 2)
    try:
        for result in function(*arguments):
            channel.send((result, None))
        channel.send(None)
    except BenchmarkError as error:
        channel.send((None, error))
    except Exception as error:  # noqa: BLE001  # what this process prints, nobody sees
        channel.send((None, BenchmarkError(f"{_name(function, arguments)}: {type(error).__name__}: {error}")))
