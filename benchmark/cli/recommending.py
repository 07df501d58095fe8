"""`benchmark recommend`: the backbone to take for a dataset, found in a race within a budget of time."""

import math
import re
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer

from benchmark import console
from benchmark.cli import options, parsing
from benchmark.cli.running import EXIT_SOME_FAILED
from benchmark.errors import BenchmarkError

SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
THOUSANDS = {"": 1, "k": 1e3, "M": 1e6, "B": 1e9}
LONGEST_BUDGET_S = 1_000_000
MOST_SEEDS = 100

_limit = partial(typer.Option, rich_help_panel="Limits", show_default=False, metavar="N", callback=options.within(1e-6))


def recommend(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="As 'benchmark list datasets' shows it, such as folder:pets.")
    ],
    budget: Annotated[str, options.what(show_default=True, help="Time for all cells, such as 90s, 10m or 2h.")] = "10m",
    max_params: Annotated[
        str | None,
        typer.Option(help="Parameters, such as 10M.", rich_help_panel="Limits", show_default=False, metavar="N"),
    ] = None,
    max_latency_ms: Annotated[float | None, _limit(help="Milliseconds to classify one image.")] = None,
    min_images_per_s: Annotated[float | None, _limit(help="Images per second, of many images.")] = None,
    max_model_mib: Annotated[float | None, _limit(help="Size of the weights in MiB.")] = None,
    backbones: options.BackbonesOption = None,
    n_seeds: Annotated[
        int,
        options.what(
            "--seeds",
            metavar="N",
            show_default=True,
            callback=options.within(1, MOST_SEEDS),
            help="Trainings of each finalist for the test.",
        ),
    ] = 3,
    val_fraction: options.ValFractionOption = None,
    input_size_px: options.InputSizeOption = None,
    limit: options.LimitOption = None,
    classes: options.ClassesOption = None,
    max_bad_images: options.BadImagesOption = None,
    drop_duplicates: options.DuplicatesOption = None,
    resize: options.ResizeOption = None,
    crop: options.CropOption = None,
    results: options.ResultsOption = options.RESULTS,
    as_json: options.JsonOption = False,
    registry: options.RegistryOption = None,
) -> None:
    """Say which backbone to take for a dataset.

    All backbones within the limits race on growing parts of the training images, in mode native with the head linear. A
    backbone is out as soon as the test of the leaderboard finds it worse than the leader. Of those that cannot be told
    apart, the fastest is taken. The test images are looked at once, at the end, for the accuracy that is reported.

    Backbones whose weights are here come first. Other weights are downloaded one by one, when it is their backbone's
    turn, as long as half of the budget lasts; where they cannot be downloaded, the backbone is left out.

    You can interrupt it at any time: the rows are in the ledger 'recommend', and the same command goes on from there.
    """
    from benchmark.actions.races import recommend_backbone
    from benchmark.analysis.recommendation import answer_section
    from benchmark.ledger import RUNS
    from benchmark.plan.racing import SWEEP_NAME

    given = {key: value for key, value in parsing.grid_options(context.params).items() if key != "backbones"}
    answer, has_failures = recommend_backbone(
        {**given, "datasets": (dataset,)},
        parsing.known_backbones(registry),
        results,
        patterns=parsing.split_names(backbones),
        budget_s=parse_budget(budget),
        limits={
            "params_backbone": parse_amount(max_params), "model_mib": max_model_mib, "latency_ms": max_latency_ms,
            "images_per_s": min_images_per_s,
        },
        n_seeds=n_seeds,
    )  # fmt: skip
    if as_json:
        console.show_json(answer)
    else:
        console.show_text("\n".join(answer["sentences"]))
        console.show_sections([answer_section(answer)])
        if answer["run_id"]:
            place = f"{shlex.quote(str(results / SWEEP_NAME))}{parsing.registry_options(registry)}"
            console.show(f"Next: benchmark export {answer['run_id']} {place} --out model.keras")
    if has_failures:
        console.say(f"Some cells failed: see {results / SWEEP_NAME / RUNS}.", style="red")
        sys.exit(EXIT_SOME_FAILED)


def parse_budget(text: str) -> float:
    """The seconds of a budget such as `90s`, `10m` or `2h`; a number alone is seconds.

    Raises:
        BenchmarkError: It is none.
    """
    return _parse("--budget", text, SECONDS, "a time such as 90s, 10m or 2h", LONGEST_BUDGET_S)


def parse_amount(text: str | None) -> float | None:
    """The number of parameters in a text such as `500k` or `10M`; None for None.

    Raises:
        BenchmarkError: It is none.
    """
    return None if text is None else _parse("--max-params", text, THOUSANDS, "a number such as 10M or 500k", math.inf)


def _parse(option: str, text: str, units: Mapping[str, float], expected: str, most: float) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*", text)
    value = float(found[1]) * units[found[2]] if found and found[2] in units else 0.0
    if not 0 < value <= most:
        raise BenchmarkError(f"{option} takes {expected}, got {text!r}.")
    return value
