"""The identity of a built network: what it is made of, and where its weights come from."""

import hashlib
import inspect
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

# An array with at most so many distinct numbers counts as an initial value: zeros, ones, the identity.
FEW_VALUES = 2


def inner_layers(network: Any) -> Iterator[Any]:
    """The layers of a network and of the networks inside it."""
    for layer in getattr(network, "layers", ()):
        yield layer
        yield from inner_layers(layer)


def network_sha256(network: Any) -> str:
    """A hash of a network's configuration, of the source of layers that are not Keras's, and of all its weights.

    It is the same for every build after `keras.utils.clear_session`, which starts the numbers in layers' names again.
    """
    digest = hashlib.sha256()
    for layer in [network, *inner_layers(network)]:
        # What JSON does not know has no text that stays the same.
        text = json.dumps(_description(layer), sort_keys=True, default=lambda value: type(value).__name__)
        digest.update(text.encode())
    for weight in network.weights:
        array = np.asarray(weight)
        digest.update(f"{weight.path} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _description(layer: Any) -> list[Any]:
    kind = type(layer)
    function = getattr(layer, "function", None)
    is_of_keras = kind.__module__.split(".")[0] == "keras"
    try:
        config = _without_bytecode(layer.get_config())
    except Exception:  # noqa: BLE001  # a layer of its user's may not have one
        config = None
    code = function if callable(function) else None if is_of_keras else kind
    return [kind.__name__, layer.name, config, code and _source(code)]


def _without_bytecode(config: Any) -> Any:
    """A configuration without the functions of Lambda layers: as bytecode they hold the places of their lines."""
    if isinstance(config, dict):
        is_code = config.get("class_name") == "__lambda__" or "function" in config
        return {
            key: None if is_code and key in ("function", "config") else _without_bytecode(value)
            for key, value in config.items()
        }
    return [_without_bytecode(value) for value in config] if isinstance(config, list | tuple) else config


def _source(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):  # made by `exec`, or built in
        return getattr(getattr(code, "__code__", None), "co_code", b"").hex() or type(code).__name__


def layer_with_own_weights(one: Any, other: Any) -> str:
    """The path of an array that two networks built with different seeds share, so it was not drawn; empty if none is.

    Arrays that layers begin with (zeros, ones) and the statistics of a Normalization are no weights in this sense.
    """
    import keras

    layers = (layer for layer in inner_layers(one) if isinstance(layer, keras.layers.Normalization))
    statistics = {weight.path for layer in layers for weight in layer.weights}
    for weight, same in zip(one.weights, other.weights, strict=True):
        array = np.asarray(weight)
        is_same = weight.path not in statistics and np.array_equal(array, np.asarray(same))
        if is_same and len(np.unique(array)) > FEW_VALUES:
            return str(weight.path)
    return ""
