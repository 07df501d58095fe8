"""Presets of KerasHub: how their own image converters prepare images, and where their files are.

KerasHub imports TensorFlow, so it is asked in a child process, once for each preset; the answer is kept in the cache.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.downloads import can_reach
from benchmark.errors import BenchmarkError, ConfigError, DownloadError, UnknownNameError, is_out_of_memory
from benchmark.isolation import call_silently_in_child
from benchmark.preprocessing import CAFFE_MEAN_BGR, FULL, NATIVE_MODES, RESIZERS, Normalisation, Step, line_of
from benchmark.storage import cache_root, digest_of_text, expanded, sha256_once, write_whole

# How the name of a backbone begins that is a preset without a registry entry.
HUB = "hub:"
MISSING = "Presets need KerasHub: pip install 'backbone-benchmark[hub]'."
KAGGLE, HUGGING_FACE = "kaggle", "hf"
# By the scheme of a handle. Built-in presets have names without one.
HOSTS = {KAGGLE: "www.kaggle.com", HUGGING_FACE: "huggingface.co"}

# The families that have an image encoder, and how the library itself, or the paper, makes one vector of its output:
# the first token; the mean of all tokens or places; or one vector that the vision tower gives by itself.
FAMILIES = {
    "CLIPBackbone": "embedding",
    "CSPNetBackbone": "avg",
    "DINOV2Backbone": "cls",
    "DINOV3Backbone": "cls",
    "DeiTBackbone": "cls",
    "DenseNetBackbone": "avg",
    "EfficientNetBackbone": "avg",
    "HGNetV2Backbone": "avg",
    "MetaCLIP2Backbone": "embedding",
    "MiTBackbone": "avg",
    "MobileNetBackbone": "avg",
    "MobileNetV5Backbone": "avg",
    "ResNetBackbone": "avg",
    "SigLIPBackbone": "embedding",
    "SwinTransformerBackbone": "avg",
    "VGGBackbone": "avg",
    "ViTBackbone": "cls",
    "XceptionBackbone": "avg",
}
# What KerasHub calls an interpolation, antialiased or not, is this filter here.
FILTERS = {("lanczos3", True): "lanczos", **{(kind, wide): name for name, (kind, wide) in RESIZERS.items()}}
# The largest difference of a value, as a share of its range, at which a converter does the same as a mode.
SAME_WITHIN = 1e-5


class Preset(NamedTuple):
    """What is known of a preset before its network is built.

    Attributes:
        table: The keys of a registry entry that are its own: `mode`, `input_size_px`, `resize`, `crop`, `pooling`.
        family: The class of its network in KerasHub.
        handle: What names its files: the folder, or a handle with its version, if it has one.
    """

    table: dict[str, Any]
    family: str
    handle: str

    @property
    def mode(self) -> Step:
        """What its image converter does to a pixel."""
        mode = self.table["mode"]
        return mode if isinstance(mode, str) else Normalisation(**mode)


def source_of(preset: str, folder: Path) -> str:
    """What KerasHub takes for a preset: the folder, if it is one relative to the registry's folder, else the name."""
    local = folder / expanded(preset)
    return str(local) if local.is_dir() else preset


def read_preset(preset: str, folder: Path) -> Preset:
    """What is known of a preset; its small files are downloaded if they are not here.

    Args:
        preset: Its name, handle or folder.
        folder: Of the registry file, to which a preset's folder is relative.

    Raises:
        ConfigError: KerasHub is not installed, or the preset is none of images.
        UnknownNameError: There is no preset of that name.
        DownloadError: Its files cannot be downloaded.
    """
    if importlib.util.find_spec("keras_hub") is None:
        raise ConfigError(MISSING)
    source = source_of(preset, folder)
    if "://" not in source and "/" in source and not Path(source).is_dir():
        raise ConfigError(f"There is no folder {source}: give the folder of a preset, or the name of one of KerasHub.")
    identity = [source, importlib.metadata.version("keras-hub"), _digest(Path(source), ".json")]
    kept = cache_root() / "presets" / f"{digest_of_text(json.dumps(identity))}.json"
    if not kept.exists():
        _check_reachable(source)
        # A child process may import TensorFlow itself, and has no children.
        is_child = multiprocessing.current_process().daemon
        found = _ask(source) if is_child else call_silently_in_child(_ask, source)
        with write_whole(kept) as file:
            file.write(json.dumps(found._asdict()).encode())
    return Preset(**json.loads(kept.read_text()))


def preset_identity(preset: str, folder: Path) -> str:
    """The identity of a preset's weights: a hash of the files of a folder, else the handle."""
    source = source_of(preset, folder)
    return _digest(Path(source), "") if Path(source).is_dir() else read_preset(preset, folder).handle


def is_preset_here(preset: str, folder: Path) -> bool:
    """Whether a preset needs no download."""
    return _is_kept(source_of(preset, folder))


def _digest(folder: Path, suffix: str) -> str:
    """A hash of the files in a folder whose names end so; empty if it is no folder."""
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(f"*{suffix}")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)} {sha256_once(path)}\n".encode())
    return digest.hexdigest()


def list_presets() -> list[dict[str, Any]]:
    """The presets that KerasHub knows of families with an image encoder: name, family, parameters and handle.

    Raises:
        ConfigError: KerasHub is not installed.
    """
    if importlib.util.find_spec("keras_hub") is None:
        raise ConfigError(MISSING)
    return call_silently_in_child(_list_presets)


