"""`benchmark list`, `doctor` and `cache`: usable names, the state of this machine, and the cached features."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import console
from benchmark.analysis.formats import count_of
from benchmark.cli.options import NAMES, JsonOption, RegistryOption, names_at, within
from benchmark.cli.parsing import known_backbones
from benchmark.errors import BenchmarkError, check_known
from benchmark.storage import MIB

if TYPE_CHECKING:
    from benchmark.registry import Backbone, Registry

# Backbones with their own classifier.
NETWORKS = "networks"
KINDS = (*NAMES, NETWORKS)
BACKBONE_FACTS = (
    "name", "mode", "input_size_px", "min_size_px", "feature_dim", "params_backbone", "flops_g", "weights",
)  # fmt: skip
GIB = 2**30
# More than any disk or calendar has.
LARGEST_GIB, LONGEST_DAYS = 2**30, 100_000
# Enough of a key to find its folder.
KEY_LENGTH = 8
SECONDS_PER_DAY = 86_400


def list_names(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    hub: Annotated[
        bool, typer.Option("--hub", help="Of 'backbones': the presets of KerasHub instead. Nothing is downloaded.")
    ] = False,
    as_json: JsonOption = False,
    registry: RegistryOption = None,
) -> None:
    """Show the names that can be used."""
    from benchmark.presets import list_presets
    from benchmark.recipes import read_recipe

    check_known("list", kind, KINDS)
    if hub and kind == "backbones":
        print_records(list_presets(), as_json=as_json, least_telling=("handle", "pooling"))
        return
    known = known_backbones(registry)
    if kind == "backbones":
        backbones = _usable(known)
        facts = [backbone.model_dump(mode="json", by_alias=True) for backbone in backbones]
        records = [
            {fact: backbone[fact] for fact in BACKBONE_FACTS} | {"mode": str(one.native_mode)}
            for one, backbone in zip(backbones, facts, strict=True)
        ]
    elif kind == NETWORKS:
        records = [
            {"name": backbone.name, "input_size_px": backbone.input_size_px, "what": _what_is_built(backbone)}
            for backbone in _usable(known)
            if backbone.has_classifier
        ]
    else:
        records = [
            {"name": name, "what": read_recipe(what).description if kind == "recipes" else what}
            for name, what in names_at(NAMES[kind]).items()
        ]
    print_records(records, as_json=as_json, least_telling=("min_size_px", "flops_g", "feature_dim"))


def _usable(registry: "Registry") -> "list[Backbone]":
    """The entries of a registry; says which are left out, such as presets that are not here."""
    found = []
    for name in registry:
        try:
            found.append(registry[name])
        except BenchmarkError as error:
            console.say(f"Left out: {error}", style="yellow")
    return found


def _what_is_built(backbone: "Backbone") -> str:
    """The first line that a builder says of itself, or why it cannot be imported."""
    from benchmark.backbones.builders import import_builder

    try:
        return (import_builder(backbone).__doc__ or "").partition("\n")[0]
    except BenchmarkError as error:
        return str(error)


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine, with advice on problems."""
    from benchmark.doctor import examine

    print_records([asdict(finding) for finding in examine()], as_json=as_json)


def cache_list(as_json: JsonOption = False) -> None:
    """Show the entries of the cache: features, and resized images."""
    from benchmark.caching import list_cache
    from benchmark.storage import cache_root

    entries = list_cache()
    records = [
        {
            "kind": entry.kind,
            "backbone": entry.facts.get("backbone", ""),
            "dataset": entry.dataset,
            "view": entry.facts.get("view", ""),
            "precision": entry.facts.get("precision", ""),
            "key": entry.path.name if as_json else entry.path.name[:KEY_LENGTH],
            "size_mib": round(entry.size_bytes / MIB, 1),
            "used_utc": entry.used_utc.strftime("%Y-%m-%d %H:%M"),
        }
        for entry in entries
    ]
    print_records(records, as_json=as_json, least_telling=("precision", "used_utc", "kind"))
    if not as_json:
        total = sum(entry.size_bytes for entry in entries)
        console.show_text(f"{count_of(len(entries), 'entry')}, {total / GIB:.2f} GiB in {cache_root()}")


def cache_prune(
    max_gib: Annotated[
        float,
        typer.Option(
            metavar="GIB",
            callback=within(0, LARGEST_GIB),
            help="Remove the least recently used until this size is left.",
        ),
    ] = 0.0,
    older_than_days: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS", callback=within(0, LONGEST_DAYS), help="Remove only entries not used for this many days."
        ),
    ] = None,
) -> None:
    """Remove cached features and images: all, or down to --max-gib, or those not used for --older-than-days.

    Checkpoints of interrupted trainings go too, except with --max-gib alone.
    """
    from benchmark.caching import prune_cache

    keeps_by_age = older_than_days is not None and max_gib == 0
    max_bytes = sys.maxsize if keeps_by_age else int(max_gib * GIB)
    older_than_s = None if older_than_days is None else older_than_days * SECONDS_PER_DAY
    removed = list(prune_cache(max_bytes=max_bytes, older_than_s=older_than_s))
    size_gib = sum(entry.size_bytes for entry in removed) / GIB
    console.show(f"Removed {count_of(len(removed), 'entry')}, {size_gib:.2f} GiB.")


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
        columns: Keys that the table shows; all keys if empty.
        least_telling: Keys that the table leaves out on a narrow screen, the first of them first.
    """
    if as_json:
        console.show_json(records)
    elif records:
        columns = columns or list(records[0])
        rows = ([record[key] for key in columns] for record in records)
        console.show_table(columns, rows, least_telling=least_telling)
    else:
        console.say("None yet.")
