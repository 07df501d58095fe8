"""A race run step by step: cells that the rules ask for, until they ask for no more."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark import console
from benchmark.actions.sweeps import say_notes
from benchmark.analysis.formats import count_of, duration_text
from benchmark.errors import BenchmarkError, check_at_least, some_of
from benchmark.processes.execution import SHORTEST_S, Execution
from benchmark.progress import SweepDisplay, scan_display

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.analysis.boards import Boards
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.race import Course, Race, Step
    from benchmark.ledger import Ledger
    from benchmark.plan.planned import Plan, PlannedCell
    from benchmark.plan.racing import Cut
    from benchmark.processes.executors import Execute
    from benchmark.registry import Registry

# A cell that takes so many times the whole budget is ended, but not before these seconds.
FAR_OVER, LEAST_TIMEOUT_S = 2, 120.0
SMALLEST_LIMIT = 1e-6


@dataclass(frozen=True)
class Setup:
    """A race that can be run.

    Attributes:
        race: Its rules.
        cells: Of each step.
        ledger: Where the rows go.
        recipe: The text of the recipe of all cells.
        cuts: Who does not start.
        boards: Those that were made so far.
    """

    race: "Race"
    cells: "Mapping[Step, Sequence[PlannedCell]]"
    ledger: "Ledger"
    recipe: str
    cuts: "Sequence[Cut]"
    boards: "Boards"


def recommend_backbone(
    given: Mapping[str, Any],
    registry: "Registry",
    results: Path,
    *,
    patterns: Sequence[str] | None,
    budget_s: float,
    limits: Mapping[str, float | None],
    n_seeds: int,
) -> tuple[dict[str, Any], bool]:
    """The answer of a race, see `make_answer`, and whether cells of it failed.

    Args:
        given: Keys of `Grid`: the dataset and how its images are prepared.
        registry: The backbones.
        results: The folder of the ledgers; the rows are in its ledger `recommend`.
        patterns: Names of backbones or shell patterns; None for all.
        budget_s: Seconds for all cells.
        limits: By the keys of `MEASURES`; None for no limit.
        n_seeds: Number of validation splits.

    Raises:
        BenchmarkError: A number is too small, no backbone keeps the limits, the budget is too small for one, or the
            dataset is unusable.
    """
    from benchmark.analysis.race import Race
    from benchmark.analysis.recommendation import make_answer
    from benchmark.ledger import Ledger
    from benchmark.plan.grid import request_of
    from benchmark.plan.planning import make_plan
    from benchmark.plan.racing import MEASURES, SWEEP_NAME, find_candidates, plan_rounds, race_sweep
    from benchmark.recipes import sweep_of_options

    kept = {column: limit for column, limit in limits.items() if limit is not None}
    check_at_least("n_seeds", n_seeds, 1)
    check_at_least("budget_s", budget_s, SHORTEST_S)
    for column, limit in kept.items():
        check_at_least(MEASURES[column].option, limit, SMALLEST_LIMIT)
    grid = sweep_of_options(SWEEP_NAME, given).grid[0]
    candidates, cuts = find_candidates(registry, patterns, kept, grid.input_size_px)
    check_some_left([one.name for one in candidates], cuts)
    ledger = Ledger(results / SWEEP_NAME)
    with scan_display() as on_scan:
        whole = replace(request_of(grid), limit=None).load(partial(on_scan, grid.datasets[0]))
        rounds = plan_rounds(whole, grid.limit, n_seeds, grid.val_fraction)
        plan = make_plan(race_sweep(grid, candidates, rounds, n_seeds), registry, ledger, on_scan)
    say_notes(plan)
    setup = set_up(plan, ledger, Race((), rounds, n_seeds, budget_s, kept), cuts)
    ended = run_race(setup)
    check_answered(setup, ended.course)
    answer = make_answer(setup.race, ended.course, setup.cuts, ended.runs, ended.correctness)
    return answer, any(cut.is_failure for cut in ended.course.cut)


def set_up(plan: "Plan", ledger: "Ledger", race: "Race", cuts: "Sequence[Cut]") -> Setup:
    """The race with the backbones of a plan as entrants; `race` has the other rules."""
    from benchmark.analysis.boards import Boards
    from benchmark.analysis.race import Entrant, Step
    from benchmark.backbones.sources import IMAGENET, are_weights_here
    from benchmark.plan.estimate import flops_g_at_size
    from benchmark.plan.planned import REPEAT
    from benchmark.plan.racing import Cut
    from benchmark.recipes import recipe_text

    numbers = {one.limit: number for number, one in enumerate(race.rounds)}
    cells: dict[Step, list[PlannedCell]] = {}
    for planned in plan.cells:
        request = planned.cell.dataset
        step = Step(planned.cell.backbone.name, numbers[request.limit], is_test=request.part is None)
        if planned.state != REPEAT:
            cells.setdefault(step, []).append(planned)
    wrong = {one.cell.backbone.name: one.warning for one in plan.cells if one.warning}
    rows = ledger.read_runs()
    keys = {planned.key for some in cells.values() for planned in some}
    began = rows[rows["cell_key"].isin(keys)]["backbone"].drop_duplicates().tolist()
    # Those with rows first, in their order, because weights that were downloaded since are here by now.
    places, firsts = {name: place for place, name in enumerate(began)}, []
    for step, some in cells.items():
        if step.number == 0 and not step.is_test and step.backbone not in wrong:
            cell = some[0].cell
            is_here = are_weights_here(cell.backbone)
            entrant = Entrant(step.backbone, flops_g_at_size(cell), not is_here and cell.backbone.weights == IMAGENET)
            firsts.append((places.get(step.backbone, len(began)), not is_here, entrant.flops_g, entrant))
    entrants = tuple(entrant for *_, entrant in sorted(firsts, key=lambda first: first[:3]))
    n_seeds = next(len(some) for step, some in cells.items() if step.is_test)
    cuts = [*cuts, *(Cut(name, f"the registry is wrong: {warning}") for name, warning in wrong.items())]
    check_some_left([entrant.name for entrant in entrants], cuts)
    return Setup(
        replace(race, entrants=entrants, n_seeds=n_seeds), cells, ledger, recipe_text(plan.sweep), cuts, Boards()
    )


class Ended(NamedTuple):
    """A course with the rows that it was read from."""

    course: "Course"
    runs: "pd.DataFrame"
    correctness: "Correctness"


def run_race(setup: Setup) -> Ended:
    """Run one step after the other until the race is over; failed downloads of earlier commands are tried again."""
    from benchmark.ledger import FAILED

    rows = setup.ledger.read_runs()
    again = rows[(rows["status"] == FAILED) & (rows["error_type"] == "download")]["run_id"]
    ended = _replay(setup, again)
    if ended.course.step is None:
        return ended
    timeout_s = max(FAR_OVER * setup.race.budget_s, LEAST_TIMEOUT_S)
    execution = Execution(timeout_s=timeout_s, keep_weights=True)  # those of heads, which are small
    recipe_sha256 = setup.ledger.keep_recipe(setup.recipe)
    execute = execution.start(setup.ledger, rows)
    try:
        while step := ended.course.step:
            ended = _run_stage(setup, step, ended, again, execute, recipe_sha256)
    except KeyboardInterrupt:
        console.say(
            f"Interrupted. The finished rows are in {setup.ledger.folder}; the same command goes on from there."
        )
        raise
    return ended


def _run_stage(
    setup: Setup, first: "Step", ended: Ended, again: "pd.Series[str]", execute: "Execute", recipe_sha256: str
) -> Ended:
    """Run the steps of one round, or those of the test, with one display."""
    from benchmark.processes.runner import run_cells

    course, rounds = ended.course, setup.race.rounds
    images = rounds[first.number]
    if first.is_test:
        names, what = course.finalists, f"Test on {images.n_all - images.n_images:,} images"
    else:
        names = course.alive if first.number else [entrant.name for entrant in setup.race.entrants]
        what = f"Round {first.number + 1} of {len(rounds)}, {images.n_images:,} training images"
    console.say(f"{what}: {count_of(len(names), 'backbone')}.", style="dim")
    known = set(ended.runs["cell_key"])
    missing = {
        name: [one for one in setup.cells[replace(first, backbone=name)] if one.key not in known] for name in names
    }
    with SweepDisplay(sum(map(len, missing.values()))) as display:
        while (step := ended.course.step) and replace(step, backbone=first.backbone) == first:
            for event in run_cells(
                missing[step.backbone], setup.ledger, execute, recipe_sha256=recipe_sha256, again=False
            ):
                display.show(event)
            ended = _replay(setup, again)
            assert ended.course.step != step, f"{step} was run and has no rows"
    return ended


def _replay(setup: Setup, again: "pd.Series[str]") -> Ended:
    """The race so far by the rows in the ledger, but for the runs that count as missing."""
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.loading import last_rows, rows_of
    from benchmark.analysis.race import replay

    rows = rows_of(setup.ledger)
    steps = {planned.key: step for step, some in setup.cells.items() for planned in some}
    runs = last_rows(rows[rows["cell_key"].isin(steps.keys()) & ~rows["run_id"].isin(again)])
    runs = runs.assign(step=runs["cell_key"].map(steps))
    correctness = Correctness(runs, with_folds=True)
    return Ended(replay(setup.race, runs, correctness, setup.boards), runs, correctness)


def check_some_left(names: Sequence[str], cuts: "Sequence[Cut]") -> None:
    """Refuse limits that leave nobody, and a machine that has no weights.

    Raises:
        BenchmarkError: No backbone is left; the text names the nearest.
    """
    if names:
        return
    nearest = min(cuts, key=lambda cut: cut.excess)
    if math.isfinite(nearest.excess):
        found = f"The nearest is {nearest.backbone}, with {nearest.reason}: change that limit."
        raise BenchmarkError(f"The limits leave no backbone. {found}")
    raise BenchmarkError(
        f"No backbone can be tried. {_reasons(cuts)}. Connect to a network, or register weights of your own."
    )


def check_answered(setup: Setup, course: "Course") -> None:
    """Refuse a race that nobody was timed in, or that nobody finished.

    Raises:
        BenchmarkError: With what to do.
    """
    if course.chosen:
        return
    from benchmark.analysis.race import FIRST_SHARE

    if course.untried:
        name, seconds = min(course.untried.items(), key=lambda item: item[1])
        lost = f"None that was tried is left: {_reasons(course.cut)}. " if course.cut else ""
        raise BenchmarkError(
            f"{lost}The budget of {duration_text(setup.race.budget_s)} is too small for "
            f"{'another' if course.cut else 'one'} backbone: to time {name} takes about {duration_text(seconds)}, and "
            f"half of the budget is for that: give --budget {math.ceil((course.spent_s + seconds) / FIRST_SHARE)}s or "
            "more."
        )
    check_some_left([], [*course.cut, *setup.cuts])


def _reasons(cuts: "Sequence[Cut]") -> str:
    return some_of([f"{cut.backbone}: {cut.reason}" for cut in cuts], 3)
