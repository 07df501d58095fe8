"""`benchmark run` and `status`: a sweep planned, run and shown."""

import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from benchmark import console
from benchmark.actions.sweeps import (
    AD_HOC_SWEEP,
    DEFAULT_RECIPE,
    find_sweep,
    plan_sweep,
    run_plan,
    warn_of_modes,
)
from benchmark.analysis.formats import count_of, duration_text, tally
from benchmark.cli import options, parsing
from benchmark.cli.listing import print_records
from benchmark.cli.results import show_board
from benchmark.errors import check_known
from benchmark.processes.execution import LOCAL, Execution

if TYPE_CHECKING:
    from benchmark.ledger import Ledger
    from benchmark.plan.estimate import Estimate
    from benchmark.plan.planned import PlannedCell

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130

# Columns that every table of cells has; further ones are shown if cells differ in them.
SHOWN_COLUMNS = {"backbone", "dataset", "mode", "strategy", "head", "input_size_px", "seed"}
NUMBERS = {"input_size_px", "seed"}
LEAST_TELLING = ("params_total",)


def run(
    context: typer.Context,
    recipe: options.RecipeArgument = None,
    backbones: options.BackbonesOption = None,
    datasets: options.DatasetsOption = None,
    modes: options.ModesOption = None,
    strategies: options.StrategiesOption = None,
    heads: options.HeadsOption = None,
    seeds: options.SeedsOption = None,
    folds: options.FoldsOption = None,
    shots: options.ShotsOption = None,
    val_fraction: options.ValFractionOption = None,
    input_size_px: options.InputSizeOption = None,
    limit: options.LimitOption = None,
    classes: options.ClassesOption = None,
    max_bad_images: options.BadImagesOption = None,
    drop_duplicates: options.DuplicatesOption = None,
    resize: options.ResizeOption = None,
    crop: options.CropOption = None,
    name: options.NameOption = AD_HOC_SWEEP,
    where: options.WhereOption = None,
    when: options.WhenOption = "missing",
    jobs: options.JobsOption = 1,
    timeout: options.TimeoutOption = None,
    results: options.ResultsOption = options.RESULTS,
    dry_run: options.DryRunOption = False,
    keep_weights: options.KeepWeightsOption = False,
    as_json: options.JsonOption = False,
    registry: options.RegistryOption = None,
    engine: options.EngineOption = None,
    precision: options.PrecisionOption = None,
    batch_size: options.BatchSizeOption = None,
    restrict_classes: options.RestrictOption = None,
    deterministic: options.DeterministicOption = None,
    executor: options.ExecutorOption = LOCAL,
    ray_address: options.RayAddressOption = None,
) -> None:
    """Run the missing cells of a recipe, or of the lists given as options, and show the leaderboard.

    Without a recipe and options, this runs the recipe 'demo'. Options given with a recipe replace its lists; --where
    chooses among its cells.

    You can interrupt it at any time: finished rows are kept, and the same command goes on from there.
    """
    from benchmark.ledger import FAILED, Ledger
    from benchmark.plan.planned import WHEN

    check_known("value of --when", when, WHEN)
    execution = Execution(jobs, timeout, deterministic, executor, ray_address, keep_weights)
    known = parsing.known_backbones(registry)
    sweep = find_sweep(recipe, parsing.grid_options(context.params), name)
    plan = plan_sweep(sweep, known, results, parsing.parse_where(where))
    chosen = plan.to_run(when)
    warn_of_modes(chosen)
    ledger = Ledger(results / sweep.name)
    nothing = "" if chosen else f"Nothing to do in {ledger.folder}: {tally(plan.counts)}."
    if dry_run and (chosen or as_json):
        _show_dry_run(chosen, again=when == "always", as_json=as_json)
        return
    if dry_run:
        console.show_text(f"{nothing} To run cells again, add --when always.")
        return
    n_failed = sum(planned.state == FAILED for planned in plan.cells) if when == "missing" else 0
    n_failed += run_plan(plan, ledger, execution, when=when)
    if nothing:
        console.say(nothing, style="green")
    show_ended(ledger, n_failed, "To try again, add --when failed.", registry=registry, as_json=as_json)


def _show_dry_run(chosen: "list[PlannedCell]", *, again: bool, as_json: bool) -> None:
    from benchmark.plan.estimate import estimate

    expected = estimate(chosen, again=again)
    records = [{**one.cell.columns, "state": one.state, "params_total": _params_total(one)} for one in chosen]
    if as_json:
        console.show_json({"cells": records, "estimate_s": round(expected.total_s, 1)})
        return
    _print_cells(records, "params_total")
    for obstacle in dict.fromkeys(str(one.obstacle) for one in chosen if one.obstacle):
        console.say(obstacle, style="yellow")
    console.show_text(
        f"{count_of(len(records), 'cell')}, {count_of(expected.n_passes, 'pass')} over images. "
        f"About {duration_text(expected.total_s)}: extracting {duration_text(expected.extract_s)}, "
        f"training {duration_text(expected.heads_s)}, starting {duration_text(expected.overhead_s)}. "
        f"{_about_rates(expected)}"
    )


