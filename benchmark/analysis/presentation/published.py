"""Published figures beside measured ones, as a table for people."""

import pandas as pd

from benchmark.analysis.formats import number_texts
from benchmark.analysis.labels import head_labels, strategy_labels

# From this size on, a published number is a count and not a fraction.
FIRST_COUNT = 1000


def comparison_cells(comparison: pd.DataFrame) -> pd.DataFrame:
    """Published figures beside measured ones; counts to the last digit."""

    def texts(column: str, sign: str = "") -> list[str]:
        return [
            number_texts([value], f"{{:{sign},.{0 if abs(value) >= FIRST_COUNT else 4}f}}")[0]
            for value in comparison[column]
        ]

    columns = {
        "Backbone": comparison["backbone"],
        "Strategy": strategy_labels(comparison),
        "Mode": comparison["mode"],
        "Head": head_labels(comparison),
        "Metric": comparison["metric"],
        "Published": texts("published"),
        "Measured": texts("measured"),
        "Difference": texts("difference", "+"),
        "Note": comparison["note"],
    }
    return pd.DataFrame(columns, index=comparison.index)
