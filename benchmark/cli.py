"""The command line: the only module that prints or exits.

Whatever costs time to import is imported inside the commands, so that `--help` is quick.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from benchmark import __version__
from benchmark.errors import BenchmarkError, UnknownNameError

if TYPE_CHECKING:
    from benchmark.recipes import Sweep
    from benchmark.registry import Registry
    from benchmark.sweep.planning import Plan, PlannedCell

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130

DEFAULT_RECIPE = "demo"
AD_HOC_SWEEP = "custom"
RESULTS = Path("results")
GIB = 2**30
SECONDS_A_DAY = 86_400

app = typer.Typer(
    name="benchmark",
    help="Compare pretrained image backbones, with the preprocessing as an axis and not a hidden constant.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
cache_app = typer.Typer(no_args_is_help=True, help="List and prune the cached features.")
app.add_typer(cache_app, name="cache")


def main() -> NoReturn:
    """Run the command line; a mistake of the user's ends with its message and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app()
    except BenchmarkError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(EXIT_USER_MISTAKE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: `benchmark list backbones | head`
    sys.exit(EXIT_DONE)


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text is not None else None


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    try:
        return tuple(int(name) for name in _names(text) or ()) if text is not None else None
    except ValueError as error:
        raise BenchmarkError(f"{option} takes whole numbers separated by commas, such as 0,1,2; got {text!r}.") from error


def _complete(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Shell completion of the last name in a comma separated list."""

    def complete(incomplete: str) -> list[str]:
        done, comma, last = incomplete.rpartition(",")
        return [f"{done}{comma}{name}" for name in names() if name.startswith(last)]

    return complete


def _backbone_names() -> Iterable[str]:
    from benchmark.registry import load_registry

    return load_registry()


def _recipe_names() -> Iterable[str]:
    from benchmark.recipes import recipe_paths

    return recipe_paths()


def _mode_names() -> Iterable[str]:
    from benchmark.preprocessing import MODES

    return MODES


def _head_names() -> Iterable[str]:
    from benchmark.strategies.heads import HEADS

    return HEADS


def _dataset_names() -> Iterable[str]:
    from benchmark.datasets import list_datasets

    return list_datasets()


RegistryOption = Annotated[
    list[Path] | None,
    typer.Option("--registry", help="A file of further backbones; its entries replace those of the same name.", show_default=False),
]
RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        help="A recipe file, or the name of a shipped recipe.", show_default=False, autocompletion=_complete(_recipe_names)
    ),
]
ResultsOption = Annotated[Path, typer.Option("--results", help="The folder of all sweeps' results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PathsArgument = Annotated[
    list[Path] | None, typer.Argument(help="Folders of results; ./results without any.", show_default=False)
]
BackbonesOption = Annotated[
    str | None, typer.Option(help="Names or patterns, comma separated.", autocompletion=_complete(_backbone_names))
]
DatasetsOption = Annotated[str | None, typer.Option(help="Comma separated.", autocompletion=_complete(_dataset_names))]
ModesOption = Annotated[
    str | None, typer.Option(help="Preprocessing modes or patterns, comma separated.", autocompletion=_complete(_mode_names))
]
HeadsOption = Annotated[
    str | None, typer.Option(help="Heads or patterns, comma separated.", autocompletion=_complete(_head_names))
]
StrategiesOption = Annotated[str | None, typer.Option(help="Comma separated.")]
SeedsOption = Annotated[str | None, typer.Option(help="Whole numbers, comma separated.")]
InputSizeOption = Annotated[int | None, typer.Option(help="Side of the network's input in px.", show_default="the registry's")]
LimitOption = Annotated[int | None, typer.Option(help="Use a stratified subset of so many images.", show_default="all")]
ClassesOption = Annotated[str | None, typer.Option(help="Of folder: datasets, only these classes, comma separated.")]
BadImagesOption = Annotated[int | None, typer.Option(help="Leave out at most so many undecodable images.", show_default="0")]
PrecisionOption = Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default="float32")]
ResizeOption = Annotated[str | None, typer.Option(help="Interpolation, such as bicubic-antialias.", show_default="bilinear")]
CropOption = Annotated[str | None, typer.Option(help="squash or crop.", show_default="squash")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"backbone-benchmark {__version__}")
        raise typer.Exit


@app.command("list")
def list_names(
    kind: Annotated[str, typer.Argument(help="backbones, datasets, modes, heads, networks or recipes")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the names that can be used."""
    listings: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "backbones": lambda: _list_backbones(registry),
        "datasets": _list_datasets,
        "modes": _list_modes,
        "heads": _list_heads,
        "networks": list,
        "recipes": _list_recipes,
    }
    if kind not in listings:
        raise UnknownNameError("list", kind, listings)
    _print_records(listings[kind](), as_json=as_json)


def _list_backbones(extra: list[Path] | None) -> list[dict[str, Any]]:
    from benchmark.registry import load_registry

    shown = ("name", "mode", "input_size_px", "min_size_px", "feature_dim", "params_backbone", "flops_g", "weights")
    return [
        {key: value for key, value in backbone.model_dump(mode="json").items() if key in shown}
        for backbone in load_registry(extra or ()).values()
    ]


def _list_datasets() -> list[dict[str, Any]]:
    from benchmark.datasets import list_datasets

    return [{"name": name, "what": what} for name, what in list_datasets().items()]


def _list_modes() -> list[dict[str, Any]]:
    from benchmark.preprocessing import MODES

    return [{"name": name, "what": what} for name, what in MODES.items()]


def _list_heads() -> list[dict[str, Any]]:
    from benchmark.strategies.heads import describe_heads

    return [{"name": name, "what": what} for name, what in describe_heads().items()]


def _list_recipes() -> list[dict[str, Any]]:
    from benchmark.recipes import read_recipe, recipe_paths

    return [{"name": name, "what": read_recipe(path).description} for name, path in recipe_paths().items()]


def _print_records(records: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
    elif records:
        from benchmark import console

        console.show_table(list(records[0]), ([_cell_text(value) for value in record.values()] for record in records))
    else:
        typer.echo("None yet.", err=True)


def _cell_text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


@app.command()
def run(
    recipe: RecipeArgument = None,
    backbones: BackbonesOption = None,
    datasets: DatasetsOption = None,
    modes: ModesOption = None,
    strategies: StrategiesOption = None,
    heads: HeadsOption = None,
    seeds: SeedsOption = None,
    input_size: InputSizeOption = None,
    limit: LimitOption = None,
    classes: ClassesOption = None,
    max_bad_images: BadImagesOption = None,
    precision: PrecisionOption = None,
    resize: ResizeOption = None,
    crop: CropOption = None,
    name: Annotated[str, typer.Option(help="Of the sweep, where no recipe is given.")] = AD_HOC_SWEEP,
    results: ResultsOption = RESULTS,
    registry: RegistryOption = None,
    when: Annotated[str, typer.Option(help="Which cells: missing (stale ones too), failed or always.")] = "missing",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done and how long it would take.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the cells of a recipe, or of the lists given as options, that are not done yet; then show the leaderboard.

    With neither recipe nor options the recipe 'demo' is run. Options given with a recipe replace its lists.
    Interrupt it at any time: finished rows are kept, and the same command goes on from there.
    """
    from benchmark.registry import load_registry
    from benchmark.sweep.planning import WHEN

    if when not in WHEN:
        raise UnknownNameError("value of --when", when, WHEN)
    options = {
        "backbones": _names(backbones),
        "datasets": _names(datasets),
        "modes": _names(modes),
        "strategies": _names(strategies),
        "heads": _names(heads),
        "seeds": _numbers("--seeds", seeds),
        "input_size_px": input_size,
        "limit": limit,
        "classes": _names(classes),
        "max_bad_images": max_bad_images,
        "precision": precision,
        "resize": resize,
        "crop": crop,
    }
    given = {key: value for key, value in options.items() if value is not None}
    sweep, path = _find_sweep(recipe, given, name)
    plan = _plan(sweep, load_registry(registry or ()), results)
    chosen = plan.to_run(when)
    if dry_run:
        _show_dry_run(chosen, as_json=as_json)
        return
    _run(plan, chosen, path, results, again=when == "always", as_json=as_json)


def _find_sweep(recipe: str | None, options: dict[str, Any], name: str) -> "tuple[Sweep, Path | None]":
    """The sweep to run, and its recipe file if it has one."""
    from benchmark.recipes import find_recipe, read_recipe, sweep_of_options

    if recipe is None and options:
        return sweep_of_options(name, options), None
    path = find_recipe(recipe or DEFAULT_RECIPE)
    return read_recipe(path, options), path


def _plan(sweep: "Sweep", registry: "Registry", results: Path) -> "Plan":
    from benchmark import console
    from benchmark.ledger import Ledger
    from benchmark.sweep.planning import make_plan

    with console.scan_display() as on_scan:
        plan = make_plan(sweep, registry, Ledger(results / sweep.name), on_scan)
    for dataset, files in plan.bad_files.items():
        typer.secho(f"{dataset}: {len(files)} undecodable images left out: {', '.join(files)}", fg="yellow", err=True)
    return plan


def _show_dry_run(chosen: "list[PlannedCell]", *, as_json: bool) -> None:
    from benchmark import console
    from benchmark.strategies.heads import count_head_params
    from benchmark.sweep.estimate import estimate

    expected = estimate(chosen)
    records = [
        {
            **planned.cell.columns,
            "state": planned.state,
            "params_total": (planned.cell.backbone.params_backbone or 0)
            + count_head_params(
                planned.cell.head, planned.cell.backbone.feature_dim or 0, planned.n_classes, planned.cell.dense
            ),
        }
        for planned in chosen
    ]
    if as_json:
        typer.echo(json.dumps({"cells": records, "estimate_s": round(expected.total_s, 1)}, indent=2))
        return
    shown = ("backbone", "dataset", "mode", "head", "input_size_px", "seed", "state", "params_total")
    console.show_table(shown, ([_cell_text(record[column]) for column in shown] for record in records))
    source = "this machine's own rate" if expected.is_measured else "a guess of this machine's rate"
    typer.echo(
        f"{len(records)} cells, {expected.n_passes} passes over images. About {console.duration_text(expected.total_s)}: "
        f"extracting {console.duration_text(expected.extract_s)}, heads {console.duration_text(expected.heads_s)}, "
        f"starting {console.duration_text(expected.overhead_s)} (by {source}; expect a factor of two)."
    )


def _run(
    plan: "Plan", chosen: "list[PlannedCell]", recipe: Path | None, results: Path, *, again: bool, as_json: bool
) -> None:
    from benchmark import console
    from benchmark.ledger import FAILED, Ledger
    from benchmark.sweep.runner import RunEnded, copy_recipe, run_cells

    ledger = Ledger(results / plan.sweep.name)
    n_failed = 0
    if chosen:
        if recipe is not None:
            copy_recipe(recipe, ledger)
        try:
            with console.SweepDisplay(len(chosen)) as display:
                for event in run_cells(chosen, ledger, recipe_sha256=plan.sweep.sha256, again=again):
                    display.show(event)
                    n_failed += isinstance(event, RunEnded) and event.row["status"] == FAILED
        except KeyboardInterrupt:
            typer.secho(
                f"Interrupted. Every finished row is in {ledger.folder}; the same command goes on from there.",
                fg="yellow",
                err=True,
            )
            sys.exit(EXIT_INTERRUPTED)
    else:
        typer.secho(f"Nothing to do in {ledger.folder}: {console.counts_text(plan.counts)}.", fg="green", err=True)
        n_failed = plan.counts.get(FAILED, 0)
    _show_board([ledger.folder], by="accuracy", format_name="json" if as_json else "table")
    if n_failed:
        typer.secho(f"{n_failed} cells failed; see 'benchmark status', retry with --when failed.", fg="red", err=True)
        sys.exit(EXIT_SOME_FAILED)


@app.command()
def status(
    recipe: RecipeArgument = None,
    results: ResultsOption = RESULTS,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say of each cell of a recipe whether it is done, failed, missing, or stale and why."""
    from benchmark import console
    from benchmark.recipes import find_recipe, read_recipe
    from benchmark.registry import load_registry

    plan = _plan(read_recipe(find_recipe(recipe or DEFAULT_RECIPE)), load_registry(registry or ()), results)
    records = [
        {**planned.cell.columns, "state": planned.state, "reason": planned.reason} for planned in plan.cells
    ]
    if as_json:
        typer.echo(json.dumps(records, indent=2))
        return
    shown = ("backbone", "dataset", "mode", "head", "input_size_px", "seed", "state", "reason")
    console.show_table(shown, ([_cell_text(record[column]) for column in shown] for record in records))
    typer.echo(f"{plan.sweep.name}: {console.counts_text(plan.counts)}.")


@app.command()
def leaderboard(
    paths: PathsArgument = None,
    by: Annotated[str, typer.Option(help="The column to rank by, such as accuracy, efficiency or wall_s.")] = "accuracy",
    format_name: Annotated[str, typer.Option("--format", help="table, md, csv or json.")] = "table",
) -> None:
    """Rank the settings of one or many ledgers, each the mean of its seeds."""
    _show_board(paths or [RESULTS], by=by, format_name=format_name)


def _show_board(paths: list[Path], *, by: str, format_name: str) -> None:
    from benchmark import console
    from benchmark.analysis import tables
    from benchmark.analysis.leaderboard import count_failed, load_published, load_runs, make_leaderboard

    printers: dict[str, Callable[[Any], None]] = {
        "table": console.show_leaderboard,
        "md": lambda board: typer.echo(tables.to_markdown(board), nl=False),
        "csv": lambda board: typer.echo(tables.to_csv(board), nl=False),
        "json": lambda board: typer.echo(tables.to_json(board), nl=False),
    }
    if format_name not in printers:
        raise UnknownNameError("format", format_name, printers)
    runs = load_runs(paths)
    printers[format_name](make_leaderboard(runs, by=by, published=load_published(paths)))
    n_failed = count_failed(runs)
    if n_failed:
        typer.secho(f"{n_failed} failed cells are not ranked.", fg="yellow", err=True)


@app.command()
def plot(
    paths: PathsArgument = None,
    out: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("plots"),
    only: Annotated[str | None, typer.Option(help="Names of plots, comma separated: accuracy, pareto, cost.")] = None,
    formats: Annotated[str, typer.Option(help="png, svg or both, comma separated.")] = "png",
) -> None:
    """Draw the plots of one or many ledgers, one file a plot and dataset."""
    from benchmark.analysis.leaderboard import load_runs, make_leaderboard
    from benchmark.analysis.plots import save_plots

    board = make_leaderboard(load_runs(paths or [RESULTS]))
    for path in save_plots(board, out, only=_names(only), formats=_names(formats) or ()):
        typer.echo(path)


@app.command()
def fetch(recipe: RecipeArgument = None, backbones: BackbonesOption = None, datasets: DatasetsOption = None, registry: RegistryOption = None) -> None:
    """Bring the weights and data of a recipe, or of the given lists, ahead of time."""
    from benchmark.registry import load_registry
    from benchmark.sweep.cells import expand
    from benchmark.sweep.fetching import fetch_backbone, fetch_dataset

    given = {"backbones": _names(backbones), "datasets": _names(datasets)}
    sweep, _ = _find_sweep(recipe, {key: names for key, names in given.items() if names}, AD_HOC_SWEEP)
    cells = expand(sweep, load_registry(registry or ()))
    wants_backbones = recipe is not None or backbones is not None or datasets is None
    wants_datasets = recipe is not None or datasets is not None or backbones is None
    if wants_datasets:
        for request in dict.fromkeys(cell.dataset for cell in cells):
            typer.echo(f"{request.name}: {fetch_dataset(request)}")
    if wants_backbones:
        for backbone, size_px in dict.fromkeys((cell.backbone, cell.input_size_px) for cell in cells):
            typer.echo(f"{backbone.name}: {fetch_backbone(backbone, size_px)}")


@cache_app.command("list")
def cache_list(as_json: JsonOption = False) -> None:
    """Show what the feature cache holds."""
    from benchmark.features.cache import list_cache
    from benchmark.storage import cache_root

    entries = list_cache()
    records = [
        {
            "key": entry.path.name,
            **{name: entry.facts[name] for name in ("backbone", "dataset", "input_size_px", "precision")},
            "steps": "+".join(entry.facts["steps"]),
            "size_mib": round(entry.size_bytes / 2**20, 1),
            "used_utc": entry.used_utc.strftime("%Y-%m-%d %H:%M"),
        }
        for entry in entries
    ]
    _print_records(records, as_json=as_json)
    if not as_json:
        total = sum(entry.size_bytes for entry in entries)
        typer.echo(f"{len(entries)} entries, {total / GIB:.2f} GiB in {cache_root()}")


@cache_app.command("prune")
def cache_prune(
    max_gib: Annotated[float, typer.Option(help="Remove the least recently used until so much is left.")] = 0.0,
    older_than_days: Annotated[float | None, typer.Option(help="Remove only what was not used for so long.")] = None,
) -> None:
    """Remove cached features: all, or down to --max-gib, or those not used for --older-than-days."""
    from benchmark.features.cache import prune_cache

    keeps_by_age = older_than_days is not None and max_gib == 0
    max_bytes = sys.maxsize if keeps_by_age else int(max_gib * GIB)
    older_than_s = None if older_than_days is None else older_than_days * SECONDS_A_DAY
    removed = list(prune_cache(max_bytes=max_bytes, older_than_s=older_than_s))
    typer.echo(f"Removed {len(removed)} entries, {sum(entry.size_bytes for entry in removed) / GIB:.2f} GiB.")
