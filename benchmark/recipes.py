"""Recipes: TOML files that describe a sweep, read into `Sweep` records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from benchmark.errors import ConfigError, check_known
from benchmark.options import NO_AUGMENTATION, PROBE, Augmentation, DenseOptions, Positive, Record, Stage
from benchmark.preprocessing import NATIVE, CropValue
from benchmark.registry import LARGEST_INPUT_PX, shipped_path
from benchmark.tables import config_error, read_toml

MOST_FOLDS = 1000


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(f"{', '.join(map(str, twice))} is given twice: each seed is one run")
    return seeds


Names = Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
# NumPy and Keras take seeds of 32 bits.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1, strict=False), AfterValidator(_each_once)]

# Where the options are that a message is about.
COMMAND_LINE = "the command line"

_R = TypeVar("_R", bound=Record)


class Grid(Record):
    """One block of a sweep: every combination of its lists is a cell.

    Attributes:
        backbones: Names or shell patterns.
        datasets: Names as the command line takes them.
        modes: Preprocessing modes.
        strategies: How the head is trained.
        heads: Classifiers of features.
        seeds: Each draws its own train/validation split and initial weights.
        weights: `random` draws the weights of networks of Keras Applications, to measure costs without a download.
        input_size_px: Side of the network's input; the registry's size where it is not given.
        resize: Interpolation; None for that of each backbone's registry entry, else `bilinear-antialias`.
        crop: `squash` changes the aspect ratio, `crop` takes the largest centred square; a number such as 0.875 is the
            share of the shorter side that is kept. None for that of each backbone's registry entry, else `squash`.
        engine: The library that extracts features; `auto` takes the usual one of each backbone, if it is installed
            and there is no GPU.
        precision: Of the backbone's arithmetic; float16 on a GPU only.
        batch_size: Images per batch of an extraction, which decides the last digits of features. None takes 16 on a
            processor, and on a GPU the size that is the fastest there.
        limit: Number of images in a stratified subset of the dataset; None for all images.
        part: `train` leaves out the dataset's test images, and draws others among the rest, to choose by; None for all.
        classes: Only these classes of the dataset.
        max_bad_images: How many undecodable images of a folder may be left out.
        drop_duplicates: Whether images of a folder that are copies of others are left out.
        restrict_classes: Whether `classify` chooses among the classes of the dataset only, not among all 1,000.
        val_fraction: Share of the training images set aside for choices, where the dataset has no split for it.
        dense: Options of the head `dense`.
        stages: How `finetune` and `scratch` train; None for the usual stages of each.
        augment: How `finetune` and `scratch` change training images at random.
        folds: Number of parts of all images, each of which is the test split once, also where the dataset has splits
            of its own. Takes the place of seeds.
        shots: Numbers of training images of each class, and of validation images where there are enough: each is a
            setting of its own, and each seed draws other images. The test images stay. None for all images.
    """

    backbones: Names = ("MobileNetV2-dogs",)
    datasets: Names = ("digits",)
    modes: Names = (NATIVE,)
    strategies: Names = ("probe",)
    heads: Names = ("linear",)
    seeds: Seeds = (0,)
    weights: Literal["random"] | None = None
    input_size_px: Annotated[int, Field(ge=1, le=LARGEST_INPUT_PX)] | None = None
    resize: str | None = None
    crop: CropValue | None = None
    engine: Literal["auto", "tensorflow", "openvino"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: Annotated[int, Field(ge=1, le=2**16)] | None = None
    limit: Positive | None = None
    part: Literal["train"] | None = None
    classes: Names | None = None
    max_bad_images: Annotated[int, Field(ge=0, lt=2**31)] = 0
    drop_duplicates: bool = False
    restrict_classes: bool = False
    val_fraction: Fraction = 0.1
    dense: DenseOptions = DenseOptions()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, strict=False)] | None = None
    augment: Augmentation = NO_AUGMENTATION
    folds: Annotated[int, Field(ge=2, le=MOST_FOLDS)] | None = None
    shots: Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)] | None = None


class Published(Record):
    """A figure from a report, to be shown beside the measured one.

    A table `[[published]]` with `values = { accuracy = 0.79, top5_accuracy = 0.945 }` in place of `metric` and `value`
    is read as one figure for each.

    Attributes:
        dataset: As leaderboards name it, so with the classes chosen of it. `*` stands for any text: `folder:*` is any
            folder.
        backbone: Its name in the registry.
        strategy: Its name.
        stages: As the column of that name has them; None for any.
        mode: The one the report used.
        head: Its name; None for any.
        head_options: Of a head that is named, as the column of that name has them.
        metric: A column of `runs.csv`.
        value: In that column's unit.
        is_exact: Whether it must be reproduced to the last digit, as counts must.
        note: A remark on it.
    """

    dataset: str
    backbone: str
    strategy: str = "probe"
    stages: str | None = None
    mode: str = NATIVE
    head: str | None = None
    head_options: str = ""
    metric: str = "accuracy"
    value: float
    is_exact: bool = False
    note: str = ""


class Sweep(Record):
    """A recipe: the cells to run, and published figures for them.

    Attributes:
        name: Also the name of its folder in `results/`.
        description: Its purpose, for `benchmark list recipes`.
        ablation: Whether wrong preprocessing is intended, so that no run warns of it. Not needed where the sweep has
            mode `native` too.
        grid: The cells to run.
        published: Figures from reports.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    description: str = ""
    ablation: bool = False
    grid: Annotated[tuple[Grid, ...], Field(min_length=1)]
    published: tuple[Published, ...] = ()


