"""Options that several commands take, how their text is read, and their shell completion."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.errors import BenchmarkError

RESULTS = Path("results")


def split_names(text: str | None) -> tuple[str, ...] | None:
    """The names of a comma separated option; None where it was not given."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text is not None else None


def split_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """The whole numbers of a comma separated option; None where it was not given.

    Raises:
        BenchmarkError: Something in it is no whole number.
    """
    try:
        return tuple(int(name) for name in split_names(text) or ()) if text is not None else None
    except ValueError as error:
        raise BenchmarkError(
            f"{option} takes whole numbers separated by commas, such as 0,1,2; got {text!r}."
        ) from error


def complete(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Shell completion of the last name in a comma separated list."""

    def complete_last(incomplete: str) -> list[str]:
        done, comma, last = incomplete.rpartition(",")
        return [f"{done}{comma}{name}" for name in names() if name.startswith(last)]

    return complete_last


def _backbone_names() -> Iterable[str]:
    from benchmark.registry import load_registry

    return load_registry()


def _names_to_inspect() -> Iterable[str]:
    return [*_backbone_names(), *sorted(str(path) for path in Path().glob("*.keras"))]


def _recipe_names() -> Iterable[str]:
    from benchmark.recipes import recipe_paths

    return recipe_paths()


def _mode_names() -> Iterable[str]:
    from benchmark.preprocessing import MODES

    return MODES


def _head_names() -> Iterable[str]:
    from benchmark.strategies.heads import HEADS

    return HEADS


def _strategy_names() -> Iterable[str]:
    from benchmark.plan.cells import STRATEGIES

    return STRATEGIES


def _dataset_names() -> Iterable[str]:
    from benchmark.datasets import list_datasets

    return list_datasets()


RegistryOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--registry",
        help="A file of further backbones; its entries replace those of the same name.",
        show_default=False,
    ),
]
RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        help="A recipe file, or the name of a shipped recipe.",
        show_default=False,
        autocompletion=complete(_recipe_names),
    ),
]
InspectedArgument = Annotated[
    str,
    typer.Argument(
        metavar="BACKBONE|FILE.keras",
        help="A registered backbone, or a saved model of your own.",
        show_default=False,
        autocompletion=complete(_names_to_inspect),
    ),
]
FedModeOption = Annotated[
    str | None,
    typer.Option("--mode", help="The mode you feed.", show_default=False, autocompletion=complete(_mode_names)),
]
ResultsOption = Annotated[Path, typer.Option("--results", help="The folder of all sweeps' results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PathsArgument = Annotated[
    list[Path] | None, typer.Argument(help="Folders of results; ./results without any.", show_default=False)
]
BackbonesOption = Annotated[
    str | None, typer.Option(help="Names or patterns, comma separated.", autocompletion=complete(_backbone_names))
]
DatasetsOption = Annotated[str | None, typer.Option(help="Comma separated.", autocompletion=complete(_dataset_names))]
ModesOption = Annotated[
    str | None,
    typer.Option(help="Preprocessing modes or patterns, comma separated.", autocompletion=complete(_mode_names)),
]
HeadsOption = Annotated[
    str | None, typer.Option(help="Heads or patterns, comma separated.", autocompletion=complete(_head_names))
]
StrategiesOption = Annotated[
    str | None,
    typer.Option(help="probe, finetune or scratch, comma separated.", autocompletion=complete(_strategy_names)),
]
FoldsOption = Annotated[int | None, typer.Option(help="Cross-validate in so many stratified folds instead of seeds.")]
SeedsOption = Annotated[str | None, typer.Option(help="Whole numbers, comma separated.")]
InputSizeOption = Annotated[
    int | None, typer.Option(help="Side of the network's input in px.", show_default="the registry's")
]
LimitOption = Annotated[int | None, typer.Option(help="Use a stratified subset of so many images.", show_default="all")]
ClassesOption = Annotated[str | None, typer.Option(help="Of folder: datasets, only these classes, comma separated.")]
BadImagesOption = Annotated[
    int | None, typer.Option(help="Leave out at most so many undecodable images.", show_default="0")
]
PrecisionOption = Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default="float32")]
ResizeOption = Annotated[
    str | None, typer.Option(help="Interpolation, such as bicubic-antialias.", show_default="bilinear")
]
CropOption = Annotated[str | None, typer.Option(help="squash or crop.", show_default="squash")]
NameOption = Annotated[str, typer.Option(help="Of the sweep, where no recipe is given.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Only cells with this value or pattern in a column of the ledger, such as backbone=VGG*; may be repeated.",
        metavar="COLUMN=VALUE",
        show_default=False,
    ),
]
WhenOption = Annotated[str, typer.Option(help="Which cells: missing (stale ones too), failed or always.")]
JobsOption = Annotated[
    int,
    typer.Option(min=1, help="Backbones to run at the same time, the cores divided among them; times are then marked."),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="Seconds that a cell may take, with its extraction.",
        show_default="no limit",
    ),
]
DeterministicOption = Annotated[
    bool | None,
    typer.Option(
        "--deterministic/--no-deterministic",
        help="Make TensorFlow give the same result every time.",
        show_default="where it costs nothing: jobs that TensorFlow trains nothing in, without a GPU",
    ),
]
ExecutorOption = Annotated[str, typer.Option(help="Where jobs run: local, or ray for a cluster.")]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        help="Of a running Ray cluster, such as auto or head-node:6379.", show_default="a new one of this machine"
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done and how long it would take.")
]


def parse_where(conditions: Sequence[str] | None) -> dict[str, str]:
    """The columns of `--where` and what is wanted in them.

    Raises:
        BenchmarkError: One is not of the form column=value.
    """
    pairs = [condition.partition("=") for condition in conditions or ()]
    for column, equals, _ in pairs:
        if not equals:
            raise BenchmarkError(f"--where takes column=value, such as seed=0, got {column!r}.")
    return {column.strip(): value.strip() for column, _, value in pairs}


# What becomes of the text of an option; the others are taken as they are.
_PARSERS: Mapping[str, Callable[[str | None], Any]] = {
    **dict.fromkeys(("backbones", "datasets", "modes", "strategies", "heads", "classes"), split_names),
    "seeds": lambda text: split_numbers("--seeds", text),
}
_GRID_KEYS = {
    **{name: name for name in (*_PARSERS, "limit", "folds", "max_bad_images", "precision", "resize", "crop")},
    "input_size": "input_size_px",
}


def grid_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe's grid that a command's options give; None for one that was left out.

    Args:
        params: Of the command's context.
    """
    values = {key: params[name] for name, key in _GRID_KEYS.items() if name in params}
    return {key: _PARSERS[key](value) if key in _PARSERS else value for key, value in values.items()}
