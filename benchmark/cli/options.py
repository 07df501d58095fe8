"""Options that several commands take, how their text is read, and their shell completion."""

import csv
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import console
from benchmark.errors import BenchmarkError, some_of

if TYPE_CHECKING:
    from benchmark.registry import Registry

RESULTS = Path("results")
# Waiting for a process takes milliseconds in 32 bits: 24 days.
LONGEST_TIMEOUT_S = 2_000_000
MOST_JOBS = 1024
# Where the names of each kind are.
NAMES = {
    "backbones": "benchmark.registry:load_registry",
    "datasets": "benchmark.datasets:DATASETS",
    "modes": "benchmark.preprocessing:MODES",
    "strategies": "benchmark.options:STRATEGIES",
    "heads": "benchmark.strategies.heads:describe_heads",
    "recipes": "benchmark.recipes:recipe_paths",
}


def names_at(place: str) -> Mapping[str, Any]:
    """The names at a place such as `module:MAPPING`, mostly with descriptions; a function there is called."""
    names = pkgutil.resolve_name(place)
    found: Mapping[str, Any] = names() if callable(names) else names
    return found


def complete(place: str, files: str = "") -> Callable[[str], list[str]]:
    """Shell completion of the last name in a comma separated list.

    Args:
        place: For `names_at`.
        files: Also complete the files of the current folder with this pattern.
    """

    def complete_last(incomplete: str) -> list[str]:
        done, comma, last = incomplete.rpartition(",")
        names = [*names_at(place), *(sorted(map(str, Path().glob(files))) if files else ())]
        return [f"{done}{comma}{name}" for name in names if name.startswith(last)]

    return complete_last


def within(low: float, high: float = math.inf) -> Callable[[float | None], float | None]:
    """A callback of options that take a number in this range; NaN is in none."""

    def check(value: float | None) -> float | None:
        if value is not None and not low <= value <= high:
            limits = f"at least {low:g}" if high == math.inf else f"in the range {low:g} to {high:,.0f}"
            raise typer.BadParameter(f"{value:g} is not {limits}.")
        return value

    return check


# Options grouped as the help shows them; each command has those that few need last.
what = partial(typer.Option, rich_help_panel="What to run", show_default=False)
_images = partial(typer.Option, rich_help_panel="How to prepare images")
_where = partial(typer.Option, rich_help_panel="Where to run")
output = partial(typer.Option, rich_help_panel="Output")
_expert = partial(typer.Option, rich_help_panel="For experts")
shown = partial(typer.Option, rich_help_panel="What to show")
_argument = partial(typer.Argument, show_default=False)


def _names(kind: str, text: str) -> Any:
    return what(help=text, autocompletion=complete(NAMES[kind]))


BackbonesOption = Annotated[str | None, _names("backbones", "Names or patterns, comma separated.")]
DatasetsOption = Annotated[str | None, _names("datasets", "Names, comma separated; quote one that holds a comma.")]
ModesOption = Annotated[str | None, _names("modes", "Preprocessing modes or patterns, comma separated.")]
HeadsOption = Annotated[str | None, _names("heads", "Heads or patterns, comma separated.")]
StrategiesOption = Annotated[str | None, _names("strategies", "probe, finetune, scratch or classify, comma separated.")]
SeedsOption = Annotated[str | None, what(help="Whole numbers, comma separated.")]
FoldsOption = Annotated[
    int | None,
    what(metavar="N", help="Number of folds, instead of seeds: each is tested once, after training on the others."),
]
ShotsOption = Annotated[
    str | None,
    what(
        help="Numbers of training images of each class, such as 1,5,10,25; each seed draws others.", show_default="all"
    ),
]
ValFractionOption = Annotated[
    float | None,
    what(
        metavar="SHARE",
        show_default="0.1",
        help="Share of the training images set aside for validation, if the dataset has none.",
    ),
]
LimitOption = Annotated[
    int | None, what(metavar="N", help="Use a stratified subset of this many images.", show_default="all")
]
ClassesOption = Annotated[str | None, what(help="Only these classes of folder: datasets, comma separated.")]
NameOption = Annotated[str, what(help="Name of the sweep if no recipe is given.", show_default=True)]
RegistryOption = Annotated[
    list[Path] | None,
    _expert(
        "--registry", metavar="FILE",
        help="A file of further backbones; its entries replace those of the same name, and its builders may run.",
        show_default=False,
    ),
]  # fmt: skip
WhereOption = Annotated[
    list[str] | None,
    what(
        help="Only cells with this value or pattern in a column of the ledger, such as backbone=VGG*; may be repeated.",
        metavar="COLUMN=VALUE",
    ),
]
RowsOption = Annotated[
    list[str] | None,
    shown(
        "--where",
        help="Only rows with this value or pattern in a column of runs.csv, such as backbone=VGG*; may be repeated. "
        "Ranks, and the correction for all pairs (Holm), are then of these rows alone.",
        metavar="COLUMN=VALUE", show_default=False, autocompletion=complete("benchmark.ledger:RUN_COLUMNS"),
    ),
]  # fmt: skip
WhenOption = Annotated[str, what(help="Which cells: missing (stale ones too), failed or always.", show_default=True)]

