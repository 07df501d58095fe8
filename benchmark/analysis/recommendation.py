"""The answer of a race: one sentence, a short table, and all of it for machines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.correctness import Marks
from benchmark.analysis.formats import Section, count_of, duration_text, number_texts
from benchmark.analysis.race import Course, Race, Step
from benchmark.analysis.ranks import SeedRun, SeedRuns, pair_seeds
from benchmark.analysis.significance import ALPHA, adjust_by_holm, compare_runs
from benchmark.errors import some_of
from benchmark.plan.racing import Cut

TAKE, TIED, BETTER, WORSE, OUT = "take", "not told apart", "better", "worse", "out"
COSTS = ("model_mib", "latency_ms", "images_per_s")
TESTED = ("accuracy", "accuracy_low", "accuracy_high", "n_test")
MOST_ROWS = 12
MILLION = 1e6

Record = dict[str, Any]


def make_answer(race: Race, course: Course, cuts: Sequence[Cut], runs: pd.DataFrame, correctness: Marks) -> Record:
    """What a race found, as plain values.

    Args:
        race: Its rules.
        course: Its end.
        cuts: Who was not at the start.
        runs: The rows, see `replay`.
        correctness: Of the runs.

    Returns:
        `sentences` (the answer for people), `chosen` (the backbone's name), `run_id` (of the run to export: of its
        seeds, the one with the best validation accuracy; None if its test failed), `backbones` (one record for each
        that was timed, the finalists first: `result`, accuracies and costs), `cut` and `untried` (with reasons),
        `rounds`, and the seconds.
    """
    assert course.board is not None, "the race is over"
    params = runs.groupby("backbone")["params_backbone"].last()
    tested = course.board.set_index("backbone")[[*TESTED]]
    raced = {name: (board, number) for number, board in enumerate(course.boards) for name in board["backbone"]}
    results = _results(course, runs, correctness)
    backbones = [
        {
            "backbone": name,
            "result": results[name][0],
            **_plain(tested.loc[name] if name in tested.index else dict.fromkeys(TESTED)),
            "difference": results[name][1],
            "p_value": results[name][2],
            "race_accuracy": float(board.set_index("backbone").loc[name, "accuracy"]),
            "race_images": race.rounds[number].n_images,
            "params_backbone": float(params[name]),
            **_plain(board.set_index("backbone").loc[name, [*COSTS]]),
        }
        for name, (board, number) in raced.items()
        if name in results
    ]
    order = [*course.finalists, *sorted(course.worse, key=lambda name: -course.worse[name])]
    backbones.sort(key=lambda record: order.index(record["backbone"]))
    answer: Record = {
        "chosen": course.chosen,
        "run_id": _run_to_export(course, runs),
        "is_decided": course.is_decided,
        "budget_s": race.budget_s,
        "spent_s": round(course.spent_s, 1),
        "n_images": race.rounds[-1].n_images,
        "n_images_raced": race.rounds[len(course.boards) - 1].n_images,
        "n_images_trained_on": race.rounds[course.final].n_images,
        "backbones": backbones,
        "cut": [{"backbone": cut.backbone, "reason": cut.reason} for cut in (*course.cut, *_nearest_first(cuts))],
        "untried": [
            {"backbone": name, "reason": f"to time it takes about {duration_text(seconds)}"}
            for name, seconds in course.untried.items()
        ],
        "rounds": [
            {"n_images": one.n_images, "backbones": board["backbone"].tolist(), "accuracy": board["accuracy"].tolist()}
            for one, board in zip(race.rounds, course.boards, strict=False)
        ],
    }
    return {"sentences": list(_sentences(answer)), **answer}


def _results(course: Course, runs: pd.DataFrame, correctness: Marks) -> dict[str, tuple[str, float, float]]:
    """By name: the result, the accuracy minus the chosen one's on the test images, and the p-value of no difference."""
    assert course.board is not None
    accuracy = course.board.set_index("backbone")["accuracy"]
    others = [name for name in course.finalists if name != course.chosen and name in accuracy.index]
    p_values = adjust_by_holm(np.array([_p_value(course, name, runs, correctness) for name in others]))
    found = {course.chosen: (TAKE, np.nan, np.nan)}
    for name, p_value in zip(others, p_values.tolist(), strict=True):
        difference = float(accuracy[name] - accuracy.get(course.chosen, np.nan))
        is_told_apart = p_value < ALPHA
        found[name] = (BETTER if difference > 0 else WORSE) if is_told_apart else TIED, difference, p_value
    return found | {name: (OUT, np.nan, np.nan) for name in course.worse}


def _p_value(course: Course, name: str, runs: pd.DataFrame, correctness: Marks) -> float:
    """Of no difference between a finalist and the chosen one on the test images; NaN if it cannot be tested."""
    assert course.board is not None
    both = []
    for one in (name, course.chosen):
        rows = runs[(runs["step"] == Step(one, course.final, is_test=True)) & runs["accuracy"].notna()]
        records = rows[list(SeedRun._fields)].itertuples(index=False, name=None)
        both.append(SeedRuns([SeedRun(*row) for row in records], correctness))
    seeds = pair_seeds(both[0].seeds, both[1].seeds)
    if not seeds[0]:
        return np.nan
    return compare_runs(both[0].right(seeds[0]), both[1].right(seeds[1])).p_value


def _run_to_export(course: Course, runs: pd.DataFrame) -> str | None:
    tested = runs[(runs["step"] == Step(course.chosen, course.final, is_test=True)) & runs["accuracy"].notna()]
    best = tested.sort_values("val_accuracy", ascending=False, kind="stable")["run_id"].tolist()
    return best[0] if best else None


