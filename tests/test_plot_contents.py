"""What the charts show: the numbers behind bars, points, lines and cells."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from sklearn.metrics import confusion_matrix
from toy_ledgers import add_predicted
from toys import a_run, class_rows, curve, four_settings, many_settings, number_runs, runs_table, write_ledger

from benchmark.analysis.formats import duration_text
from benchmark.charts import Chart, Evidence, NothingToDrawError, draw
from benchmark.charts.pareto import pareto_front
from benchmark.charts.style import MODE_COLOURS, mode_colour, round_ticks
from benchmark.ledger import Ledger
from benchmark.preprocessing import MODES


def figure_of(plot: str, evidence: Evidence, dataset: str = "toys") -> Figure:
    drawn = draw(plot, evidence, dataset)
    assert isinstance(drawn, Chart), drawn
    return drawn.figure


def evidence_of(*settings: dict[str, Any]) -> Evidence:
    return Evidence(runs_table(number_runs(settings)))


def bars(axes: Any) -> list[tuple[float, float, str]]:
    """Start, length and colour of each bar, from the top down."""
    drawn = [patch for patch in axes.patches if np.isfinite(patch.get_width())]
    ordered = sorted(drawn, key=lambda patch: (round(patch.get_y(), 6), patch.get_x()))
    return [(patch.get_x(), patch.get_width(), to_hex(patch.get_facecolor()).upper()) for patch in ordered]


def point_colours(axes: Any) -> set[str]:
    groups = [group for group in axes.collections if isinstance(group, PathCollection)]
    return {to_hex(colour).upper() for group in groups for colour in group.get_facecolors()}


def row_names(axes: Any) -> list[str]:
    """The labels of the rows, from the top down."""
    labels = sorted(axes.get_yticklabels(), key=lambda label: label.get_position()[1])
    names = [label.get_text() for label in labels]
    return names if axes.yaxis_inverted() else names[::-1]


def legend_names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


# --- accuracy --------------------------------------------------------------------------------------------------------


def test_accuracy_bars_end_at_the_accuracies_and_their_lines_at_the_intervals():
    evidence = evidence_of(*four_settings())

    figure = figure_of("accuracy", evidence)

    (axes,) = figure.axes
    assert row_names(axes) == ["NetB, linear", "NetA, linear", "NetB, dense"]
    assert [(length, colour) for _, length, colour in bars(axes)] == [
        (0.9, MODE_COLOURS["native"]), (0.8, MODE_COLOURS["native"]), (0.5, MODE_COLOURS["unit"]),
        (0.6, MODE_COLOURS["native"]),
    ]  # fmt: skip
    (lines,) = (group for group in axes.collections if isinstance(group, LineCollection))
    ends = sorted(tuple(segment[:, 0]) for segment in lines.get_segments())
    board = evidence.leaderboard.sort_values("accuracy")
    np.testing.assert_allclose(ends, board[["accuracy_low", "accuracy_high"]])
    assert legend_names(figure) == ["native", "unit"]


def test_the_best_is_of_mode_native_and_a_better_wrong_mode_is_not_called_so():
    evidence = evidence_of({"accuracy": 0.8}, {"mode": "unit", "accuracy": 0.9})

    chart = draw("accuracy", evidence, "toys")

    assert isinstance(chart, Chart)
    (axes,) = chart.figure.axes
    (best,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert set(best.get_xdata()) == {0.8}
    assert "Best: NetA, mode native, 0.800" in chart.alt
    assert evidence.shown_runs("toys")["mode"].tolist() == ["native"]


def test_of_many_settings_the_accuracies_are_points():
    evidence = evidence_of(*many_settings(12))

    (axes,) = figure_of("accuracy", evidence).axes

    points = np.concatenate([group.get_offsets() for group in axes.collections if isinstance(group, PathCollection)])
    assert not axes.patches
    np.testing.assert_allclose(np.sort(points[:, 0]), np.sort(evidence.done["accuracy"]))
    assert len(row_names(axes)) == 12


@pytest.mark.slow
def test_of_very_many_settings_the_best_are_shown_and_it_is_said():
    figure = figure_of("accuracy", evidence_of(*many_settings(60)))

    assert len(row_names(figure.axes[0])) == 48
    assert figure.legends[0].get_title().get_text() == "toys: accuracy, the best 48 of 60"


@pytest.mark.slow
def test_plots_of_one_mode_each_say_which():
    native, mixed = four_settings(), [*four_settings(), {"backbone": "NetC", "mode": "raw"}]

    for settings, words in ((native, "mode native"), (mixed, "each in mode native or its best")):
        for plot in ("efficiency", "time", "memory"):
            figure = figure_of(plot, evidence_of(*settings))
            title = figure.legends[0].get_title().get_text() if figure.legends else figure.get_suptitle()
            assert title.endswith(f", {words}")


def test_without_native_the_best_mode_stands_for_a_backbone():
    settings = [{"mode": mode, "accuracy": accuracy} for mode, accuracy in (("unit", 0.4), ("tf", 0.6), ("raw", 0.5))]

    (axes,) = figure_of("efficiency", evidence_of(*settings)).axes

    assert point_colours(axes) == {"#FFFFFF", MODE_COLOURS["tf"]}


# --- speed -----------------------------------------------------------------------------------------------------------

TIMED = [
    {"backbone": "Small", "params_total": 2e6, "images_per_s": 400.0},
    {"backbone": "Small", "params_total": 2e6, "images_per_s": 100.0, "input_size_px": 224},
    {"backbone": "Middle", "params_total": 9e6, "images_per_s": 90.0},
    {"backbone": "Odd", "params_total": 8e6, "images_per_s": 40.0},
    {"backbone": "Large", "params_total": 90e6, "images_per_s": 10.0},
]


def test_each_backbone_is_shown_at_its_fastest():
    (axes,) = figure_of("speed", evidence_of(*TIMED)).axes

    points = axes.collections[0].get_offsets()
    assert sorted(map(tuple, np.asarray(points).round(6))) == [(2, 400), (8, 40), (9, 90), (90, 10)]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_speeds_of_two_machines_are_not_compared():
    elsewhere = {"backbone": "Fast", "params_total": 1e6, "images_per_s": 9000.0}
    runs = runs_table(number_runs([*TIMED, elsewhere]))
    runs["machine"] = runs["backbone"].map(lambda name: "theirs" if name == "Fast" else "mine")

    chart = draw("speed", Evidence(runs), "toys")

    assert isinstance(chart, Chart)
    assert chart.title == "toys: speed and size of 4 backbones, mine"
    assert "Fastest: Small, 400 images/s, 2 M parameters; slowest: Large" in chart.alt


def test_speeds_of_many_machines_are_no_chart():
    runs = runs_table(number_runs(TIMED))
    runs["machine"] = runs["backbone"]

    assert str(draw("speed", Evidence(runs), "toys")) == "fewer than 3 backbones were timed on one machine"


@pytest.mark.parametrize("settings", [TIMED[:3], [{**row, "images_per_s": np.nan} for row in TIMED]])
def test_the_speed_of_few_backbones_is_no_chart(settings: list[dict[str, Any]]):
    skipped = draw("speed", evidence_of(*settings), "toys")

    assert str(skipped) == "fewer than 3 backbones were timed on one machine"


# --- few training images ---------------------------------------------------------------------------------------------


def few_shots(shots: int | None, *accuracies: float, **columns: Any) -> list[dict[str, Any]]:
    """The runs of a setting, one per seed; all training images are 130 of each class."""
    facts = {"shots": shots, "n_train": 1300, "n_classes": 10, **columns}
    return [{"seed": seed, "accuracy": accuracy, **facts} for seed, accuracy in enumerate(accuracies)]


def marks(axes: Any) -> list[tuple[float, float, bool]]:
    """Images of each class, accuracy, and whether the mark is filled, of all marks from the left."""
    groups = [group for group in axes.collections if isinstance(group, PathCollection)]
    return sorted(
        (round(float(x), 3), round(float(y), 3), to_hex(group.get_facecolors()[0]) != "#ffffff")
        for group in groups
        for x, y in np.asarray(group.get_offsets())
    )


def test_lines_over_few_images_join_the_means_of_the_draws_and_bands_are_their_deviation():
    evidence = evidence_of(
        *few_shots(1, 0.3, 0.5), *few_shots(5, 0.6, 0.8), *few_shots(None, 0.9, 0.9),
        *few_shots(1, 0.2, 0.2, head="knn"), *few_shots(5, 0.4, 0.6, head="knn"),
    )  # fmt: skip

    figure = figure_of("shots", evidence)

    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert list(zip(axes.get_xticks(), labels, strict=True)) == [(1, "1"), (5, "5"), (130, "\nall: 130")]
    assert marks(axes) == [(1, 0.2, True), (1, 0.4, True), (5, 0.5, True), (5, 0.7, True), (130, 0.9, False)]
    ends = [sorted(band.get_paths()[0].vertices[:, 1]) for band in axes.collections if isinstance(band, PolyCollection)]
    root = np.sqrt(0.02)  # of two values 0.2 apart
    assert [(min(some), max(some)) for some in ends] == [
        (pytest.approx(0.2), pytest.approx(0.5 + root)), (pytest.approx(0.4 - root), pytest.approx(0.7 + root)),
    ]  # fmt: skip
    assert legend_names(figure) == ["knn", "linear", "all training images, mean per class"]
    assert figure.legends[0].get_title().get_text() == "toys: accuracy with few training images, NetA"
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [0.1]


def test_lines_over_few_images_say_what_differs_and_modes_have_dashes():
    evidence = evidence_of(
        *(
            run
            for backbone, mode in (("NetA", "native"), ("NetA", "unit"), ("NetB", "native"))
            for shots in (1, 10)
            for run in few_shots(shots, 0.5, 0.6, backbone=backbone, mode=mode)
        ),
        *few_shots(None, 0.9, backbone="NetC"),
    )

    figure = figure_of("shots", evidence)

    (axes,) = figure.axes
    assert legend_names(figure) == ["NetA", "NetB", "native", "unit"]
    assert len(marks(axes)) == 6
    curves = [line for line in axes.lines if np.allclose(line.get_xdata()[-1], 10) and len(line.get_xdata()) == 2]
    assert len({(to_hex(line.get_color()), line.is_dashed()) for line in curves}) == len(curves) == 3


def test_of_too_many_lines_over_few_images_the_best_are_shown():
    evidence = evidence_of(
        *(
            run
            for number in range(9)
            for shots in (1, 10)
            for run in few_shots(shots, 0.1 * number, backbone=f"Net{number}")
        )
    )

    figure = figure_of("shots", evidence)

    assert legend_names(figure) == [f"Net{number}" for number in range(2, 9)]
    assert figure.legends[0].get_title().get_text().endswith(", the best 7 of 9")


# --- a mode's colour -------------------------------------------------------------------------------------------------


# Machado, Oliveira and Fernandes (2009), "A physiologically-based model for simulation of color vision deficiency",
# at full strength, on linear RGB.
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def as_seen(colour: str, vision: str) -> np.ndarray:
    """The colour in CIELAB, as eyes of this kind see it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.array(COLOUR_VISION[vision]) @ linear, 0, 1) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_the_colours_of_modes_are_told_apart_by_all_eyes(vision: str):
    seen = {mode: as_seen(mode_colour(mode), vision) for mode in MODES}

    nearest = min(np.linalg.norm(seen[one] - seen[other]) for one, other in itertools.combinations(MODES, 2))

    # 2.3 is a just noticeable difference; patches side by side are told apart with ease from 10.
    assert nearest > 15


