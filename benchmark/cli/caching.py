"""`benchmark cache`: what the feature cache holds, and how to empty it."""

import sys
from typing import Annotated

import typer

from benchmark.cli.listing import print_records
from benchmark.cli.options import JsonOption

GIB = 2**30
SECONDS_PER_DAY = 86_400


def cache_list(as_json: JsonOption = False) -> None:
    """Show what the feature cache holds."""
    from benchmark.analysis.formats import count_of
    from benchmark.features.cache import list_cache
    from benchmark.storage import cache_root

    entries = list_cache()
    records = [
        {
            "key": entry.path.name,
            "backbone": entry.facts["backbone"],
            "dataset": entry.dataset,
            "view": entry.facts.get("view", ""),
            "precision": entry.facts["precision"],
            "size_mib": round(entry.size_bytes / 2**20, 1),
            "used_utc": entry.used_utc.strftime("%Y-%m-%d %H:%M"),
        }
        for entry in entries
    ]
    print_records(records, as_json=as_json, least_telling=("precision", "input_size_px", "steps", "used_utc"))
    if not as_json:
        total = sum(entry.size_bytes for entry in entries)
        typer.echo(f"{count_of(len(entries), 'entry')}, {total / GIB:.2f} GiB in {cache_root()}")


def cache_prune(
    max_gib: Annotated[float, typer.Option(help="Remove the least recently used until this size is left.")] = 0.0,
    older_than_days: Annotated[
        float | None, typer.Option(help="Remove only what was not used for this many days.")
    ] = None,
) -> None:
    """Remove cached features: all, or down to --max-gib, or those not used for --older-than-days."""
    from benchmark.analysis.formats import count_of
    from benchmark.features.cache import prune_cache

    keeps_by_age = older_than_days is not None and max_gib == 0
    max_bytes = sys.maxsize if keeps_by_age else int(max_gib * GIB)
    older_than_s = None if older_than_days is None else older_than_days * SECONDS_PER_DAY
    removed = list(prune_cache(max_bytes=max_bytes, older_than_s=older_than_s))
    size_gib = sum(entry.size_bytes for entry in removed) / GIB
    typer.echo(f"Removed {count_of(len(removed), 'entry')}, {size_gib:.2f} GiB.")