InputSizeOption = Annotated[
    int | None,
    _images(
        "--input-size",
        metavar="PX",
        help="Width and height of the network's input in px.",
        show_default="the registry's",
    ),
]
ResizeOption = Annotated[
    str | None,
    _images(
        help="bilinear-antialias, bicubic-antialias, lanczos or area; without antialias: bilinear, bicubic, nearest.",
        show_default="bilinear-antialias",
    ),
]
CropOption = Annotated[
    str | None,
    _images(help="squash, crop, or the share of the shorter side to keep, such as 0.875.", show_default="squash"),
]
EngineOption = Annotated[
    str | None, _expert(help="What extracts features: auto, tensorflow or openvino.", show_default="auto")
]
PrecisionOption = Annotated[str | None, _expert(help="float32, bfloat16, or on a GPU float16.", show_default="float32")]
BadImagesOption = Annotated[
    int | None, _images(metavar="N", help="Leave out at most this many undecodable images.", show_default="0")
]
DuplicatesOption = Annotated[
    bool | None,
    _images("--drop-duplicates", help="Leave out copies of images, above all those of test images in train."),
]
RestrictOption = Annotated[
    bool | None,
    _expert("--restrict-classes", help="Let classify choose among the dataset's classes only, not all 1,000."),
]

JobsOption = Annotated[
    int,
    _where(
        metavar="N",
        callback=within(1, MOST_JOBS),
        help="Backbones to run at the same time; they share the cores, and their times are marked.",
    ),
]
TimeoutOption = Annotated[
    float | None,
    _where(
        metavar="SECONDS",
        callback=within(0.001, LONGEST_TIMEOUT_S),
        show_default="no limit",
        help="Seconds that a cell may take, including its extraction.",
    ),
]
DeterministicOption = Annotated[
    bool | None,
    _expert(
        "--deterministic/--no-deterministic", help="Make TensorFlow give the same result every time.",
        show_default="only for CPU jobs that train nothing in TensorFlow",
    ),
]  # fmt: skip
BatchSizeOption = Annotated[
    int | None,
    _expert(
        "--batch-size", metavar="N", help="Images per batch of an extraction.",
        show_default="16 on a processor; on a GPU, the fastest",
    ),
]  # fmt: skip
ExecutorOption = Annotated[str, _expert(help="Where jobs run: local, or ray for a cluster.")]
RayAddressOption = Annotated[
    str | None,
    _expert(help="Address of a running Ray cluster, such as auto or head-node:6379.", show_default="a new local one"),
]

