"""`benchmark inspect`: what a network and its preprocessing do to a pixel."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from benchmark.cli.options import FedModeOption, InspectedArgument, JsonOption, RegistryOption
from benchmark.errors import UnknownNameError

if TYPE_CHECKING:
    from benchmark.registry import Backbone
    from benchmark.xray.affine import AffineMap
    from benchmark.xray.inspecting import XRay
    from benchmark.xray.stem import BuiltInLayer
    from benchmark.xray.verdicts import Judgement

# Digits that float32 arithmetic keeps.
DIGITS = 7


def inspect(
    target: InspectedArgument,
    mode: FedModeOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a network does to a pixel, and for every preprocessing mode whether it is right.

    Nothing is looked up: preprocess_input and the network, built small and without weights, are fed pixels. Each mode
    is judged by what it brings to the first convolution, compared with what native brings there:

    - right: the mode the network was trained with

    - same as native: every pixel arrives as in native

    - double-scaled: one scaling too many: the range that arrives is more than 16 times narrower than in native

    - not scaled: one scaling too few: the range that arrives is more than 16 times wider than in native

    - channels swapped: red arrives where native has blue, and blue where it has red

    - shifted: scaled about as in native, but the range that arrives has another middle or width

    Of several findings the first in this order is the verdict. What native is, the registry knows of a backbone; of a
    model of your own its built-in layers tell it, or else --mode does.
    """
    from benchmark import console
    from benchmark.backbones.saved import check_model_file
    from benchmark.isolation import call_silently_in_child
    from benchmark.preprocessing import MODES
    from benchmark.registry import get_backbone, load_registry

    if mode is not None and mode not in MODES:
        raise UnknownNameError("mode", mode, MODES)
    backbones = load_registry(registry or ())
    with console.waiting(f"building {target}"):
        if target not in backbones and _is_path(target):
            check_model_file(Path(target))
            xray = call_silently_in_child(look_at_model, Path(target), mode)
        else:
            xray = call_silently_in_child(look_at_backbone, get_backbone(backbones, target))
    if as_json:
        typer.echo(json.dumps(xray_record(xray, mode), indent=2, ensure_ascii=False))
    else:
        _show(xray, mode)


def _is_path(target: str) -> bool:
    """Whether what is no registered name is meant as a file."""
    return os.sep in target or Path(target).suffix in (".keras", ".h5", ".hdf5") or Path(target).is_file()


def look_at_backbone(backbone: "Backbone") -> "XRay":
    """The x-ray of a backbone, for a process of its own."""
    from benchmark.xray.inspecting import inspect_backbone

    _hide_gpus()
    return inspect_backbone(backbone)


def look_at_model(path: Path, mode: str | None) -> "XRay":
    """The x-ray of a saved model, for a process of its own."""
    from benchmark.xray.inspecting import inspect_file

    _hide_gpus()
    return inspect_file(path, mode)


def _hide_gpus() -> None:
    # TensorFlow would take the memory that a run beside it needs.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def xray_record(xray: "XRay", fed: str | None) -> dict[str, Any]:
    """An x-ray as JSON has it; each output of a map is `R red + G green + B blue + offset` of a pixel in 0..255.

    Args:
        xray: The x-ray.
        fed: The mode that the user feeds.
    """
    from benchmark.xray.verdicts import VERDICTS

    return {
        "name": xray.name,
        "source": xray.source,
        "input_px": list(xray.graph.input_px),
        "native": xray.native,
        "native_source": xray.native_source,
        "preprocess_input": (
            None if xray.preprocess_map is None else {"name": xray.preprocess, **_map_record(xray.preprocess_map)}
        ),
        "built_in_layers": [
            {"name": layer.name, "kind": layer.kind, **layer.numbers, "is_in_weights": layer.is_in_weights}
            for layer in xray.graph.layers
        ],
        "built_in": _map_record(xray.graph.built_in),
        "first_layer": xray.graph.first_layer,
        "first_kind": xray.graph.first_kind,
        "fed": fed,
        "modes": [
            {
                "mode": judgement.mode,
                "verdict": judgement.verdict,
                "findings": list(judgement.findings),
                **_map_record(judgement.arrives),
            }
            for judgement in xray.modes
        ],
        "notes": list(xray.notes),
        "verdicts": VERDICTS,
    }