def _about_rates(expected: "Estimate") -> str:
    if not expected.n_guessed:
        return "The rates were measured on this machine; expect a factor of two."
    if expected.n_guessed == expected.n_backbones:
        return "The rates are guessed: none of these backbones was measured on this machine."
    of_all = f"{expected.n_guessed} of {expected.n_backbones} backbones"
    return f"The rates of {of_all} are guessed from the others, which were measured on this machine."


def _params_total(planned: "PlannedCell") -> int | None:
    """Of backbone and head; None where registry or dataset do not tell (`benchmark params` builds the network)."""
    from benchmark.strategies.heads import HEADS

    cell, backbone = planned.cell, planned.cell.backbone
    if not (cell.head and backbone.params_backbone and backbone.feature_dim and planned.n_classes):
        return None
    n_head = HEADS[cell.head].n_params(backbone.feature_dim, planned.n_classes, cell.dense)
    return backbone.params_backbone + n_head


def show_ended(
    ledger: "Ledger", n_failed: int, advice: str, *, registry: Sequence[Path] | None, as_json: bool = False
) -> None:
    """Show the leaderboard of a ledger, and what to do next; exits with 1 and advice if cells failed.

    `registry` are the files that the command was given, which the next commands may need too.
    """
    from benchmark.ledger import RUNS

    if not (ledger.folder / RUNS).exists():
        if as_json:
            console.show_json([])
        return
    show_board([ledger.folder], by="accuracy", format_name="json" if as_json else "table")
    _say_next(ledger, parsing.registry_options(registry))
    if n_failed:
        console.say(
            f"{count_of(n_failed, 'cell')} failed: see {ledger.folder / RUNS}. {advice}",
            style="red",
        )
        sys.exit(EXIT_SOME_FAILED)


def _say_next(ledger: "Ledger", registry: str) -> None:
    """Say where the rows are, and the next commands that have something to work on."""
    from benchmark.actions.exporting import are_exportable
    from benchmark.analysis.loading import load_runs
    from benchmark.ledger import DONE, RUNS
    from benchmark.preprocessing import NATIVE

    runs = load_runs([ledger.folder])
    done = runs[runs["status"] == DONE]
    if done.empty:
        return
    folder = shlex.quote(str(ledger.folder))
    modes = set(done["mode"])
    has_best = done[are_exportable(done)]["dataset"].nunique() == 1
    has_report = find_spec("itables") is not None  # of an extra
    steps = {
        f"benchmark ablation {folder}": ("what each wrong mode costs", NATIVE in modes and len(modes) > 1),
        f"benchmark report {folder}": ("tables and charts as one page", has_report),
        f"benchmark plot {folder}": ("charts as files", not has_report),
        f"benchmark export --best {folder}{registry}": ("the best setting as one model", has_best),
    }
    useful = {command: purpose for command, (purpose, is_useful) in steps.items() if is_useful}
    width = max(map(len, useful))
    lines = [f"  {command:<{width}}  {purpose}" for command, purpose in useful.items()]
    console.say("\n".join([f"\nThe rows are in {ledger.folder / RUNS}. Next:", *lines]), style="")


def status(
    recipe: options.RecipeArgument = None,
    results: options.ResultsOption = options.RESULTS,
    as_json: options.JsonOption = False,
    registry: options.RegistryOption = None,
) -> None:
    """Show the state of each cell of a recipe: done, failed, missing, stale or a repeat of another seed, and why.

    For a sweep that was given by options, pass its --name or the folder of its ledger: the cells are those in it.
    """
    from benchmark.ledger import RUNS
    from benchmark.recipes import find_recipe, read_recipe, recipe_paths

    name = DEFAULT_RECIPE if recipe is None else recipe
    ledgers = [folder for folder in (results / name, Path(name)) if (folder / RUNS).exists()]
    if name not in recipe_paths() and ledgers:
        records = _records_of_ledger(ledgers[0])
    else:
        plan = plan_sweep(read_recipe(find_recipe(name)), parsing.known_backbones(registry), results)
        records = [{**planned.cell.columns, "state": planned.state, "reason": planned.reason} for planned in plan.cells]
        name = plan.sweep.name
    if as_json:
        console.show_json(records)
    else:
        _print_cells(records, "reason")
        console.show(f"{name}: {tally(record['state'] for record in records)}.")


def _print_cells(records: list[dict[Any, Any]], last: str) -> None:
    """Print cells with what they differ in, their state, and the column `last`."""
    from benchmark.ledger import CELL_COLUMNS
    from benchmark.plan.grid import value_text

    texts = {column: [value_text(record[column]) for record in records] for column in CELL_COLUMNS}
    columns = [column for column, values in texts.items() if column in SHOWN_COLUMNS or len({*values}) > 1]
    shown = [
        {**record, **{column: texts[column][row] for column in columns if column not in NUMBERS}}
        for row, record in enumerate(records)
    ]
    print_records(shown, as_json=False, columns=(*columns, "state", last), least_telling=LEAST_TELLING)


def _records_of_ledger(folder: Path) -> list[dict[Any, Any]]:
    """The last row of each cell of a ledger, for `status`."""
    from benchmark.analysis.loading import load_runs
    from benchmark.ledger import CELL_COLUMNS, FAILED

    runs = load_runs([folder])
    reasons = (runs["error_type"] + ": " + runs["error_message"]).where(runs["status"] == FAILED, "")
    return runs[list(CELL_COLUMNS)].assign(state=runs["status"], reason=reasons).to_dict("records")
