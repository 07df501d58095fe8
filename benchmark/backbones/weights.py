"""Arrays of a weights file, read as plain numbers and put into the layers of a model.

Three layouts are read: Keras 2 and "legacy" HDF5 (groups with `weight_names`), Keras 3 `.weights.h5`
(datasets named `.../vars/0`), and the latter inside a `.keras` archive. Nothing in a file is run.
"""

import fnmatch
import json
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmark.backbones.hdf5 import opened
from benchmark.errors import WeightsError, some_of

Array = NDArray[Any]
LayerArrays = dict[str, list[Array]]


def load_arrays(model: Any, path: Path, *, group: str, match: str, skip: Sequence[str] = ()) -> None:
    """Put the arrays of a file into a model's layers, so that every weight of the model comes from the file.

    By name and without a `group`, the backbone is also found if it is nested as one layer in the model of the file.

    Args:
        model: A Keras model without nested models.
        path: A `.h5`, `.weights.h5` or `.keras` file.
        group: Only HDF5 paths that start with this are read.
        match: `"name"` gives arrays to the layer of their name, `"order"` to layer after layer, in the file's order.
        skip: Names or patterns of layers of the file that the model does not have.

    Raises:
        WeightsError: The file is unreadable, or an array is missing, extra or misshaped; the message names it.
    """
    source = f"{path.name}:{group}" if group else path.name
    layers = [layer for layer in model.layers if layer.weights]
    names = {layer.name for layer in model.layers}
    found = _without(skip, read_layer_arrays(path, group, names), source)
    if not found:
        raise WeightsError(f"{source} holds no arrays: is weights_group right?")
    try:
        keys = _checked_keys(source, layers, found, match)
    except WeightsError:
        nested = {} if group or match == "order" else _nested_arrays(path, layers, names)
        if not nested:
            raise
        found, keys = nested, _keys_of(layers, nested, match)
    for layer, key in zip(layers, keys, strict=True):
        expected, shapes = [tuple(weight.shape) for weight in layer.weights], [array.shape for array in found[key]]
        if shapes != expected:
            raise WeightsError(f"{source}: layer {layer.name} takes arrays of shapes {expected}, {key} has {shapes}.")
        layer.set_weights(found[key])
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # Normalization keeps a copy of its statistics


def _without(skip: Sequence[str], found: LayerArrays, source: str) -> LayerArrays:
    """The arrays of the layers that no pattern names."""
    last_names = {key: key.rsplit("/", 1)[-1] for key in found}
    for pattern in skip:
        if not fnmatch.filter(last_names.values(), pattern):
            raise WeightsError(
                f"{source} has no layer {pattern!r}, which weights_skip names; it has {some_of(list(found))}."
            )
    return {
        key: arrays
        for key, arrays in found.items()
        if not any(fnmatch.fnmatchcase(last_names[key], pattern) for pattern in skip)
    }


def _nested_arrays(path: Path, layers: list[Any], names: set[str]) -> LayerArrays:
    """The arrays of the only group of the file that has one layer for each of these; empty if there is none."""
    n_wanted = sum(len(layer.weights) for layer in layers)
    fitting: list[str] = []
    with opened(path) as file:
        for group in _groups_of(file, n_wanted):
            keys = {layer for layer, _ in _stored_arrays(file, group, names)}
            is_inside = any(group.startswith(outer) for outer in fitting)
            if keys and not is_inside and set(_keys_of(layers, sorted(keys), "name")) == keys:
                fitting.append(group)
    return read_layer_arrays(path, fitting[0], names) if len(fitting) == 1 else {}


