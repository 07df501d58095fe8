"""What settings are called in a report."""

import pandas as pd

from benchmark.analysis.asking import base_name
from benchmark.analysis.loading import SETTING
from benchmark.analysis.plots.labels import PLAIN, name_settings


def name_shortly(settings: pd.DataFrame) -> pd.Series:
    """Names like those of `name_settings`, without the options of strategies and heads where they tell nothing apart.

    Args:
        settings: The columns of a setting, a row a setting of one dataset.

    Returns:
        Names aligned with `settings`.
    """
    plain = settings.assign(
        strategy=settings["strategy"].map(base_name), head=settings["head"].map(base_name)
    )  # fmt: skip
    needs_options = plain.duplicated(list(SETTING), keep=False)
    return name_settings(plain).where(~needs_options, name_settings(settings))


def name_ways(settings: pd.DataFrame) -> pd.Series:
    """How each setting was trained, without options: the head of a probe, else the strategy and what head it has."""
    strategies, heads = settings["strategy"].map(base_name), settings["head"].map(base_name)
    after = heads.map(lambda head: f", {head}" if head else "")
    return heads.where((strategies == PLAIN) & (heads != ""), strategies + after)
