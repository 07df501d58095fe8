"""What settings are called in charts, and texts made to fit."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import RUN

from benchmark.analysis.formats import count_of
from benchmark.analysis.loading import SETTING
from benchmark.charts.labels import fit, name_settings, shorten, shorten_apart, wrap


def names(*settings: dict[str, Any]) -> list[str]:
    rows = [{**RUN, "variant": "", "folds": None, "shots": None, **setting} for setting in settings]
    return name_settings(pd.DataFrame(rows)[list(SETTING)]).tolist()


def test_a_backbone_is_its_own_name_where_nothing_else_differs():
    assert names({"backbone": "A", "mode": "unit"}, {"backbone": "B", "input_size_px": 96}) == ["A", "B"]


def test_heads_are_named_where_there_are_several():
    assert names({"head": "linear"}, {"head": "dense", "head_options": "units=0"}) == ["NetA, linear", "NetA, dense"]


def test_of_several_strategies_a_probe_is_named_by_its_head():
    assert names(
        {"head": "linear"},
        {"strategy": "finetune", "stages": "0 + 20", "head": "dense"},
        {"backbone": "lenet5", "strategy": "scratch", "head": ""},
    ) == ["NetA, linear", "NetA, finetune", "lenet5, scratch"]


def test_of_several_heads_of_a_strategy_each_is_named():
    finetune = {"strategy": "finetune", "stages": "0 + 20"}

    assert names({"head": "linear"}, {**finetune, "head": "dense"}, {**finetune, "head": "linear"}) == [
        "NetA, linear", "NetA, finetune, dense", "NetA, finetune, linear",
    ]  # fmt: skip


def test_options_are_named_only_where_they_alone_differ_and_only_those():
    longer = {"strategy": "finetune", "stages": "0,epochs=5,patience=3 + 20,learning_rate=0.0001,patience=3"}
    published = {"strategy": "finetune", "stages": "0,epochs=5,patience=3 + 20,epochs=4,learning_rate=1e-05,patience=3"}

    assert names(longer, published, {"backbone": "B", **published}) == [
        "NetA, finetune(learning_rate=0.0001)", "NetA, finetune(epochs=4, learning_rate=1e-05)", "B",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "values", "parts"),
    [
        ("input_size_px", (64, 96), ("64 px", "96 px")),
        ("precision", ("float32", "bfloat16"), ("float32", "bfloat16")),
        ("resize", ("bilinear", "nearest"), ("bilinear", "nearest")),
        ("crop", ("squash", "crop"), ("squash", "crop")),
        ("shots", (1, 25), ("shots=1", "shots=25")),
    ],
)
def test_what_differs_within_a_backbone_is_named(column: str, values: tuple[Any, Any], parts: tuple[str, str]):
    one, other = ({column: value} for value in values)

    assert names(one, other) == [f"NetA, {part}" for part in parts]


@pytest.mark.parametrize(("column", "part"), [("shots", "shots=5"), ("folds", "5 folds")])
def test_all_images_need_no_name(column: str, part: str):
    assert names({column: None}, {column: 5}) == ["NetA", f"NetA, {part}"]


def test_no_augmentation_needs_no_name():
    assert names({"augment": ""}, {"augment": "flip=horizontal"}) == ["NetA", "NetA, flip=horizontal"]


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "backbone": st.sampled_from(["A", "A, dense", "B"]),
                "mode": st.sampled_from(["native", "unit"]),
                "strategy": st.sampled_from(["probe", "finetune", "dense"]),
                "head": st.sampled_from(["", "dense", "linear"]),
                "augment": st.sampled_from(["", "flip"]),
                "input_size_px": st.sampled_from([64, 96]),
            }
        ),
        min_size=1,
        max_size=20,
        unique_by=lambda row: tuple(row.values()),
    )
)
def test_no_two_settings_have_name_and_mode_in_common(rows: list[dict[str, Any]]):
    found = list(zip(names(*rows), (row["mode"] for row in rows), strict=True))

    assert len(set(found)) == len(rows)
    assert all(name.startswith(row["backbone"]) for (name, _), row in zip(found, rows, strict=True))


# --- texts that fit --------------------------------------------------------------------------------------------------

WORDS = st.text(st.sampled_from("abc-_ ,.(é日"), max_size=120)


@given(WORDS, st.integers(3, 40))
def test_a_shortened_text_keeps_its_ends(text: str, width: int):
    short = shorten(text, width)

    assert len(short) <= width
    assert short == text or (len(text) > width and "…" in short)
    start, _, end = short.partition("…")
    assert text.startswith(start)
    assert text.endswith(end)


@given(WORDS, st.integers(3, 40), st.integers(1, 4))
def test_a_wrapped_text_stays_within_its_lines(text: str, width: int, n_lines: int):
    lines = wrap(text, width, n_lines=n_lines).split("\n")

    assert len(lines) <= n_lines
    assert all(len(line) <= width for line in lines)


@given(WORDS, st.integers(8, 40))
def test_a_name_has_at_most_four_lines(label: str, width: int):
    lines = fit(label, width).split("\n")

    assert len(lines) <= 4
    assert all(len(line) <= width for line in lines)


def test_of_a_long_name_the_backbone_is_shortened_first():
    label = "MobileNetV2-tuned-by-somebody-for-a-long-time, finetune(0+20)"

    assert fit(label, 20) == "MobileNetV2-tuned-\nb…y-for-a-long-time,\nfinetune(0+20)"


def test_what_differs_is_broken_after_a_comma_rather_than_cut():
    label = "MobileNetV2-dogs, finetune(epochs=4, learning_rate=1e-05), 128 px"

    assert fit(label, 34) == "MobileNetV2-dogs,\nfinetune(epochs=4,\nlearning_rate=1e-05), 128 px"
    assert fit("VGG16, dense(units=0, dropout=0.3), 224 px", 34) == "VGG16,\ndense(units=0, dropout=0.3),\n224 px"


def test_names_that_begin_and_end_alike_keep_what_differs():
    names = [f"n0000000{number}-a-rather-long-name" for number in range(3)]

    assert shorten_apart(names, 12) == ["…0-a-r…-name", "…1-a-r…-name", "…2-a-r…-name"]
    assert shorten_apart(["cat", names[0]], 12) == ["cat", "n00000…-name"]


@pytest.mark.parametrize(
    ("number", "noun", "text"), [(1, "seed", "1 seed"), (3, "seed", "3 seeds"), (1200, "class", "1,200 classes")]
)
def test_a_count_agrees_with_its_noun(number: int, noun: str, text: str):
    assert count_of(number, noun) == text
