"""Images of a folder whose files are byte copies of each other."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from benchmark.datasets.layout import SPLITS, UNSPLIT
from benchmark.datasets.notes import examples

ORDER = (UNSPLIT, *SPLITS)


def group_copies(sha256s: Sequence[str]) -> list[list[int]]:
    """The positions of the images that have copies: one list for each content."""
    by_content = defaultdict(list)
    for position, sha256 in enumerate(sha256s):
        by_content[sha256].append(position)
    return [group for group in by_content.values() if len(group) > 1]


def superfluous(groups: Sequence[list[int]], labels: Sequence[int], splits: Sequence[str]) -> set[int]:
    """The positions to drop, so that no image is left twice.

    Of copies in one class, one is kept: in test if there is one, else in val. Copies in several classes are all
    dropped, since nobody knows their class.
    """
    dropped = set()
    for group in groups:
        dropped |= set(group)
        if len({labels[position] for position in group}) == 1:
            # The last split of them, and in it the first image.
            dropped.remove(max(group, key=lambda position: (ORDER.index(splits[position]), -position)))
    return dropped


def copy_notes(
    groups: Sequence[list[int]], labels: Sequence[int], splits: Sequence[int], name: Callable[[int], str]
) -> tuple[tuple[str, ...], int]:
    """What is said of copies, and the number of images with a copy in another class or split.

    Args:
        groups: Of copies.
        labels: Of each image.
        splits: Any number for the split of each image.
        name: Of the image at a position.
    """
    pairs: dict[str, list[str]] = defaultdict(list)
    n_images: dict[str, int] = defaultdict(int)
    n_apart = 0
    for first, *others in groups:
        in_classes = [other for other in others if labels[other] != labels[first]]
        in_splits = [other for other in others if splits[other] != splits[first]]
        n_apart += len((first, *others)) if in_classes or in_splits else 0
        kinds = {"several classes": in_classes, "several splits": in_splits}
        kinds["one class and split"] = [] if in_classes or in_splits else others
        for kind, some in kinds.items():
            if some:
                pairs[kind].append(f"{name(first)} = {name(some[0])}")
                n_images[kind] += 1 + len(others)
    notes = [f"copies of images in {kind}: {n_images[kind]:,} {examples(pairs[kind])}" for kind in pairs]
    return tuple(notes), n_apart
