"""Which sweeps have the cells of a ledger's rows, and how to choose the rows among them."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.asking import Labels, Options, base_name, label_of, options_of
from benchmark.analysis.loading import SETTING, plain_dataset
from benchmark.errors import BenchmarkError, LedgerError
from benchmark.ledger import RECIPE_COPY
from benchmark.plan.grid import expand
from benchmark.recipes import Grid, Sweep, read_recipe, recipe_paths, sweep_of_options
from benchmark.registry import Backbone, Registry, load_registry
from benchmark.storage import digest_of_text

# What a command leaves out first of the columns that choose among a recipe's cells, if the others suffice.
LEAST_TELLING = (
    "network", "precision", "crop", "resize", "augment", "input_size_px", "strategy", "dataset", "head", "mode",
    "backbone",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A recipe file, and what the command line calls it."""

    argument: str
    path: Path


@dataclass(frozen=True, eq=False)
class _Cells:
    """The cells of a sweep.

    Attributes:
        seeds: Of each setting, given by its columns.
        columns: Of each column, its value in every setting.
    """

    seeds: Mapping[tuple[str, ...], frozenset[str]]
    columns: Mapping[str, NDArray[np.str_]]

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "_Cells":
        """The cells that these columns name."""
        seeds: dict[tuple[str, ...], set[str]] = {}
        for row in rows:
            seeds.setdefault(tuple(label_of(row[column]) for column in SETTING), set()).add(label_of(row["seed"]))
        values = zip(*seeds, strict=True)
        columns = {column: np.array(texts) for column, texts in zip(SETTING, values, strict=True)}
        return cls({setting: frozenset(some) for setting, some in seeds.items()}, columns)

    def tell_apart(self, setting: Labels) -> dict[str, str]:
        """The fewest columns, by `LEAST_TELLING`, in which no other setting is like this one."""
        is_same = {column: self.columns[column] == setting[column] for column in SETTING}
        kept = list(reversed(LEAST_TELLING))
        for column in LEAST_TELLING:
            rest = [other for other in kept if other != column]
            is_like = np.full(len(self.seeds), True)
            for other in rest:
                is_like &= is_same[other]
            if is_like.sum() == 1:
                kept = rest
        return {column: setting[column] for column in kept}


@dataclass(frozen=True)
class Choice:
    """Cells of a sweep: the options of its grids, and the columns that choose among its cells."""

    options: Options
    where: Labels
    seeds: frozenset[str]


