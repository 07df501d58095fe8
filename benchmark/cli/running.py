"""`benchmark run` and `status`: sweeps planned and run, and how far they are."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from benchmark.cli.executing import LOCAL, Execution
from benchmark.cli.listing import cell_text
from benchmark.cli.options import (
    RESULTS,
    BackbonesOption,
    BadImagesOption,
    ClassesOption,
    CropOption,
    DatasetsOption,
    DeterministicOption,
    DryRunOption,
    ExecutorOption,
    FoldsOption,
    HeadsOption,
    InputSizeOption,
    JobsOption,
    JsonOption,
    LimitOption,
    ModesOption,
    NameOption,
    PrecisionOption,
    RayAddressOption,
    RecipeArgument,
    RegistryOption,
    ResizeOption,
    ResultsOption,
    SeedsOption,
    StrategiesOption,
    TimeoutOption,
    WhenOption,
    WhereOption,
    grid_options,
    parse_where,
)
from benchmark.cli.results import show_board

if TYPE_CHECKING:
    from benchmark.ledger import Ledger
    from benchmark.plan.planning import Plan, PlannedCell
    from benchmark.recipes import Sweep
    from benchmark.registry import Registry

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130

DEFAULT_RECIPE = "demo"
AD_HOC_SWEEP = "custom"


def run(
    context: typer.Context,
    recipe: RecipeArgument = None,
    backbones: BackbonesOption = None,
    datasets: DatasetsOption = None,
    modes: ModesOption = None,
    strategies: StrategiesOption = None,
    heads: HeadsOption = None,
    seeds: SeedsOption = None,
    folds: FoldsOption = None,
    input_size: InputSizeOption = None,
    limit: LimitOption = None,
    classes: ClassesOption = None,
    max_bad_images: BadImagesOption = None,
    precision: PrecisionOption = None,
    resize: ResizeOption = None,
    crop: CropOption = None,
    name: NameOption = AD_HOC_SWEEP,
    results: ResultsOption = RESULTS,
    registry: RegistryOption = None,
    where: WhereOption = None,
    when: WhenOption = "missing",
    jobs: JobsOption = 1,
    timeout: TimeoutOption = None,
    deterministic: DeterministicOption = None,
    executor: ExecutorOption = LOCAL,
    ray_address: RayAddressOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the cells of a recipe, or of the lists given as options, that are not done yet; then show the leaderboard.

    With neither recipe nor options the recipe 'demo' is run. Options given with a recipe replace its lists;
    --where chooses among its cells.
    Interrupt it at any time: finished rows are kept, and the same command goes on from there.
    """
    from benchmark import console
    from benchmark.ledger import FAILED, Ledger
    from benchmark.plan.grid import expanded
    from benchmark.plan.planning import check_when
    from benchmark.recipes import recipe_text
    from benchmark.registry import load_registry

    check_when(when)
    execution = Execution(jobs, timeout, deterministic, executor, ray_address)
    known = load_registry(registry or ())
    sweep = find_sweep(recipe, grid_options(context.params), name)
    plan = _plan(sweep, known, results, parse_where(where))
    chosen = plan.to_run(when)
    _warn_of_modes(chosen)
    if dry_run:
        _show_dry_run(chosen, as_json=as_json)
        return
    ledger = Ledger(results / sweep.name)
    stored = recipe_text(expanded(sweep, known))
    _take_over(plan, ledger, stored)
    if not chosen:
        typer.secho(f"Nothing to do in {ledger.folder}: {console.counts_text(plan.counts)}.", fg="green", err=True)
    n_failed = sum(planned.state == FAILED for planned in plan.cells) * (when == "missing")
    run_planned(chosen, ledger, stored, execution, again=when == "always", as_json=as_json, n_failed=n_failed)


def find_sweep(recipe: str | None, options: dict[str, Any], name: str) -> "Sweep":
    """The sweep to run; options that are None were not given."""
    from benchmark.recipes import find_recipe, read_recipe, sweep_of_options

    given = {key: value for key, value in options.items() if value is not None}
    if recipe is None and given:
        return sweep_of_options(name, given)
    return read_recipe(find_recipe(recipe or DEFAULT_RECIPE), given)


def _plan(sweep: "Sweep", registry: "Registry", results: Path, where: dict[str, str] | None = None) -> "Plan":
    from benchmark import console
    from benchmark.ledger import Ledger
    from benchmark.plan.grid import select_cells
    from benchmark.plan.planning import make_plan

    with console.scan_display() as on_scan:
        plan = make_plan(
            sweep, registry, Ledger(results / sweep.name), on_scan,
            choose=(lambda cells: select_cells(cells, where)) if where else None,
        )  # fmt: skip
    for dataset, files in plan.bad_files.items():
        typer.secho(f"{dataset}: {len(files)} undecodable images left out: {', '.join(files)}", fg="yellow", err=True)
    return plan


def _warn_of_modes(chosen: "list[PlannedCell]") -> None:
    """Say of each backbone and mode once that they do not go together."""
    warnings = dict.fromkeys(planned.warning for planned in chosen if planned.warning)
    for warning in warnings:
        typer.secho(f"Warning: {warning}.", fg="yellow", err=True)
    if warnings:
        typer.secho(
            "Choose mode native; or, if it is meant, put native beside it or 'ablation = true' at the top of the "
            "recipe. 'benchmark inspect BACKBONE' shows what each mode does.",
            fg="yellow",
            err=True,
        )


