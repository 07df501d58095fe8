"""`benchmark list` and `doctor`: the names that can be used, and the state of this machine."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from benchmark.cli.options import NAMES, JsonOption, RegistryOption, names_of
from benchmark.errors import UnknownNameError

# Backbones with their own classifier.
NETWORKS = "networks"
KINDS = (*NAMES, NETWORKS)
BACKBONE_FACTS = (
    "name", "mode", "input_size_px", "min_size_px", "feature_dim", "params_backbone", "flops_g", "weights",
)  # fmt: skip


def list_names(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the names that can be used."""
    from benchmark.registry import load_registry

    if kind not in KINDS:
        raise UnknownNameError("list", kind, KINDS)
    if kind == "backbones":
        backbones = load_registry(registry or ()).values()
        facts = [backbone.model_dump(mode="json", by_alias=True) for backbone in backbones]
        records = [{fact: backbone[fact] for fact in BACKBONE_FACTS} for backbone in facts]
    elif kind == "recipes":
        from benchmark.recipes import read_recipe

        records = [{"name": name, "what": read_recipe(path).description} for name, path in names_of(kind).items()]
    elif kind == NETWORKS:
        from benchmark.backbones.build import import_builder

        records = [
            {
                "name": backbone.name,
                "input_size_px": backbone.input_size_px,
                "what": (import_builder(backbone).__doc__ or "").partition("\n")[0],
            }
            for backbone in load_registry(registry or ()).values()
            if backbone.has_classifier
        ]
    else:
        records = [{"name": name, "what": what} for name, what in names_of(kind).items()]
    print_records(records, as_json=as_json, least_telling=("min_size_px", "flops_g", "feature_dim"))


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine, and say what to fix."""
    from benchmark.doctor import examine

    print_records([asdict(finding) for finding in examine()], as_json=as_json)


def print_records(
    records: Sequence[dict[str, Any]],
    *,
    as_json: bool,
    columns: Sequence[str] = (),
    least_telling: Sequence[str] = (),
) -> None:
    """Print records of the same keys as a table, or as JSON.

    Args:
        records: The records.
        as_json: Print all keys as JSON.
        columns: Keys that the table shows; all without any.
        least_telling: Keys that the table leaves out on a narrow screen, the first of them first.
    """
    if as_json:
        typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
    elif records:
        from benchmark import console

        columns = columns or list(records[0])
        console.show_table(
            columns, ([record[key] for key in columns] for record in records), least_telling=least_telling
        )
    else:
        typer.echo("None yet.", err=True)
