"""Affine maps found by probing, and the verdicts that follow from them, against plain NumPy on random pixels."""

import numpy as np
import pytest
from documented_modes import BUILT_IN, EXPECTED, NATIVE_OF, fed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.errors import UnknownNameError
from benchmark.preprocessing import MODES, NATIVE_MODES, STEPS, apply_steps, resolve_mode
from benchmark.xray.affine import UNCHANGED, AffineMap, NotAffineError, probe_affine
from benchmark.xray.verdicts import (
    DOUBLE_SCALED,
    NOT_SCALED,
    RIGHT,
    SAME,
    SCALING,
    SHIFTED,
    SWAPPED,
    VERDICTS,
    contradicted,
    find_differences,
    infer_native,
    judge_mode,
    map_of_steps,
)

PAIRS = [(native, mode) for native in EXPECTED for mode in MODES]

matrices = hnp.arrays(np.float64, (3, 3), elements=st.floats(-2, 2, width=32))
offsets = hnp.arrays(np.float64, 3, elements=st.floats(-300, 300, width=32))
scales = hnp.arrays(np.float64, 3, elements=st.floats(1 / 512, 512) | st.floats(-512, -1 / 512))


def observed_findings(mode: str, native: str, built_in: str = "nothing") -> tuple[str, ...]:
    """What is wrong, judged by what happens to random pixels and by nothing else."""
    scale, offset = BUILT_IN[built_in]
    pixels = np.random.default_rng(3).uniform(0, 255, (4000, 3))
    found, right = (fed(one, native, pixels) * scale + offset for one in (mode, "native"))
    if np.allclose(found, right, rtol=0, atol=1e-6 * right.std()):
        return (RIGHT,) if mode == "native" else (SAME,)
    findings = []
    spread = np.median(found.std(axis=0) / right.std(axis=0))
    if spread < 1 / 20:
        findings.append(DOUBLE_SCALED)
    if spread > 20:
        findings.append(NOT_SCALED)
    correlation = np.corrcoef(found.T, right.T)[:3, 3:]
    if correlation[0, 2] > 0.99 > correlation[0, 0]:
        findings.append(SWAPPED)
    # Sorted values do not depend on which channel is which, only on where an output lies.
    quantiles = np.abs(np.quantile(found, [0.01, 0.99], axis=0) - np.quantile(right, [0.01, 0.99], axis=0))
    if 1 / 20 < spread < 20 and (quantiles > 0.02 * right.std(axis=0)).any():
        findings.append(SHIFTED)
    return tuple(findings)


# Maps


@given(matrices, offsets)
def test_probing_recovers_the_map_that_a_function_is(matrix, offset):
    found = probe_affine(lambda colours: colours.astype(np.float64) @ matrix.T + offset, "it")

    np.testing.assert_allclose(found.matrix, matrix, atol=1e-9)
    np.testing.assert_array_equal(found.offset, offset)


@pytest.mark.parametrize(
    "function",
    [
        lambda colours: (colours / 255) ** 2.2,
        lambda colours: np.clip(colours, 0, 254),
        lambda colours: np.floor(colours / 16),
        lambda colours: np.where(colours > 128, 1.0, 0.0),
        lambda colours: colours * np.nan,
    ],
    ids=["gamma", "clip", "quantise", "threshold", "nan"],
)
def test_a_function_that_is_not_an_affine_map_is_refused_by_name(function):
    with pytest.raises(NotAffineError, match="My function does more than scale, mix and shift"):
        probe_affine(function, "My function")


def test_a_function_that_looks_at_the_whole_image_is_not_a_map_of_a_pixel():
    def standardise(images):
        return (images - images.mean()) / images.std()

    with pytest.raises(NotAffineError):
        probe_affine(standardise, "standardise")


def test_a_function_that_writes_into_its_argument_does_not_disturb_the_next_probe():
    def in_place(images):
        images /= 127.5
        images -= 1
        return images

    first, second = probe_affine(in_place, "tf"), probe_affine(in_place, "tf")

    np.testing.assert_allclose(first.matrix, np.eye(3) / 127.5, rtol=1e-6)
    np.testing.assert_allclose(second.offset, -np.ones(3), rtol=1e-6)


@given(matrices, offsets, matrices, offsets, hnp.arrays(np.float64, 3, elements=st.floats(0, 255)))
def test_one_map_after_another_is_both_of_them(outer, outer_offset, inner, inner_offset, pixel):
    first = AffineMap(inner, inner_offset)

    both = AffineMap(outer, outer_offset).after(first)

    step_by_step = outer @ (inner @ pixel + inner_offset) + outer_offset
    np.testing.assert_allclose(both.matrix @ pixel + both.offset, step_by_step, atol=1e-6)