def _plain(values: Mapping[Any, Any] | pd.Series) -> Record:
    return {str(key): None if value is None or pd.isna(value) else float(value) for key, value in values.items()}


def _nearest_first(cuts: Iterable[Cut]) -> list[Cut]:
    return sorted(cuts, key=lambda cut: cut.excess)


# --- sentences -------------------------------------------------------------------------------------------------------


def _sentences(answer: Record) -> Iterable[str]:
    by_result: dict[str, list[Record]] = {}
    for record in answer["backbones"]:
        by_result.setdefault(record["result"], []).append(record)
    (chosen,) = by_result[TAKE]
    yield _lead(chosen)
    if tied := by_result.get(TIED):
        yield f"Not told apart: {_with_points(tied)}{_shared_costs(tied, chosen)}."
    for one in by_result.get(BETTER, ()):
        slower = _times(one["latency_ms"], chosen["latency_ms"])
        cost = f" but {slower} slower" if slower else ""
        yield f"{100 * one['difference']:.1f} points better{cost}: {one['backbone']}."
    if worse := by_result.get(WORSE):
        yield f"Worse on the test images: {_with_points(worse)}."
    if not answer["is_decided"]:
        yield (
            f"The budget of {duration_text(answer['budget_s'])} ended the race after {answer['n_images_raced']:,} of "
            f"{answer['n_images']:,} training images: with more time, another backbone may win."
        )
    elif answer["n_images_trained_on"] < answer["n_images"]:
        yield f"The budget was enough to train on {answer['n_images_trained_on']:,} of {answer['n_images']:,} images."
    if untried := answer["untried"]:
        yield f"Not tried for lack of time: {some_of([one['backbone'] for one in untried])}."


def _with_points(records: Iterable[Record]) -> str:
    """Names with their differences from the chosen backbone."""
    points = [(one["backbone"], 100 * one["difference"]) for one in records]
    return some_of([name if np.isnan(more) else f"{name} ({more:+.1f} points)" for name, more in points])


def _lead(chosen: Record) -> str:
    facts = [
        f"{chosen['params_backbone'] / MILLION:.1f} M parameters" if chosen["params_backbone"] is not None else "",
        f"{chosen['latency_ms']:.3g} ms an image here" if chosen["latency_ms"] is not None else "",
    ]
    if chosen["accuracy"] is None:
        accuracy = f"{100 * chosen['race_accuracy']:.1f} % in the race (its test failed)"
    else:
        low, high = (100 * chosen[name] for name in ("accuracy_low", "accuracy_high"))
        accuracy = (
            f"{100 * chosen['accuracy']:.1f} % ({low:.1f} to {high:.1f}) on {chosen['n_test']:,.0f} test images it was "
            "not chosen on"
        )
    return f"Take {chosen['backbone']}: {', '.join(filter(None, [accuracy, *facts]))}."


def _shared_costs(records: Sequence[Record], chosen: Record) -> str:
    """What all of these are more than the chosen one, such as `, all slower and larger`."""
    words = [
        word
        for word, fact in (("slower", "latency_ms"), ("larger", "params_backbone"))
        if chosen[fact] is not None and all((one[fact] or 0) > chosen[fact] for one in records)
    ]
    return f", {'all ' if len(records) > 1 else ''}{' and '.join(words)}" if words else ""


def _times(larger: float | None, smaller: float | None) -> str:
    """How many times larger, such as `6 x`; empty if it is not larger."""
    if not larger or not smaller or larger <= smaller:
        return ""
    return f"{larger / smaller:.2g} x"


# --- table -----------------------------------------------------------------------------------------------------------


def answer_section(answer: Record) -> Section:
    """The table of an answer, with what is not in it as notes."""
    shown = answer["backbones"][:MOST_ROWS]
    table = pd.DataFrame(shown)
    is_out = table["result"] == OUT
    results = table["result"].where(~is_out, [f"out after {number:,}" for number in table["race_images"]])
    cells = {
        "Backbone": table["backbone"],
        "Result": results,
        "Race, %": number_texts(100 * table["race_accuracy"], "{:.1f}"),
        "Test, %": number_texts(100 * table["accuracy"].astype(float), "{:.1f}"),
        "Params, M": number_texts(table["params_backbone"].astype(float) / MILLION, "{:.1f}"),
        "ms": number_texts(table["latency_ms"].astype(float), "{:.3g}"),
        "Images/s": number_texts(table["images_per_s"].astype(float), "{:.0f}"),
        "MiB": number_texts(table["model_mib"].astype(float), "{:.0f}"),
    }
    notes = [
        "Race: accuracy in five folds of the training images, in the last round of each.",
        *_cut_notes(answer["cut"]),
        f"It took about {duration_text(answer['spent_s'])} of {duration_text(answer['budget_s'])}.",
    ]
    if n_more := len(answer["backbones"]) - len(shown):
        notes.insert(0, f"And {count_of(n_more, 'backbone')} that were worse: --json has them.")
    return Section("", pd.DataFrame(cells), tuple(notes), least_telling=("MiB", "Images/s"))


def _cut_notes(cuts: Sequence[Record]) -> list[str]:
    """Who was left out and why; those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for cut in cuts:
        by_reason.setdefault(cut["reason"], []).append(cut["backbone"])
    shared = {reason: names for reason, names in by_reason.items() if len(names) > 1}
    single = [f"{names[0]} ({reason})" for reason, names in by_reason.items() if len(names) == 1]
    notes = [f"Left out: {some_of(names)}: {reason}." for reason, names in shared.items()]
    return notes + ([f"Left out: {some_of(single)}."] if single else [])
