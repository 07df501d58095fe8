"""What settings are called in a picture, and texts made to fit."""

import textwrap

import pandas as pd

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

    Args:
        settings: The columns of a setting, a row a setting.

    Returns:
        Names aligned with `settings`; no two settings have both name and mode in common.
    """
    names = settings["backbone"].astype(str)
    strategies = settings["strategy"].where((settings["strategy"] != PLAIN) & _varies(settings, "strategy"), "")
    is_head_telling = _varies(settings, "strategy") | _varies(settings, "head", within="strategy")
    for part in (strategies, settings["head"].where(is_head_telling, "")):
        names += _after_comma(part)
    for column, pattern in DETAILS.items():
        part = settings[column].map(lambda value, pattern=pattern: pattern.format(value) if value else "")
        names += _after_comma(part.where(_varies(settings, column, within="backbone"), ""))
    repeats = settings.assign(name=names).groupby(["name", "mode"]).cumcount()
    return names + repeats.map(lambda number: f" ({number + 1})" if number else "")


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