def _show_dry_run(chosen: "list[PlannedCell]", *, as_json: bool) -> None:
    from benchmark import console
    from benchmark.plan.estimate import estimate

    expected = estimate(chosen)
    records = [
        {
            **planned.cell.columns,
            "state": planned.state,
            "params_total": _params_total(planned),
        }
        for planned in chosen
    ]
    if as_json:
        typer.echo(json.dumps({"cells": records, "estimate_s": round(expected.total_s, 1)}, indent=2))
        return
    shown = ("backbone", "dataset", "mode", "head", "input_size_px", "seed", "state", "params_total")
    console.show_table(shown, ([cell_text(record[column]) for column in shown] for record in records))
    source = "this machine's own rate" if expected.is_measured else "a guess of this machine's rate"
    typer.echo(
        f"{len(records)} cells, {expected.n_passes} passes over images. "
        f"About {console.duration_text(expected.total_s)}: "
        f"extracting {console.duration_text(expected.extract_s)}, heads {console.duration_text(expected.heads_s)}, "
        f"starting {console.duration_text(expected.overhead_s)} (by {source}; expect a factor of two)."
    )


def _params_total(planned: "PlannedCell") -> int | None:
    """By the registry, backbone and head; None where it does not know: `benchmark params` builds the networks."""
    from benchmark.strategies.heads import count_head_params

    cell = planned.cell
    if cell.backbone.params_backbone is None or cell.backbone.feature_dim is None:
        return None
    return cell.backbone.params_backbone + count_head_params(
        cell.head, cell.backbone.feature_dim, planned.n_classes, cell.dense
    )


def _take_over(plan: "Plan", ledger: "Ledger", recipe: str) -> None:
    """Give rows of schema 1 the keys of the cells that they are, and their recipe."""
    taken = [planned for planned in plan.cells if planned.taken_over]
    if not taken:
        return
    recipe_sha256 = ledger.keep_recipe(recipe)
    ledger.migrate(
        {
            planned.taken_over: {
                "cell_key": planned.key,
                "setting_key": planned.setting_key,
                "val_fraction": planned.cell.val_fraction,
                "recipe_sha256": recipe_sha256,
                **planned.cell.facts,
            }
            for planned in taken
        }
    )
    typer.secho(f"{ledger.folder} is now of schema 2: {len(taken)} finished cells are kept.", fg="yellow", err=True)


def run_planned(
    chosen: "list[PlannedCell]",
    ledger: "Ledger",
    recipe: str,
    execution: Execution,
    *,
    again: bool,
    as_json: bool = False,
    n_failed: int = 0,
) -> None:
    """Run cells, show the leaderboard of their ledger, and exit.

    Args:
        chosen: What to run.
        ledger: Where the rows go.
        recipe: The text of the recipe that makes the cells, to be kept beside the rows.
        execution: Where and how.
        again: Whether cells that are done are run again.
        as_json: Whether the leaderboard is for machines.
        n_failed: Number of cells that failed earlier and are not run now.
    """
    from benchmark import console
    from benchmark.ledger import FAILED, RUNS
    from benchmark.processes.runner import RunEnded, run_cells

    if chosen:
        recipe_sha256 = ledger.keep_recipe(recipe)
        execute = execution.start(ledger, ledger.read_runs())
        try:
            with console.SweepDisplay(len(chosen)) as display:
                for event in run_cells(chosen, ledger, execute, recipe_sha256=recipe_sha256, again=again):
                    display.show(event)
                    n_failed += isinstance(event, RunEnded) and event.row["status"] == FAILED
        except KeyboardInterrupt:
            typer.secho(
                f"Interrupted. Every finished row is in {ledger.folder}; the same command goes on from there.",
                fg="yellow",
                err=True,
            )
            sys.exit(EXIT_INTERRUPTED)
    show_board([ledger.folder], by="accuracy", format_name="json" if as_json else "table")
    if n_failed:
        typer.secho(
            f"{n_failed} {'cell' if n_failed == 1 else 'cells'} failed; {ledger.folder / RUNS} says why. "
            "The same command with --when failed tries again.",
            fg="red",
            err=True,
        )
        sys.exit(EXIT_SOME_FAILED)


def status(
    recipe: RecipeArgument = None,
    results: ResultsOption = RESULTS,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say of each cell of a recipe whether it is done, failed, missing, or stale and why.

    Of a sweep that was given by options, named by --name, the cells are those that its ledger has.
    """
    from benchmark import console
    from benchmark.ledger import RUNS
    from benchmark.recipes import find_recipe, read_recipe, recipe_paths
    from benchmark.registry import load_registry

    name = recipe or DEFAULT_RECIPE
    if name not in recipe_paths() and (results / name / RUNS).exists():
        records = _records_of_ledger(results / name)
    else:
        plan = _plan(read_recipe(find_recipe(name)), load_registry(registry or ()), results)
        records = [{**planned.cell.columns, "state": planned.state, "reason": planned.reason} for planned in plan.cells]
        name = plan.sweep.name
    if as_json:
        typer.echo(json.dumps(records, indent=2))
        return
    shown = ("backbone", "dataset", "mode", "head", "input_size_px", "seed", "state", "reason")
    console.show_table(shown, ([cell_text(record[column]) for column in shown] for record in records))
    typer.echo(f"{name}: {console.counts_text(Counter(record['state'] for record in records))}.")


def _records_of_ledger(folder: Path) -> list[dict[str, Any]]:
    """The last row of each cell, as `status` shows it."""
    from benchmark.analysis.loading import load_runs
    from benchmark.ledger import CELL_COLUMNS, FAILED

    runs = load_runs([folder])
    reasons = (runs["error_type"] + ": " + runs["error_message"]).where(runs["status"] == FAILED, "")
    table = runs[list(CELL_COLUMNS)].assign(state=runs["status"], reason=reasons)
    columns = (*CELL_COLUMNS, "state", "reason")
    return [dict(zip(columns, values, strict=True)) for values in table.itertuples(index=False, name=None)]
