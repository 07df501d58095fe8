"""Whatever stands in a recipe or registry file: it is read, or refused with the file and the key."""

import contextlib
import copy
import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError, ConfigError
from benchmark.options import Augmentation, DenseOptions, Stage
from benchmark.plan.grid import expand
from benchmark.recipes import Grid, Published, Sweep, read_recipe, recipe_text
from benchmark.registry import Backbone, read_registry

REGISTRY = {
    "Net": Backbone(name="Net", folder=Path(), application="ResNet50", mode="caffe", input_size_px=64, min_size_px=32),
    "own": Backbone(
        name="own", folder=Path(), builder="nets:own", mode="unit", input_size_px=28, weights="random",
        has_classifier=True,
    ),
}  # fmt: skip
# Every table and most keys that a recipe may have.
RECIPE: dict[str, Any] = {
    "name": "mine",
    "description": "a recipe",
    "ablation": False,
    "backbones": ["Net"],
    "datasets": ["digits", "folder:pets"],
    "seeds": [0, 1],
    "val_fraction": 0.2,
    "dense": {"units": [8, 4], "dropout": 0.5, "epochs": 3, "learning_rate": 1e-3},
    "grid": [
        {
            "modes": ["native", "unit"],
            "heads": ["linear", "knn"],
            "limit": 100,
            "input_size_px": 32,
            "resize": "nearest",
        },
        {
            "strategies": ["finetune"],
            "stages": [
                {"unfreeze": 3, "epochs": 1, "class_weights": {"cat": 2.0}},
                {"unfreeze": "all", "optimizer": "sgd", "momentum": 0.5, "class_weights": "balanced"},
            ],
            "augment": {"flip": "both", "zoom": 0.1},
            "crop": "crop",
        },
    ],
    "published": [{"dataset": "digits", "backbone": "Net", "metric": "accuracy", "value": 0.9, "is_exact": False}],
}
BACKBONES: dict[str, Any] = {
    "One": {"application": "VGG16", "preprocess": "vgg16", "mode": "caffe", "input_size_px": 224, "flops_g": 30.0},
    "Two": {
        "builder": "nets:two", "mode": "tf", "input_size_px": 32, "min_size_px": 16, "feature_dim": 64,
        "params_backbone": 1000, "weights": "pypi:nets==1.0/nets/a.h5", "weights_sha256": "a" * 64,
    },
    "Three": {"model": "file:three.keras", "mode": "raw", "input_size_px": 32},
}  # fmt: skip

NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**32, 2**63 - 1, 2**63, -(2**70), 10**40]) | st.integers()
FLOATS = st.sampled_from([math.inf, -math.inf, math.nan, 0.0, -0.0, 1.0, 5e-324, 1.7e308]) | st.floats()
TEXTS = st.sampled_from(["", "native", "*", "[", "../x", "a\0b", "größe_馬", "\u202e", "file:", "\x1b[31m"]) | st.text()
LEAVES = NUMBERS | FLOATS | TEXTS | st.booleans() | st.just(datetime.date(2020, 1, 1))
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def places_in(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a table or a list has something."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [found for key in keys for found in ((*place, key), *places_in(value[key], (*place, key)))]


@st.composite
def damaged(draw: st.DrawFn, content: dict[str, Any]) -> dict[str, Any]:
    """The content with some keys renamed, values replaced and things removed or doubled."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places_in(content) or [("name",)]))
        table: Any = content
        for key in path:
            table = table[key]
        how = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if how == "replace" or last not in (table if isinstance(table, dict) else range(len(table))):
            table[last] = draw(JUNK)
        elif how == "remove":
            del table[last]
        elif isinstance(table, list):
            table.append(draw(JUNK))
        else:
            table[draw(TEXTS)] = table.pop(last) if how == "rename" else draw(JUNK)
    return content


ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-be"])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "mine.toml"


def read_or_refused(read: Callable[[Path], Any], path: Path) -> Any:
    """What is read, or None if it is refused with the file named."""
    try:
        return read(path)
    except ConfigError as error:
        if str(path) not in str(error):
            raise
    return None


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(content=damaged(RECIPE), encoding=ENCODINGS)
def test_a_damaged_recipe_is_read_or_refused_with_the_file_named(path: Path, content: dict[str, Any], encoding: str):
    path.write_bytes(tomli_w.dumps(content).encode(encoding))

    sweep = read_or_refused(read_recipe, path)

    if sweep is not None:
        with contextlib.suppress(BenchmarkError):
            assert all(0 <= cell.seed < 2**32 for cell in expand(sweep, REGISTRY))


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(content=damaged(BACKBONES), encoding=ENCODINGS)
def test_a_damaged_registry_is_read_or_refused_with_the_file_named(path: Path, content: dict[str, Any], encoding: str):
    path.write_bytes(tomli_w.dumps(content).encode(encoding))

    backbones = read_or_refused(read_registry, path)

    assert backbones is None or list(backbones) == list(content)


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused_with_the_file_named(path: Path, content: bytes):
    path.write_bytes(content)

    for read in (read_recipe, read_registry):
        read_or_refused(read, path)


@pytest.mark.parametrize(
    ("content", "read"), [(RECIPE, read_recipe), (BACKBONES, read_registry)], ids=["recipe", "registry"]
)
def test_every_key_that_is_misspelt_is_named(path: Path, content: dict[str, Any], read: Any):
    # Names of classes and of backbones are the user's own.
    names = [place for place in places_in(content) if isinstance(place[-1], str)]
    names = [place for place in names if "class_weights" not in place[:-1] and place[-1] not in BACKBONES]

    for *tables, key in names:
        damaged = copy.deepcopy(content)
        table: Any = damaged
        for part in tables:
            table = table[part]
        table[f"{key}x"] = table.pop(key)
        path.write_text(tomli_w.dumps(damaged))
        with pytest.raises(ConfigError, match=rf"{key}x: not a key here\..*{key}"):
            read(path)


def test_both_files_are_right_before_they_are_damaged(path: Path):
    path.write_text(tomli_w.dumps(RECIPE))
    assert len(expand(read_recipe(path), REGISTRY)) == 2 * 2 * 2 * 2 + 2 * 2

    path.write_text(tomli_w.dumps(BACKBONES))
    assert list(read_registry(path)) == ["One", "Two", "Three"]


# --- round trip ------------------------------------------------------------------------------------------------------

SHARES = st.floats(0, 1, exclude_max=True)
FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)
RATES = st.floats(0, 1e9, exclude_min=True)
COUNTS = st.integers(1, 2**31 - 1)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NAMES = st.lists(WORDS, min_size=1)
STAGES = st.builds(
    Stage,
    unfreeze=st.integers(0, 2**63 - 1) | FRACTIONS | st.sampled_from(["all", "a"]),
    epochs=st.integers(1, 100_000), learning_rate=RATES, optimizer=st.sampled_from(["adam", "sgd"]), momentum=SHARES,
    batch_size=COUNTS, patience=st.none() | COUNTS, label_smoothing=SHARES,
    class_weights=st.none() | st.just("balanced") | st.dictionaries(WORDS, RATES),
)  # fmt: skip
GRIDS = st.builds(
    lambda strategies, repeats, heads, **others: Grid(
        strategies=strategies, **repeats, **({"heads": heads} if "probe" in strategies else {}), **others
    ),
    strategies=st.lists(st.sampled_from(["probe", "finetune", "scratch"]), min_size=1),
    repeats=st.integers(2, 1000).map(lambda folds: {"folds": folds})
    | st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True).map(lambda seeds: {"seeds": seeds}),
    heads=NAMES, backbones=NAMES, datasets=NAMES, modes=NAMES, classes=st.none() | NAMES,
    shots=st.none() | st.lists(COUNTS, min_size=1), input_size_px=st.none() | st.integers(1, 4096),
    limit=st.none() | COUNTS,
    val_fraction=FRACTIONS, stages=st.none() | st.lists(STAGES, min_size=1),
    dense=st.builds(
        DenseOptions, units=st.integers(0, 2**31 - 1) | st.lists(COUNTS), dropout=SHARES, learning_rate=RATES
    ),
    augment=st.builds(Augmentation, flip=st.sampled_from(["none", "both"]), rotation=SHARES, contrast=SHARES),
)  # fmt: skip
FIGURES = st.builds(
    Published, dataset=WORDS, backbone=WORDS, value=st.floats(allow_nan=False, allow_infinity=False),
    stages=st.none() | WORDS, note=WORDS,
)  # fmt: skip


@pytest.mark.slow
@settings(deadline=None)
@given(grids=st.lists(GRIDS, min_size=1, max_size=2), figures=st.lists(FIGURES, max_size=2), description=WORDS)
def test_a_sweep_as_text_is_read_as_the_same_sweep(
    path: Path, grids: list[Grid], figures: list[Published], description: str
):
    sweep = Sweep(name="mine", description=description, grid=tuple(grids), published=tuple(figures))

    path.write_text(recipe_text(sweep), encoding="utf-8", newline="")

    assert read_recipe(path) == sweep