@given(matrices, offsets)
def test_the_range_is_that_of_the_corners_of_the_colour_cube(matrix, offset):
    corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, -1)
    values = matrix @ corners + offset[:, None]

    found = AffineMap(matrix, offset)

    np.testing.assert_allclose(found.low, values.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.high, values.max(axis=1), atol=1e-6)


@given(matrices, offsets, matrices, offsets)
def test_the_distance_of_two_maps_is_the_greatest_at_a_corner_of_the_cube(matrix, offset, other, other_offset):
    corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, -1)
    difference = (matrix - other) @ corners + (offset - other_offset)[:, None]

    found = AffineMap(matrix, offset).distance(AffineMap(other, other_offset))

    np.testing.assert_allclose(found, np.abs(difference).max(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "order"),
    [
        (np.eye(3), "RGB"),
        (-np.eye(3)[::-1], "BGR"),
        (np.eye(3)[[1, 0, 2]], "mixed"),
        (np.full((3, 3), 1 / 3), "mixed"),
        (np.diag([1, 1, 0]), "mixed"),
        (np.full((1, 3), 1 / 3), "mixed"),
    ],
    ids=["RGB", "BGR", "GRB", "grey", "no blue", "one output"],
)
def test_the_channel_order_is_named(matrix, order):
    assert AffineMap(matrix, np.zeros(len(matrix))).channel_order == order


@pytest.mark.parametrize("step", STEPS)
def test_the_map_of_a_step_is_what_the_step_does_to_pixels(step, rng):
    pixels = rng.uniform(0, 255, (50, 3)).astype(np.float32)

    found = map_of_steps((step,))

    np.testing.assert_allclose(
        pixels @ found.matrix.T + found.offset, apply_steps((step,), pixels), rtol=1e-5, atol=1e-4
    )


# Verdicts


def test_the_table_has_every_mode_of_every_native_mode():
    assert set(EXPECTED) == set(NATIVE_MODES)
    assert all(list(modes) == list(MODES) for modes in EXPECTED.values())
    assert len(NATIVE_OF) == 40


@pytest.mark.parametrize(("native", "mode"), PAIRS)
def test_the_verdict_is_that_of_the_table_and_of_what_happens_to_pixels(native, mode):
    expected = EXPECTED[native][mode]

    judgement = judge_mode(mode, native)

    assert judgement.verdict == expected[0]
    assert judgement.findings == (() if expected[0] in (RIGHT, SAME) else expected)
    assert observed_findings(mode, native) == expected


@pytest.mark.parametrize("built_in", BUILT_IN)
@pytest.mark.parametrize("mode", MODES)
def test_the_table_holds_behind_the_layers_that_keras_builds_into_networks(mode, built_in):
    scale, offset = BUILT_IN[built_in]

    judgement = judge_mode(mode, "raw", AffineMap(np.diag(scale), offset))

    assert judgement.verdict == EXPECTED["raw"][mode][0]
    assert observed_findings(mode, "raw", built_in) == EXPECTED["raw"][mode]


@given(st.sampled_from(PAIRS), scales, offsets)
def test_statistics_of_built_in_layers_change_no_finding(pair, scale, offset):
    """Those of EfficientNet are weights, and the verdicts are given without them."""
    native, mode = pair

    behind = judge_mode(mode, native, AffineMap(np.diag(scale), offset))

    assert behind.findings == judge_mode(mode, native).findings


def test_what_arrives_is_the_mode_and_then_the_built_in_layers():
    """Pure red, x/255 and then Rescaling(1/127.5, -1)."""
    arrives = judge_mode("unit", "raw", AffineMap(np.eye(3) / 127.5, -np.ones(3))).arrives

    np.testing.assert_allclose(arrives.matrix @ [255, 0, 0] + arrives.offset, [1 / 127.5 - 1, -1, -1], rtol=1e-6)


def test_a_network_that_sees_grey_does_not_care_which_channel_is_which():
    grey = AffineMap(np.full((1, 3), 1 / 3 / 255), np.zeros(1))

    verdicts = {mode: judge_mode(mode, "raw", grey).verdict for mode in ("native", "bgr", "unit")}

    assert verdicts == {"native": RIGHT, "bgr": SAME, "unit": DOUBLE_SCALED}