def _map_record(found: "AffineMap") -> dict[str, Any]:
    return {
        "channel_order": found.channel_order,
        "low": _rounded(found.low.min()),
        "high": _rounded(found.high.max()),
        "outputs": [
            {**dict(zip("RGB", map(_rounded, row), strict=True)), "offset": _rounded(offset)}
            for row, offset in zip(found.matrix, found.offset, strict=True)
        ],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _show(xray: "XRay", fed: str | None) -> None:
    from benchmark import console
    from benchmark.preprocessing import MODES
    from benchmark.xray.verdicts import VERDICTS

    height, width = xray.graph.input_px
    typer.echo(f"{xray.name}: {xray.source}, at {height} x {width} px")
    typer.echo(f"Right: {MODES[xray.native]} (mode {xray.native}), says {xray.native_source}.")
    if xray.preprocess_map is not None:
        typer.echo(f"\nProbed: {xray.preprocess} gives {xray.preprocess_map.channel_order}, of a pixel in 0..255")
        rows = [[str(number), text] for number, text in enumerate(formulas(xray.preprocess_map))]
        console.show_table(("Channel", "Is"), rows)
    typer.echo(
        f"\nBuilt in before the first convolution:{'' if xray.graph.layers else ' no Rescaling, no Normalization'}"
    )
    if xray.graph.layers:
        console.show_table(("Layer", "Kind", "Numbers"), map(_layer_cells, xray.graph.layers))
    typer.echo(f"\nWhat reaches the first convolution, {xray.graph.first_layer} ({xray.graph.first_kind}), of 0..255")
    console.show_table(
        ("Mode", "Verdict", "Besides", "Channels", "Lowest", "Highest"),
        [_mode_cells(judgement, fed) for judgement in xray.modes],
    )
    used = {judgement.verdict for judgement in xray.modes} | {one for mode in xray.modes for one in mode.findings}
    for verdict, meaning in VERDICTS.items():
        if verdict in used:
            typer.echo(f"{verdict}: {meaning}.")
    for note in xray.notes:
        typer.echo(f"\n{note}")
    for judgement in xray.modes:
        if judgement.mode == fed:
            typer.echo(f"\nYou feed {fed}: {', '.join(judgement.findings) or judgement.verdict}.")


def formulas(found: "AffineMap") -> list[str]:
    """Each output of a map as people write it: `B - 103.939`."""
    return [_formula(row.tolist(), float(offset)) for row, offset in zip(found.matrix, found.offset, strict=True)]


def _formula(row: list[float], offset: float) -> str:
    terms = [(weight, f" {channel}") for weight, channel in zip(row, "RGB", strict=True) if weight] + [(offset, "")]
    text = ""
    for value, channel in terms:
        number = f"{abs(value):.6g}"
        if number == "0":
            continue
        amount = channel.strip() if channel and number == "1" else number + channel
        sign = " - " if value < 0 else " + "
        text += sign + amount if text else sign.strip(" +") + amount
    return text or "0"


def _layer_cells(layer: "BuiltInLayer") -> list[str]:
    numbers = "; ".join(f"{key} {', '.join(f'{value:.6g}' for value in layer.numbers[key])}" for key in layer.numbers)
    return [layer.name, layer.kind, f"{numbers} (weights)" if layer.is_in_weights else numbers]


def _mode_cells(judgement: "Judgement", fed: str | None) -> list[str]:
    return [
        f"{judgement.mode} (yours)" if judgement.mode == fed else judgement.mode,
        judgement.verdict,
        ", ".join(judgement.findings[1:]),
        judgement.arrives.channel_order,
        f"{judgement.arrives.low.min():.5g}",
        f"{judgement.arrives.high.max():.5g}",
    ]
