"""What settings are called in a chart, and texts made to fit."""

import re
import textwrap
from collections.abc import Sequence

import pandas as pd

from benchmark.analysis.loading import SETTING

# The options of each of these stand in a column of their own.
OPTIONS = {"strategy": "stages", "head": "head_options"}
PLAIN = "probe"
# Settings that few sweeps change: named only if one backbone has several.
DETAILS = {
    "input_size_px": "{:g} px", "folds": "{:g} folds", "shots": "shots={:g}", "precision": "{}", "resize": "{}",
    "crop": "{}", "augment": "{}", "variant": "{}",
}  # fmt: skip


def name_settings(settings: pd.DataFrame) -> pd.Series:
    """A short name for each setting of one dataset, without its mode: the backbone, and what else distinguishes it.

    Strategies and heads are named without their options, unless only these distinguish settings: then the options
    that differ are named. The head of another strategy than a probe is named if that strategy has several.

    Args:
        settings: The columns of `SETTING`, one row per setting.

    Returns:
        Names aligned with `settings`; no two settings have the same name and mode.
    """
    named = with_telling_options(settings)
    has_options = {column: named[column] != settings[column] for column in OPTIONS}
    names = settings["backbone"].astype(str)
    several = _varies(settings, "strategy")
    strategies = named["strategy"].where((settings["strategy"] != PLAIN) & (several | has_options["strategy"]), "")
    is_one_of_several = several & (settings["strategy"] == PLAIN)
    is_head_telling = is_one_of_several | _varies(settings, "head", within="strategy") | has_options["head"]
    for part in (strategies, named["head"].where(is_head_telling, "")):
        names += _after_comma(part)
    for column, pattern in DETAILS.items():
        known = settings[column].notna() & (settings[column] != "")
        part = settings[column].map(pattern.format, na_action="ignore").where(known, "")
        names += _after_comma(part.where(_varies(settings, column, within="backbone"), ""))
    repeats = settings.assign(name=names).groupby(["name", "mode"]).cumcount()
    return names + repeats.map(lambda number: f" ({number + 1})" if number else "")


def with_telling_options(settings: pd.DataFrame) -> pd.DataFrame:
    """Settings whose strategies and heads are followed by the options that tell them apart, if any do."""
    named = settings.copy()
    plain = settings.groupby([column for column in SETTING if column not in OPTIONS.values()], sort=False, dropna=False)
    has_options = (settings[list(OPTIONS.values())] != "").any(axis=1)
    for rows in plain.groups.values():
        if not has_options[rows].any():
            continue
        for column, options in OPTIONS.items():
            texts = _tell_apart(settings.loc[rows, options])
            names = settings.loc[rows, column]
            named.loc[rows, column] = [
                f"{name}({text})" if text else name for name, text in zip(names, texts, strict=True)
            ]
    return named


def _tell_apart(texts: pd.Series) -> list[str]:
    """The parts of each text that the others do not all have; the whole texts if that is not enough."""
    parts = [_parts(text) for text in texts]
    common = set.intersection(*map(set, parts))
    own = [", ".join(part for stage, part in some if (stage, part) not in common) for some in parts]
    return own if len(set(own)) == texts.nunique() else list(texts)


def _parts(text: str) -> list[tuple[int, str]]:
    """What stands between commas, with the number of its stage."""
    stages = text.split(" + ")
    return [(number, part) for number, stage in enumerate(stages) for part in stage.split(",") if part]


def _varies(settings: pd.DataFrame, column: str, *, within: str | None = None) -> pd.Series:
    """Whether a column has several values, in all rows or among those with the same value of another column."""
    groups = settings[within] if within else pd.Series(0, settings.index)
    return settings.groupby(groups)[column].transform("nunique", dropna=False) > 1


def _after_comma(parts: pd.Series) -> pd.Series:
    return parts.fillna("").astype(str).map(lambda part: f", {part}" if part else "")


def described(setting: pd.Series) -> str:
    """A row of settings in words: its label and mode."""
    return f"{setting['label']}, mode {setting['mode']}"


def accuracy_text(setting: pd.Series) -> str:
    """A row of settings in words, with its accuracy and 95 % interval."""
    low, high = setting["accuracy_low"], setting["accuracy_high"]
    return f"{described(setting)}, {setting['accuracy']:.3f} ({low:.3f} to {high:.3f})"


def shorten(text: str, width: int) -> str:
    """A text of at most `width` characters; a longer one loses its middle."""
    if len(text) <= width:
        return text
    n_last = (width - 1) // 2
    return f"{text[: width - 1 - n_last]}…{text[-n_last:]}"


def wrap(text: str, width: int, *, n_lines: int = 2) -> str:
    """A text in at most `n_lines` lines of at most `width` characters; a longer one loses its middle."""
    for length in range(width * n_lines, 0, -1):
        lines = textwrap.wrap(shorten(text, length), width)
        if len(lines) <= n_lines:
            return "\n".join(lines)
    return ""


def shorten_apart(texts: Sequence[str], width: int) -> list[str]:
    """The texts in at most `width` characters; if their ends are alike, they lose their beginnings instead."""
    short = [shorten(text, width) for text in texts]
    if len(set(short)) == len(set(texts)):
        return short
    long = [text for text in texts if len(text) > width]
    n_alike = next(n for n in range(min(map(len, long)) + 1) if len({text[: n + 1] for text in long}) > 1)
    return [shorten(f"…{text[n_alike:]}" if len(text) > width else text, width) for text in texts]


def fit(label: str, width: int) -> str:
    """A name of `name_settings` in at most four lines, broken after commas where possible, so that nothing is cut.

    Only of a backbone longer than two lines, and of further parts longer than two, the middle is left out.
    """
    if len(label) <= width:
        return label
    backbone, comma, rest = label.partition(", ")
    first = wrap(f"{backbone}{comma}".strip(), width)
    return f"{first}\n{_wrap_parts(rest, width)}" if rest else first


def _wrap_parts(text: str, width: int) -> str:
    """A text in at most two lines, broken after a comma if that is enough."""
    if len(text) <= width:
        return text
    commas = [found.start() for found in re.finditer(", ", text)]
    fitting = [place for place in commas if place < width and len(text) - place - 2 <= width]
    if not fitting:
        return wrap(text, width)
    # Rather between options than within one's brackets, and then in the middle.
    place = min(fitting, key=lambda place: (_is_within_brackets(text, place), abs(2 * place - len(text))))
    return f"{text[: place + 1]}\n{text[place + 2 :]}"


def _is_within_brackets(text: str, place: int) -> bool:
    return text.count("(", 0, place) > text.count(")", 0, place)