@pytest.mark.parametrize("plot", ["pareto", "accuracy"])
def test_a_mode_has_its_colour_whichever_others_stand_beside_it(plot: str):
    some = four_settings()[:2]
    more = [*some, *({**some[1], "mode": mode} for mode in ("raw", "tf", "bgr"))]

    for settings in (some, more):
        (axes,) = figure_of(plot, evidence_of(*settings)).axes
        assert MODE_COLOURS["unit"] in {colour for _, _, colour in bars(axes)} | point_colours(axes)


def test_a_mode_of_another_version_is_drawn_in_grey_after_the_known_ones():
    settings = [{"mode": mode, "accuracy": 0.5} for mode in ("zebra", "bgr", "native")]

    figure = figure_of("accuracy", evidence_of(*settings))

    assert legend_names(figure) == ["native", "bgr", "zebra"]
    assert [colour for _, _, colour in bars(figure.axes[0])][-1] == "#7F7F7F"


# --- size, time, memory ----------------------------------------------------------------------------------------------


def test_the_axis_of_parameters_is_logarithmic_in_millions_and_the_front_joins_the_best():
    figure = figure_of("pareto", evidence_of(*four_settings()))

    (axes,) = figure.axes
    points = np.concatenate([group.get_offsets() for group in axes.collections if isinstance(group, PathCollection)])
    (front,) = (line.get_xydata() for line in axes.lines if line.get_label() == "Pareto front")
    assert axes.get_xscale() == "log"
    assert sorted(map(tuple, points)) == [(1.0, 0.5), (1.0, 0.8), (24.0, 0.6), (24.0, 0.9)]
    np.testing.assert_allclose(front, [[1.0, 0.8], [24.0, 0.9]])
    assert legend_names(figure) == ["native", "unit", "probe dense", "probe linear", "Pareto front"]
    assert sorted(text.get_text() for text in axes.texts) == ["NetA", "NetB"]


