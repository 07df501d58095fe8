"""Learning curves and choices of a run compared with those of the same cell run again."""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from benchmark.analysis.contradictions import ROUNDING, is_near, numbers_by_key
from benchmark.ledger import HISTORY

# What the metrics of `HISTORY` are; the first pattern that fits decides.
COST, CHOICE, COUNT, SHARE, LOSS = "cost", "choice", "count", "share", "loss"
METRICS = (
    ("seconds|.*_s", COST), ("chosen .*|learning_rate", CHOICE), ("batch_size", COUNT), ("accuracy.*", SHARE),
    (".*", LOSS),
)  # fmt: skip
# By how much they may differ on another machine: a share of the value, and an absolute number. Between two types of
# processors, losses of the probes of `demo` differ by .008 and accuracies by .03; between two seeds of one setting on
# Fashion-MNIST, networks trained from scratch included, losses by .13 and accuracies by .03.
TOLERANCES = {COUNT: (0.0, 0.0), SHARE: (0.0, 0.05), LOSS: (0.15, 0.05)}

# Values by stage, epoch, split and metric, in the order of the file.
Points = Mapping[tuple[Any, ...], float]


def points_of(history: pd.DataFrame) -> Points:
    """The points in the rows of one run in `HISTORY`."""
    return {name: value for name, (value,) in numbers_by_key(history, HISTORY).items()}


def other_choices(before: Points, after: Points) -> Iterator[str]:
    """The choices that fell differently, each once."""
    told = set()
    for name in before:
        metric = name[-1]
        if _kind(metric) == CHOICE and name in after and metric not in told and before[name] != after[name]:
            told.add(metric)
            yield f"{metric} {before[name]:g} then {after[name]:g}"


def other_points(before: Points, after: Points, few: float | None) -> Iterator[str]:
    """What differs in the curves by more than it should.

    Args:
        before: The points as they were; without any, the whole file is missing, which is not said here.
        after: Those of the cell run again.
        few: None for the same type of machine, where everything is the same. Elsewhere a training may end earlier, a
            choice may fall differently, and values differ by `TOLERANCES`, or accuracies by this share of few images.
    """
    if not before:
        return
    stages = {name[0] for name in (*before, *after)}
    has_same = before.keys() == after.keys()
    if not has_same and (few is None or not all(_is_same_path(before, after, stage) for stage in stages)):
        yield f"{HISTORY} has other stages, epochs or metrics"
    others = [name for name in before if name in after and not _is_near(name[-1], before[name], after[name], few)]
    if others:
        stage, epoch, split, metric = others[0]
        place = " ".join(filter(None, (stage, f"epoch {epoch:g}", split, metric)))
        more = f" and {len(others) - 1} more" if others[1:] else ""
        yield f"{HISTORY}: {place} {before[others[0]]:.6g} then {after[others[0]]:.6g}{more}"


@functools.cache
def _kind(metric: str) -> str:
    return next(kind for pattern, kind in METRICS if re.fullmatch(pattern, metric))


def _is_near(metric: str, one: float, other: float, few: float | None) -> bool:
    kind = _kind(metric)
    if kind == COST or (kind == CHOICE and few is not None):
        return True
    if few is None:
        return is_near(one, other, ROUNDING, 0)
    relative, absolute = TOLERANCES[kind]
    return is_near(one, other, relative, max(absolute, few) if kind == SHARE else absolute)


def _is_same_path(before: Points, after: Points, stage: str) -> bool:
    """Whether both have the same splits and metrics in a stage; a choice may be made after fewer trials."""
    short, long = sorted((_series(before, stage), _series(after, stage)), key=len)
    n_tried = len(short) - 1
    return short == long or (n_tried > 0 and _kind(long[-1][1]) == CHOICE and short == long[:n_tried] + long[-1:])


def _series(points: Points, stage: str) -> list[tuple[str, str]]:
    """The splits and metrics of a stage, in the order in which they were first written."""
    return [*dict.fromkeys((split, metric) for name, _, split, metric in points if name == stage)]