KeepWeightsOption = Annotated[
    bool, output("--keep-weights", help="Keep what is trained, so that benchmark export need not train it again.")
]
ResultsOption = Annotated[Path, output("--results", help="The folder of the results of all sweeps.")]
DryRunOption = Annotated[bool, output("--dry-run", help="Only print what would be done and how long it would take.")]
JsonOption = Annotated[bool, output("--json", help="Print JSON for machines.")]
FormatOption = Annotated[
    str | None,
    output(
        "--format", help="table, md, csv, json, or spreadsheet (CSV without formulas).",
        show_default="that of the suffix of --out, or table",
    ),
]  # fmt: skip
OutOption = Annotated[
    Path | None,
    output(help="Write to this file, by its suffix (.csv, .json, .md) or in the --format.", show_default=False),
]

RecipeArgument = Annotated[
    str | None, _argument(help="A recipe file or the name of a shipped one.", autocompletion=complete(NAMES["recipes"]))
]
PathsArgument = Annotated[list[Path] | None, _argument(help="Folders of results; ./results if none is given.")]
InspectedArgument = Annotated[
    str,
    _argument(
        metavar="BACKBONE|FILE.keras", help="A registered backbone, or a saved model of your own.",
        autocompletion=complete(NAMES["backbones"], files="*.keras"),
    ),
]  # fmt: skip
FedModeOption = Annotated[
    str | None,
    shown("--mode", help="The mode you feed.", show_default=False, autocompletion=complete(NAMES["modes"])),
]


def known_backbones(registry: Sequence[Path] | None) -> "Registry":
    """The backbones of a command; says what of `./backbones.toml`, which nobody named, is not as shipped."""
    from benchmark.registry import REGISTRY_FILE, load_registry, read_registry, shipped_path

    if Path(REGISTRY_FILE).exists():
        shipped, local = read_registry(shipped_path(REGISTRY_FILE)), load_registry()
        differences = {
            "adds": [name for name in local if name not in shipped],
            "changes": [name for name, one in local.items() if name in shipped and not one.is_shipped],
            "lacks": [name for name in shipped if name not in local],
        }
        said = "; ".join(f"{verb} {some_of(names)}" for verb, names in differences.items() if names)
        if said:
            console.say(f"./{REGISTRY_FILE}: {said}")
    return load_registry(registry or ())


def split_names(text: str | None) -> tuple[str, ...] | None:
    """The names of a comma separated option; None if it was not given."""
    if text is None:
        return None
    try:
        parts = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise BenchmarkError(f"Not a comma separated list: {text!r} ({error}). Put a name in double quotes.") from error
    return tuple(part.strip() for part in parts if part.strip())


def _split_numbers(key: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, split_names(text) or ()))
    except ValueError as error:
        raise BenchmarkError(
            f"--{key} takes whole numbers separated by commas, such as 0,1,2; got {text!r}."
        ) from error


def parse_where(conditions: Sequence[str] | None) -> dict[str, str]:
    """The columns of `--where` and the values or patterns wanted in them.

    Raises:
        BenchmarkError: A condition is not of the form column=value, or two are of one column.
    """
    pairs = [condition.partition("=") for condition in conditions or ()]
    for column, equals, _ in pairs:
        if not equals:
            raise BenchmarkError(f"--where takes column=value, such as seed=0; got {column!r}.")
    columns = [column.strip() for column, _, _ in pairs]
    if twice := {column for column in columns if columns.count(column) > 1}:
        raise BenchmarkError(f"--where gives {', '.join(sorted(twice))} twice: one pattern may match several values.")
    return {column.strip(): value.strip() for column, _, value in pairs}


# Options that are keys of a recipe's grid: those that are comma separated lists, and others.
_NUMBERS = ("seeds", "shots")
_LISTS = ("backbones", "datasets", "modes", "strategies", "heads", "classes", *_NUMBERS)
_VALUES = (
    "input_size_px", "limit", "folds", "val_fraction", "max_bad_images", "drop_duplicates", "restrict_classes",
    "engine", "precision", "batch_size", "resize", "crop",
)  # fmt: skip


def grid_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe's grid that the options of a command give, from the `params` of its context."""
    given = {key: params[key] for key in (*_LISTS, *_VALUES) if params.get(key) is not None}
    for key in given.keys() & set(_LISTS):
        given[key] = _split_numbers(key, given[key]) if key in _NUMBERS else split_names(given[key])
    return given