def test_efficiency_is_logarithmic_and_what_is_above_chance_is_hollow():
    at_chance = {"backbone": "NetC", "params_total": 48e6, "accuracy": 0.1}
    never_right = {"backbone": "NetD", "accuracy": 0.0}

    (axes,) = figure_of("efficiency", evidence_of(*four_settings(), at_chance, never_right)).axes

    hollow, filled = (group.get_offsets()[:, 0] for group in axes.collections if isinstance(group, PathCollection))
    assert axes.get_xscale() == "log"
    assert row_names(axes) == ["NetA, linear", "NetB, linear", "NetB, dense", "NetC, linear"]
    np.testing.assert_allclose(np.asarray(filled), [0.8, 0.9 / 24, 0.6 / 24, 0.1 / 48])
    np.testing.assert_allclose(np.asarray(hollow), [0.7, 0.8 / 24, 0.5 / 24])


def test_the_front_joins_no_wrong_mode():
    settings = [
        {"accuracy": 0.8},
        {"mode": "unit", "accuracy": 0.9},
        {"mode": "tf", "accuracy": 0.7, "params_total": 1},
    ]

    (axes,) = figure_of("pareto", evidence_of(*settings)).axes

    (front,) = (line.get_xydata() for line in axes.lines if line.get_label() == "Pareto front")
    np.testing.assert_allclose(front, [[2.0, 0.8]])


