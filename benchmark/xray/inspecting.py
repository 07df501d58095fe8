"""The x-ray of a network: what it and its `preprocess_input` do to a pixel, and what each mode brings to it.

Nothing is looked up: functions and graphs are fed pixels, and the maps are solved from what comes out.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmark.backbones.build import build_untrained
from benchmark.backbones.saved import load_model
from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.preprocessing import MODES, resolve_mode
from benchmark.registry import NATIVE_MODES, Backbone
from benchmark.xray.affine import AffineMap, probe_pixelwise
from benchmark.xray.stem import Graph, look_into
from benchmark.xray.verdicts import SAME_WITHIN, Judgement, infer_native, judge_mode, map_of_steps


@dataclass(frozen=True)
class XRay:
    """What a network and its preprocessing do to a pixel.

    Attributes:
        name: Of the backbone, or the model's file.
        source: Where the network comes from.
        graph: What the network itself does.
        native: What the right mode does, as the registry has it: raw, unit, tf, caffe or torch.
        native_source: How that is known.
        preprocess: Name of the right `preprocess_input`; empty where the registry names none.
        preprocess_map: What that function does; None without one.
        modes: The judgement about each mode, in the order of `preprocessing.MODES`.
        notes: What else should be known.
    """

    name: str
    source: str
    graph: Graph
    native: str
    native_source: str
    preprocess: str
    preprocess_map: AffineMap | None
    modes: tuple[Judgement, ...]
    notes: tuple[str, ...]


def inspect_backbone(backbone: Backbone) -> XRay:
    """The x-ray of a registered backbone, built small and without its weights.

    Raises:
        BenchmarkError: It cannot be built, or does more to pixels than scale, mix and shift their channels.
        UnknownNameError: The registry names no constructor or no module that Keras has.
    """
    # Small is quick; an entry that leaves the minimum out says nothing about what is legal.
    size_px = backbone.min_size_px if "min_size_px" in backbone.model_fields_set else backbone.input_size_px
    graph = look_into(build_untrained(backbone, size_px, seed=0), backbone.name)
    notes = _statistics_notes(graph, is_of_keras=backbone.application is not None)
    preprocess_map = None
    if backbone.preprocess is not None:
        preprocess_map = probe_preprocess(backbone.preprocess)
        right = map_of_steps(resolve_mode("native", backbone.native_mode))
        if (preprocess_map.distance(right) > SAME_WITHIN * right.width).any():
            notes.append(
                f"preprocess_input of {backbone.preprocess!r} is not mode {backbone.native_mode!r}, which the registry "
                "gives and runs use: correct one of the two."
            )
    return XRay(
        name=backbone.name,
        source=f"{_origin(backbone)}, built without weights" if backbone.model is None else _origin(backbone),
        graph=graph,
        native=backbone.native_mode,
        native_source="the registry",
        preprocess=f"keras.applications.{backbone.preprocess}.preprocess_input" if backbone.preprocess else "",
        preprocess_map=preprocess_map,
        modes=judge_modes(backbone.native_mode, graph.built_in),
        notes=tuple(notes),
    )


def inspect_file(path: Path, fed: str | None) -> XRay:
    """The x-ray of a saved model.

    Args:
        path: A `.keras` file; code in it is not run.
        fed: The mode its user feeds. It is taken to be the right one where the built-in layers do not tell.

    Raises:
        BenchmarkError: The file is no such model, does not take RGB images, or nothing tells which mode is right.
    """
    graph = look_into(load_model(path), str(path))
    native, source = infer_native(graph.built_in), "its built-in layers"
    if native is None:
        if fed not in NATIVE_MODES:
            raise BenchmarkError(
                f"{path} has no built-in layers that tell which pixels it was trained with, so no mode can be judged: "
                f"name the one it was trained with, --mode {'|'.join(NATIVE_MODES)}; got {fed or 'none'}."
            )
        native, source = fed, "--mode, because no built-in layer tells"
    return XRay(
        name=str(path),
        source="a saved model",
        graph=graph,
        native=native,
        native_source=source,
        preprocess="",
        preprocess_map=None,
        modes=judge_modes(native, graph.built_in),
        notes=tuple(_statistics_notes(graph, is_of_keras=False)),
    )


def judge_modes(native: str, built_in: AffineMap) -> tuple[Judgement, ...]:
    """The judgement about every mode."""
    return tuple(judge_mode(mode, native, built_in) for mode in MODES)


def probe_preprocess(module: str) -> AffineMap:
    """What a `preprocess_input` does to a pixel.

    Args:
        module: Of `keras.applications`.

    Raises:
        UnknownNameError: Keras has no such module.
        NotAffineError: The function is no affine map.
    """
    import keras

    modules = vars(keras.applications)
    known = [name for name in modules if hasattr(modules[name], "preprocess_input")]
    if module not in known:
        raise UnknownNameError("module of keras.applications", module, known)
    return probe_pixelwise(modules[module].preprocess_input, f"{module}.preprocess_input")


def _origin(backbone: Backbone) -> str:
    if backbone.application:
        return f"keras.applications.{backbone.application}"
    return backbone.builder or backbone.model or ""


def _statistics_notes(graph: Graph, *, is_of_keras: bool) -> list[str]:
    """What to know about normalisations whose statistics are weights that are not there.

    Args:
        graph: What the network does.
        is_of_keras: Whether it is a constructor of `keras.applications`; of those only EfficientNetB0 to B7 keep
            their statistics in weights.
    """
    extra = (
        ' With weights="imagenet" Keras also adds Rescaling(1 / sqrt(deviation)) behind it, which this graph lacks.'
        if is_of_keras
        else ""
    )
    return [
        f"{layer.name}: its mean and variance are weights. Here they are 0 and 1 and change nothing, so the ranges are "
        f"those of the graph without statistics.{extra} The verdicts hold with real statistics too: a mode and native "
        "pass through the same layers, and what is compared are ratios."
        for layer in graph.layers
        if layer.is_in_weights and set(layer.numbers["mean"]) == {0.0} and set(layer.numbers["variance"]) == {1.0}
    ]
