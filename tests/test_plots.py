"""Charts by name: which are drawn, what is written, and that it can be read."""

import itertools
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from sampling import sampled
from toys import a_run, class_rows, curve, four_settings, many_settings, number_runs, runs_table, write_ledger

from benchmark.charts import FORMATS, PLOTS, Chart, Evidence, NothingToDrawError, draw, render, save_plots
from benchmark.charts.style import THEMES
from benchmark.datasets import load_dataset
from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.ledger import Ledger

pytestmark = pytest.mark.slow

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
LONG = "-pretrained-on-something-very-large-and-then-tuned-by-somebody-else"
STRANGE = "folder:/my $pets$ & <b>cats</b> \"'日本'\" ä"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of digits from which every plot can be drawn."""
    digits = load_dataset("digits")
    true = digits.labels[digits.test]
    facts = {"dataset": "digits", "dataset_fingerprint": digits.fingerprint, "images_per_s": 300.0}
    rows = number_runs(
        {"backbone": backbone, "mode": mode, "head": "dense", "seed": seed, "accuracy": accuracy, **facts}
        for backbone, mode, accuracy in (
            ("NetA", "native", 0.9),
            ("NetA", "unit", 0.4),
            ("NetB", "native", 0.8),
            ("NetC", "native", 0.7),
        )
        for seed in range(2)
    )
    few = {"backbone": "NetB", "head": "dense", "n_train": 1290, "n_classes": 10, **facts}
    rows += [
        a_run(len(rows) + number, shots=shots, seed=seed, accuracy=0.3 + 0.1 * shots, **few)
        for number, (shots, seed) in enumerate(itertools.product((1, 5), range(2)))
    ]
    history, per_class, confusion = [], [], []
    predicted = np.where(np.arange(len(true)) % 10 == 3, (true + 1) % 10, true)
    for row in rows:
        values = {(split, metric): [0.3, 0.5, 0.6] for split in ("train", "val") for metric in ("loss", "accuracy")}
        history += curve(row["run_id"], "head", values)
        classes, pairs = class_rows(row["run_id"], true, predicted, digits.class_names)
        per_class += classes
        confusion += pairs
    folder = tmp_path_factory.mktemp("ledgers") / "whole"
    ledger = write_ledger(folder, rows, history=history, per_class=per_class, confusion=confusion)
    ledger.save_true_labels(digits.fingerprint, true, digits.class_names)
    ledger.save_predictions("run0", np.eye(10, dtype=np.float32)[predicted])
    return folder


@pytest.fixture(scope="module")
def charts(whole: Path) -> dict[str, Chart]:
    """All charts of that ledger."""
    evidence = Evidence.load([whole])
    return {name: drawn(name, evidence, "digits") for name in PLOTS}


def drawn(name: str, evidence: Evidence, dataset: str = "toys") -> Chart:
    chart = draw(name, evidence, dataset)
    assert isinstance(chart, Chart), chart
    return chart


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(PNG_SIGNATURE)
    assert content.rstrip(b"\0").endswith(b"IEND\xaeB`\x82"), "the file is cut short"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


# --- files -----------------------------------------------------------------------------------------------------------


def test_each_plot_gets_a_picture_as_wide_as_a_readme(whole: Path, tmp_path: Path):
    paths = save_plots(Evidence.load([whole]), tmp_path / "plots")

    assert [path.name for path in paths] == [f"{plot}-digits.png" for plot in PLOTS]
    assert sorted(paths) == sorted((tmp_path / "plots").iterdir()), "something else was left behind"
    for path in paths:
        width, height = png_size(path)
        assert width == int(THEMES["screen"].width_in * THEMES["screen"].dpi)
        assert 150 < height < 1500, path


def test_pictures_of_a_paper_are_a_column_wide_with_type_of_8_points(tmp_path: Path):
    evidence = Evidence(runs_table(number_runs(four_settings())))

    (path,) = save_plots(evidence, tmp_path, only=["accuracy"], theme_name="paper")

    width_px, _ = png_size(path)
    chart = draw("accuracy", evidence, "toys", theme_name="paper")
    assert isinstance(chart, Chart)
    assert 85 <= 25.4 * width_px / 300 <= 89, "mm at 300 dots per inch"
    assert {text.get_fontsize() for text in texts_drawn(chart.figure)} == {8.0}


def test_an_unknown_theme_is_refused(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"Unknown theme 'papr'\. Did you mean 'paper'\?"):
        save_plots(Evidence(runs_table(number_runs(four_settings()))), tmp_path, theme_name="papr")


def test_each_dataset_gets_pictures_of_its_own(tmp_path: Path):
    rows = number_runs([*four_settings(), *four_settings(dataset="folder:/my pets/ä")])

    paths = save_plots(Evidence(runs_table(rows)), tmp_path, only=["accuracy"])

    assert sorted(path.name for path in paths) == ["accuracy-folder_my_pets_ä.png", "accuracy-toys.png"]


def test_datasets_whose_names_differ_in_what_no_file_name_holds_have_files_of_their_own(tmp_path: Path):
    rows = number_runs([{"dataset": name} for name in ("idx:a", "idx/a", "idx_a")])

    paths = save_plots(Evidence(runs_table(rows)), tmp_path, only=["memory"])

    assert sorted(path.name for path in paths) == ["memory-idx_a-2.png", "memory-idx_a-3.png", "memory-idx_a.png"]


@pytest.mark.parametrize("character", ["x", "馬", "/", "é"])
def test_long_names_of_datasets_make_names_of_files_that_differ(tmp_path: Path, character: str):
    datasets = [f"folder:{character * 300}{end}" for end in "ab"]
    rows = number_runs([{"dataset": dataset, "dataset_fingerprint": dataset[-1] * 64} for dataset in datasets])
    ledger = write_ledger(tmp_path / "toy", rows)

    paths = save_plots(Evidence.load([ledger.folder]), tmp_path / "plots", only=["accuracy"], formats=["svg"])

    assert len({path.name for path in paths}) == 2
    assert all(len(path.name.encode()) < 160 and path.exists() for path in paths)


def test_the_formats_asked_for_are_written(tmp_path: Path):
    evidence = Evidence(runs_table(number_runs(four_settings())))

    paths = save_plots(evidence, tmp_path, only=["pareto"], formats=["svg", "png"])

    assert [path.name for path in paths] == ["pareto-toys.svg", "pareto-toys.png"]
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert png_size(paths[1])


def test_the_same_ledger_gives_the_same_bytes_whatever_was_written_before(whole: Path, charts: dict[str, Chart]):
    evidence = Evidence.load([whole])

    for name, one in charts.items():
        png, svg = render(one, "png"), render(one, "svg")
        other = drawn(name, evidence, "digits")
        assert render(other, "svg") == svg, name
        assert render(other, "png") == png, name
        assert b"<dc:date>" not in svg


def test_svg_pictures_in_one_page_do_not_mean_different_things_by_one_name(charts: dict[str, Chart]):
    meanings: dict[str, str] = {}

    for plot, one in charts.items():
        root = ElementTree.fromstring(render(one, "svg"))
        for defined in root.iter("{http://www.w3.org/2000/svg}defs"):
            for part in defined:
                name, content = part.get("id"), ElementTree.tostring(part, encoding="unicode").strip()
                if name:
                    assert meanings.setdefault(name, content) == content, (plot, name)
    assert len(meanings) > len(PLOTS)


def test_a_picture_carries_its_own_description(charts: dict[str, Chart]):
    chart = charts["accuracy"]

    text = "".join(ElementTree.fromstring(render(chart, "svg")).itertext())
    assert chart.alt in text
    assert chart.alt.encode() in render(chart, "png")


def test_marks_of_an_svg_have_tooltips(charts: dict[str, Chart]):
    svg = "{http://www.w3.org/2000/svg}"

    expected = {"accuracy": 6, "pareto": 6, "time": 25, "speed": 3, "ablation": 2, "seeds": 12, "shots": 2}
    for plot, n_marks in expected.items():
        root = ElementTree.fromstring(render(charts[plot], "svg"))
        tips = [
            group.find(f"{svg}title").text for group in root.iter(f"{svg}g") if group.find(f"{svg}title") is not None
        ]
        assert len(tips) == n_marks, plot
        assert all(tip.startswith("Net") for tip in tips)
        assert not list(root.iter(f"{svg}a")), "tooltips are no links"


def test_every_plot_is_described_in_a_line_that_names_the_dataset(charts: dict[str, Chart]):
    for one in charts.values():
        assert "digits" in one.alt
        assert "\n" not in one.alt
        assert 40 < len(one.alt) < 400, one.alt
        assert one.alt.endswith(".")


def test_drawing_leaves_matplotlib_as_it_was(whole: Path):
    import matplotlib.pyplot as plt

    before = dict(rcParams)

    for plot in ("pareto", "ablation-heatmap", "gallery"):
        render(drawn(plot, Evidence.load([whole]), "digits"), "svg")

    assert dict(rcParams) == before
    assert plt.get_fignums() == []


@pytest.mark.parametrize("format_name", FORMATS)
def test_names_that_mean_something_elsewhere_are_drawn_as_they_are(format_name: str):
    rows = number_runs(four_settings(dataset=STRANGE))
    rows[0]["backbone"] = "$x^{$ <script>alert(1)</script> &amp; 日本"

    for name in ("accuracy", "pareto", "ablation-heatmap"):
        chart = draw(name, Evidence(runs_table(rows)), STRANGE)
        if isinstance(chart, Chart):
            content = render(chart, format_name)
            if format_name == "svg":
                assert not list(ElementTree.fromstring(content).iter("script"))


# --- which plots apply -----------------------------------------------------------------------------------------------


def test_what_does_not_apply_is_left_out_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_ledger(tmp_path / "one", number_runs(four_settings()[:1]))

    paths = save_plots(Evidence.load([tmp_path / "one"]), tmp_path / "plots", only=None)

    assert [path.name for path in paths] == [
        f"{plot}-toys.png" for plot in ("accuracy", "pareto", "efficiency", "time", "memory")
    ]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("plot", "reason"),
    [
        ("ablation", "no setting was run both in mode native and in another one with the same seed"),
        ("ablation-heatmap", "no setting was run both in mode native"),
        ("curves", "no finished run has learning curves: a dense head, finetune and scratch have them"),
        ("seeds", "every setting was run with one seed only"),
        ("shots", "no setting was run with few images of each class, such as --shots 1,5,10,25"),
        ("confusion", "the ledger has no confusion counts"),
        ("per-class", "the ledger has no per-class metrics"),
        ("gallery", "the predictions of the best setting were not kept"),
        ("speed", "fewer than 3 backbones were timed on one machine"),
    ],
)
def test_what_was_asked_for_by_name_and_does_not_apply_is_explained(tmp_path: Path, plot: str, reason: str):
    write_ledger(tmp_path / "one", number_runs(four_settings()[:1]))

    with pytest.raises(BenchmarkError, match=rf"(?s)nothing to draw.*{plot} of toys is left out: {reason}") as raised:
        save_plots(Evidence.load([tmp_path / "one"]), tmp_path / "plots", only=[plot])

    assert not (tmp_path / "plots").exists()
    assert "\n" in str(raised.value)


def test_of_several_asked_for_those_that_apply_are_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_ledger(tmp_path / "one", number_runs(four_settings()[:1]))

    with caplog.at_level(logging.WARNING):
        paths = save_plots(Evidence.load([tmp_path / "one"]), tmp_path, only=["seeds", "accuracy"])

    assert [path.name for path in paths] == ["accuracy-toys.png"]
    assert [record.message for record in caplog.records] == [
        "seeds of toys is left out: every setting was run with one seed only."
    ]


@pytest.mark.parametrize(
    ("plot", "columns"),
    [
        ("efficiency", ("efficiency",)),
        ("pareto", ("params_total",)),
        ("memory", ("peak_rss_mib", "peak_device_mib")),
        ("time", ("load_s", "build_s", "extract_s", "train_s", "eval_s")),
    ],
)
def test_what_was_not_measured_leaves_a_gap_or_no_plot(plot: str, columns: tuple[str, ...]):
    some, none = runs_table(number_runs(four_settings())), runs_table(number_runs(four_settings()))
    some.loc[0, list(columns)] = np.nan
    none[list(columns)] = np.nan

    chart, skipped = drawn(plot, Evidence(some)), draw(plot, Evidence(none), "toys")

    assert render(chart, "png")
    assert isinstance(skipped, NothingToDrawError)
    assert str(skipped).startswith("no finished run has")


def test_runs_without_an_accuracy_are_not_drawn():
    rows = number_runs(four_settings())
    runs = runs_table(rows)
    runs.loc[0, "accuracy"] = np.nan

    assert "3 settings" in drawn("accuracy", Evidence(runs)).alt


def test_only_what_a_plot_needs_is_read(whole: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("this was not needed")

    evidence = Evidence.load([whole])
    for reader in ("read_table", "read_predictions", "read_true_labels"):
        monkeypatch.setattr(Ledger, reader, refuse)

    for plot in ("accuracy", "pareto", "efficiency", "time", "memory", "seeds"):
        drawn(plot, evidence, "digits")
    with pytest.raises(AssertionError, match="this was not needed"):
        draw("curves", evidence, "digits")


def test_an_unknown_plot_is_refused_with_what_may_be_meant(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"Unknown plot 'acuracy'\. Did you mean 'accuracy'\?"):
        save_plots(Evidence(runs_table(number_runs(four_settings()))), tmp_path, only=["acuracy"])

    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"Unknown format 'jpg'.*png, svg"):
        save_plots(Evidence(runs_table(number_runs(four_settings()))), tmp_path, formats=["jpg"])


def test_an_unknown_dataset_is_refused():
    with pytest.raises(UnknownNameError, match=r"'toy'\. Did you mean 'toys'\?"):
        draw("accuracy", Evidence(runs_table(number_runs(four_settings()))), "toy")


def test_a_ledger_without_finished_runs_is_refused(tmp_path: Path):
    rows = [{**row, "status": "failed", "accuracy": np.nan} for row in number_runs(four_settings())]

    with pytest.raises(BenchmarkError, match="no finished run to draw"):
        save_plots(Evidence(runs_table(rows)), tmp_path)


def test_a_run_that_is_not_there_is_refused():
    with pytest.raises(BenchmarkError, match=r"no finished run 'run9'.*run_id"):
        Evidence(runs_table(number_runs(four_settings())), run_id="run9")


# --- what can be read ------------------------------------------------------------------------------------------------


def texts_drawn(figure: Any) -> Iterator[Text]:
    """Every text that is seen; not the labels of ticks beyond the ends of an axis."""
    unseen = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-6 * (high - low)
            if not axes.axison:
                unseen |= set(axis.get_ticklabels())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low - slack <= tick.get_loc() <= high + slack:
                    unseen |= {tick.label1, tick.label2}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in unseen:
            yield text


def overlap(one: Bbox, other: Bbox) -> bool:
    """Whether two boxes share more than the blank rims of their letters."""
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > 1.5 and shared.height > 2.5


def check_readable(name: str, chart: Chart) -> None:
    """No text is cut by the edge of the figure, and none lies on another."""
    figure = chart.figure
    figure.draw_without_rendering()
    inside = figure.bbox.padded(1.0)
    boxes = [(text, text.get_window_extent()) for text in texts_drawn(figure)]
    for text, box in boxes:
        assert inside.x0 <= box.x0, (name, text)
        assert box.x1 <= inside.x1, (name, text)
        assert inside.y0 <= box.y0, (name, text)
        assert box.y1 <= inside.y1, (name, text)
    for (one, box), (other, other_box) in itertools.combinations(boxes, 2):
        # The box around a slanted label is larger than the label.
        if not (one.get_rotation() % 90 and other.get_rotation() % 90):
            assert not overlap(box, other_box), (name, one, other)


LEDGERS: dict[str, list[dict[str, Any]]] = {
    "one setting": four_settings()[:1],
    "four settings": four_settings(),
    "long names": [
        {**row, "backbone": row["backbone"] + LONG, "seed": seed} for row in four_settings() for seed in (0, 1)
    ],
    "uneven": [{**row, "chance": 0.6, "n_classes": 10, "balanced_accuracy": 0.4} for row in four_settings()],
    "stages and options": [
        {"backbone": backbone, "head": "dense", "input_size_px": 96 + 32 * number, "accuracy": 0.7, **way}
        for backbone in ("EfficientNetV2B0", "MobileNetV3Large")
        for number, way in enumerate(
            (
                {"head_options": "units=256"},
                {"head_options": "units=0,dropout=0.3"},
                {"strategy": "finetune", "stages": "0,epochs=5 + 20,learning_rate=0.0001,patience=3"},
                {"strategy": "finetune", "stages": "0,epochs=5 + 40,epochs=4,learning_rate=1e-05,patience=3"},
            )
        )
    ],
    "42 backbones in 8 modes": many_settings(42),
    "10 long backbones, 3 heads, 2 seeds": [
        row
        for head, options in (("linear", ""), ("dense", "units=512,dropout=0.0"), ("knn", ""))
        for row in many_settings(10, tail=LONG, n_seeds=2, head=head, head_options=options)
    ],
    "long names, few images": [
        {**row, "backbone": row["backbone"] + LONG, "shots": shots, "n_train": 1290, "n_classes": 10}
        for row in four_settings()
        for shots in (1, 5, 100, None)
    ],
    "a long dataset": four_settings(dataset=f"folder:/data/{'very/long/' * 20}[cat,dog]@1000"),
}


CASES = [*((kind, "screen") for kind in LEDGERS), ("long names", "paper"), ("uneven", "paper")]


@pytest.mark.parametrize("case", sampled(CASES, [("long names, few images", "screen"), *CASES[-3:]]))
def test_texts_are_neither_cut_nor_upon_each_other(case: tuple[str, str]):
    kind, theme_name = case
    evidence = Evidence(runs_table(number_runs(LEDGERS[kind])))
    (dataset,) = evidence.datasets
    plots = (
        "accuracy", "pareto", "efficiency", "time", "memory", "ablation", "ablation-heatmap", "seeds", "shots", "speed",
    )  # fmt: skip

    charts = {plot: draw(plot, evidence, dataset, theme_name=theme_name) for plot in plots}

    shown = {plot: chart for plot, chart in charts.items() if isinstance(chart, Chart)}
    assert len(shown) >= 5
    for plot, chart in shown.items():
        check_readable(plot, chart)


def test_every_plot_can_be_read(charts: dict[str, Chart]):
    for name, one in charts.items():
        check_readable(name, one)


def test_every_plot_of_a_paper_can_be_read(whole: Path):
    evidence = Evidence.load([whole])

    for name in PLOTS:
        chart = draw(name, evidence, "digits", theme_name="paper")
        assert isinstance(chart, Chart)
        check_readable(name, chart)


@pytest.mark.parametrize(("n_classes", "theme_name"), [(2, "screen"), (19, "screen"), (120, "screen"), (120, "paper")])
def test_classes_can_be_read_however_many_and_long(tmp_path: Path, n_classes: int, theme_name: str):
    names = [f"n{number:08d}-a-rather-long-name-of-a-class" for number in range(n_classes)]
    true = np.repeat(np.arange(n_classes), [100, *[10] * (n_classes - 1)])
    predicted = np.where(np.arange(len(true)) % 10 < 3, (true + 1) % n_classes, true)
    per_class, confusion = class_rows("run0", true, predicted, names)
    setting = {"backbone": f"NetA{LONG}{LONG}"}
    write_ledger(tmp_path / "many", number_runs([setting]), per_class=per_class, confusion=confusion)
    evidence = Evidence.load([tmp_path / "many"])

    for plot in ("confusion", "per-class"):
        chart = draw(plot, evidence, "toys", theme_name=theme_name)
        assert isinstance(chart, Chart)
        check_readable(plot, chart)


def test_names_for_which_there_is_no_room_are_left_out_and_counted():
    rows = [
        {"backbone": f"{number}{LONG}", "params_total": 1e6 + number, "accuracy": 0.9 + 1e-6 * number}
        for number in range(45)
    ]

    chart = drawn("pareto", Evidence(runs_table(number_runs(rows))))

    check_readable("pareto", chart)
    (axes,) = chart.figure.axes
    n_left_out = 45 - len([text for text in axes.texts if text.get_text()])
    assert n_left_out > 0
    assert axes.get_xlabel().endswith(f"; {n_left_out} names left out")


@pytest.mark.parametrize("n_backbones", [3, 20, 42])
def test_names_in_the_scatter_plot_lie_on_no_point(n_backbones: int):
    rows = [row for row in many_settings(n_backbones) if row["mode"] == "native"]

    figure = drawn("pareto", Evidence(runs_table(number_runs(rows)))).figure

    (axes,) = figure.axes
    figure.draw_without_rendering()
    points = np.concatenate(
        [
            axes.transData.transform(group.get_offsets())
            for group in axes.collections
            if isinstance(group, PathCollection)
        ]
    )
    names = [text for text in axes.texts if text.get_text()]
    assert len(points) == n_backbones
    assert len(names) >= 0.8 * n_backbones
    for name in names:
        box = name.get_window_extent()
        assert not any(box.contains(*point) for point in points), name.get_text()
