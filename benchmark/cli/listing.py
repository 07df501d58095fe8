"""`benchmark list` and `doctor`: the names that can be used, and what matters on this machine."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.cli.options import JsonOption, RegistryOption
from benchmark.errors import UnknownNameError


def list_names(
    kind: Annotated[str, typer.Argument(help="backbones, networks, datasets, modes, strategies, heads or recipes")],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the names that can be used."""
    listings: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "backbones": lambda: _list_backbones(registry),
        "datasets": _list_datasets,
        "modes": _list_modes,
        "heads": _list_heads,
        "networks": lambda: _list_networks(registry),
        "strategies": _list_strategies,
        "recipes": _list_recipes,
    }
    if kind not in listings:
        raise UnknownNameError("list", kind, listings)
    print_records(listings[kind](), as_json=as_json)


def _list_backbones(extra: list[Path] | None) -> list[dict[str, Any]]:
    from benchmark.registry import load_registry

    shown = ("name", "mode", "input_size_px", "min_size_px", "feature_dim", "params_backbone", "flops_g", "weights")
    return [
        {key: value for key, value in backbone.model_dump(mode="json", by_alias=True).items() if key in shown}
        for backbone in load_registry(extra or ()).values()
    ]


def _list_datasets() -> list[dict[str, Any]]:
    from benchmark.datasets import list_datasets

    return [{"name": name, "what": what} for name, what in list_datasets().items()]


def _list_modes() -> list[dict[str, Any]]:
    from benchmark.preprocessing import MODES

    return [{"name": name, "what": what} for name, what in MODES.items()]


def _list_heads() -> list[dict[str, Any]]:
    from benchmark.strategies.heads import describe_heads

    return [{"name": name, "what": what} for name, what in describe_heads().items()]


def _list_networks(extra: list[Path] | None) -> list[dict[str, Any]]:
    """The backbones with their own classifier; what each is, says the first line of its builder's docstring."""
    from benchmark.backbones.build import import_builder
    from benchmark.registry import load_registry

    return [
        {
            "name": backbone.name,
            "input_size_px": backbone.input_size_px,
            "what": (import_builder(backbone).__doc__ or "").partition("\n")[0],
        }
        for backbone in load_registry(extra or ()).values()
        if backbone.has_classifier
    ]


def _list_strategies() -> list[dict[str, Any]]:
    from benchmark.plan.cells import STRATEGIES

    return [{"name": name, "what": what} for name, what in STRATEGIES.items()]


def _list_recipes() -> list[dict[str, Any]]:
    from benchmark.recipes import read_recipe, recipe_paths

    return [{"name": name, "what": read_recipe(path).description} for name, path in recipe_paths().items()]


def doctor(as_json: JsonOption = False) -> None:
    """Say what matters on this machine, and what to mend."""
    from benchmark.doctor import examine

    print_records([asdict(finding) for finding in examine()], as_json=as_json)


def print_records(records: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print records of the same keys as a table, or as JSON."""
    if as_json:
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
    elif records:
        from benchmark import console

        console.show_table(list(records[0]), ([cell_text(value) for value in record.values()] for record in records))
    else:
        typer.echo("None yet.", err=True)


def cell_text(value: Any) -> str:
    """A value as a table shows it, thousands separated; a dash for what is not known."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
