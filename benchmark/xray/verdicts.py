"""Whether a preprocessing mode is right for a network, judged from two affine maps; nothing here imports TensorFlow.

The pixels that reach the first convolution in a mode are compared with those in `native`, both after the same built-in
layers. Scales are compared as a ratio, channels by their order, and ranges as shares of the native one. So built-in
layers that treat each channel by itself cancel out, and the verdicts hold for all numbers in these layers, also for the
statistics of EfficientNet, which are weights.
"""

import functools
from dataclasses import dataclass

import numpy as np

from benchmark.preprocessing import NATIVE, Step, apply_steps, resolve_mode
from benchmark.xray.affine import UNCHANGED, AffineMap, probe_affine

RIGHT = "right"
SAME = "same as native"
DOUBLE_SCALED = "double-scaled"
NOT_SCALED = "not scaled"
SWAPPED = "channels swapped"
SHIFTED = "shifted"

# Modes of one scaling differ at most 4.5-fold (`unit` and `torch`); a scaling divides by at least 57 (`torch`).
# 16 is half way on a logarithmic scale.
SCALING = 16.0

# In order of precedence: of several findings the first is the verdict.
VERDICTS = {
    RIGHT: "the mode the network was trained with",
    SAME: "every pixel arrives as in native",
    DOUBLE_SCALED: "one scaling too many: the range that arrives is more than 16 times narrower than in native",
    NOT_SCALED: "one scaling too few: the range that arrives is more than 16 times wider than in native",
    SWAPPED: "red arrives where native has blue, and blue where it has red",
    SHIFTED: "scaled about as in native, but the range that arrives has another middle or width",
}

# How wide pixels that were scaled can be, and others.
WIDEST = (SCALING, 2 * 256.0)

# Shares of the native range. Differences up to the first are rounding.
SAME_WITHIN = 1e-4
UNCHANGED_WITHIN = 1e-2


@dataclass(frozen=True)
class Judgement:
    """The verdict on a mode of a network.

    Attributes:
        mode: The mode.
        findings: All faults of the mode, in the order of `VERDICTS`; empty for a right one.
        arrives: The map of a pixel up to the first convolution.
        is_native_right: Whether `native` is what the network was trained with.
    """

    mode: str
    findings: tuple[str, ...]
    arrives: AffineMap
    is_native_right: bool = True

    @property
    def verdict(self) -> str:
        """A key of `VERDICTS`."""
        return self.findings[0] if self.findings else SAME if self.mode != NATIVE and self.is_native_right else RIGHT


@functools.cache
def map_of_steps(steps: tuple[Step, ...]) -> AffineMap:
    """The map of a pixel by the steps of a mode."""
    return probe_affine(lambda colours: apply_steps(steps, colours), " + ".join(map(str, steps)))


def arriving(built_in: AffineMap, steps: tuple[Step, ...]) -> AffineMap:
    """The map of a pixel by the steps of a mode, and then by the network before its first convolution."""
    return built_in.after(map_of_steps(steps))


def judge_mode(mode: str, native: Step, built_in: AffineMap = UNCHANGED, shown: Step = "") -> Judgement:
    """The verdict on a mode.

    Args:
        mode: A key of `preprocessing.MODES`.
        native: What the registry says is right; see `preprocessing.resolve_mode`.
        built_in: The map of a pixel by the network before its first convolution.
        shown: What is right instead, as `contradicted` gives it; empty if the registry may be right.

    Raises:
        UnknownNameError: There is no such mode.
    """
    arrives = arriving(built_in, resolve_mode(mode, native))
    differences = find_differences(arrives, arriving(built_in, (shown or native,)))
    return Judgement(mode, differences, arrives, is_native_right=not shown)


def find_differences(found: AffineMap, native: AffineMap) -> tuple[str, ...]:
    """The faults of a mode, in the order of `VERDICTS`; empty where the maps are equal.

    Args:
        found: Map of the mode up to the first convolution.
        native: The same of the right mode; at least one of its outputs depends on the pixel.
    """
    # Outputs that do not depend on the pixel, such as appended coordinates, say nothing about a mode.
    rows = native.width > 0
    assert rows.any(), "the caller makes sure that pixels reach the first convolution"
    found, native = found.select(rows), native.select(rows)
    tolerance = SAME_WITHIN * native.width
    if (found.distance(native) <= tolerance).all():
        return ()
    ratio = np.median(found.width / native.width)
    # Swapped: the shares of red, green and blue in each output are nearer to those of native read backwards.
    shares, native_shares = (one.matrix / one.width[:, None] for one in (found, native))
    is_swapped = np.abs(shares - native_shares[:, ::-1]).sum() < np.abs(shares - native_shares).sum()
    is_moved = (np.abs([found.low - native.low, found.high - native.high]) > tolerance).any()
    findings = {
        DOUBLE_SCALED: ratio * SCALING < 1,
        NOT_SCALED: ratio > SCALING,
        SWAPPED: is_swapped,
        # With one scaling too many or too few the ranges differ anyway.
        SHIFTED: 1 / SCALING <= ratio <= SCALING and (is_moved or not is_swapped),
    }
    return tuple(finding for finding, applies in findings.items() if applies)


def infer_native(built_in: AffineMap) -> str | None:
    """The mode that suits the map of a network's built-in layers; None where they do not show it.

    It is the first of raw, unit and tf whose pixels leave the layers in a range around zero that is as narrow as that
    of scaled pixels; if there is none, as narrow as that of pixels in 0..255.
    """
    if built_in.matrix.shape == UNCHANGED.matrix.shape:
        distances = [built_in.distance(UNCHANGED.select(order)) for order in ([0, 1, 2], [2, 1, 0])]
        if np.max(distances, axis=1).min() <= UNCHANGED_WITHIN * UNCHANGED.width.max():
            return None
    suited = ((native, widest) for widest in WIDEST for native in ("raw", "unit", "tf"))
    return next((native for native, widest in suited if _suits(native, built_in, widest)), None)


def _suits(native: Step, built_in: AffineMap, widest: float) -> bool:
    """Whether pixels of this mode leave the layers in a range around zero that is at most so wide."""
    arrives = arriving(built_in, (native,))
    slack = SAME_WITHIN * arrives.width
    is_around_zero = ((arrives.low <= slack) & (arrives.high >= -slack)).all()
    return bool(is_around_zero and arrives.width.max() <= widest)


def contradicted(native: Step, built_in: AffineMap, *, rescales: bool) -> str:
    """The mode that a network's built-in layers show instead of the one in the registry; empty if that may be right.

    Statistics such as those of a BatchNormalization often suit several modes; a Rescaling is made for one.

    Args:
        native: What the registry says is right.
        built_in: The map of a pixel by the network before its first convolution.
        rescales: Whether a layer Rescaling is part of it.
    """
    shown = infer_native(built_in)
    if shown is None or not find_differences(arriving(built_in, (native,)), arriving(built_in, (shown,))):
        return ""
    narrowest = next(widest for widest in WIDEST if _suits(shown, built_in, widest))
    return "" if not rescales and _suits(native, built_in, narrowest) else shown