class Chooser:
    """Finds the cells of rows: in their recipes, or among what options alone can ask for.

    Args:
        runs: What `load_runs` gives: the rows that may be asked for.
        registry: The backbones; those of `load_registry` where it is None.

    Attributes:
        strangers: Stand-ins for the backbones of rows that the registry does not have.
        find_recipe: The recipe that was run, by a ledger's folder and a `recipe_sha256`; None where it is not at hand.
    """

    def __init__(self, runs: pd.DataFrame, registry: Registry | None = None) -> None:
        known = load_registry() if registry is None else registry
        self.strangers = _unregistered(runs, known)
        self._registry = {**known, **self.strangers}
        self._shipped = {
            digest_of_text(path.read_text(encoding="utf-8")): Recipe(name, path)
            for name, path in recipe_paths().items()
        }
        # Caches of the instance, gone with it.
        self._cells = functools.cache(self._read_cells)
        self.find_recipe = functools.cache(self._look_for_recipe)

    def sweep_of(self, rows: Iterable[Mapping[Any, Any]]) -> Sweep:
        """A sweep that has the cells of these rows; it may have others.

        Args:
            rows: Of one ledger.

        Raises:
            LedgerError: Neither the ledger's recipe nor options can ask for one of them.
        """
        seeds: dict[tuple[str, ...], set[str]] = {}
        recipes: dict[tuple[str, ...], Recipe | None] = {}
        for row in rows:
            key = tuple(setting_of(row).values())
            seeds.setdefault(key, set()).add(label_of(row["seed"]))
            recipes[key] = self._recipe_beside(str(row["folder"]), str(row["recipe_sha256"]))
        grids: dict[Grid, None] = {}
        for key, some in seeds.items():
            grids |= dict.fromkeys(self._grids(recipes[key], dict(zip(SETTING, key, strict=True)), frozenset(some)))
        return Sweep(name="again", ablation=True, grid=tuple(grids))

    def _recipe_beside(self, folder: str, sha256: str) -> Recipe | None:
        """The recipe of a row; or the one that stands beside it now, which may still make its cell."""
        copy = Path(folder) / RECIPE_COPY
        return self.find_recipe(folder, sha256) or (Recipe(str(copy), copy) if copy.exists() else None)

    def _grids(self, recipe: Recipe | None, setting: Labels, seeds: frozenset[str]) -> tuple[Grid, ...]:
        refusal = None
        for source in dict.fromkeys((recipe, None)):
            try:
                choice = self.choose(source, setting, seeds)
            except BenchmarkError as error:
                refusal = error
                continue
            if choice is not None:
                return self._read(source, choice.options).grid
        reason = str(refusal) if refusal else unreachable(setting, "")
        raise LedgerError(f"The cell {setting} cannot be done again; leave it out with --where. {reason}")

    def _look_for_recipe(self, folder: str, sha256: str) -> Recipe | None:
        if sha256 in self._shipped:
            return self._shipped[sha256]
        copy = Path(folder) / RECIPE_COPY
        if copy.exists() and digest_of_text(copy.read_text(encoding="utf-8")) == sha256:
            return Recipe(str(copy), copy)
        return None

    def _read_cells(self, recipe: Recipe | None, options: tuple[tuple[str, Any], ...]) -> _Cells:
        """The cells that a recipe has with these options; those of a sweep of options without one."""
        return _Cells.of_rows(cell.columns for cell in expand(self._read(recipe, dict(options)), self._registry))

    def _read(self, recipe: Recipe | None, options: Options) -> Sweep:
        return read_recipe(recipe.path, options) if recipe else sweep_of_options("options", options)

    def choose(self, recipe: Recipe | None, setting: Labels, seeds: frozenset[str]) -> Choice | None:
        """How to ask for the cells; None where neither recipe nor options can.

        Raises:
            BenchmarkError: The program would refuse whatever could be asked.
        """
        refusal: BenchmarkError | None = None
        for options in self._candidates(recipe, setting, seeds):
            try:
                cells = self._cells(recipe, tuple(options.items()))
            except BenchmarkError as error:
                refusal = refusal or error
                continue
            found = cells.seeds.get(tuple(setting[column] for column in SETTING), frozenset())
            if seeds <= found:
                return Choice(options, cells.tell_apart(setting), found)
        if refusal:
            raise refusal
        return None

    def _candidates(self, recipe: Recipe | None, setting: Labels, seeds: frozenset[str]) -> Iterator[Options]:
        """Options that may give the cells, fewest first."""
        options = {} if recipe else options_of("backbone", setting, seeds)
        cells = self._cells(recipe, tuple(options.items()))
        for column in SETTING:
            if setting[column] not in cells.columns[column]:
                options |= options_of(column, setting, seeds)
        if base_name(setting["strategy"]) in {base_name(label) for label in cells.columns["strategy"]}:
            options.pop("strategies", None)  # its folds alone are missing
        if not seeds <= frozenset().union(*cells.seeds.values()):
            options |= options_of("seed", setting, seeds)
        yield options
        for column in SETTING:
            yield options | options_of(column, setting, seeds)
        for column in SETTING:
            options |= options_of(column, setting, seeds)
        yield options


def _unregistered(runs: pd.DataFrame, registry: Registry) -> dict[str, Backbone]:
    """Stand-ins for backbones of a registry that is not at hand, so that recipes which name them can be read."""
    foreign = runs[~runs["backbone"].isin(list(registry))].drop_duplicates("backbone")
    return {
        name: Backbone(
            name=name, folder=Path(), builder="unknown:unknown", mode="tf", input_size_px=int(size), weights="random"
        )
        for name, size in zip(foreign["backbone"], foreign["input_size_px"], strict=True)
    }


def setting_of(row: Mapping[Any, Any]) -> Labels:
    """The columns of `SETTING` as the command line knows them."""
    return {column: label_of(row[column]) for column in SETTING} | {"dataset": plain_dataset(row)}


def unreachable(setting: Labels, sha256: str) -> str:
    """What to say of a row that no options give; its recipe is not at hand, if it had one."""
    recipe = f" Its recipe ({sha256[:12]}…) is not at hand." if sha256 else ""
    return (
        f"No command is known: options alone do not give strategy {setting['strategy']!r} with head "
        f"{setting['head']!r} and augmentation {setting['augment']!r}.{recipe}"
    )