def _list_presets() -> list[dict[str, Any]]:
    import keras_hub

    return [
        {
            "name": HUB + name,
            "family": family.removesuffix("Backbone"),
            "params": facts["metadata"].get("params"),
            "pooling": pooling,
            "handle": facts["kaggle_handle"],
        }
        for family, pooling in FAMILIES.items()
        for name, facts in sorted(getattr(keras_hub.models, family).presets.items())
    ]


def _ask(source: str) -> Preset:
    """What KerasHub says of a preset."""
    import keras_hub

    handle = source
    if not Path(source).is_dir() and "://" not in source:
        known = {one["name"].removeprefix(HUB): one["handle"] for one in _list_presets()}
        if source not in known:
            raise UnknownNameError("preset of images in KerasHub, or folder", source, known)
        handle = known[source]
    with loading(handle):
        converter = keras_hub.layers.ImageConverter.from_preset(source)
    family = converter.backbone_cls.__name__
    if family not in FAMILIES:
        raise ConfigError(
            f"{source} is a preset of {family}, which has no image encoder that gives features. Families that have "
            f"one: {', '.join(name.removesuffix('Backbone') for name in FAMILIES)}."
        )
    table = {
        "mode": _mode(converter, source),
        "input_size_px": _size_px(converter, source),
        "resize": _filter(converter, source),
        "crop": _crop(converter, source),
        "pooling": FAMILIES[family],
    }
    return Preset(table, family, handle)


@contextmanager
def loading(handle: str) -> Iterator[None]:
    """A context in which KerasHub loads files of a preset; what it raises becomes an error of ours.

    Raises:
        DownloadError: They are not here, and their host cannot be reached.
        ConfigError: The preset cannot be loaded.
    """
    _check_reachable(handle)
    try:
        yield
    except BenchmarkError:
        raise
    except Exception as error:  # KerasHub and its download libraries raise many kinds
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"The preset {handle} cannot be loaded: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        ) from error


def _check_reachable(source: str) -> None:
    """Fail in seconds, where the download libraries would try for minutes.

    Raises:
        DownloadError: The files of the preset are not here, and their host cannot be reached.
    """
    host = HOSTS.get(source.partition("://")[0] if "://" in source else KAGGLE)
    if not host or _is_kept(source) or can_reach(host):
        return
    raise DownloadError(
        f"The preset {source} is not on this machine, and {host} cannot be reached. Connect to the network and run "
        "'benchmark fetch', or give the folder of a preset that was saved with save_to_preset."
    )


def _is_kept(source: str) -> bool:
    """Whether files of a preset are on this machine: in its folder, or in the cache of its download library."""
    if Path(source).is_dir():
        return True
    scheme, _, name = source.partition("://")
    if scheme == HUGGING_FACE:
        root = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub")
        return (root.expanduser() / f"models--{name.replace('/', '--')}").is_dir()
    models = Path(os.environ.get("KAGGLEHUB_CACHE", "~/.cache/kagglehub")).expanduser() / "models"
    if name:
        return (models / name).is_dir()
    # Of a built-in preset only a part of its handle is known: owner/model/keras/NAME/version.
    return any(models.glob(f"*/*/keras/{source}/*"))


def _size_px(converter: Any, source: str) -> int:
    size = tuple(converter.image_size or ())
    if len(set(size)) != 1:
        raise ConfigError(
            f"{source} prepares images of {' x '.join(map(str, size)) or 'any size'}: give a registry entry with "
            f'hub = "{source}", mode and input_size_px.'
        )
    return int(size[0])


def _filter(converter: Any, source: str) -> str:
    how = (converter.interpolation, bool(converter.antialias))
    if how not in FILTERS:
        words = f"{how[0]} interpolation {'with' if how[1] else 'without'} antialiasing"
        raise ConfigError(
            f"{source} resizes by {words}, which is none of {', '.join(RESIZERS)}: give a registry entry with "
            f'hub = "{source}", mode, input_size_px and the nearest resize.'
        )
    return FILTERS[how]


def _crop(converter: Any, source: str) -> str:
    if converter.pad_to_aspect_ratio:
        raise ConfigError(
            f"{source} pads images to squares, which cannot be done here: give a registry entry with "
            f'hub = "{source}", mode, input_size_px and crop = "squash" or "crop".'
        )
    return "crop" if converter.crop_to_aspect_ratio else "squash"


def _mode(converter: Any, source: str) -> str | dict[str, list[float]]:
    """The mode that is what a converter does to pixels, asked by images of one colour."""
    size = converter.image_size or (8, 8)

    def convert(*colour: float) -> Any:
        image = np.broadcast_to(np.array(colour, np.float32), (1, *size, 3))
        return np.asarray(converter(image.copy()), np.float64)[0, 0, 0]

    offset, white = convert(0, 0, 0), convert(FULL, FULL, FULL)
    scale = (white - offset) / FULL
    colour = np.array([200.0, 100.0, 50.0])
    if not (np.allclose(convert(*colour), colour * scale + offset, rtol=1e-4, atol=1e-4) and (scale > 0).all()):
        raise ConfigError(
            f"{source} does more to pixels than scale and shift each channel: give a registry entry with "
            f'hub = "{source}", mode and input_size_px.'
        )
    for name in NATIVE_MODES:
        line = line_of((name,), len(CAFFE_MEAN_BGR))
        distance = np.abs(line.scale - scale) * FULL + np.abs(line.offset - offset)
        if not line.is_swapped and (distance <= SAME_WITHIN * np.abs(white - offset)).all():
            return name
    # (x / 255 - mean) / std = x / (255 std) - mean / std; the converter's numbers have the digits of float32.
    std = 1 / (FULL * scale)
    return {key: [float(f"{value:.7g}") for value in values] for key, values in (("mean", -offset * std), ("std", std))}
