"""Saved Keras models read without running code from them."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from benchmark.backbones.hdf5 import opened
from benchmark.backbones.sources import WITH_CODE, check_is_file
from benchmark.errors import WeightsError, is_out_of_memory

ARCHIVE, HDF5 = (".keras",), (".h5", ".hdf5")
CONFIG = "config.json"
# Layers that are Python code, or operations of TensorFlow that Keras 2 kept as such.
CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "__lambda__")
# What Keras 2 wrote for these layers, and Keras 3 does not take.
OF_KERAS_2 = {
    "DepthwiseConv2D": ("groups",),
    "Conv2DTranspose": ("groups",),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
}


def load_model(path: Path) -> Any:
    """A saved Keras model, not compiled, refused if it holds code.

    Raises:
        WeightsError: There is no such file, it is no model of Keras's own layers, or it is damaged.
    """
    check_is_file(path, f"There is no file {path}.")
    if path.suffix not in ARCHIVE + HDF5:
        raise WeightsError(f"{path} is not a .keras or .h5 file: save the model with model.save('x.keras').")
    config = _config(path)
    _refuse_code(path, config)
    import keras

    with tempfile.TemporaryDirectory(prefix="benchmark-model-") as folder:
        try:
            return keras.models.load_model(_as_keras_3(path, config, Path(folder)), compile=False, safe_mode=True)
        # Keras raises many kinds for unknown classes, damaged archives and weights that do not fit.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise WeightsError(f"{path} cannot be loaded: {_reason(error)}. {_advice(error)}") from error


def _as_keras_3(path: Path, config: Any, folder: Path) -> Path:
    """The file itself or, where Keras 2 wrote what Keras 3 does not take, a copy without that in the folder."""
    cleaned = _without_old_arguments(config)
    if cleaned == config:
        return path
    copy = folder / path.name
    if path.suffix in HDF5:
        shutil.copyfile(path, copy)
        with h5py.File(copy, "a") as file:
            file.attrs["model_config"] = json.dumps(cleaned)
    else:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
            for name in old.namelist():
                new.writestr(name, json.dumps(cleaned) if name == CONFIG else old.read(name))
    return copy


def _without_old_arguments(config: Any) -> Any:
    if isinstance(config, list):
        return [_without_old_arguments(one) for one in config]
    if not isinstance(config, dict):
        return config
    config = {key: _without_old_arguments(value) for key, value in config.items()}
    inner, old = config.get("config"), OF_KERAS_2.get(str(config.get("class_name")), ())
    if not isinstance(inner, dict):
        return config
    if inner.get("groups", 1) == 1:
        inner = {key: value for key, value in inner.items() if key not in old}
    axis = inner.get("axis")
    if config.get("class_name") == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        inner["axis"] = axis[0]
    return {**config, "config": inner}


def _config(path: Path) -> Any:
    """The architecture that the file describes, as JSON has it."""
    is_hdf5 = path.suffix in HDF5
    try:
        with opened(path) as file:
            return json.loads(file.attrs["model_config"] if is_hdf5 else zipfile.Path(path, CONFIG).read_bytes())
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        if is_hdf5 and isinstance(error, KeyError):
            raise WeightsError(
                f"{path} holds weights without an architecture, or is no file of Keras: give it as weights = "
                f'"file:{path.name}" beside an application or a builder.'
            ) from error
        raise WeightsError(f"{path} is not a saved Keras model, or a damaged one: {error}.") from error


def _refuse_code(path: Path, config: Any) -> None:
    for name, kind, module in _classes(config):
        is_foreign = not (module is None or module == "builtins" or module.split(".")[0] == "keras")
        if kind in CODE or is_foreign:
            what = "code" if kind in CODE else f"of {module}, not of Keras"
            raise WeightsError(f"{path} cannot be loaded: {name or 'an object'} ({kind}) is {what}. {WITH_CODE}")


def _classes(config: Any) -> Iterator[tuple[str, str, str | None]]:
    """Name, class and module of every object in an architecture."""
    if isinstance(config, dict):
        kind, module, inner = config.get("class_name"), config.get("module"), config.get("config")
        if isinstance(kind, str):
            name = inner.get("name", "") if isinstance(inner, dict) else ""
            yield str(name), kind, module if isinstance(module, str) else None
    if isinstance(config, dict | list):
        for value in config.values() if isinstance(config, dict) else config:
            yield from _classes(value)


def _advice(error: BaseException) -> str:
    text = str(error)
    is_custom = "Unknown layer" in text or "Could not locate class" in text or "custom" in text
    return (
        f"It has a layer that is no part of Keras. {WITH_CODE}"
        if is_custom
        else "It may be damaged, or of another Keras: save it again with Keras 3."
    )


def _reason(error: BaseException) -> str:
    """The first sentence of the original error; Keras wraps it in others that print whole configurations."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".") or type(error).__name__
