"""What settings are called in a chart, and texts made to fit."""

import textwrap

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
    that differ are named.

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
    is_head_telling = several | _varies(settings, "head", within="strategy") | has_options["head"]
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


def fit(label: str, width: int) -> str:
    """A name of `name_settings` in at most two lines: a long backbone loses its middle before anything else is cut."""
    if len(label) <= width:
        return label
    backbone, comma, rest = label.partition(", ")
    return f"{shorten(backbone, width)},\n{shorten(rest, width)}" if comma else wrap(label, width)
