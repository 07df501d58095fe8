"""Whether a preprocessing mode is right for a network, told from two affine maps; nothing here imports TensorFlow.

A mode is judged by what it brings to the first convolution, compared with what `native` brings there: both go
through the same built-in layers. Scales are compared as a ratio, channels by which one arrives where, and ranges as
shares of the native one. So built-in layers that treat each channel by itself cancel, and the verdicts hold whatever
their numbers are: also for the statistics of EfficientNet, which are weights.
"""

import functools
from dataclasses import dataclass

import numpy as np

from benchmark.preprocessing import apply_steps, resolve_mode
from benchmark.xray.affine import IDENTITY, AffineMap, probe_affine

RIGHT = "right"
SAME = "same as native"
DOUBLE_SCALED = "double-scaled"
NOT_SCALED = "not scaled"
SWAPPED = "channels swapped"
SHIFTED = "shifted"

# Modes of one scaling differ at most 4.5-fold (`unit` and `torch`), a scaling divides by at least 57 (`torch`):
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

# Shares of the native range. A difference that no more than rounding explains is none.
SAME_WITHIN = 1e-4
UNCHANGED_WITHIN = 1e-2


@dataclass(frozen=True)
class Judgement:
    """What a mode does to a network.

    Attributes:
        mode: The mode.
        verdict: A key of `VERDICTS`.
        findings: All that is wrong with the mode, in the order of `VERDICTS`; empty where nothing is.
        arrives: What reaches the first convolution of a pixel.
    """

    mode: str
    verdict: str
    findings: tuple[str, ...]
    arrives: AffineMap


@functools.cache
def map_of_steps(steps: tuple[str, ...]) -> AffineMap:
    """What the steps of a mode do to a pixel."""
    return probe_affine(lambda colours: apply_steps(steps, colours), " + ".join(steps))


def judge_mode(mode: str, native: str, built_in: AffineMap = IDENTITY) -> Judgement:
    """The verdict about a mode.

    Args:
        mode: A key of `preprocessing.MODES`.
        native: What the right mode does, as the registry has it: raw, unit, tf, caffe or torch.
        built_in: What the network itself does to a pixel before its first convolution.

    Raises:
        UnknownNameError: There is no such mode.
    """
    arrives = built_in.after(map_of_steps(resolve_mode(mode, native)))
    findings = find_differences(arrives, built_in.after(map_of_steps(resolve_mode("native", native))))
    if findings:
        return Judgement(mode, findings[0], findings, arrives)
    return Judgement(mode, RIGHT if mode == "native" else SAME, (), arrives)


def find_differences(found: AffineMap, native: AffineMap) -> tuple[str, ...]:
    """What is wrong with what arrives, in the order of `VERDICTS`; empty where the maps are equal.

    Args:
        found: Map of the mode up to the first convolution.
        native: Map of the right mode up to there; at least one of its outputs depends on the pixel.
    """
    # Outputs that do not depend on the pixel, such as appended coordinates, tell nothing.
    rows = native.width > 0
    assert rows.any(), "the caller makes sure that pixels reach the first convolution"
    found = AffineMap(found.matrix[rows], found.offset[rows])
    native = AffineMap(native.matrix[rows], native.offset[rows])
    if (found.distance(native) <= SAME_WITHIN * native.width).all():
        return ()
    findings = []
    ratio = float(np.median(found.width / native.width))
    if ratio * SCALING < 1:
        findings.append(DOUBLE_SCALED)
    elif ratio > SCALING:
        findings.append(NOT_SCALED)
    if _is_swapped(found, native):
        findings.append(SWAPPED)
    # With a scaling too many or too few the ranges differ anyway.
    if not {DOUBLE_SCALED, NOT_SCALED} & set(findings) and (not findings or _is_moved(found, native)):
        findings.append(SHIFTED)
    return tuple(findings)


def _is_swapped(found: AffineMap, native: AffineMap) -> bool:
    """Whether the shares of red, green and blue in each output are nearer to those of native read backwards."""
    shares = found.matrix / found.width[:, None]
    native_shares = native.matrix / native.width[:, None]
    return bool(np.abs(shares - native_shares[:, ::-1]).sum() < np.abs(shares - native_shares).sum())


def _is_moved(found: AffineMap, native: AffineMap) -> bool:
    ends = np.maximum(np.abs(found.low - native.low), np.abs(found.high - native.high))
    return bool((ends > SAME_WITHIN * native.width).any())


def infer_native(built_in: AffineMap) -> str | None:
    """The mode that a network's built-in layers were made for, in the registry's words; None where they do not tell.

    Pixels are wanted as 0..255, [0, 1] or [-1, 1]: as the first of these that the layers bring into a range around
    zero that is no wider than a scaled one, or else no wider than that of whole pixels.

    Args:
        built_in: What the network does to a pixel before its first convolution.
    """
    if built_in.matrix.shape == IDENTITY.matrix.shape:
        order = slice(None, None, -1) if built_in.channel_order == "BGR" else slice(None)
        unchanged = AffineMap(built_in.matrix[order], built_in.offset[order])
        if (unchanged.distance(IDENTITY) <= UNCHANGED_WITHIN * IDENTITY.width).all():
            return None
    for widest in (SCALING, 2 * 256.0):
        for native in ("raw", "unit", "tf"):
            arrives = built_in.after(map_of_steps((native,)))
            slack = SAME_WITHIN * arrives.width
            is_around_zero = ((arrives.low <= slack) & (arrives.high >= -slack)).all()
            if is_around_zero and arrives.width.max() <= widest:
                return native
    return None
