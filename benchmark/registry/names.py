"""Names: which backbones a recipe or a command means."""

import fnmatch
from collections.abc import Container, Iterable

from benchmark.errors import BenchmarkError, UnknownNameError, check_known
from benchmark.registry.files import Registry
from benchmark.registry.record import OF_ONE_SIZE, Backbone


def select_names(kind: str, patterns: Iterable[str], known: Iterable[str]) -> list[str]:
    """The known names that match, in the order of the patterns, each once.

    Args:
        kind: Of the names, for the message.
        patterns: Names or shell patterns such as `EfficientNet*`.
        known: All names.

    Raises:
        UnknownNameError: A pattern matches nothing.
    """
    names = list(known)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        # A name may hold characters of patterns, and a registry knows presets that it does not list.
        is_name = isinstance(known, Container) and pattern in known
        matches = [pattern] if is_name else fnmatch.filter(names, pattern)
        if not matches:
            raise UnknownNameError(kind, pattern, names)
        chosen.update(dict.fromkeys(matches))
    return list(chosen)


def get_backbone(registry: Registry, name: str) -> Backbone:
    """The record of that name.

    Raises:
        UnknownNameError: There is no such backbone.
    """
    check_known("backbone", name, registry)
    return registry[name]


def check_classifier_size(backbone: Backbone, size_px: int) -> None:
    """Refuse a size that the network's own classifier does not take.

    Raises:
        BenchmarkError: The classifier takes one size only.
    """
    only_px = OF_ONE_SIZE.get(backbone.application or "", size_px)
    if size_px != only_px:
        raise BenchmarkError(
            f"{backbone.name}: its classifier takes images of {only_px} px only, got {size_px} px: choose "
            f"--input-size {only_px}, or another backbone."
        )


def check_input_size(backbone: Backbone, size_px: int) -> None:
    """Refuse a size for which the network cannot be built.

    Raises:
        BenchmarkError: `size_px` is below the minimum.
    """
    if size_px < backbone.min_size_px:
        raise BenchmarkError(
            f"{backbone.name} needs an input of at least {backbone.min_size_px} px, got {size_px} px: "
            f"choose a larger --input-size (it was trained at {backbone.input_size_px} px)."
        )
