"""What a network and its preprocessing do to a pixel, found out in a child process."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from benchmark import console
from benchmark.errors import check_known
from benchmark.escaping import printable
from benchmark.isolation import call_silently_in_child

if TYPE_CHECKING:
    from benchmark.registry import Registry
    from benchmark.xray.affine import AffineMap
    from benchmark.xray.xray import XRay

# The significant digits of float32.
DIGITS = 7


def inspect_network(target: str, registry: "Registry", mode: str | None = None) -> "XRay":
    """The x-ray of a registered backbone, or of a saved model.

    Args:
        target: The name of a backbone, or a file.
        registry: The backbones.
        mode: The mode that a saved model was trained with, if its layers do not show it.

    Raises:
        BenchmarkError: There is no such backbone or file, or it cannot be built.
    """
    from benchmark.preprocessing import MODES
    from benchmark.registry import get_backbone
    from benchmark.xray.xray import xray_backbone, xray_file

    if mode is not None:
        check_known("mode", mode, MODES)
    is_path = os.sep in target or Path(target).suffix in (".keras", ".h5", ".hdf5") or Path(target).is_file()
    with console.stderr.status(Text(printable(f"building {target}"))):
        if target not in registry and is_path:
            return call_silently_in_child(xray_file, Path(target), mode)
        return call_silently_in_child(xray_backbone, get_backbone(registry, target))


def xray_record(xray: "XRay", fed: str | None) -> dict[str, Any]:
    """An x-ray as JSON has it, with `fed`, the mode that the user feeds.

    Each output of a map is `R red + G green + B blue + offset` of a pixel in 0..255.
    """
    from benchmark.xray.verdicts import VERDICTS

    preprocess = xray.preprocess_map and {"name": xray.preprocess, **_map_record(xray.preprocess_map)}
    return {
        "name": xray.name,
        "source": xray.source,
        "input_px": list(xray.stem.input_px),
        "native": str(xray.native),
        "native_source": xray.native_source,
        "preprocess_input": preprocess,
        "built_in_layers": [
            {"name": layer.name, "kind": layer.kind, **layer.numbers, "is_in_weights": layer.is_in_weights}
            for layer in xray.stem.layers
        ],
        "built_in": _map_record(xray.stem.built_in),
        "first_layer": xray.stem.first_layer,
        "first_kind": xray.stem.first_kind,
        "fed": fed,
        "modes": [
            {"mode": one.mode, "verdict": one.verdict, "findings": list(one.findings), **_map_record(one.arrives)}
            for one in xray.modes
        ],
        "notes": list(xray.notes),
        "verdicts": VERDICTS,
    }


def _map_record(found: "AffineMap") -> dict[str, Any]:
    def rounded(value: float) -> float:
        return float(f"{value:.{DIGITS}g}")

    return {
        "channel_order": found.channel_order,
        "low": rounded(found.low.min()),
        "high": rounded(found.high.max()),
        "outputs": [
            dict(zip(("R", "G", "B", "offset"), map(rounded, (*row, offset)), strict=True))
            for row, offset in zip(found.matrix, found.offset, strict=True)
        ],
    }
