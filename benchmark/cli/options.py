"""Options that several commands take, and their shell completion."""

import math
import pkgutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

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
        show_default="only for CPU jobs in which Keras trains nothing",
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

ThemeOption = Annotated[
    str,
    typer.Option(
        help="screen, or paper: one column wide, 8 pt type.",
        autocompletion=complete("benchmark.charts.style:THEMES"),
    ),
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