def _groups_of(file: h5py.File, n_wanted: int) -> list[str]:
    """The groups that hold at least so many arrays, with a slash at the end, outer ones first."""
    counts: Counter[str] = Counter()

    def count(place: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            counts.update(str(parent) for parent in PurePosixPath(place).parents)

    file.visititems(count)
    return sorted(f"{group}/" for group, number in counts.items() if number >= n_wanted and group != ".")


def _keys_of(layers: list[Any], found: Collection[str], match: str) -> list[str]:
    """The name of each layer in the file."""
    return list(found) if match == "order" else _file_keys(layers, is_keras3=next(iter(found)).startswith("layers/"))


def _checked_keys(source: str, layers: list[Any], found: LayerArrays, match: str) -> list[str]:
    keys = _keys_of(layers, found, match)
    _check_keys(source, [layer.name for layer in layers], keys, found)
    return keys


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
        raise WeightsError(f"{source} lacks the arrays of layer {some_of(missing)}.")
    extra = [key for key in found if key not in set(keys)] + keys[len(layers) :]
    if extra:
        raise WeightsError(
            f"{source} has arrays that no layer takes: {some_of(extra)}. "
            f"Narrow weights_group to the backbone, leave out what it does not have by weights_skip, such as "
            f"{json.dumps([key.rsplit('/', 1)[-1] for key in extra[:5]])}, or correct application."
        )


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
        with opened(path) as file:
            arrays = [(layer, _numbers(array)) for layer, array in _stored_arrays(file, group, layer_names)]
    # The last four come from attributes and arrays of kinds that Keras does not write.
    except (OSError, KeyError, zipfile.BadZipFile, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read as a weights file: {error}.") from error
    layers: LayerArrays = {}
    for layer, array in arrays:
        layers.setdefault(layer, []).append(array)
    return layers


def _stored_arrays(file: h5py.File, group: str, layer_names: set[str]) -> list[tuple[str, Any]]:
    return list(_legacy_arrays(file, group, layer_names)) or list(_keras3_arrays(file, group))


def _numbers(item: Any) -> Array:
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
        raise TypeError(f"{item.name} is not an array of numbers")
    return np.asarray(item)


def _legacy_arrays(holder: h5py.Group, group: str, layer_names: set[str]) -> Iterator[tuple[str, Any]]:
    """Layer name and array, in the order of the attributes `layer_names` and `weight_names`."""
    weight_names = _names(holder, "weight_names")
    path = holder.name.lstrip("/")
    if weight_names is None:
        for child in _names(holder, "layer_names") or list(holder):
            inner = holder[child]
            if len(inner.name) <= len(holder.name):
                raise ValueError(f"{path or '/'} names {child!r} as a layer")
            if isinstance(inner, h5py.Group):
                yield from _legacy_arrays(inner, group, layer_names)
    elif f"{path}/".startswith(group):
        own_name = path.rsplit("/", 1)[-1]
        for name in weight_names:
            # A nested model is one group, and its weights' names begin with the layer's.
            layer = own_name if own_name in layer_names else name.split("/", 1)[0]
            yield layer, holder[name]


def _names(group: h5py.Group, attribute: str) -> list[str] | None:
    """A list of names, None without one. Keras splits a long one over `attribute0`, `attribute1`, ... to suit HDF5."""
    numbered = [f"{attribute}{number}" for number in range(len(group.attrs))]
    parts = [part for part in (attribute, *numbered) if part in group.attrs]
    names = [name for part in parts for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else name for name in names] if parts else None


def _keras3_arrays(file: h5py.File, group: str) -> Iterator[tuple[str, Any]]:
    """Path of the layer below `group`'s folder and array, siblings in natural order."""
    paths: list[str] = []
    file.visititems(lambda path, item: paths.append(path) if isinstance(item, h5py.Dataset) else None)
    folder = f"{group.rstrip('/')}/" if group else ""
    for path in sorted(paths, key=_natural):
        if path.startswith(group):
            yield path.removeprefix(folder).rsplit("/vars/", 1)[0], file[path]


def _natural(path: str) -> list[tuple[bool, int, str]]:
    """A sort key that puts `conv2d` before `conv2d_2`, and that before `conv2d_10`."""
    parts = re.split(r"(\d+)", path.replace("/", "\0"))
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
