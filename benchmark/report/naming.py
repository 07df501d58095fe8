"""What settings are called in a report."""

import pandas as pd

from benchmark.analysis.asking import base_name
from benchmark.charts.labels import PLAIN


def name_ways(settings: pd.DataFrame) -> pd.Series:
    """How each setting was trained, without options: the head of a probe, else the strategy and what head it has."""
    strategies, heads = settings["strategy"].map(base_name), settings["head"].map(base_name)
    after = heads.map(lambda head: f", {head}" if head else "")
    return heads.where((strategies == PLAIN) & (heads != ""), strategies + after)
