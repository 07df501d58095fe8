"""Pictures of a leaderboard."""

import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from benchmark.analysis import plots
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.plots import PLOTS, pareto_front, save_plots
from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.ledger import DONE, RUN_COLUMNS

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

ROW = {
    "status": DONE, "dataset": "digits", "strategy": "probe", "network": "", "input_size_px": 64, "resize": "bilinear",
    "crop": "squash", "augment": "", "precision": "float32", "seed": 0, "n_test": 100, "wall_s": 10.0,
    "peak_rss_mib": 500.0,
}  # fmt: skip


def a_board(*rows: dict[str, Any]) -> pd.DataFrame:
    return make_leaderboard(pd.DataFrame([{**ROW, **row} for row in rows]).reindex(columns=RUN_COLUMNS))


def four_settings(dataset: str = "digits") -> list[dict[str, Any]]:
    return [
        {"backbone": backbone, "params_total": params, "mode": mode, "head": head, "accuracy": hits, "dataset": dataset}
        for (backbone, params), modes in (
            (("NetA", 1e6), (("native", "linear", 0.8), ("unit", "linear", 0.5))),
            (("NetB", 24e6), (("native", "linear", 0.9), ("native", "dense", 0.6))),
        )
        for mode, head, hits in modes
    ]


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(PNG_SIGNATURE)
    assert content.rstrip(b"\0").endswith(b"IEND\xaeB`\x82"), "the file is cut short"
    return struct.unpack(">II", content[16:24])


def test_each_plot_and_dataset_gets_a_picture_of_a_readable_size(tmp_path: Path):
    board = a_board(*four_settings(), *four_settings("folder:/my pets/ä"))

    paths = save_plots(board, tmp_path / "plots")

    assert sorted(path.name for path in paths) == sorted(
        f"{plot}-{dataset}.png" for plot in PLOTS for dataset in ("digits", "folder_my_pets_ä")
    )
    assert sorted(paths) == sorted((tmp_path / "plots").iterdir()), "something else was left behind"
    for path in paths:
        width, height = png_size(path)
        assert 600 <= width <= 2000, path
        assert 200 <= height <= 2000, path


def test_the_formats_asked_for_are_written(tmp_path: Path):
    paths = save_plots(a_board(*four_settings()), tmp_path, only=["pareto"], formats=["svg", "png"])

    assert [path.name for path in paths] == ["pareto-digits.svg", "pareto-digits.png"]
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert png_size(paths[1])


def test_the_same_leaderboard_gives_the_same_picture(tmp_path: Path):
    board = a_board(*four_settings())

    (first,) = save_plots(board, tmp_path / "a", only=["accuracy"])
    (second,) = save_plots(board, tmp_path / "b", only=["accuracy"])

    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("plot", PLOTS)
def test_a_single_setting_can_be_drawn(tmp_path: Path, plot: str):
    board = a_board(four_settings()[0])

    (path,) = save_plots(board, tmp_path, only=[plot])

    assert png_size(path)


@pytest.mark.parametrize("plot", PLOTS)
def test_memory_and_time_that_were_not_measured_leave_gaps(tmp_path: Path, plot: str):
    first, *rest = four_settings()

    (path,) = save_plots(a_board({**first, "peak_rss_mib": None, "wall_s": None}, *rest), tmp_path, only=[plot])

    assert png_size(path)


def test_the_bars_end_at_the_accuracies_and_the_lines_at_the_intervals():
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("agg")
    board = a_board(*four_settings())
    table = plots._with_labels(board)

    figure = plots.plot_accuracy(table)

    axes = figure.axes[0]
    widths = sorted(round(bar.get_width(), 6) for bar in axes.patches if bar.get_width())
    ends = sorted(tuple(segment[:, 0]) for lines in axes.collections for segment in lines.get_segments())
    intervals = sorted(zip(board["accuracy_low"], board["accuracy_high"], strict=True))
    plt.close(figure)
    assert widths == [0.5, 0.6, 0.8, 0.9]
    np.testing.assert_allclose(ends, intervals)


def test_the_axis_of_parameters_is_logarithmic_in_millions():
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("agg")
    figure = plots.plot_pareto(plots._with_labels(a_board(*four_settings())))

    axes = figure.axes[0]
    scale, points = axes.get_xscale(), axes.collections[0].get_offsets()
    (front,) = (line.get_xydata() for line in axes.lines if line.get_label() == "Pareto front")
    plt.close(figure)
    assert scale == "log"
    assert sorted(set(points[:, 0])) == [1.0, 24.0]
    np.testing.assert_allclose(front, [[1.0, 0.8], [24.0, 0.9]])


def test_an_unknown_plot_is_refused_with_what_may_be_meant(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"Unknown plot 'acuracy'\. Did you mean 'accuracy'\?"):
        save_plots(a_board(*four_settings()), tmp_path, only=["acuracy"])

    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"Unknown format 'jpg'.*png, svg"):
        save_plots(a_board(*four_settings()), tmp_path, formats=["jpg"])


def test_nothing_to_draw_is_said(tmp_path: Path):
    with pytest.raises(BenchmarkError, match="no finished run to draw"):
        save_plots(a_board({"status": "failed"}), tmp_path)


# --- the front -------------------------------------------------------------------------------------------------------


def test_the_front_of_a_known_cloud():
    costs = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
    gains = np.array([0.5, 0.7, 0.6, 0.7, 0.9])

    assert pareto_front(costs, gains) == [0, 1, 4]


def test_equal_points_are_all_on_the_front():
    assert pareto_front(np.ones(3), np.ones(3)) == [0, 1, 2]


@given(points=numpy_strategies.arrays(np.int64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 5)))
def test_the_front_is_what_brute_force_finds(points: np.ndarray):
    def beats(one: np.ndarray, other: np.ndarray) -> bool:
        no_worse = one[0] <= other[0] and one[1] >= other[1]
        return bool(no_worse and (one[0] < other[0] or one[1] > other[1]))

    expected = [index for index, point in enumerate(points) if not any(beats(other, point) for other in points)]

    assert pareto_front(points[:, 0], points[:, 1]) == expected
    assert expected, "a front is never empty"
