"""Functions that run in a child process, so that this process does not import their libraries."""

import multiprocessing
import os
from collections.abc import Callable
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
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(function, arguments, sender), daemon=True)
    child.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        error = BenchmarkError(f"The child process of {function.__name__} died.")
    child.join()
    if error is not None:
        raise error
    return cast(_R, result)


def apply_backend_settings() -> None:
    """Set the environment variables that Keras and TensorFlow read when they are first imported.

    oneDNN is on by default on some processors only. Where it is not (x86 without AVX-512) it makes MobileNetV2 and
    EfficientNetB0 1.5 times as fast, and none of seven networks slower.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], sender: Connection) -> None:
    apply_backend_settings()
    # TensorFlow would take GPU memory that a run at the same time needs.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with Path(os.devnull).open("w") as silence:
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), 2)
    try:
        sender.send((function(*arguments), None))
    except BenchmarkError as error:
        sender.send((None, error))
    except Exception as error:  # noqa: BLE001  # what this process prints, nobody sees
        sender.send((None, BenchmarkError(f"{function.__name__}: {type(error).__name__}: {error}")))
