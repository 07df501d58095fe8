"""How a race of backbones went, and what comes next: decided by nothing but its rows and its rules.

A race can be killed at any moment and gone on with later, because each decision is made again from the rows that were
there when it was made first. So nothing here looks at the clock, the feature cache or the order of events: the time
that was spent is that of the rows.

The rounds compare backbones on images that are not test images of the dataset. After each, those that are worse than
the leader by the test of the leaderboard are out. The test images are looked at once, at the end, by the chosen
backbone and those that the race could not tell from it; they decide nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from benchmark.analysis.boards import Boards, Folds
from benchmark.analysis.correctness import Marks
from benchmark.analysis.significance import ALPHA
from benchmark.ledger import FAILED
from benchmark.plan.estimate import JOB_OVERHEAD_S, guess_gflops
from benchmark.plan.racing import MEASURES, N_FOLDS, Cut, Round, cut_by_limits

# The share of the budget in which the first round may begin to time another backbone.
FIRST_SHARE = 0.5
# Seconds of a step that are in no row: to start a process, which reads the dataset again.
START_S = 2.0
# Images a second, where none were measured.
SLOWEST = 1.0


@dataclass(frozen=True)
class Entrant:
    """A backbone at the start.

    Attributes:
        name: Its name.
        flops_g: Of an image at its size, as the registry has it, in 1e9.
        needs_download: Whether Keras has to download its weights.
    """

    name: str
    flops_g: float
    needs_download: bool = False


@dataclass(frozen=True)
class Race:
    """The rules of a race.

    Attributes:
        entrants: In the order in which they are tried.
        rounds: Growing.
        n_seeds: Rows of a backbone in the test.
        budget_s: Seconds for all cells.
        limits: See `cut_by_limits`.
    """

    entrants: tuple[Entrant, ...]
    rounds: tuple[Round, ...]
    n_seeds: int
    budget_s: float
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """Cells to run next: those of a backbone in a round, or with its test images.

    Attributes:
        backbone: Its name.
        number: Of the round.
        is_test: Whether the test images belong to the dataset.
    """

    backbone: str
    number: int
    is_test: bool = False


@dataclass
class Course:
    """How a race went so far.

    Attributes:
        boards: The leaderboard of each round that is over.
        cut: Who left, by limits that were measured or by a failure.
        worse: By name of those that were told apart from a leader: the number of the round.
        untried: By name of those for which the budget had no time: seconds for their first round.
        spent_s: Seconds of the steps, by their rows.
        alive: Who is left, the most accurate first.
        is_decided: Whether the race is over because one is left, or all images were used; not if the budget ended it.
        chosen: The recommended backbone; empty until the rounds are over.
        finalists: The chosen one and those not told apart from it, in the order in which they are tested.
        final: The number of the round whose subset the finalists are tested on.
        board: The leaderboard of the finalists on the test images; None until they are tested.
        step: What to run next; None at the end.
    """

    boards: list[pd.DataFrame] = field(default_factory=list)
    cut: list[Cut] = field(default_factory=list)
    worse: dict[str, int] = field(default_factory=dict)
    untried: dict[str, float] = field(default_factory=dict)
    spent_s: float = 0.0
    alive: list[str] = field(default_factory=list)
    is_decided: bool = False
    chosen: str = ""
    finalists: list[str] = field(default_factory=list)
    final: int = 0
    board: pd.DataFrame | None = None
    step: Step | None = None


def replay(race: Race, runs: pd.DataFrame, correctness: Marks, boards: Boards) -> Course:
    """The course of a race by its rows; its `step` says what is missing.

    Args:
        race: The rules.
        runs: What `load_runs` returns, the rows of the race only, with the `step` that each belongs to. Rows that the
            rules do not lead to are not used.
        correctness: Of the runs.
        boards: Those of earlier calls.
    """
    return _Replay(race, runs, correctness, boards).course


class _Replay:
    """A race that is followed until a row is missing."""

    def __init__(self, race: Race, runs: pd.DataFrame, correctness: Marks, boards: Boards) -> None:
        self._race, self._correctness, self._boards = race, correctness, boards
        self._rows: dict[Any, pd.DataFrame] = dict(iter(runs.groupby("step", sort=False)))
        self._none = runs[:0]
        # The highest so far, in 1e9 operations a second; a guess until a backbone was timed.
        self._rate = guess_gflops()
        self.course = Course()
        self.course.step = self._first_round() or self._next_rounds() or self._final()

    def _rows_of(self, step: Step) -> pd.DataFrame:
        return self._rows.get(step, self._none)

    def _done(self, step: Step) -> bool:
        """Whether the rows of a step are there; then their time counts, and a failure ends its backbone's race."""
        rows = self._rows_of(step)
        failed = rows[rows["status"] == FAILED]
        if len(rows) < (self._race.n_seeds if step.is_test else N_FOLDS):
            return False
        self.course.spent_s += START_S + float(rows["elapsed_s"].sum())
        if len(failed):
            is_failure = bool((failed["error_type"] != "download").any())
            self.course.cut.append(Cut(step.backbone, failed["error_message"].iloc[0], is_failure=is_failure))
            self.course.alive = [name for name in self.course.alive if name != step.backbone]
        return True

    # --- rounds ------------------------------------------------------------------------------------------------------

    def _first_round(self) -> Step | None:
        """Time one backbone after the other, and keep those within the limits."""
        race, course = self._race, self.course
        has_download_failed = False
        for entrant in race.entrants:
            step = Step(entrant.name, 0)
            rows = self._rows_of(step)
            if entrant.needs_download and has_download_failed and not len(rows):
                course.cut.append(Cut(entrant.name, "the weights were not downloaded, because others could not be"))
                continue
            cost_s = self._first_cost(entrant)
            if course.spent_s + cost_s > race.budget_s * FIRST_SHARE:
                course.untried[entrant.name] = cost_s
                continue
            course.alive.append(entrant.name)
            if not self._done(step):
                return step
            has_download_failed |= entrant.needs_download and bool((rows["error_type"] == "download").any())
            self._rate = max(self._rate, float((rows["images_per_s"] * rows["flops_g"]).fillna(0).max()))
        for name in list(course.alive):
            if cut := cut_by_limits(name, race.limits, self._rows_of(Step(name, 0))[list(MEASURES)].mean().to_dict()):
                course.cut.append(cut)
                course.alive.remove(name)
        return None

    def _next_rounds(self) -> Step | None:
        race, course = self._race, self.course
        for number in range(len(race.rounds)):
            if number and not self._is_affordable(number):
                return None
            for name in list(course.alive) if number else ():
                if not self._done(Step(name, number)):
                    return Step(name, number)
            if not course.alive:
                return None
            board = self._board([Step(name, number) for name in course.alive])
            course.boards.append(board)
            is_worse = board["p_best"] < ALPHA
            course.worse |= dict.fromkeys(board["backbone"][is_worse], number)
            course.alive = board["backbone"][~is_worse].tolist()
            if len(course.alive) == 1:
                break
        course.is_decided = True
        return None

    def _board(self, steps: Sequence[Step]) -> pd.DataFrame:
        rows = pd.concat([self._rows_of(step) for step in steps])
        if steps[0].is_test:
            return self._boards.of_rows(rows, self._correctness)
        folds = Folds(rows, self._correctness)
        return self._boards.of_rows(folds.pooled, folds)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _final(self) -> Step | None:
        """Choose, then test the chosen one and those not told apart from it."""
        course = self.course
        if not course.alive:
            return None
        board = course.boards[-1].set_index("backbone")
        costs = board.assign(name=board.index).sort_values(["latency_ms", "params_total", "name"], kind="stable")
        by_cost = [name for name in costs.index if name in course.alive]
        course.chosen = by_cost[0] if course.is_decided else course.alive[0]
        course.finalists = [course.chosen, *(name for name in by_cost if name != course.chosen)]
        course.final = self._affordable_final(len(course.boards) - 1)
        steps = [Step(name, course.final, is_test=True) for name in course.finalists]
        for step in steps:
            if not self._done(step):
                return step
        course.board = self._board(steps)
        return None

    # --- costs -------------------------------------------------------------------------------------------------------

    def _first_cost(self, entrant: Entrant) -> float:
        """Seconds of a backbone's first round, by the arithmetic of this machine so far."""
        return JOB_OVERHEAD_S + self._race.rounds[0].n_images * entrant.flops_g / self._rate

    def _is_affordable(self, number: int) -> bool:
        """Whether the budget has room for a round and for the test of all that are in it."""
        rounds, alive = self._race.rounds, self.course.alive
        n_added = rounds[number].n_images - rounds[number - 1].n_images
        n_test = rounds[number].n_all - rounds[number].n_images
        costs = (self._cost(alive, number - 1, number, n_new) for n_new in (n_added, n_test))
        return self.course.spent_s + sum(costs) <= self._race.budget_s

    def _affordable_final(self, last: int) -> int:
        """The round with the most images on which there is time to train and test the finalists; at least the last."""
        rounds, course = self._race.rounds, self.course
        for number in range(len(rounds) - 1, last, -1):
            n_new = rounds[number].n_all - rounds[last].n_images
            if course.spent_s + self._cost(course.finalists, last, number, n_new) <= self._race.budget_s:
                return number
        return last

    def _cost(self, names: Sequence[str], number: int, wanted: int, n_new: int) -> float:
        """Seconds of these backbones in a round that is wanted.

        Args:
            names: The backbones.
            number: Of the round by which the seconds are known.
            wanted: Of the round whose images they train on.
            n_new: Images whose features are not there yet.
        """
        more = self._race.rounds[wanted].n_images / self._race.rounds[number].n_images
        total_s = 0.0
        for name in names:
            rows = self._rows_of(Step(name, number))
            total_s += START_S + float((rows["load_s"] + rows["build_s"]).max())
            total_s += float((rows["train_s"] + rows["eval_s"]).sum()) * more
            total_s += n_new / max(float(rows["images_per_s"].fillna(0).mean()), SLOWEST)
        return total_s
