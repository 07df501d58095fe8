"""Draws by content: where an image goes is decided by its own pixels or file, and by what is drawn.

So images stay where they are when others are added, removed or renamed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError

# Part of every cell's key. Raise it when the code that draws splits or subsets changes.
SPLIT_VERSION = 2

# What is drawn, beside validation splits: these are drawn by their seeds, which are below 2^32.
TEST, SUBSET, FOLDS = (2**32 + number for number in range(3))

# Of SplitMix64: Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
_STEP = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))

Contents = NDArray[np.uint64]


def shuffled(contents: Contents, draw: int) -> Contents:
    """Numbers `(n,)` whose order is the order of this draw; equal contents have equal numbers, others differ.

    Args:
        contents: `(n,)`, see `Images.contents`.
        draw: A seed, or one of the constants above.
    """
    mixed: Contents = contents + np.uint64(draw * _STEP % 2**64)
    for shift, factor in _ROUNDS:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed


def places(contents: Contents, groups: NDArray[np.int64], draw: int) -> NDArray[np.float64]:
    """The place of each image in its group, `(n,)`, between 0 and 1.

    The `k` contents of a group are at 0.5/k, 1.5/k, …, 1 - 0.5/k in the order of the draw. Taking all images with a
    place up to f takes the share f of each group, and adding an image to a group moves at most one of its other images
    across that boundary.

    Copies have one place: they count once, in the group of the first of them.

    Args:
        contents: `(n,)`, see `Images.contents`.
        groups: `(n,)`, numbers from 0.
        draw: See `shuffled`.
    """
    different, first, inverse = np.unique(contents, return_index=True, return_inverse=True)
    group = groups[first]
    order = np.lexsort((shuffled(different, draw), group))
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    found = np.empty(len(different))
    found[order] = (np.arange(len(order)) - starts[group[order]] + 0.5) / sizes[group[order]]
    placed: NDArray[np.float64] = found[inverse]
    return placed


def in_order(contents: Contents, groups: NDArray[np.int64], draw: int) -> list[NDArray[np.int64]]:
    """For each group, the positions of its different contents in the order of the draw; of copies, the first one.

    So the order of two images does not depend on others.

    Args:
        contents: `(n,)`, see `Images.contents`.
        groups: `(n,)`, numbers from 0.
        draw: See `shuffled`.
    """
    numbers = shuffled(contents, draw)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    return [some[np.unique(numbers[some], return_index=True)[1]] for some in members]


def divided(
    contents: Contents,
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    fraction: float,
    *,
    draw: int,
    what: str,
    cure: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions divided into a rest and a part of this fraction of each class, both in the order given.

    Args:
        contents: `(n,)` of all images, see `Images.contents`.
        labels: `(n,)` of all images.
        positions: Of the images to divide.
        fraction: Of the part.
        draw: See `shuffled`.
        what: Names the part in the error.
        cure: See `check_parts`.

    Raises:
        DataError: A class would be missing from the rest or the part.
    """
    is_part = places(contents[positions], labels[positions], draw) <= fraction
    check_parts(what, labels[positions], [np.flatnonzero(~is_part), np.flatnonzero(is_part)], cure)
    return positions[~is_part], positions[is_part]


def check_parts(what: str, groups: NDArray[np.int64], parts: Sequence[NDArray[np.int64]], cure: str) -> None:
    """Refuse parts (positions in `groups`) that lack a group; `cure` is what else helps, beside other images.

    Raises:
        DataError: With the number of images in the last part.
    """
    present, sizes = np.unique(groups, return_counts=True)
    if any(len(np.setdiff1d(present, groups[part])) for part in parts):
        raise DataError(
            f"{what} cannot be drawn: with {len(parts[-1])} of {len(groups)} images, some of the {len(sizes)} classes "
            f"(or classes of a split) would get no image. The smallest has {sizes.min()}: {cure}, or leave that class "
            "out."
        )
