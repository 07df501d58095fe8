"""What drawing gives."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure and what it shows.

    Attributes:
        figure: Of the width that all have.
        alt: One or two sentences that stand in for the figure, with the numbers that matter.
    """

    figure: "Figure"
    alt: str


@dataclass(frozen=True)
class Drawn:
    """A plot of a dataset.

    Attributes:
        name: Of the plot.
        dataset: As the ledger writes it.
        figure: Not held by pyplot; gone with this record.
        alt: One or two sentences that stand in for the figure, with the numbers that matter.
    """

    name: str
    dataset: str
    figure: "Figure"
    alt: str


@dataclass(frozen=True)
class Skipped:
    """A plot that a dataset cannot have.

    Attributes:
        name: Of the plot.
        dataset: As the ledger writes it.
        reason: Why, as the end of a sentence.
        is_lack: Whether something is missing that the user can bring.
    """

    name: str
    dataset: str
    reason: str
    is_lack: bool
