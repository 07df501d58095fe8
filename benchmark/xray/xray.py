"""The x-ray of a network: how it and its `preprocess_input` change a pixel, and the verdict on every mode.

Nothing is looked up: the maps are solved from the outputs of functions and networks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.backbones.build import build_backbone, build_untrained
from benchmark.backbones.saved import load_model
from benchmark.errors import BenchmarkError, check_known
from benchmark.preprocessing import MODES, NATIVE_MODES, Step
from benchmark.presets import read_preset
from benchmark.registry import Backbone
from benchmark.xray.affine import AffineMap, probe_affine
from benchmark.xray.stem import Stem, probe_stem
from benchmark.xray.verdicts import Judgement, arriving, find_differences, infer_native, judge_mode, map_of_steps


@dataclass(frozen=True)
class XRay:
    """How a network and its preprocessing change a pixel.

    Attributes:
        name: Of the backbone, or the model's file.
        source: The constructor or file of the network.
        stem: How the network itself changes a pixel.
        native: The right mode; see `preprocessing.resolve_mode`.
        native_source: Where `native` is from.
        preprocess: Name of the right `preprocess_input`; empty where the registry names none.
        preprocess_map: The map of that function; None without one.
        notes: Warnings and explanations, one or more sentences each.
        shown: See `shown_mode`. If it contradicts `native`, the modes are judged by it, and a note says so.
    """

    name: str
    source: str
    stem: Stem
    native: Step
    native_source: str
    preprocess: str = ""
    preprocess_map: AffineMap | None = None
    notes: tuple[str, ...] = ()
    shown: Step = ""

    @property
    def right(self) -> AffineMap:
        """The map of a pixel in the right mode up to the first convolution."""
        return arriving(self.stem.built_in, (self.shown or self.native,))

    @property
    def modes(self) -> tuple[Judgement, ...]:
        """The verdict on each mode, in the order of `preprocessing.MODES`."""
        return tuple(judge_mode(mode, self.native, self.stem.built_in, self.shown) for mode in MODES)


def shown_mode(backbone: Backbone, stem: Stem) -> Step:
    """What is right instead of an entry's mode: what its preset does or, without one, what its own layers show.

    Empty if the entry may be right.
    """
    if backbone.hub is None:
        return stem.contradicts(backbone.native_mode)
    own = read_preset(backbone.hub, backbone.folder).mode
    found, right = (arriving(stem.built_in, (mode,)) for mode in (backbone.native_mode, own))
    return own if find_differences(found, right) else ""


def xray_backbone(backbone: Backbone) -> XRay:
    """The x-ray of a registered backbone, built small and without its weights.

    Raises:
        BenchmarkError: It cannot be built, or does more to pixels than scale, mix and shift their channels.
        UnknownNameError: The registry names a constructor or module that Keras does not have.
    """
    # Small is quick, but an entry without a minimum does not say which sizes are legal.
    size_px = backbone.min_size_px if "min_size_px" in backbone.model_fields_set else backbone.input_size_px
    is_saved = backbone.model is not None  # its statistics are in its weights
    network = build_backbone(backbone, size_px) if is_saved else build_untrained(backbone, size_px, seed=0)
    stem = probe_stem(network, backbone.name)
    notes = _statistics_notes(stem, is_of_keras=backbone.application is not None)
    if shown := shown_mode(backbone, stem):
        what, judge = ("own layers are", "layers") if backbone.hub is None else ("preset is", "preset")
        notes.append(
            f"The network's {what} made for mode '{shown}', not for '{backbone.native_mode}', which the registry names "
            f"and runs use: correct mode in the registry. The verdicts go by the {judge}."
        )
    preprocess, preprocess_map = "", None
    if backbone.preprocess is not None:
        preprocess = f"keras.applications.{backbone.preprocess}.preprocess_input"
        preprocess_map = probe_preprocess(backbone.preprocess)
        if find_differences(preprocess_map, map_of_steps((backbone.native_mode,))):
            notes.append(
                f"preprocess_input of {backbone.preprocess!r} is not mode {backbone.native_mode!r}, which the registry "
                "names and runs use: correct one of the two."
            )
    is_by_preset = backbone.hub is not None and not shown
    return XRay(
        name=backbone.name,
        source=backbone.source if backbone.model else f"{backbone.source}, built without weights",
        stem=stem,
        native=backbone.native_mode,
        native_source="the preset's own image converter" if is_by_preset else "the registry",
        preprocess=preprocess,
        preprocess_map=preprocess_map,
        notes=tuple(notes),
        shown=shown,
    )


def xray_file(path: Path, fed: str | None) -> XRay:
    """The x-ray of a saved model.

    Args:
        path: A `.keras` or `.h5` file; code in it is not run.
        fed: The mode that its user chose. It counts as the right one where the built-in layers do not show it.

    Raises:
        BenchmarkError: The file is not such a model, does not take RGB images, or nothing shows which mode is right.
    """
    stem = probe_stem(load_model(path), str(path))
    native, native_source = infer_native(stem.built_in), "its built-in layers"
    if native is None:
        if fed not in NATIVE_MODES:
            raise BenchmarkError(
                f"{path} has no built-in layers that show which pixels it was trained with, so no mode can be judged: "
                f"name the mode it was trained with, --mode {'|'.join(NATIVE_MODES)}; got {fed or 'none'}."
            )
        native, native_source = fed, "--mode, because no built-in layer shows it"
    notes = tuple(_statistics_notes(stem, is_of_keras=False))
    return XRay(str(path), "a saved model", stem, native, native_source, notes=notes)


def probe_preprocess(module: str) -> AffineMap:
    """The map of a pixel by the `preprocess_input` of a module of `keras.applications`.

    Raises:
        UnknownNameError: Keras has no such module.
        NotAffineError: The function is not an affine map.
    """
    import keras

    modules = {name: value for name, value in vars(keras.applications).items() if hasattr(value, "preprocess_input")}
    check_known("module of keras.applications", module, modules)
    preprocess_input = modules[module].preprocess_input
    return probe_affine(
        lambda colours: np.reshape(preprocess_input(colours.reshape(1, -1, 1, 3)), (-1, 3)),
        f"{module}.preprocess_input",
    )


def _statistics_notes(stem: Stem, *, is_of_keras: bool) -> list[str]:
    """Notes on normalisations whose statistics are weights that were not loaded."""
    extra = ""
    if is_of_keras:  # only EfficientNetB0 to B7 keep their statistics in weights
        extra = ' With weights="imagenet" Keras also adds Rescaling(1 / sqrt(deviation)), which this graph lacks.'
    return [
        f"{layer.name}: its mean and variance are weights. Here they are 0 and 1 and change nothing, so the ranges are "
        f"those of the graph without statistics.{extra} The verdicts hold with real statistics too: a mode and native "
        "pass through the same layers, and only ratios are compared."
        for layer in stem.layers
        if layer.is_in_weights and set(layer.numbers["mean"]) == {0.0} and set(layer.numbers["variance"]) == {1.0}
    ]
