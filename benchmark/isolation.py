"""A function run in a process of its own, so that what it imports leaves no trace here."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from benchmark.errors import BenchmarkError

_R = TypeVar("_R")


def call_silently_in_child(function: Callable[..., _R], *arguments: Any) -> _R:
    """What a function returns in a fresh process that prints nothing.

    Args:
        function: Importable by name, as are the types of its arguments and its result.
        arguments: For the function.

    Raises:
        BenchmarkError: What the function raised, or that its process died.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(function, arguments, sender), daemon=True)
    child.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        error = BenchmarkError(f"The process that was to {function.__name__.replace('_', ' ')} died.")
    child.join()
    if error is not None:
        raise error
    answer: _R = result
    return answer


def choose_backend() -> None:
    """Set what Keras and TensorFlow read from the environment when they are first imported, in this process.

    oneDNN is on by default on some processors only. Where it is not (x86 without AVX-512) it makes MobileNetV2 and
    EfficientNetB0 1.5 times as fast, and none of seven networks slower.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], sender: Connection) -> None:
    choose_backend()
    with Path(os.devnull).open("w") as silence:
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), 2)
    try:
        sender.send((function(*arguments), None))
    except BenchmarkError as error:
        sender.send((None, error))