@pytest.mark.parametrize(("chance", "n_diamonds"), [(0.1, 0), (0.6, 3)])
def test_uneven_classes_are_marked_with_the_mean_of_their_accuracies(chance: float, n_diamonds: int):
    rows = [{**row, "chance": chance, "n_classes": 10, "balanced_accuracy": 0.4} for row in four_settings()[:3]]

    (axes,) = figure_of("accuracy", evidence_of(*rows)).axes

    marks = [group.get_offsets() for group in axes.collections if isinstance(group, PathCollection)]
    assert sum(map(len, marks)) == n_diamonds
    assert all(x == 0.4 for group in marks for x, _ in group)
    assert ("uneven" in axes.get_xlabel()) == bool(n_diamonds)


def test_wall_time_is_stacked_by_phase_and_ordered_by_the_whole():
    slow = {"load_s": 10.0, "build_s": 20.0, "extract_s": 300.0, "train_s": 240.0, "eval_s": 30.0}
    quick = {"load_s": 6.0, "build_s": None, "extract_s": None, "train_s": 48.0, "eval_s": 6.0}

    figure = figure_of("time", evidence_of({"backbone": "Slow", **slow}, {"backbone": "Quick", **quick}))

    (axes,) = figure.axes
    assert row_names(axes) == ["Quick", "Slow"]
    assert legend_names(figure) == ["load", "build", "extract", "train", "evaluate"]
    ends = [length * 60 for _, length, _ in bars(axes)][5:]  # longer ones first: each covers a part of the one before
    np.testing.assert_allclose(ends, np.cumsum(list(slow.values()))[::-1])
    assert "minutes" in axes.get_xlabel()
    assert [text.get_text() for text in axes.texts] == ["60 s", "10.0 min"]


