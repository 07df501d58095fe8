"""Rows of a ledger turned into the commands that make them again."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.analysis.asking import Labels, Options, label_of
from benchmark.analysis.choosing import Choice, Chooser, Recipe, setting_of, unreachable
from benchmark.errors import BenchmarkError
from benchmark.registry import Registry

# Rows in the ledgers of `results` count as done, so what is made again goes elsewhere.
RESULTS = "mine"
OWN_REGISTRY = "YOUR_REGISTRY.toml"


@dataclass(frozen=True)
class Command:
    """A call of the command line.

    Attributes:
        arguments: What follows `benchmark`; empty where no call is known.
        remark: What there is to know besides, a sentence; empty if there is nothing.
    """

    arguments: tuple[str, ...]
    remark: str = ""

    @property
    def text(self) -> str:
        """As a POSIX shell takes it; empty where no call is known."""
        return shlex.join(("benchmark", *self.arguments)) if self.arguments else ""


class Commands:
    """The commands that make rows again.

    A row from a recipe is chosen among the recipe's cells by `--where`, because options such as `--heads` replace the
    lists of every grid of a recipe and so can add cells; options are given for what the recipe alone would not do.
    A row from a sweep without a recipe is given by options alone.

    Args:
        runs: What `load_runs` gives: the rows that may be asked for.
        registry: The backbones; those of `load_registry` where it is None.
        results: Where the commands put what they make.
    """

    def __init__(self, runs: pd.DataFrame, registry: Registry | None = None, results: str = RESULTS) -> None:
        self._chooser = Chooser(runs, registry)
        self._results = results

    def of_setting(self, rows: Iterable[Mapping[str, Any]]) -> list[Command]:
        """The commands that do these rows again, and nothing else.

        Args:
            rows: Of one setting, any seeds, of one or several sweeps: the columns that `load_runs` gives.

        Returns:
            One command for each sweep and recipe they come from; one a seed where a recipe has further seeds.
        """
        sweeps: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in rows:
            sweeps.setdefault((row["folder"], row["recipe_sha256"]), []).append(row)
        return [command for some in sweeps.values() for command in self._of_sweep(some)]

    def _of_sweep(self, rows: Sequence[Mapping[str, Any]]) -> list[Command]:
        first, setting = rows[0], setting_of(rows[0])
        seeds = frozenset(label_of(row["seed"]) for row in rows)
        sha256 = str(first["recipe_sha256"])
        recipe = self._chooser.find_recipe(str(first["folder"]), sha256) if sha256 else None
        try:
            choice = self._chooser.choose(recipe, setting, seeds)
        except BenchmarkError as error:
            return [Command((), f"No command is known: {error}")]
        if choice is None:
            return [Command((), unreachable(setting, sha256))]
        remarks = []
        if sha256 and recipe is None:
            remarks.append(
                f"Its recipe ({sha256[:12]}…) is not at hand; options that a row does not hold, such as the share "
                "of validation images, may differ."
            )
        if setting["backbone"] in self._chooser.strangers:
            remarks.append(f"{OWN_REGISTRY}: the file that describes {setting['backbone']}.")
        name = None if recipe else str(first["sweep"])
        arguments = _arguments(recipe, name, choice.options, is_stranger=setting["backbone"] in self._chooser.strangers)
        return [
            Command((*arguments, *_where_arguments(where), "--results", self._results), " ".join(remarks))
            for where in _for_each_seed(choice, seeds)
        ]


def _for_each_seed(choice: Choice, seeds: frozenset[str]) -> list[Labels]:
    if choice.seeds == seeds:
        return [choice.where]
    return [{**choice.where, "seed": seed} for seed in sorted(seeds, key=int)]


def _arguments(recipe: Recipe | None, name: str | None, options: Options, *, is_stranger: bool) -> list[str]:
    arguments = ["run", recipe.argument] if recipe else ["run", "--name", name or ""]
    for key, value in options.items():
        flag = "--input-size" if key == "input_size_px" else f"--{key}"
        arguments += [flag, ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)]
    return [*arguments, "--registry", OWN_REGISTRY] if is_stranger else arguments


def _where_arguments(where: Labels) -> Sequence[str]:
    return [argument for column, value in where.items() for argument in ("--where", f"{column}={value}")]
