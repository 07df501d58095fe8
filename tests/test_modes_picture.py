"""The picture of what a network sees in each mode."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.charts.modes import draw_landscape, draw_modes, seen_pixels
from benchmark.charts.style import THEMES
from benchmark.cli.inspecting import inspect
from benchmark.errors import BenchmarkError
from benchmark.preprocessing import MODES, NATIVE_MODES
from benchmark.xray.affine import UNCHANGED, AffineMap
from benchmark.xray.stem import Stem
from benchmark.xray.verdicts import judge_mode, map_of_steps
from benchmark.xray.xray import XRay

# float32 pixels, of which means and quotients were taken.
ROUNDING = 1
COLOUR_CUBE = np.indices((2, 2, 2)).reshape(3, 1, 8).T.astype(np.uint8) * 255


def an_xray(native: str, built_in: AffineMap = UNCHANGED, **facts: Any) -> XRay:
    return XRay("Net", "built", Stem((8, 8), (), built_in, "conv", "Conv2D"), native, "the registry", **facts)


def seen(mode: str, native: str, pixels: np.ndarray) -> np.ndarray:
    return seen_pixels(pixels, map_of_steps((mode,)), map_of_steps((native,)))


@pytest.mark.parametrize("native", NATIVE_MODES)
def test_a_network_sees_the_picture_itself_in_its_own_mode(native: str):
    landscape = draw_landscape()

    assert (seen(native, native, landscape) == landscape).all()


def test_swapped_channels_are_seen_as_swapped_colours():
    landscape = draw_landscape()

    assert (seen("caffe", "caffe", landscape[..., ::-1]) == seen_pixels(
        landscape, judge_mode("bgr", "caffe").arrives, map_of_steps(("caffe",))
    )).all()  # fmt: skip


@pytest.mark.parametrize(("mode", "native"), [*itertools.permutations(NATIVE_MODES, 2)])
def test_what_is_seen_arrives_in_the_right_mode_as_the_pixels_arrive_in_the_wrong_one(mode: str, native: str):
    """Where such pixels exist; elsewhere the nearest ends of 0..255 are shown."""
    found = seen(mode, native, COLOUR_CUBE).reshape(-1, 3)
    arrives, right = map_of_steps((mode,)), map_of_steps((native,))
    wanted = COLOUR_CUBE.reshape(-1, 3) @ arrives.matrix.T + arrives.offset
    solved = np.linalg.solve(right.matrix, (wanted - right.offset).T).T

    assert found == pytest.approx(solved.clip(0, 255), abs=ROUNDING)


@given(st.lists(st.floats(0.1, 2.0), min_size=3, max_size=3))
def test_a_network_that_sees_grey_only_keeps_the_colours_of_the_picture(shares: list[float]):
    grey = AffineMap(np.array([shares]) / sum(shares) / 255, np.zeros(1))

    assert (seen_pixels(COLOUR_CUBE, grey, grey) == COLOUR_CUBE).all()


def test_a_registry_that_is_wrong_about_native_is_shown_by_what_the_network_sees():
    xray = an_xray("unit", AffineMap(np.eye(3) / 255, np.zeros(3)), shown="raw")

    chart = draw_modes(xray)

    assert chart.alt == "Net sees the picture as it is in raw only."


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("native", NATIVE_MODES)
def test_no_text_overlaps_another_or_leaves_the_figure(name: str, native: str):
    chart = draw_modes(an_xray(native), theme_name=name)
    renderer = chart.figure.canvas.get_renderer()
    texts = [text for axes in chart.figure.axes for text in (axes.title, axes.xaxis.label) if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in (*texts, chart.figure._suptitle)]

    assert len(texts) == 2 * len(MODES)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(chart.figure.bbox.x0 <= box.x0 and box.x1 <= chart.figure.bbox.x1 for box in boxes)


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmark.actions.inspecting.inspect_network", lambda *_: an_xray("caffe"))


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_draws_beside_its_text(tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool):
    path = tmp_path / "new" / "modes.png"

    inspect("VGG16", picture=path, as_json=as_json)

    with Image.open(path) as image:
        assert image.width == int(THEMES["screen"].width_in * THEMES["screen"].dpi)
    out, err = capsys.readouterr()
    assert "double-scaled" in out
    assert f"Drawn: {path}" in " ".join(err.split())


def test_a_file_that_cannot_be_drawn_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmark.actions.inspecting.inspect_network", lambda *_: pytest.fail("it was built"))

    with pytest.raises(BenchmarkError, match=r"--picture draws \.png and \.svg files, got modes\.gif"):
        inspect("VGG16", picture=Path("modes.gif"))
