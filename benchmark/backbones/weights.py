"""Arrays of a weights file, read as plain numbers and put into the layers of a model.

Three layouts are read: Keras 2 and "legacy" HDF5 (groups with `weight_names`), Keras 3 `.weights.h5`
(datasets named `.../vars/0`), and the latter inside a `.keras` archive. Nothing in a file is run.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmark.errors import WeightsError

Array = NDArray[Any]
LayerArrays = dict[str, list[Array]]
ARCHIVED_WEIGHTS = "model.weights.h5"


def load_arrays(model: Any, path: Path, *, group: str, match: str) -> None:
    """Put the arrays of a file into a model's layers, so that every weight of the model comes from the file.

    Args:
        model: A Keras model without nested models.
        path: A `.h5`, `.weights.h5` or `.keras` file.
        group: Only HDF5 paths that start with this are read.
        match: `"name"` gives arrays to the layer of their name, `"order"` to layer after layer, in the file's order.

    Raises:
        WeightsError: The file is unreadable, or an array is missing, extra or misshaped; the message names it.
    """
    source = f"{path.name}:{group}" if group else path.name
    found = read_layer_arrays(path, group, {layer.name for layer in model.layers})
    if not found:
        raise WeightsError(f"{source} holds no arrays: is weights_group right?")
    layers = [layer for layer in model.layers if layer.weights]
    keys = list(found) if match == "order" else _file_keys(layers, is_keras3=next(iter(found)).startswith("layers/"))
    _check_keys(source, [layer.name for layer in layers], keys, found)
    for layer, key in zip(layers, keys, strict=True):
        expected, shapes = [tuple(weight.shape) for weight in layer.weights], [array.shape for array in found[key]]
        if shapes != expected:
            raise WeightsError(f"{source}: layer {layer.name} takes arrays of shapes {expected}, {key} has {shapes}.")
        layer.set_weights(found[key])
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # Normalization keeps a copy of its statistics


def _file_keys(layers: list[Any], *, is_keras3: bool) -> list[str]:
    """The name of each layer in the file."""
    if not is_keras3:
        return [layer.name for layer in layers]
    # Keras 3 names a layer by its class and how many of that class came before it.
    seen: dict[str, int] = {}
    keys = []
    for layer in layers:
        name = _snake_case(type(layer).__name__)
        number = seen[name] = seen.get(name, -1) + 1
        keys.append(f"layers/{name}_{number}" if number else f"layers/{name}")
    return keys


def _snake_case(name: str) -> str:
    # As keras.src.utils.naming.to_snake_case, which is not public.
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _check_keys(source: str, layers: list[str], keys: list[str], found: LayerArrays) -> None:
    missing = [f"{layer} (as {key})" for layer, key in zip(layers, keys, strict=False) if key not in found]
    missing += layers[len(keys) :]
    if missing:
        raise WeightsError(f"{source} lacks the arrays of layer {_some(missing)}.")
    extra = [key for key in found if key not in set(keys)] + keys[len(layers) :]
    if extra:
        raise WeightsError(
            f"{source} has arrays that no layer takes: {_some(extra)}. "
            "Narrow weights_group to the backbone, or correct application."
        )


def _some(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def read_layer_arrays(path: Path, group: str, layer_names: set[str]) -> LayerArrays:
    """The arrays of a weights file by layer, in the file's order.

    Args:
        path: The file.
        group: Only HDF5 paths that start with this are read.
        layer_names: Names of the model's layers. A group of another name belongs to a nested model.

    Raises:
        WeightsError: The file is not an HDF5 file.
    """
    try:
        # A `.keras` file is an archive that holds an HDF5 file.
        is_archive = path.suffix == ".keras"
        content = io.BytesIO(zipfile.Path(path, ARCHIVED_WEIGHTS).read_bytes()) if is_archive else path
        with h5py.File(content, "r") as file:
            arrays = list(_legacy_arrays(file, group, layer_names)) or list(_keras3_arrays(file, group))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} cannot be read as a weights file: {error}.") from error
    layers: LayerArrays = {}
    for layer, array in arrays:
        layers.setdefault(layer, []).append(array)
    return layers


def _legacy_arrays(holder: h5py.Group, group: str, layer_names: set[str]) -> Iterator[tuple[str, Array]]:
    """Layer name and array, in the order of the attributes `layer_names` and `weight_names`."""
    weight_names = _names(holder, "weight_names")
    path = holder.name.lstrip("/")
    if weight_names is None:
        for child in _names(holder, "layer_names") or list(holder):
            if isinstance(holder[child], h5py.Group):
                yield from _legacy_arrays(holder[child], group, layer_names)
    elif path.startswith(group):
        own_name = path.rsplit("/", 1)[-1]
        for name in weight_names:
            # A nested model is one group, and its weights' names begin with the layer's.
            layer = own_name if own_name in layer_names else name.split("/", 1)[0]
            yield layer, np.asarray(holder[name])


def _names(group: h5py.Group, attribute: str) -> list[str] | None:
    """A list of names, None without one. Keras splits a long one over `attribute0`, `attribute1`, ... to suit HDF5."""
    numbered = [f"{attribute}{number}" for number in range(len(group.attrs))]
    parts = [part for part in (attribute, *numbered) if part in group.attrs]
    names = [name for part in parts for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else name for name in names] if parts else None


def _keras3_arrays(file: h5py.File, group: str) -> Iterator[tuple[str, Array]]:
    """Path of the layer below `group`'s folder and array, siblings in natural order."""
    paths: list[str] = []
    file.visititems(lambda path, item: paths.append(path) if isinstance(item, h5py.Dataset) else None)
    folder = f"{group.rstrip('/')}/" if group else ""
    for path in sorted(paths, key=_natural):
        if path.startswith(group):
            yield path.removeprefix(folder).rsplit("/vars/", 1)[0], np.asarray(file[path])


def _natural(path: str) -> list[tuple[bool, int, str]]:
    """A sort key that puts `conv2d` before `conv2d_2`, and that before `conv2d_10`."""
    parts = re.split(r"(\d+)", path.replace("/", "\0"))
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
