"""`benchmark run` and `status`: a sweep planned, run and shown."""

import sys
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
from benchmark.cli import options
from benchmark.cli.listing import print_records
from benchmark.cli.results import show_board
from benchmark.errors import check_known
from benchmark.processes.execution import LOCAL, Execution

if TYPE_CHECKING:
    from benchmark.ledger import Ledger
    from benchmark.plan.planning import PlannedCell

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130

# Columns of a table of cells, and those that a narrow screen leaves out first.
SHOWN_COLUMNS = ("backbone", "dataset", "mode", "head", "input_size_px", "shots", "seed", "state")
LEAST_TELLING = ("params_total", "input_size_px", "seed")


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
    restrict_classes: options.RestrictOption = None,
    engine: options.EngineOption = None,
    precision: options.PrecisionOption = None,
    batch_size: options.BatchSizeOption = None,
    resize: options.ResizeOption = None,
    crop: options.CropOption = None,
    name: options.NameOption = AD_HOC_SWEEP,
    results: options.ResultsOption = options.RESULTS,
    registry: options.RegistryOption = None,
    where: options.WhereOption = None,
    when: options.WhenOption = "missing",
    jobs: options.JobsOption = 1,
    timeout: options.TimeoutOption = None,
    deterministic: options.DeterministicOption = None,
    executor: options.ExecutorOption = LOCAL,
    ray_address: options.RayAddressOption = None,
    keep_weights: options.KeepWeightsOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Run the missing cells of a recipe, or of the lists given as options, and show the leaderboard.

    Without a recipe and options, this runs the recipe 'demo'. Options given with a recipe replace its lists; --where
    chooses among its cells.

    You can interrupt it at any time: finished rows are kept, and the same command goes on from there.
    """
    from benchmark.ledger import FAILED, Ledger
    from benchmark.plan.planning import WHEN

    check_known("value of --when", when, WHEN)
    execution = Execution(jobs, timeout, deterministic, executor, ray_address, keep_weights)
    known = options.known_backbones(registry)
    sweep = find_sweep(recipe, options.grid_options(context.params), name)
    plan = plan_sweep(sweep, known, results, options.parse_where(where))
    chosen = plan.to_run(when)
    warn_of_modes(chosen)
    if dry_run:
        _show_dry_run(chosen, again=when == "always", as_json=as_json)
        return
    ledger = Ledger(results / sweep.name)
    n_failed = sum(planned.state == FAILED for planned in plan.cells) if when == "missing" else 0
    n_failed += run_plan(plan, ledger, execution, when=when)
    if not chosen:
        console.say(f"Nothing to do in {ledger.folder}: {tally(plan.counts)}.", style="green")
    show_ended(ledger, n_failed, as_json=as_json)


def _show_dry_run(chosen: "list[PlannedCell]", *, again: bool, as_json: bool) -> None:
    from benchmark.plan.estimate import estimate

    expected = estimate(chosen, again=again)
    records = [{**one.cell.columns, "state": one.state, "params_total": _params_total(one)} for one in chosen]
    if as_json:
        console.show_json({"cells": records, "estimate_s": round(expected.total_s, 1)})
        return
    if records:
        _print_cells(records, "params_total")
    for obstacle in dict.fromkeys(str(one.obstacle) for one in chosen if one.obstacle):
        console.say(obstacle, style="yellow")
    source = "measured rate" if expected.is_measured else "guessed rate"
    console.show(
        f"{count_of(len(records), 'cell')}, {count_of(expected.n_passes, 'pass')} over images. "
        f"About {duration_text(expected.total_s)}: extracting {duration_text(expected.extract_s)}, "
        f"heads {duration_text(expected.heads_s)}, starting {duration_text(expected.overhead_s)} "
        f"(from this machine's {source}; expect a factor of two)."
    )


def _params_total(planned: "PlannedCell") -> int | None:
    """Of backbone and head; None where registry or dataset do not tell (`benchmark params` builds the network)."""
    from benchmark.options import CLASSIFY
    from benchmark.strategies.heads import count_head_params

    cell, backbone = planned.cell, planned.cell.backbone
    if (
        cell.strategy == CLASSIFY
        or backbone.params_backbone is None
        or backbone.feature_dim is None
        or not planned.n_classes
    ):
        return None
    return backbone.params_backbone + count_head_params(cell.head, backbone.feature_dim, planned.n_classes, cell.dense)


def show_ended(ledger: "Ledger", n_failed: int, *, as_json: bool = False) -> None:
    """Show the leaderboard of a ledger; exits with 1 if cells failed."""
    from benchmark.ledger import RUNS

    show_board([ledger.folder], by="accuracy", format_name="json" if as_json else "table")
    if n_failed:
        console.say(
            f"{count_of(n_failed, 'cell')} failed: see {ledger.folder / RUNS}. To try again, add --when failed.",
            style="red",
        )
        sys.exit(EXIT_SOME_FAILED)


def status(
    recipe: options.RecipeArgument = None,
    results: options.ResultsOption = options.RESULTS,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show the state of each cell of a recipe: done, failed, missing, stale or a repeat of another seed, and why.

    For a sweep that was given by options, pass its --name: the cells are those in its ledger.
    """
    from benchmark.ledger import RUNS
    from benchmark.recipes import find_recipe, read_recipe, recipe_paths

    name = DEFAULT_RECIPE if recipe is None else recipe
    if name not in recipe_paths() and (results / name / RUNS).exists():
        records = _records_of_ledger(results / name)
    else:
        plan = plan_sweep(read_recipe(find_recipe(name)), options.known_backbones(registry), results)
        records = [{**planned.cell.columns, "state": planned.state, "reason": planned.reason} for planned in plan.cells]
        name = plan.sweep.name
    if as_json:
        console.show_json(records)
    else:
        _print_cells(records, "reason")
        console.show(f"{name}: {tally(record['state'] for record in records)}.")


def _print_cells(records: list[dict[Any, Any]], last: str) -> None:
    """Print cells, the column `last` last; a column that is empty in all of them is left out."""
    from benchmark.plan.grid import value_text

    shown = [{**record, "shots": value_text(record["shots"])} for record in records]
    print_records(shown, as_json=False, columns=(*SHOWN_COLUMNS, last), least_telling=LEAST_TELLING)


def _records_of_ledger(folder: Path) -> list[dict[Any, Any]]:
    """The last row of each cell of a ledger, for `status`."""
    from benchmark.analysis.loading import load_runs
    from benchmark.ledger import CELL_COLUMNS, FAILED

    runs = load_runs([folder])
    reasons = (runs["error_type"] + ": " + runs["error_message"]).where(runs["status"] == FAILED, "")
    return runs[list(CELL_COLUMNS)].assign(state=runs["status"], reason=reasons).to_dict("records")
