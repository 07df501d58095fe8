"""Builders: functions of a registry entry's own module that make its network."""

import importlib
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, ConfigError, is_out_of_memory
from benchmark.registry import REGISTRY_FILE, Backbone
from benchmark.storage import OUT_OF_SPACE

# In the paths of code that is not the user's: installed libraries, Python's own modules, and this package.
NOT_OF_USER = ("site-packages", "<frozen", sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]))


class BuilderError(BenchmarkError):
    """A builder that raised an error, or did not return a usable network."""


def import_builder(backbone: Backbone) -> Callable[..., Any]:
    """The function that a registry entry names as its builder; its module may lie beside the registry file.

    Raises:
        ConfigError: It may not or cannot be imported.
    """
    assert backbone.builder is not None
    if backbone.has_own_builder and not backbone.is_trusted:
        raise ConfigError(
            f"{backbone.name}: builder {backbone.builder!r} of ./{REGISTRY_FILE} is code, and a file that only lies in "
            f"the working folder runs none. If you trust it, name it: --registry {REGISTRY_FILE}"
        )
    module_name, function_name = backbone.builder.split(":")
    try:
        with _importing_from(backbone.folder):
            function: Callable[..., Any] = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        _raise_if_of_machine(error)
        raise ConfigError(
            f"{backbone.name}: builder {backbone.builder!r} cannot be imported: {_told(error)}"
        ) from error
    return function


def call_builder(backbone: Backbone, **arguments: Any) -> Any:
    """The network that the builder of an entry returns.

    Raises:
        BuilderError: It failed, or returned something else than a Keras model with its graph.
        ConfigError: It may not or cannot be imported.
    """
    import keras

    function = import_builder(backbone)
    try:
        with _importing_from(backbone.folder):
            network = function(**arguments)
    except Exception as error:
        _raise_if_of_machine(error)
        raise BuilderError(f"{backbone.name}: builder {backbone.builder!r} failed: {_told(error)}") from error
    if not isinstance(network, keras.Model) or not getattr(network, "inputs", None):
        raise BuilderError(
            f"{backbone.name}: builder {backbone.builder!r} returned {type(network).__name__}: expected a functional "
            "or Sequential keras.Model that begins with keras.Input(input_shape)."
        )
    return network


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    # Last, so that a file there never takes the place of an installed module.
    before = list(sys.path)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _raise_if_of_machine(error: Exception) -> None:
    """Pass on what is no fault of the builder: no memory, no space."""
    if isinstance(error, BenchmarkError) or is_out_of_memory(error):
        raise error
    if isinstance(error, OSError) and error.errno in OUT_OF_SPACE:
        raise error


def _told(error: Exception) -> str:
    """An error with the last place in its user's code, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(part in frame.filename for part in NOT_OF_USER)]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{place}."
