"""What a head that tries several values of a penalty says about them."""

from collections.abc import Mapping, Sequence

from benchmark.strategies.outcome import HistoryPoint


def choice_point(metric: str, value: float) -> HistoryPoint:
    """A validation score of one value that was tried, or the value that was chosen, for the history of a row."""
    return HistoryPoint("head", 0, "val", metric, value)


def edge_warning(name: str, chosen: float, accuracies: Mapping[float, float], grid: Sequence[float]) -> str:
    """Says that validation accuracy still rises at the edge of the values tried, where one was chosen; else empty.

    Args:
        name: Of the values.
        chosen: One of them.
        accuracies: On validation, of those that were tried.
        grid: All values.
    """
    for edge, next_to_it, word in ((grid[0], grid[1], "smallest"), (grid[-1], grid[-2], "largest")):
        if chosen == edge and accuracies[edge] > accuracies[next_to_it]:
            return f"the best {name} is {chosen:g}, the {word} that is tried: one beyond may be better"
    return ""