def test_times_and_memory_are_means_over_seeds():
    runs = [{"seed": seed, "extract_s": 10.0 + seed, "peak_rss_mib": 100.0 + 10 * seed} for seed in range(3)]
    evidence = evidence_of(*runs)

    (time_axes,), (memory_axes,) = figure_of("time", evidence).axes, figure_of("memory", evidence).axes

    assert 14.0 in [round(length, 6) for _, length, _ in bars(time_axes)], "load, build and the mean of extract"
    assert [round(length, 6) for _, length, _ in bars(memory_axes)] == [110.0]


def test_jobs_that_ran_beside_others_do_not_count_for_the_time():
    alone, shared = {"seed": 0, "extract_s": 10.0}, {"seed": 1, "extract_s": 90.0, "n_jobs": 2}

    (axes,) = figure_of("time", evidence_of(alone, shared)).axes
    skipped = draw("time", evidence_of(shared), "toys")

    assert 13.0 in [round(length, 6) for _, length, _ in bars(axes)], "load, build and extract"
    assert isinstance(skipped, NothingToDrawError)


def test_memory_of_the_gpu_stands_beside_that_of_the_process_where_it_was_measured():
    settings = [{"backbone": "A", "peak_device_mib": 4096.0, "peak_rss_mib": 1024.0}, {"backbone": "B"}]

    figure = figure_of("memory", evidence_of(*settings))

    (axes,) = figure.axes
    assert legend_names(figure) == ["process", "GPU"]
    assert [text.get_text() for text in axes.texts] == ["0.49", "not measured", "1.00", "4.00"]
    np.testing.assert_allclose([length for _, length, _ in bars(axes)], [500 / 1024, 1.0, 4.0])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4213, "0.421 s"), (41.27, "41.3 s"), (99.4, "99.4 s"), (750, "12.5 min"), (11160, "3.1 h")]
)
def test_a_duration_is_written_in_a_unit_that_fits(seconds: float, text: str):
    assert duration_text(seconds) == text


@given(st.floats(1e-3, 1e3), st.floats(1.5, 1e4))
def test_ticks_are_round_numbers_inside_the_axis(low: float, factor: float):
    ticks = round_ticks(low, low * factor)

    assert 1 <= len(ticks) <= 8
    assert ticks == sorted(ticks)
    assert all(low <= tick <= low * factor for tick in ticks)


# --- the ablation ----------------------------------------------------------------------------------------------------


