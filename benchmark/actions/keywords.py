"""The options of a sweep as keywords of Python functions; `recipes.Grid` says what they mean."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Names = str | Sequence[str]


class ImageOptions(TypedDict, total=False):
    """How images are chosen and prepared."""

    limit: int
    classes: Names
    max_bad_images: int
    drop_duplicates: bool
    val_fraction: float
    input_size_px: int
    resize: str
    crop: str | float


class SweepOptions(ImageOptions, total=False):
    """The keys of a recipe."""

    backbones: Names
    datasets: Names
    modes: Names
    strategies: Names
    heads: Names
    seeds: Sequence[int]
    folds: int
    shots: Sequence[int]
    part: Literal["train"]
    weights: Literal["random"]
    restrict_classes: bool
    engine: Literal["auto", "tensorflow", "openvino"]
    precision: Literal["float32", "bfloat16", "float16"]
    batch_size: int
    dense: Mapping[str, Any]
    stages: Sequence[Mapping[str, Any]]
    augment: Mapping[str, Any]


def as_keys(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as keys of a recipe: one name is a list of one."""
    lists = {key for key, kind in SweepOptions.__annotations__.items() if kind is Names}
    return {key: (value,) if key in lists and isinstance(value, str) else value for key, value in options.items()}
