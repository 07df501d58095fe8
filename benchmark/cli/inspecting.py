"""`benchmark inspect`: what a network and its preprocessing do to a pixel."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from benchmark import console
from benchmark.cli.options import FedModeOption, InspectedArgument, JsonOption, RegistryOption, ThemeOption, output
from benchmark.cli.parsing import known_backbones
from benchmark.cli.pictures import check_picture, write_picture

if TYPE_CHECKING:
    from benchmark.xray.affine import AffineMap
    from benchmark.xray.stem import BuiltInLayer
    from benchmark.xray.xray import XRay


def inspect(
    target: InspectedArgument,
    mode: FedModeOption = None,
    picture: Annotated[
        Path | None,
        output(
            help="Also draw how the network sees a picture in each mode, into this .png or .svg file.",
            show_default=False,
        ),
    ] = None,
    theme: ThemeOption = "screen",
    as_json: JsonOption = False,
    registry: RegistryOption = None,
) -> None:
    """Show what a network does to a pixel, and which preprocessing modes are right for it.

    Nothing is looked up: preprocess_input and the network, built small and without weights, are fed pixels. The pixels
    that reach the first convolution in each mode are compared with those of native:

    - right: the mode the network was trained with

    - same as native: every pixel arrives as in native

    - double-scaled: one scaling too many: the range that arrives is more than 16 times narrower than in native

    - not scaled: one scaling too few: the range that arrives is more than 16 times wider than in native

    - channels swapped: red arrives where native has blue, and blue where it has red

    - shifted: scaled about as in native, but the range that arrives has another middle or width

    Of several findings the first in this order is the verdict. The registry names the native mode of a backbone. The
    native mode of your own model is read from its built-in layers; if they do not show it, give it by --mode.
    """
    from benchmark.actions.inspecting import inspect_network, xray_record

    check_picture("--picture", picture)
    xray = inspect_network(target, known_backbones(registry), mode)
    if as_json:
        console.show_json(xray_record(xray, mode))
    else:
        _show(xray, mode)
    if picture is not None:
        from benchmark.charts.modes import draw_modes

        write_picture(picture, draw_modes(xray, theme_name=theme))


def _show(xray: "XRay", fed: str | None) -> None:
    from benchmark.preprocessing import describe_step
    from benchmark.xray.verdicts import VERDICTS

    stem, modes = xray.stem, xray.modes
    console.show(f"{xray.name}: {xray.source}, at {stem.input_px[0]} x {stem.input_px[1]} px")
    console.show_text(f"Native mode: {xray.native} ({describe_step(xray.native)}), known from {xray.native_source}.")
    if xray.preprocess_map is not None:
        console.show_text(
            f"\nProbed: {xray.preprocess} turns pixels in 0..255 into {xray.preprocess_map.channel_order}"
        )
        rows = [[str(number), text] for number, text in enumerate(formulas(xray.preprocess_map))]
        console.show_table(("Channel", "Value"), rows)
    console.show(f"\nBuilt in before the first convolution:{'' if stem.layers else ' no Rescaling, no Normalization'}")
    if stem.layers:
        console.show_table(("Layer", "Kind", "Numbers"), map(_layer_cells, stem.layers))
    console.show_text(
        f"\nWhat reaches the first convolution, {stem.first_layer} ({stem.first_kind}), of pixels in 0..255"
    )
    console.show_table(
        ("Mode", "Verdict", "Also", "Channels", "Lowest", "Highest"),
        [
            [
                f"{one.mode} (yours)" if one.mode == fed else one.mode, one.verdict, ", ".join(one.findings[1:]),
                one.arrives.channel_order, f"{one.arrives.low.min():.5g}", f"{one.arrives.high.max():.5g}",
            ]
            for one in modes
        ],
    )  # fmt: skip
    used = {verdict for one in modes for verdict in (one.verdict, *one.findings)}
    for verdict, meaning in VERDICTS.items():
        if verdict in used:
            console.show_text(f"{verdict}: {meaning}.")
    for note in xray.notes:
        console.show_text(f"\n{note}")
    for one in modes:
        if one.mode == fed:
            console.show_text(f"\nYou feed {fed}: {', '.join(one.findings) or one.verdict}.")


def formulas(found: "AffineMap") -> list[str]:
    """Each output of a map as people write it: `B - 103.939`."""
    return [_formula(*row, offset) for row, offset in zip(found.matrix, found.offset, strict=True)]


def _formula(*values: float) -> str:
    terms = []
    for value, channel in zip(values, ("R", "G", "B", ""), strict=True):
        number = f"{abs(value):.6g}"
        if number != "0":
            amount = channel if channel and number == "1" else f"{number} {channel}".strip()
            terms.append(f"{'-' if value < 0 else '+'} {amount}")
    # A leading plus is not written, and a leading minus stands close to its number.
    return re.sub(r"^(?:\+|(-)) ", r"\1", " ".join(terms)) or "0"


def _layer_cells(layer: "BuiltInLayer") -> list[str]:
    numbers = "; ".join(f"{key} {', '.join(f'{value:.6g}' for value in layer.numbers[key])}" for key in layer.numbers)
    return [layer.name, layer.kind, f"{numbers} (weights)" if layer.is_in_weights else numbers]