def recipe_paths() -> dict[str, Path]:
    """The shipped recipes by name."""
    return {path.stem: path for path in sorted(shipped_path("recipes").glob("*.toml"))}


def find_recipe(recipe: str) -> Path:
    """The file of a recipe given by path or by the name of a shipped one.

    Raises:
        UnknownNameError: It is neither.
    """
    path = Path(recipe)
    if path.suffix == ".toml":
        return path
    shipped = recipe_paths()
    check_known("recipe", recipe, shipped)
    return shipped[recipe]


def read_recipe(
    path: Path, overrides: Mapping[str, Any] | None = None, *, missing: Mapping[str, Any] | None = None
) -> Sweep:
    """The sweep that a recipe file describes.

    Keys at the top of the file are defaults of every `[[grid]]` table.

    Args:
        path: The TOML file.
        overrides: Keys of `Grid` that replace those of the file.
        missing: Keys of `Grid` for tables that do not have them, in place of the usual defaults.

    Raises:
        ConfigError: An unknown key, a missing key or a wrong value, in the file or in the overrides.
    """
    options = dict(overrides or {})
    _validated(Grid, COMMAND_LINE, options, written=_option)
    content = read_toml(path)
    defaults = {key: value for key, value in content.items() if key not in Sweep.model_fields}
    _validated(Grid, f"{path}, at the top", defaults, top_keys=Sweep.model_fields)
    # Folds take the place of seeds, so an option for the one replaces the other too.
    replaced = {"seeds", "folds"} if {"seeds", "folds"} & options.keys() else set()
    grids = tuple(
        _validated(
            Grid,
            f"{path}, table [[grid]] number {number}",
            {key: value for key, value in {**(missing or {}), **defaults, **table}.items() if key not in replaced}
            | options,
            top_keys=Sweep.model_fields,
        )
        for number, table in enumerate(_tables(path, content, "grid", [{}]), start=1)
    )
    top = {key: value for key, value in content.items() if key not in defaults}
    return _validated(Sweep, f"{path}, at the top", {**top, "grid": grids, "published": _published(path, content)})


def read_published(path: Path) -> tuple[str, tuple[Published, ...]]:
    """The name of a recipe and its published figures; its grids may be of an earlier version.

    Raises:
        ConfigError: As `read_recipe`, but of these figures only.
    """
    content = read_toml(path)
    return str(content.get("name")), _published(path, content)


def _published(path: Path, content: Mapping[str, Any]) -> tuple[Published, ...]:
    return tuple(
        _validated(Published, place, figure)
        for number, table in enumerate(_tables(path, content, "published", []), start=1)
        for place in (f"{path}, table [[published]] number {number}",)
        for figure in _figures(place, table)
    )


def _figures(place: str, table: dict[str, Any]) -> list[dict[str, Any]]:
    """The table, or if it has `values`, a table for each of them.

    Raises:
        ConfigError: `values` are not a table, or stand beside one of the keys whose place they take.
    """
    if "values" not in table:
        return [table]
    values, rest = table["values"], {key: value for key, value in table.items() if key != "values"}
    if not isinstance(values, dict) or not values or {"metric", "value"} & rest.keys():
        raise ConfigError(
            f"{place}:\n  values: expected a table of metrics and their values, such as {{ accuracy = 0.79 }}, and "
            "neither metric nor value beside it."
        )
    return [{**rest, "metric": metric, "value": value} for metric, value in values.items()]


def _tables(path: Path, content: Mapping[str, Any], name: str, default: list[Any]) -> list[dict[str, Any]]:
    tables = content.get(name, default)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: {name} must be tables, each headed [[{name}]].")
    return tables


def recipe_text(sweep: Sweep) -> str:
    """The sweep as the text of a recipe file, from which `read_recipe` reads an equal sweep.

    Every option is written out, so that the text keeps its meaning when a default changes.
    """
    content = sweep.model_dump(exclude_none=True)
    for grid, table in zip(sweep.grid, content["grid"], strict=True):
        # Folds take the place of seeds, and only a probe chooses among heads: giving both would be a mistake.
        if grid.folds:
            del table["seeds"]
        if PROBE not in grid.strategies:
            del table["heads"]
    return tomli_w.dumps({key: value for key, value in content.items() if value != ()})


def sweep_of_options(name: str, options: Mapping[str, Any]) -> Sweep:
    """The sweep of one grid that the command line's options describe.

    Raises:
        ConfigError: A value is not what its option takes.
    """
    grid = _validated(Grid, COMMAND_LINE, options, written=_option)
    return _validated(Sweep, COMMAND_LINE, {"name": name, "grid": (grid,)}, written=_option)


def _option(key: str) -> str:
    """The option that gives a key of a grid, such as `--seeds` for `seeds.0`."""
    return "--" + key.partition(".")[0].removesuffix("_px").replace("_", "-")


def _validated(kind: type[_R], place: str, values: Mapping[str, Any], **words: Any) -> _R:
    """A record of these values; `words` are for `config_error`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise config_error(place, kind, error, **words) from error
