"""What a chart is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Chart:
    """A figure with its title, a text that stands in for it, and its data.

    Attributes:
        title: What stands above the figure: the dataset and what is shown of it.
        figure: As wide as all others; pyplot does not keep it. An artist's URL is its tooltip, which SVG files show.
        alt: One or two sentences with the numbers that matter.
        data: What the figure shows and what it has no room for, one row per setting; None if it cannot be a table.
    """

    title: str
    figure: "Figure"
    alt: str
    data: pd.DataFrame | None = None
