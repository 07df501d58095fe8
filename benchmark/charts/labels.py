"""What settings are called in a picture, and texts made to fit."""

import textwrap

import pandas as pd

from benchmark.analysis.asking import base_name
from benchmark.analysis.loading import SETTING

WITH_OPTIONS = ("strategy", "head")
PLAIN = "probe"
# Settings that few sweeps change: named only where one backbone has several.
DETAILS = {
    "input_size_px": "{:g} px",
    "precision": "{}",
    "resize": "{}",
    "crop": "{}",
    "augment": "{}",
}


def name_settings(settings: pd.DataFrame) -> pd.Series:
    """A short name for each setting of one dataset, its mode left out: the backbone, and what else sets it apart.

    Strategies and heads are named without their options, unless these alone tell settings apart: then by the options
    in which they differ.

    Args:
        settings: The columns of a setting, a row a setting.

    Returns:
        Names aligned with `settings`; no two settings have both name and mode in common.
    """
    settings = with_telling_options(settings)
    plain = settings.assign(**{column: settings[column].map(base_name) for column in WITH_OPTIONS})
    has_options = {column: settings[column] != plain[column] for column in WITH_OPTIONS}
    names = settings["backbone"].astype(str)
    several = _varies(plain, "strategy")
    strategies = settings["strategy"].where((settings["strategy"] != PLAIN) & (several | has_options["strategy"]), "")
    is_head_telling = several | _varies(plain, "head", within="strategy") | has_options["head"]
    for part in (strategies, settings["head"].where(is_head_telling, "")):
        names += _after_comma(part)
    for column, pattern in DETAILS.items():
        part = settings[column].map(lambda value, pattern=pattern: pattern.format(value) if value else "")
        names += _after_comma(part.where(_varies(settings, column, within="backbone"), ""))
    repeats = settings.assign(name=names).groupby(["name", "mode"]).cumcount()
    return names + repeats.map(lambda number: f" ({number + 1})" if number else "")


def with_telling_options(settings: pd.DataFrame) -> pd.DataFrame:
    """Settings with strategies and heads as `name_settings` names them: without options that tell nothing apart."""
    plain = settings.assign(**{column: settings[column].map(base_name) for column in WITH_OPTIONS})
    alike = plain.groupby(list(SETTING), sort=False, dropna=False).groups.values()
    for column in WITH_OPTIONS:
        for rows in alike:
            plain.loc[rows, column] = _tell_apart(settings.loc[rows, column])
    return plain


def _tell_apart(labels: pd.Series) -> list[str]:
    """Labels such as `finetune(0,epochs=5 + 20,epochs=4)` with those options alone that not all of them have."""
    options = [_options(label) for label in labels]
    common = set.intersection(*map(set, options))
    own = [", ".join(text for stage, text in some if (stage, text) not in common) for some in options]
    short = [base_name(label) + (f"({text})" if text else "") for label, text in zip(labels, own, strict=True)]
    return short if len(set(short)) == labels.nunique() else list(labels)


def _options(label: str) -> list[tuple[int, str]]:
    """Each with the number of its stage."""
    stages = label.partition("(")[2].removesuffix(")").split(" + ")
    return [(number, option) for number, stage in enumerate(stages) for option in stage.split(",") if option]


def _varies(settings: pd.DataFrame, column: str, *, within: str | None = None) -> pd.Series:
    """Whether a column has several values, in all rows or in those that share the value of another column."""
    groups = settings[within] if within else pd.Series(0, settings.index)
    return settings.groupby(groups)[column].transform("nunique") > 1


def _after_comma(parts: pd.Series) -> pd.Series:
    return parts.fillna("").astype(str).map(lambda part: f", {part}" if part else "")


def described(setting: pd.Series) -> str:
    """A row of settings in words: its label and mode."""
    return f"{setting['label']}, mode {setting['mode']}"


def shorten(text: str, width: int) -> str:
    """At most `width` characters of a text, its middle left out where it is longer."""
    if len(text) <= width:
        return text
    n_last = (width - 1) // 2
    return f"{text[: width - 1 - n_last]}…{text[-n_last:]}"


def wrap(text: str, width: int, *, n_lines: int = 2) -> str:
    """A text in lines of at most `width` characters, its middle left out where it would need more than `n_lines`."""
    for length in range(width * n_lines, 0, -1):
        lines = textwrap.wrap(shorten(text, length), width)
        if len(lines) <= n_lines:
            return "\n".join(lines)
    return ""


def fit(label: str, width: int) -> str:
    """A name of `name_settings` in at most two lines: a long backbone loses its middle before anything else is cut."""
    if len(label) <= width:
        return label
    backbone, comma, rest = label.partition(", ")
    return f"{shorten(backbone, width)},\n{shorten(rest, width)}" if comma else wrap(label, width)


def count_of(number: int, noun: str) -> str:
    """The number with its noun: `1 seed`, `3 seeds`, `2 classes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