def three_seeds() -> list[dict[str, Any]]:
    return [
        {"backbone": backbone, "mode": mode, "seed": seed, "accuracy": accuracy}
        for backbone, mode, accuracies in (
            ("NetA", "native", (0.80, 0.82, 0.84)),
            ("NetA", "unit", (0.40, 0.43, 0.42)),
            ("NetA", "tf", (0.81, 0.82, 0.85)),
            ("NetB", "native", (0.70, 0.71, 0.75)),
            ("NetB", "unit", (0.60, 0.63, 0.66)),
        )
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.fixture
def predicted(tmp_path: Path) -> Evidence:
    """The same with predictions."""
    ledger = Ledger(tmp_path / "predicted")
    for run in three_seeds():
        right = np.arange(1000) < round(1000 * run.pop("accuracy"))
        add_predicted(ledger, right, dataset="toys", **run)
    return Evidence.load([ledger.folder])


def test_the_ablation_shows_the_change_against_native_with_its_interval_and_what_is_unclear_hollow(
    predicted: Evidence,
):
    figure = figure_of("ablation", predicted)

    (axes,) = figure.axes
    interval = predicted.ablation.loc[0, ["lost_low", "lost_high"]].astype(float)
    (points,) = (group for group in axes.collections if isinstance(group, PathCollection))
    (lines,) = (group for group in axes.collections if isinstance(group, LineCollection))
    assert row_names(axes) == ["NetA: unit", "NetB: unit", "NetA: tf"]
    np.testing.assert_allclose(points.get_offsets()[:, 0], [-121 / 3, -9, 2 / 3])
    assert [to_hex(colour).upper() for colour in points.get_facecolors()] == [
        MODE_COLOURS["unit"], MODE_COLOURS["unit"], "#FFFFFF",
    ]  # fmt: skip
    np.testing.assert_allclose(lines.get_segments()[0][:, 0], sorted(-100 * interval))
    assert axes.texts[0].get_text() == "0.820 → 0.417"
    assert legend_names(figure) == ["unit", "tf", "unclear"]


def test_the_ablation_map_has_points_lost_around_a_white_zero():
    axes, scale = figure_of("ablation-heatmap", evidence_of(*three_seeds())).axes

    (cells,) = (group for group in axes.collections if isinstance(group, QuadMesh))
    values = cells.get_array().reshape(2, 2)
    low, high = cells.get_clim()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["unit", "tf"]
    assert row_names(axes) == ["NetA", "NetB"]
    np.testing.assert_allclose(values.filled(np.nan), [[40.3, -0.7], [9.0, np.nan]])
    assert low == -high
    assert high == pytest.approx(100 * (0.40 + 0.39 + 0.42) / 3)
    assert [text.get_text() for text in axes.texts] == ["40.3", "−0.7", "9.0"]
    assert "grey: not run" in axes.get_xlabel()
    assert scale.get_ylabel() == "points lost"


def test_losses_whose_interval_excludes_zero_are_bold(predicted: Evidence):
    axes, _ = figure_of("ablation-heatmap", predicted).axes

    bold = {text.get_text() for text in axes.texts if text.get_fontweight() == "bold"}
    assert bold == {"40.3", "9.0"}
    assert predicted.ablation["verdict"].tolist() == ["harmful", "harmful", "unclear"]


# --- learning curves -------------------------------------------------------------------------------------------------


@pytest.fixture
def stages(tmp_path: Path) -> Evidence:
    """Two seeds of a finetuning in two stages; the first seed stops earlier in the first one."""
    rows = number_runs({"strategy": "finetune", "head": "dense", "seed": seed} for seed in range(2))
    history = [
        *curve("run0", "stage 1", {("val", "loss"): [1.0, 0.8], ("train", "loss"): [0.9, 0.7]}),
        *curve("run1", "stage 1", {("val", "loss"): [1.2, 1.0, 0.6]}),
        *curve("run0", "stage 2", {("val", "loss"): [0.5, 0.4], ("val", "learning_rate"): [1e-3, 1e-4]}),
        *curve("run1", "stage 2", {("val", "loss"): [0.7, 0.2]}),
        {"run_id": "run1", "stage": "extract", "epoch": 0, "split": "", "metric": "batch_size", "value": 16},
    ]
    write_ledger(tmp_path / "stages", rows, history=history)
    return Evidence.load([tmp_path / "stages"])


def test_a_curve_is_the_mean_of_the_seeds_that_still_train_and_begins_anew_with_each_stage(stages: Evidence):
    loss, _ = figure_of("curves", stages).axes

    lines = [
        line.get_xydata().tolist() for line in loss.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1
    ]
    boundaries = sorted(line.get_xdata()[0] for line in loss.lines if len(set(line.get_xdata())) == 1)
    np.testing.assert_allclose(lines[0], [[1, 1.1], [2, 0.9], [3, 0.6]])
    np.testing.assert_allclose(lines[1], [[4, 0.6], [5, 0.3]])
    assert boundaries == [0.5, 3.5]
    assert [text.get_text() for text in loss.texts] == ["stage 1", "stage 2"]


def test_the_band_goes_from_the_lowest_seed_to_the_highest(stages: Evidence):
    loss, _ = figure_of("curves", stages).axes

    bands = [group.get_paths()[0].vertices for group in loss.collections if isinstance(group, PolyCollection)]

    at_four = [y for x, y in bands[1] if x == 4]
    assert (min(at_four), max(at_four)) == (0.5, 0.7)


@pytest.mark.slow
def test_training_is_dashed_and_validation_is_not(stages: Evidence):
    loss, _ = figure_of("curves", stages).axes

    dashed = [line.get_xydata().tolist() for line in loss.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [[[1, 0.9], [2, 0.7]]])


def test_stages_follow_each_other_as_they_were_done(tmp_path: Path):
    names = ["stage 9", "stage 10", "stage 1 again"]
    history = [row for name in names for row in curve("run0", name, {("val", "loss"): [0.5, 0.4]})]
    write_ledger(tmp_path / "many", number_runs([{"strategy": "scratch", "head": ""}]), history=history)

    loss, _ = figure_of("curves", Evidence.load([tmp_path / "many"])).axes

    assert [(text.get_text(), text.xy[0]) for text in loss.texts] == list(zip(names, (0.5, 2.5, 4.5), strict=True))


def test_each_way_of_training_has_panels_of_its_own_the_best_first(tmp_path: Path):
    rows = number_runs(
        {"backbone": backbone, "strategy": "scratch", "head": "", "accuracy": accuracy}
        for backbone, accuracy in (("lenet5", 0.7), ("simple_cnn", 0.9))
    )
    history = [row for number in (0, 1) for row in curve(f"run{number}", "stage 1", {("val", "accuracy"): [0.5, 0.6]})]
    write_ledger(tmp_path / "nets", rows, history=history)

    figure = figure_of("curves", Evidence.load([tmp_path / "nets"]))

    assert [axes.get_title(loc="left") for axes in figure.axes] == ["simple_cnn", "", "lenet5", ""]


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_every_seed_is_a_point_and_the_median_a_line():
    settings = [*three_seeds(), {"backbone": "Once", "accuracy": 0.9}]

    (axes,) = figure_of("seeds", evidence_of(*settings)).axes

    (points,) = (group.get_offsets() for group in axes.collections if isinstance(group, PathCollection))
    assert row_names(axes) == ["NetA", "NetB"]
    np.testing.assert_allclose(np.sort(points[:, 0]), np.sort([row["accuracy"] for row in three_seeds()]))
    medians = {round(line[0, 0], 6) for line in segments(axes) if line[0, 0] == line[1, 0]}
    assert medians == {0.82, 0.42, 0.71, 0.63}
    assert not boxes(axes), "three runs have no quartiles"


def segments(axes: Any) -> list[np.ndarray]:
    return [line for group in axes.collections if isinstance(group, LineCollection) for line in group.get_segments()]


@pytest.mark.parametrize("plot", ["seeds", "ablation"])
def test_rows_are_named_by_what_differs_between_those_that_are_shown(plot: str):
    runs = [{"mode": mode, "seed": seed, "input_size_px": 96} for mode in ("native", "unit") for seed in range(2)]
    not_shown = {"input_size_px": 128, "strategy": "finetune", "head": "dense"}

    (axes,) = figure_of(plot, evidence_of(*runs, not_shown)).axes

    assert row_names(axes) == ["NetA" if plot == "seeds" else "NetA: unit"]


def boxes(axes: Any) -> list[Any]:
    return [patch for patch in axes.patches if isinstance(patch, PathPatch)]


def test_of_many_seeds_a_box_spans_the_quartiles():
    runs = [{"seed": seed, "accuracy": 0.5 + 0.01 * seed} for seed in range(9)]
    few = [{"backbone": "Few", "seed": seed, "accuracy": 0.4 + 0.01 * seed} for seed in range(3)]

    (axes,) = figure_of("seeds", evidence_of(*runs, *few)).axes

    (box,) = boxes(axes)
    assert (box.get_extents().x0, box.get_extents().x1) == pytest.approx(
        tuple(axes.transData.transform([(0.52, 0), (0.56, 0)])[:, 0]), abs=1
    )
    spans = {tuple(np.round(line[:, 0], 6)) for line in segments(axes) if line[0, 0] != line[1, 0]}
    assert spans == {(0.4, 0.42)}


# --- classes ---------------------------------------------------------------------------------------------------------


NAMES = ("cat", "dog", "owl")


@pytest.fixture
def classified(tmp_path: Path, rng: np.random.Generator) -> tuple[Evidence, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Two seeds of a good backbone and one of a bad one, and their true and predicted classes."""
    true = np.repeat([0, 1, 2], [30, 20, 50])
    answers, per_class, confusion = {}, [], []
    rows = number_runs(
        [{"accuracy": 0.8, "seed": 0}, {"accuracy": 0.8, "seed": 1}, {"backbone": "NetB", "accuracy": 0.3}]
    )
    for row, share in zip(rows, (0.9, 0.7, 0.3), strict=True):
        predicted = np.where(rng.random(len(true)) < share, true, rng.integers(0, 3, len(true)))
        answers[row["run_id"]] = (true, predicted)
        classes, pairs = class_rows(row["run_id"], true, predicted, NAMES)
        per_class += classes
        confusion += pairs
    write_ledger(tmp_path / "classes", rows, per_class=per_class, confusion=confusion)
    return Evidence.load([tmp_path / "classes"]), answers


def test_the_confusion_matrix_is_scikit_learns_of_all_seeds_of_the_best_setting(classified: Any):
    evidence, answers = classified

    axes, _ = figure_of("confusion", evidence).axes

    true, predicted = (np.concatenate([answers[run][side] for run in ("run0", "run1")]) for side in (0, 1))
    (cells,) = (group for group in axes.collections if isinstance(group, QuadMesh))
    np.testing.assert_allclose(
        np.ma.filled(cells.get_array(), 0).reshape(3, 3), 100 * confusion_matrix(true, predicted, normalize="true")
    )
    assert row_names(axes) == list(NAMES)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(NAMES)


def test_the_run_asked_for_is_the_one_that_is_looked_at(classified: Any):
    evidence, answers = classified

    chosen = Evidence(evidence.runs, run_id="run2")
    axes, _ = figure_of("confusion", chosen).axes
    columns, _ = figure_of("per-class", chosen).axes

    (cells,) = (group for group in axes.collections if isinstance(group, QuadMesh))
    np.testing.assert_allclose(
        np.ma.filled(cells.get_array(), 0).reshape(3, 3), 100 * confusion_matrix(*answers["run2"], normalize="true")
    )
    assert [label.get_text() for label in columns.get_xticklabels()] == ["NetB"]


def test_a_run_of_one_dataset_is_not_looked_at_in_another(classified: Any, tmp_path: Path):
    evidence, _ = classified
    other = runs_table([a_run(9, dataset="others")], tmp_path)

    answer = draw("confusion", Evidence(pd.concat([evidence.runs, other]), run_id="run0"), "others")

    assert isinstance(answer, NothingToDrawError)
    assert str(answer) == "the run run0 is of another dataset"


def test_classes_are_ordered_from_the_hardest_and_settings_from_the_best(classified: Any):
    evidence, answers = classified

    axes, _ = figure_of("per-class", evidence).axes

    (cells,) = (group for group in axes.collections if isinstance(group, QuadMesh))
    shares = np.array([np.diag(confusion_matrix(*answers[run], normalize="true")) for run in ("run0", "run1", "run2")])
    by_setting = np.stack([shares[:2].mean(axis=0), shares[2]], axis=1)
    order = by_setting.mean(axis=1).argsort()
    np.testing.assert_allclose(cells.get_array().reshape(3, 2), 100 * by_setting[order])
    assert row_names(axes) == [NAMES[index] for index in order]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["NetA", "NetB"]


def test_a_class_without_test_images_has_an_empty_row(tmp_path: Path):
    per_class, confusion = class_rows("run0", np.array([0, 0, 1]), np.array([0, 1, 1]), NAMES)
    write_ledger(tmp_path / "gap", number_runs([{}]), per_class=per_class, confusion=confusion)
    evidence = Evidence.load([tmp_path / "gap"])

    axes, _ = figure_of("confusion", evidence).axes
    recalls, _ = figure_of("per-class", evidence).axes

    (cells,) = (group for group in axes.collections if isinstance(group, QuadMesh))
    assert np.ma.getmaskarray(cells.get_array()).reshape(3, 3).tolist() == [[False] * 3, [False] * 3, [True] * 3]
    assert row_names(recalls) == ["cat (2)", "dog (1)"]
    assert recalls.get_ylabel() == "class (test images)"


def test_of_many_classes_the_most_frequent_mistakes_are_listed(tmp_path: Path):
    names = [f"class {number}" for number in range(30)]
    true = np.repeat(np.arange(30), 10)
    predicted = true.copy()
    predicted[:4], predicted[250:253] = 7, 3
    per_class, confusion = class_rows("run0", true, predicted, names)
    write_ledger(tmp_path / "many", number_runs([{}]), per_class=per_class, confusion=confusion)

    drawn = draw("confusion", Evidence.load([tmp_path / "many"]), "toys")

    assert isinstance(drawn, Chart)
    below = next(axes for axes in drawn.figure.axes if axes.get_xlabel().startswith("most frequent mistakes"))
    assert row_names(below) == ["class 0 → class 7", "class 25 → class 3"]
    np.testing.assert_allclose([length for _, length, _ in bars(below)], [40, 30])
    assert "Hardest class: class 0, 60 % right. Most frequent mistake: class 0 called class 7, 40 %." in drawn.alt


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
