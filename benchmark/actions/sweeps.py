"""A sweep found, planned and run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import console
from benchmark.analysis.formats import count_of
from benchmark.processes.execution import Execution
from benchmark.progress import SweepDisplay, scan_display

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.ledger import Ledger
    from benchmark.plan.planned import Plan, PlannedCell
    from benchmark.recipes import Sweep
    from benchmark.registry import Registry

DEFAULT_RECIPE = "demo"
AD_HOC_SWEEP = "custom"


def find_sweep(recipe: str | None, given: Mapping[str, Any], name: str) -> "Sweep":
    """The sweep of a recipe, of keys of its grid, or of both; of the recipe `demo` without either.

    Args:
        recipe: A recipe file or the name of a shipped one.
        given: Keys of `Grid`, which replace those of the recipe.
        name: Of the sweep if there is no recipe.

    Raises:
        ConfigError: A value is wrong.
    """
    from benchmark.recipes import find_recipe, read_recipe, sweep_of_options

    if recipe is None and given:
        return sweep_of_options(name, given)
    return read_recipe(find_recipe(DEFAULT_RECIPE if recipe is None else recipe), given)


def plan_sweep(sweep: "Sweep", registry: "Registry", results: Path, where: Mapping[str, str] | None = None) -> "Plan":
    """The plan of a sweep, see `make_plan`; says what of its datasets is left out, assumed or doubtful.

    Args:
        sweep: The sweep.
        registry: The backbones.
        results: The folder of the ledgers.
        where: Only cells with these values or patterns in their columns.
    """
    from benchmark.ledger import Ledger
    from benchmark.plan.grid import select_cells
    from benchmark.plan.planning import make_plan

    choose = partial(select_cells, where=where or {})
    with scan_display() as on_scan:
        plan = make_plan(sweep, registry, Ledger(results / sweep.name), on_scan, choose=choose)
    say_notes(plan)
    return plan


def say_notes(plan: "Plan") -> None:
    """Say once what is left out of each dataset, assumed or doubtful, and what `remarks_on` finds."""
    from benchmark.ledger import DONE
    from benchmark.plan.remarks import remarks_on

    notes = [(request, note) for request, facts in plan.datasets.items() for note in facts.notes]
    remarks = [(request, remark) for request, facts in plan.datasets.items() for remark in facts.remarks]
    for said, style in ((notes, "yellow"), (remarks, "dim")):
        for text in dict.fromkeys(f"{request.name}: {what}" for request, what in said):
            console.say(text, style=style)
    if any(facts.n_duplicates for facts in plan.datasets.values()):
        console.say("Copies in several splits or classes distort the numbers: --drop-duplicates leaves them out.")
    for remark in remarks_on(plan):
        console.say(f"{remark}.")
    unchecked = Counter(str(one.obstacle) for one in plan.cells if one.obstacle is not None and one.state == DONE)
    for obstacle, number in unchecked.items():
        console.say(f"{obstacle} {count_of(number, 'finished cell')} could not be checked against it.", style="yellow")


def warn_of_modes(chosen: "Sequence[PlannedCell]") -> None:
    """Warn once of each backbone and mode that do not go together."""
    warnings = dict.fromkeys(planned.warning for planned in chosen if planned.warning)
    for warning in warnings:
        console.say(f"Warning: {warning}.")
    if warnings:
        console.say(
            "Choose mode native, or correct the registry. If the wrong mode is intended, run native beside it, or put "
            "'ablation = true' at the top of the recipe. 'benchmark inspect BACKBONE' shows what each mode does."
        )


def _take_over(plan: "Plan", ledger: "Ledger", recipe: str) -> None:
    """Give rows of schema 1 the keys of their cells, and their recipe."""
    taken = [one for one in plan.cells if one.taken_over]
    if taken:
        recipe_sha256 = ledger.keep_recipe(recipe)
        new_columns = {
            one.taken_over: {
                "cell_key": one.key,
                "setting_key": one.setting_key,
                "val_fraction": one.cell.val_fraction,
                "recipe_sha256": recipe_sha256,
                **one.cell.facts,
            }
            for one in taken
        }
        ledger.migrate(new_columns)
        console.say(f"{ledger.folder} now has schema 2; {count_of(len(taken), 'finished cell')} kept.")


def run_chosen(
    chosen: "Sequence[PlannedCell]", ledger: "Ledger", recipe: str, execution: Execution, *, again: bool
) -> int:
    """Run cells, and return how many of them failed.

    Args:
        chosen: The cells.
        ledger: Where the rows go.
        recipe: The text of the recipe that makes the cells, which is kept beside the rows.
        execution: Where and how to run.
        again: Whether cells that are done are run again.

    Raises:
        KeyboardInterrupt: The user ended it; finished rows are kept.
    """
    from benchmark.ledger import FAILED
    from benchmark.processes.runner import run_cells
    from benchmark.work.events import CellEnded

    if not chosen:
        return 0
    n_failed = 0
    recipe_sha256 = ledger.keep_recipe(recipe)
    execute = execution.start(ledger, ledger.read_runs())
    try:
        with SweepDisplay(len(chosen)) as display:
            for event in run_cells(chosen, ledger, execute, recipe_sha256=recipe_sha256, again=again):
                display.show(event)
                n_failed += isinstance(event, CellEnded) and event.row["status"] == FAILED
    except KeyboardInterrupt:
        console.say(f"Interrupted. The finished rows are in {ledger.folder}; the same command goes on from there.")
        raise
    return n_failed


def run_plan(plan: "Plan", ledger: "Ledger", execution: Execution, *, when: str) -> int:
    """Run the cells of a plan that are to be run now, and return how many of them failed.

    Args:
        plan: The plan.
        ledger: Where the rows go.
        execution: Where and how to run.
        when: A key of `WHEN`.
    """
    from benchmark.recipes import recipe_text

    recipe = recipe_text(plan.sweep)
    _take_over(plan, ledger, recipe)
    return run_chosen(plan.to_run(when), ledger, recipe, execution, again=when == "always")


def run_sweep(
    sweep: "Sweep",
    registry: "Registry",
    results: Path,
    execution: Execution,
    *,
    when: str,
    where: Mapping[str, str] | None = None,
) -> "pd.DataFrame":
    """Run what is missing of a sweep; the rows of all its cells, as `load_runs` returns them.

    Args:
        sweep: The sweep.
        registry: The backbones.
        results: The folder of the ledgers.
        execution: Where and how to run.
        when: A key of `WHEN`.
        where: See `plan_sweep`.
    """
    from benchmark.analysis.loading import last_rows, rows_of
    from benchmark.errors import check_known
    from benchmark.ledger import Ledger
    from benchmark.plan.planned import WHEN

    check_known("value of when", when, WHEN)
    plan = plan_sweep(sweep, registry, results, where)
    warn_of_modes(plan.to_run(when))
    ledger = Ledger(results / sweep.name)
    run_plan(plan, ledger, execution, when=when)
    return last_rows(rows_of_cells(rows_of(ledger), plan.cells))


def rows_of_cells(rows: "pd.DataFrame", cells: "Sequence[PlannedCell]") -> "pd.DataFrame":
    """The rows of planned cells: those with their keys or, where a dataset was not available, with their names.

    Args:
        rows: As `rows_of` returns them. A later row of the same name can have another key: that of other images,
            say, or of another version of Keras.
        cells: The cells.
    """
    import numpy as np

    from benchmark.ledger import cell_names

    keys = {planned.key for planned in cells if planned.key}
    names = {planned.cell.name: planned.key for planned in cells}
    is_named = [
        name in names and not (key and names[name])
        for name, key in zip(cell_names(rows), rows["cell_key"], strict=True)
    ]
    return rows[rows["cell_key"].isin(keys) | np.array(is_named, bool)]
