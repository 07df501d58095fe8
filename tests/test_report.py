"""The report's page: its structure, its numbers, and what odd ledgers make of it."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_pages import Element, a_large_ledger, a_report_ledger, read_page, rows_of_table, tips_of
from toy_ledgers import SETTING, add, add_predicted

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.leaderboard import make_leaderboard
from benchmark.analysis.loading import load_runs
from benchmark.charts.labels import name_settings
from benchmark.cli import main
from benchmark.errors import BenchmarkError, LedgerError
from benchmark.ledger import FAILED, RUNS, Ledger
from benchmark.report import page
from benchmark.report.figures import Figures
from benchmark.report.page import make_report

MIB = 2**20
STYLE = (Path(page.__file__).parent / "style.css").read_text()
SEED = 7
NASTY = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</script><script>alert(1)</script>",
    'an "own" name',  # Matplotlib writes what has double quotes only in single ones
    "größe 中 & <b>bold</b>",
    "{{ 7 * 7 }}",
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return a_report_ledger(tmp_path / "results" / "toy", np.random.default_rng(SEED))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Element:
    """Of a ledger like `ledger`; nobody changes it."""
    return report_of(a_report_ledger(tmp_path_factory.mktemp("report") / "toy", np.random.default_rng(SEED)))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a thousand rows, which takes long to make."""
    ledger = a_large_ledger(tmp_path_factory.mktemp("large") / "toy", 1000, np.random.default_rng(SEED))
    return make_report([ledger.folder])


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have no charts, which take nearly all of the time."""
    monkeypatch.setattr(Figures, "draw", lambda *_: iter(()))


def report_of(*ledgers: Ledger) -> Element:
    return read_page(make_report([ledger.folder for ledger in ledgers]))


# --- what the page is made of ----------------------------------------------------------------------------------------


def test_headings_begin_with_one_h1_and_leave_out_no_level(report: Element):
    levels = [int(heading.tag[1]) for heading in report.all("h1", "h2", "h3", "h4")]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in itertools.pairwise(levels)), levels


def test_the_page_has_its_landmarks_language_and_title(report: Element):
    body = report.one("body")

    assert [part.tag for part in body.inside if isinstance(part, Element) and part.tag not in ("div", "script")] == [
        "a", "header", "nav", "main", "footer",
    ]  # fmt: skip
    assert report.one("html").attributes["lang"] == "en"
    assert report.one("head").one("title").text == report.one("h1").text == "Benchmark on digits"
    assert report.one("meta", name="viewport").attributes["content"] == "width=device-width, initial-scale=1"


def test_the_first_thing_to_tab_to_skips_to_the_results(report: Element):
    first = report.one("body").all("a", "button", "input", "select")[0]

    assert first.attributes["href"] == "#main"
    assert report.one("main").attributes == {"id": "main", "tabindex": "-1"}


def test_ids_are_unique_and_every_link_and_label_finds_its_own(report: Element):
    ids = [element.attributes["id"] for element in report.below() if "id" in element.attributes]
    wanted = [link.attributes["href"].removeprefix("#") for link in report.all("a")]
    wanted += [
        element.attributes["aria-labelledby"] for element in report.below() if "aria-labelledby" in element.attributes
    ]

    assert len(ids) == len(set(ids))
    assert set(wanted) <= set(ids)


def test_tables_have_captions_and_their_headings_say_what_they_head(report: Element):
    for table in report.all("table"):
        assert table.one("caption").text
        assert all(cell.attributes["scope"] == "col" for cell in table.one("thead").all("th"))
        assert all(row.one("th").attributes["scope"] == "row" for row in table.one("tbody").all("tr"))
        frame = table.parent
        assert frame is not None
        assert (frame.attributes["role"], frame.attributes["tabindex"]) == ("group", "0"), "scrolls, but not by keys"


def test_charts_have_texts_in_their_place(report: Element):
    gallery = report.one("figure", id="dataset-1-gallery")
    figures = [figure for figure in report.all("figure", class_="chart") if figure is not gallery]

    for figure in figures:
        svg = figure.one("svg")
        assert svg.attributes["role"] == "img"
        assert svg.attributes["aria-label"] == figure.one("figcaption").text
        assert len(svg.attributes["aria-label"]) > 20
    assert [figure.attributes["id"] for figure in figures if figure.parent.all("table")] == [
        "dataset-1-pareto", "dataset-1-ablation", "dataset-1-time",
    ]  # fmt: skip
    assert len(figures) == 7, "no curves, classes and memory"
    assert gallery.text.startswith("Left out: it needs the images")


def test_charts_share_their_letters_and_use_nothing_that_is_not_there(report: Element):
    shapes = {shape.attributes["id"] for shape in report.one("div", class_="shapes").one("defs").inside}
    used = {use.attributes["href"].removeprefix("#") for use in report.all("use")}
    clips = {match for element in report.below() for match in re.findall(r"url\(#(.+?)\)", str(element.attributes))}

    assert used | clips == shapes
    assert len(report.all("defs")) == 1


def test_charts_are_drawn_in_the_colours_of_the_page(report: Element):
    styles = " ".join(
        element.attributes.get("style", "") for element in report.one("figure", id="dataset-1-pareto").below()
    )

    assert "var(--ink)" in styles
    assert "light-dark(#0072B2, #3F9FDC)" in styles
    assert not re.search("(?<!\\()#0072b2|#333333", styles)


def test_nothing_is_loaded_from_elsewhere(report: Element):
    addresses = [
        value
        for element in report.below()
        for name, value in element.attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster")
    ]
    policy = report.one("meta", http_equiv="Content-Security-Policy").attributes["content"]

    assert {re.match(r"#|data:", address)[0] for address in addresses} <= {"#", "data:"}
    assert not report.all("link", "iframe", "object", "embed", "base")
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [(ink, ground) for ink in ("ink", "muted", "accent") for ground in ("ground", "surface", "raised")],
)
def test_texts_stand_out_from_their_ground_by_the_ratio_that_wcag_aa_asks_for(theme: int, ink: str, ground: str):
    colours = dict(re.findall(r"--([\w-]+): light-dark\((#\w+, #\w+)\)", STYLE))
    light, dark = sorted((luminance(colours[name].split(", ")[theme]) for name in (ink, ground)), reverse=True)

    assert (light + 0.05) / (dark + 0.05) >= 4.5


# --- what it says ----------------------------------------------------------------------------------------------------


def test_the_leaderboard_shows_and_sorts_by_what_the_command_gives(ledger: Ledger, report: Element):
    runs = load_runs([ledger.folder])
    board = make_leaderboard(runs[runs["status"] != FAILED], correctness=Correctness(runs))
    table = report.one("table", id="dataset-1-board")
    sorted_by = [float(row.all("th", "td")[5].attributes["data-order"]) for row in table.one("tbody").all("tr")]

    rows = rows_of_table(table)

    assert [(row["Backbone"], row["Mode"]) for row in rows] == list(zip(board["backbone"], board["mode"], strict=True))
    assert [row["Rank"] for row in rows] == ["1", "2", "–", "–"]
    assert [row.one("th").text for row in table.one("tbody").all("tr")] == ["NetA", "NetB", "NetB", "NetA"]
    assert list(rows[0])[5] == "Accuracy"
    assert sorted_by == board["accuracy"].tolist()


def test_the_summary_names_what_to_take_the_smallest_that_is_as_good_and_the_worst_damage(report: Element):
    facts = {fact.one("dt").text: fact.one("dd").text for fact in report.one("article").all("div")}

    assert next(iter(facts)) == "Take"
    assert facts["Take"].startswith("NetA, mode native 90.0\u00a0% (95 %: 85.1 to 93.4\u00a0%)")
    assert facts["Biggest preprocessing damage"] == (
        "40.0\u00a0points NetA in mode unit: 90.0\u00a0% in native, 50.0\u00a0% in unit"
    )
    assert facts["Smallest within 1 point of the best"] == facts["Take"]
    assert facts["Take"].endswith("2.00\u00a0M parameters")


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_the_summary_never_recommends_a_wrong_mode(tmp_path: Path):
    """Also if its accuracy is the highest, or it is the smallest among those within a point of the best."""
    ledger = Ledger(tmp_path / "toy")
    images = np.arange(1000)
    add_predicted(ledger, images < 900, params_total=23_600_000)
    add_predicted(ledger, images < 903, params_total=1_000_000, mode="unit")
    add_predicted(ledger, images < 894, params_total=4_000_000, backbone="NetB")

    article = report_of(ledger).one("article")

    facts = {fact.one("dt").text: fact.one("dd").text for fact in article.all("div")}
    assert facts["Take"].startswith("NetA, mode native 90.0")
    assert facts["Smallest within 1 point of the best"].startswith("NetB, mode native")


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_without_a_native_setting_the_summary_recommends_none(tmp_path: Path):
    ledger = Ledger(tmp_path / "toy")
    add_predicted(ledger, np.arange(100) < 90, mode="unit")

    facts = {fact.one("dt").text: fact.one("dd").text for fact in report_of(ledger).one("article").all("div")}

    assert facts["Take"] == "not known No setting was run in mode native."
    assert not any(question.startswith("Smallest") for question in facts)


@pytest.mark.slow
def test_that_seeds_were_not_varied_is_said_below_the_leaderboard_and_the_ablation(tmp_path: Path):
    ledger = Ledger(tmp_path / "toy")
    for mode, n_right in (("native", 90), ("unit", 50)):
        for backbone in ("NetA", "NetB"):
            add_predicted(ledger, np.arange(100) < n_right, mode=mode, backbone=backbone)

    text = report_of(ledger).one("main").text

    assert "Seeds were not varied, so other seeds may give other ranks." in text
    assert "Seeds were not varied, so other seeds may give other intervals" in text


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_of_settings_that_are_not_told_apart_the_summary_takes_the_smaller(tmp_path: Path, rng: np.random.Generator):
    ledger = Ledger(tmp_path / "toy")
    right = rng.random(100) < 0.8
    add_predicted(ledger, right)
    add_predicted(ledger, np.roll(right, 1) & (np.arange(100) > 0), backbone="NetB", params_total=1_000_000)

    facts = {fact.one("dt").text: fact.one("dd").text for fact in report_of(ledger).one("article").all("div")}

    assert facts["Take"].startswith("NetB, mode native ")
    assert facts["Take"].endswith("Not told apart from it: NetA, mode native")


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_the_summary_compares_what_it_takes_with_settings_of_as_many_shots(tmp_path: Path):
    ledger = Ledger(tmp_path / "toy")
    for shots, n_right in ((1, 80), (25, 160)):
        for backbone in ("NetA", "NetB"):
            add_predicted(ledger, np.arange(200) < n_right, backbone=backbone, shots=shots)

    facts = {fact.one("dt").text: fact.one("dd").text for fact in report_of(ledger).one("article").all("div")}

    assert facts["Take"].startswith("NetA, shots=25, mode native 80.0")
    assert facts["Take"].endswith("Not told apart from it: NetB, shots=25, mode native")


def test_failed_cells_are_listed_with_their_reason(report: Element):
    (row,) = rows_of_table(report.one("table", id="failures-table"))

    assert (row["Backbone"], row["Mode"], row["Kind"], row["Message"]) == ("NetA", "raw", "oom", "no room")
    assert "Not ranked: 1 failed cell." in report.one("main").text


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_every_row_has_the_commands_that_make_it_again(ledger: Ledger):
    report, folder = report_of(ledger), ledger.folder.as_posix()
    details = report.one("details", id="dataset-1-commands")
    runs = ledger.read_runs()
    unit = runs[(runs["backbone"] == "NetA") & (runs["mode"] == "unit")].sort_values("seed")["run_id"]

    commands = {row.one("th").text: [code.text for code in row.all("code")] for row in details.one("tbody").all("tr")}

    assert list(commands) == ["NetA, mode native", "NetB, mode native", "NetB, mode unit", "NetA, mode unit"]
    assert commands["NetA, mode unit"] == [f"benchmark rerun {run_id} {folder}" for run_id in unit]


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_published_figures_stand_beside_the_measured_ones(ledger: Ledger):
    ledger.keep_recipe(
        'name = "toy"\n[[published]]\ndataset = "digits"\nbackbone = "NetA"\nvalue = 0.95\nnote = "theirs"\n'
    )

    (row,) = rows_of_table(report_of(ledger).one("table", id="dataset-1-published"))

    assert (row["Published"], row["Measured"], row["Difference"]) == ("0.9500", "0.9000", "-0.0500")
    assert row["Note"] == "theirs"


def test_rows_that_share_an_environment_are_one_row_of_its_table(report: Element):
    first, second = rows_of_table(report.one("table", id="environment-table"))

    assert (first["Rows"], first["Keras"], first["Commit"], first["Made"]) == (
        "8", "3.15.1", "c" * 12, "2026-01-01 to 2026-01-02",
    )  # fmt: skip
    assert second["Rows"] == "1", "the failed row says nothing of where it ran"


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_datasets_have_sections_of_their_own(tmp_path: Path, rng: np.random.Generator):
    one = a_report_ledger(tmp_path / "one", rng)
    two = a_report_ledger(tmp_path / "two", rng, dataset="folder:/my pets@50", dataset_fingerprint="0" * 64)

    report = report_of(one, two)

    assert [section.one("h2").text for section in report.all("section", class_="dataset")] == [
        "digits", "folder:/my pets@50",
    ]  # fmt: skip
    for section in report.all("section", class_="dataset"):
        assert len(rows_of_table(section.all("table")[0])) == 4


def test_options_are_left_out_of_names_unless_they_alone_tell_settings_apart():
    columns = {
        **SETTING, "strategy": "finetune", "stages": "all,epochs=3", "folds": None, "shots": None,
        "head": "dense", "head_options": "units=8", "variant": "",
    }  # fmt: skip
    other = {**columns, "backbone": "NetB"}
    settings = pd.DataFrame([columns, {**columns, "head_options": "units=9"}, other])

    assert name_settings(settings).tolist() == [
        "NetA, dense(units=8)", "NetA, dense(units=9)", "NetB",
    ]  # fmt: skip


# --- charts ----------------------------------------------------------------------------------------------------------


def test_the_chart_of_parameters_has_every_setting_and_the_front(report: Element):
    table = rows_of_table(report.one("table", id="dataset-1-pareto-table"))

    assert sorted(tip.partition(" (")[0] for tip in tips_of(report, "dataset-1-pareto")) == [
        "NetA, mode native, 0.900", "NetA, mode unit, 0.500", "NetB, mode native, 0.700", "NetB, mode unit, 0.700",
    ]  # fmt: skip
    assert [(row["Setting"], row["Mode"], row["Params, M"], row["On the front"]) for row in table] == [
        ("NetA", "native", "2.00", "yes"), ("NetB", "native", "8.00", "no"), ("NetB", "unit", "8.00", "no"),
        ("NetA", "unit", "2.00", "no"),
    ]  # fmt: skip
    assert (
        report.one("figure", id="dataset-1-pareto")
        .one("figcaption")
        .text.endswith("On the Pareto front: NetA, mode native (2 M, 0.900).")
    )


def test_the_chart_of_modes_sets_each_mode_against_native_the_most_harmful_first(report: Element):
    tips = tips_of(report, "dataset-1-ablation")
    rows = rows_of_table(report.one("table", id="dataset-1-ablation-table"))

    assert {tip.partition(":")[0] for tip in tips} == {"NetA, mode unit", "NetB, mode unit"}
    assert any("native: 0.900, lost: 40.0 points (95 %: +" in tip for tip in tips)
    assert [(row["Backbone"], row["Points lost"]) for row in rows] == [("NetA", "+40.00"), ("NetB", "+0.00")]


def test_the_table_of_times_has_the_phases_and_the_whole_the_slowest_first(report: Element):
    rows = rows_of_table(report.one("table", id="dataset-1-time-table"))

    assert list(rows[0]) == [
        "Setting", "Mode", "Wall, s", "Load, s", "Build, s", "Extract, s", "Train, s", "Evaluate, s",
    ]  # fmt: skip
    assert [row["Wall, s"] for row in rows] == ["80.0", "80.0", "20.0", "20.0"]
    assert "NetB, extract: 40 s of 80 s" in tips_of(report, "dataset-1-time")


@pytest.mark.slow
def test_charts_of_many_rows_draw_some_and_the_table_has_all(large: str):
    report = read_page(large)

    drawn = {tip.partition(":")[0] for tip in tips_of(report, "dataset-1-ablation")}
    tabled = rows_of_table(report.one("table", id="dataset-1-ablation-table"))

    assert (len(drawn), len(tabled)) == (24, 400)
    assert "Accuracy of 400 wrong modes" in report.one("figure", id="dataset-1-ablation").one("figcaption").text


# --- odd ledgers -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("nasty", NASTY)
def test_names_of_any_kind_are_shown_and_never_run(
    tmp_path: Path, rng: np.random.Generator, report: Element, nasty: str
):
    ledger = a_report_ledger(
        tmp_path / "nasty", rng, dataset=f"folder:{nasty}", head=nasty, strategy=nasty, error_message=nasty
    )

    found = report_of(ledger)

    for tag in ("script", "img", "b"):
        assert len(found.all(tag)) == len(report.all(tag)), tag
    assert not [name for element in found.below() for name in element.attributes if name.startswith("on")]
    assert found.one("section", class_="dataset").one("h2").text == f"folder:{nasty}"
    assert rows_of_table(found.one("table", id="failures-table"))[0]["Message"] == nasty
    chart = found.one("figure", id="dataset-1-accuracy").one("svg")
    assert f" on folder:{nasty}. Best: " in chart.attributes["aria-label"]


def test_an_empty_ledger_is_refused_with_what_to_do(tmp_path: Path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / RUNS).touch()
    ledger = Ledger(folder)
    add(ledger)
    lines = (folder / RUNS).read_text().splitlines(keepends=True)
    (folder / RUNS).write_text(lines[0])

    with pytest.raises(BenchmarkError, match="have no row to report: run a sweep"):
        make_report([folder])


def test_a_folder_without_a_ledger_is_refused(tmp_path: Path):
    with pytest.raises(LedgerError, match=r"no runs\.csv"):
        make_report([tmp_path])


def test_a_ledger_of_failures_only_is_a_report_of_failures(tmp_path: Path):
    ledger = Ledger(tmp_path / "failed")
    add(ledger, status=FAILED, error_type="oom", error_message="no room")

    report = report_of(ledger)

    assert "No run of these ledgers has finished" in report.one("main").text
    assert len(rows_of_table(report.one("table", id="failures-table"))) == 1
    assert not report.all("section", class_="dataset")


@pytest.mark.slow
def test_one_seed_without_predictions_modes_times_or_parameters_is_still_a_report(tmp_path: Path):
    ledger = Ledger(tmp_path / "bare")
    add(ledger, params_total=None, efficiency=None, wall_s=None)

    report = report_of(ledger)

    assert [figure.attributes["id"] for figure in report.all("figure")] == ["dataset-1-accuracy"]
    assert "not measured" in report.one("article").text
    (row,) = rows_of_table(report.one("table", id="dataset-1-board"))
    assert row["Accuracy"] == "0.5000"
    assert "Wall, s" not in row, "a column without a number"


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_a_finished_run_without_an_accuracy_is_listed_as_failed(ledger: Ledger):
    add(ledger, backbone="NetC", accuracy=None)

    report = report_of(ledger)

    failures = rows_of_table(report.one("table", id="failures-table"))
    assert [(row["Backbone"], row["Message"]) for row in failures] == [
        ("NetA", "no room"),
        ("NetC", "It has no accuracy."),
    ]
    assert "NetC" not in report.one("table", id="dataset-1-board").text


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_different_contents_of_a_dataset_are_never_ranked_together(ledger: Ledger):
    add(ledger, backbone="VGG16-hed", dataset_fingerprint="0" * 64)

    one, other = report_of(ledger).all("section", class_="dataset")

    assert (one.one("h2").text, other.one("h2").text) == ("digits #00000000", "digits #ffffffff")
    assert [len(rows_of_table(section.all("table")[0])) for section in (one, other)] == [1, 4]


@pytest.mark.slow
def test_a_thousand_rows_stay_under_eight_megabytes(large: str):
    assert len(large.encode()) < 8 * MIB
    assert len(rows_of_table(read_page(large).one("table", id="dataset-1-board"))) == 500


def test_without_the_extra_it_is_said_how_to_get_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page, "find_spec", {}.get)

    with pytest.raises(
        BenchmarkError, match=re.escape("itables, which is not installed: pip install 'backbone-benchmark[report]'")
    ):
        make_report([ledger.folder])


def test_the_bundle_is_that_of_the_library(report: Element):
    import base64
    import gzip

    from itables.options import dt_bundle

    packed = report.one("script", id="tables-js")

    assert gzip.decompress(base64.b64decode(packed.text)) == Path(dt_bundle).read_bytes()
    assert packed.attributes["type"] == "text/plain"


# --- the command -----------------------------------------------------------------------------------------------------


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark", "report", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_the_command_writes_the_file_and_prints_its_name_and_a_second_page_is_the_same(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "new folder" / "page.html"

    code = call(monkeypatch, str(ledger.folder), "--out", str(out))

    assert (code, capsys.readouterr().out) == (0, f"{out}\n")
    assert out.read_text(encoding="utf-8") == make_report([ledger.folder])


@pytest.mark.slow
@pytest.mark.usefixtures("no_charts")
def test_the_command_takes_all_results_of_the_folder_it_is_called_in(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert call(monkeypatch) == 0
    assert (
        "benchmark report results"
        in read_page((tmp_path / "report.html").read_text(encoding="utf-8")).one("footer").text
    )


def test_the_command_without_the_extra_ends_with_2_and_leaves_no_file(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(page, "find_spec", {}.get)
    out = tmp_path / "page.html"

    code = call(monkeypatch, str(ledger.folder), "--out", str(out))

    assert code == 2
    assert "itables, which is not installed: pip install 'backbone-benchmark[report]'" in capsys.readouterr().err
    assert not out.exists()