def test_outputs_that_do_not_depend_on_the_pixel_are_ignored():
    """Such as the coordinates that some networks append."""
    with_coordinate = AffineMap(np.vstack([np.eye(3), np.zeros((1, 3))]) / 255, np.array([0, 0, 0, 0.5]))

    verdicts = [judge_mode(mode, "raw", with_coordinate).verdict for mode in ("raw", "unit", "bgr")]

    assert verdicts == [SAME, DOUBLE_SCALED, SWAPPED]


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0.99 / SCALING, (DOUBLE_SCALED,)), (1.01 / SCALING, (SHIFTED,)), (0.99 * SCALING, (SHIFTED,)),
     (1.01 * SCALING, (NOT_SCALED,))],
)  # fmt: skip
def test_sixteen_times_is_where_a_scaling_begins(factor, expected):
    assert find_differences(AffineMap(np.eye(3) * factor, np.zeros(3)), UNCHANGED) == expected


def test_scalings_of_known_modes_lie_far_from_the_border():
    """As `SCALING` says: what differs in statistics only is below 4.5, what differs by a scaling above 57."""
    widths = {mode: map_of_steps((mode,)).width[0] for mode in ("raw", "unit", "tf", "caffe", "torch")}
    ratios = {max(one / other, other / one) for one in widths.values() for other in widths.values()}

    assert max(ratio for ratio in ratios if ratio < SCALING) < 4.5
    assert min(ratio for ratio in ratios if ratio > SCALING) > 57


@given(st.sampled_from(PAIRS))
def test_findings_stand_in_the_order_of_precedence(pair):
    findings = judge_mode(pair[1], pair[0]).findings

    assert list(findings) == [verdict for verdict in VERDICTS if verdict in findings]


@given(st.sampled_from(PAIRS))
def test_modes_of_equal_steps_are_the_same_and_others_are_wrong(pair):
    """What a run warns of follows from the steps alone."""
    native, mode = pair

    is_right = resolve_mode(mode, native) == resolve_mode("native", native)

    assert is_right == (not judge_mode(mode, native).findings)


def test_an_unknown_mode_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'unit'"):
        judge_mode("unti", "tf")


# What a network was made for


@pytest.mark.parametrize(
    ("scale", "offset", "native"),
    [
        (1 / 255, 0, "raw"),
        (1 / 127.5, -1, "raw"),
        (1 / 128, -1, "raw"),
        (1, -114.8, "raw"),
        (1 / 58, -2.0, "raw"),
        (2, -1, "unit"),
        (4.4, -2.1, "unit"),
        (255, 0, "unit"),
        (2.2, 0.1, "tf"),
        (1, 0, None),
        (0.9995, 0, None),
    ],
    ids=[
        "Rescaling(1/255)", "Rescaling(1/127.5, -1)", "Rescaling(1/128, -1)", "mean subtracted",
        "statistics of 0..255", "Rescaling(2, -1)", "statistics of [0, 1]", "Rescaling(255)",
        "statistics of [-1, 1]", "nothing", "untrained BatchNormalization",
    ],
)  # fmt: skip
def test_built_in_layers_show_what_a_network_was_made_for(scale, offset, native):
    assert infer_native(AffineMap(np.eye(3) * scale, np.full(3, float(offset)))) == native


@pytest.mark.parametrize(
    ("scale", "offset", "native", "by_statistics", "by_rescaling"),
    [
        (1 / 127.5, -1, "tf", "raw", "raw"),
        (1 / 127.5, -1, "raw", "", ""),
        (1 / 255, 0, "unit", "", "raw"),
        (1 / 64, 0, "caffe", "", "raw"),
        (1.8, 0, "tf", "", "unit"),
        (255, 0, "caffe", "unit", "unit"),
        (1, 0, "caffe", "", ""),
    ],
)
def test_a_mode_that_cannot_be_right_behind_the_layers_is_contradicted(
    scale, offset, native, by_statistics, by_rescaling
):
    built_in = AffineMap(np.eye(3) * scale, np.full(3, float(offset)))

    assert contradicted(native, built_in, rescales=False) == by_statistics
    assert contradicted(native, built_in, rescales=True) == by_rescaling


def test_where_native_is_contradicted_the_shown_mode_is_the_right_one():
    built_in = AffineMap(np.eye(3) / 127.5, np.full(3, -1.0))

    verdicts = {mode: judge_mode(mode, "tf", built_in, "raw").verdict for mode in ("native", "tf", "raw", "unit")}

    assert verdicts == {"native": DOUBLE_SCALED, "tf": DOUBLE_SCALED, "raw": RIGHT, "unit": DOUBLE_SCALED}


def test_a_swap_of_channels_alone_shows_nothing():
    assert infer_native(AffineMap(np.eye(3)[::-1], np.zeros(3))) is None
