"""One picture as a network sees it in each preprocessing mode, from its x-ray."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.charts.chart import Chart, make_chart
from benchmark.charts.style import GRID, MINUS, RIGHT, WRONG, current_theme, new_figure, settle, theme
from benchmark.escaping import printable
from benchmark.xray.affine import PIXEL_MAX

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmark.xray.affine import AffineMap
    from benchmark.xray.verdicts import Judgement
    from benchmark.xray.xray import XRay

Pixels = NDArray[np.uint8]

HEIGHT_PX, WIDTH_PX = 240, 360
SKY, SUN, HILL = (70, 150, 240), (255, 215, 50), (70, 150, 60)
ROOF, WALL, DOOR = (205, 45, 35), (240, 230, 215), (110, 70, 40)
# Height of the strip of ranges in inches; share of it that the bar takes; margin beside the ranges, as a share of them.
STRIP_IN, BAR, ROOM = 0.12, 0.45, 0.04


def draw_modes(xray: "XRay", *, theme_name: str = "screen") -> Chart:
    """A picture as the network sees it in each mode, each above the range of the values that arrive.

    Each tile shows the pixels that would bring the same values to the network in the right mode. Values outside 0..255
    are cut. So right modes show the picture itself. In each strip the grey band is the range in the right mode and the
    bar the range in this one; each strip has its own scale.

    Args:
        xray: Of the network.
        theme_name: One of `style.THEMES`.

    Raises:
        UnknownNameError: The theme does not exist.
    """
    with theme(theme_name):
        chart = _draw(xray)
        settle(chart.figure)
    return chart


def _draw(xray: "XRay") -> Chart:
    look = current_theme()
    n_columns = 2 if look.is_narrow else 4
    n_rows = -(-len(xray.modes) // n_columns)
    tile_in = (look.width_in / n_columns - 0.15) * HEIGHT_PX / WIDTH_PX
    figure, axes = new_figure(
        0.3 + n_rows * (tile_in + STRIP_IN + 4.2 * look.line_in), 2 * n_rows, n_columns,
        height_ratios=[tile_in, STRIP_IN] * n_rows,
    )  # fmt: skip
    landscape = draw_landscape()
    for number, one in enumerate(xray.modes):
        row, column = divmod(number, n_columns)
        _show_picture(axes[2 * row, column], seen_pixels(landscape, one.arrives, xray.right), one)
        _show_range(axes[2 * row + 1, column], one, xray.right)
    harmless = [one.mode for one in xray.modes if not one.findings]
    alt = f"{printable(xray.name)} sees the picture as it is in {', '.join(harmless)} only."
    return make_chart(figure, printable(xray.name), "a picture as the network sees it in each mode", alt)


def draw_landscape() -> Pixels:
    """A house on a hill, whose colours everybody knows; `(240, 360, 3)` uint8 in 0..255."""
    y, x = np.indices((HEIGHT_PX, WIDTH_PX))
    from_house = abs(x - 245)
    pixels = np.array(SKY) + 0.3 * y[..., None]
    shapes = {
        SUN: (x - 70) ** 2 + (y - 56) ** 2 < 30**2,
        HILL: y > 190 - 14 * np.cos((x - 245) / 60),
        WALL: (from_house < 52) & (y > 115) & (y < 190),
        ROOF: (y > 60) & (y <= 115) & (from_house < 1.3 * (y - 60)),
        DOOR: (from_house < 12) & (y > 145) & (y < 190),
    }
    for colour, inside in shapes.items():
        pixels[inside] = colour
    return _to_pixels(pixels)


def seen_pixels(pixels: Pixels, mode: "AffineMap", right: "AffineMap") -> Pixels:
    """The pixels that would give, in the right mode, what these pixels give in another one.

    Args:
        pixels: `(height, width, 3)` RGB.
        mode: What arrives of a pixel in the other mode.
        right: The same in the right one; colours that it loses stay as they are in `pixels`.

    Returns:
        Of the same shape; what lies outside 0..255 is cut.
    """
    plain = pixels.astype(np.float64)
    difference = plain @ (mode.matrix - right.matrix).T + (mode.offset - right.offset)
    seen = plain + difference @ np.linalg.pinv(right.matrix).T
    return _to_pixels(seen)


def _to_pixels(values: NDArray[np.float64]) -> Pixels:
    return values.round().clip(0, PIXEL_MAX).astype(np.uint8)


def _show_picture(axes: "Axes", pixels: Pixels, judged: "Judgement") -> None:
    axes.imshow(pixels)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    title = f"{judged.mode}\n{judged.verdict}"
    axes.set_title(title, color=_colour(judged), fontsize=current_theme().small_pt, pad=3)


def _show_range(axes: "Axes", judged: "Judgement", right: "AffineMap") -> None:
    low, high = judged.arrives.low.min(), judged.arrives.high.max()
    least, greatest = min(low, right.low.min()), max(high, right.high.max())
    room = ROOM * (greatest - least)
    # With edges, because a range of a few grey levels would be too narrow to see.
    axes.axvspan(right.low.min(), right.high.max(), color=GRID, linewidth=1)
    axes.barh(0, high - low, BAR, low, color=_colour(judged), edgecolor=_colour(judged), linewidth=1)
    axes.set(xticks=[], yticks=[], xlim=(least - room, greatest + room), ylim=(-0.5, 0.5))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(f"{low:.3g} to {high:.3g}".replace("-", MINUS), fontsize=current_theme().small_pt, labelpad=2)


def _colour(judged: "Judgement") -> str:
    return WRONG if judged.findings else RIGHT
