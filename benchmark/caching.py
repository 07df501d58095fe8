"""The folders of the cache: each has a manifest, can be listed, and is removed when it was not used for long."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.storage import ABANDONED_S, cache_root, write_whole

MANIFEST = "manifest.json"
# The rates of removed entries, so that estimates outlive them.
RATES = "rates.json"
# Features, and images resized for a view.
KINDS = ("features", "images")
# Checkpoints of trainings, each removed when the row of its cell is written.
TRAINING = "training"
# A folder that grows has this suffix until it is complete.
PARTIAL = ".partial"
# How long pruning waits for a process that uses a folder, before it leaves the folder alone.
PATIENCE_S = 1.0


@dataclass(frozen=True)
class CacheEntry:
    """One folder of the cache.

    Attributes:
        path: The folder.
        kind: One of `KINDS`.
        dataset: The dataset's name in the sweep that made it, or the folder of its images.
        facts: What is in it.
        images_per_s: Steady rate of the extraction; 0 if nothing was extracted.
        flops_g: Floating-point operations of one image, in 1e9; 0 until it is complete.
        size_bytes: On disk.
        used_utc: When it was last used.
    """

    path: Path
    kind: str
    dataset: str
    facts: Mapping[str, Any]
    images_per_s: float
    flops_g: float
    size_bytes: int
    used_utc: datetime


def lock_of(folder: Path, timeout_s: float = -1) -> FileLock:
    """The lock of a folder of the cache, complete or partial; with a timeout below 0 it waits without limit."""
    return FileLock(folder.with_suffix(".lock"), timeout=timeout_s)


def list_cache() -> list[CacheEntry]:
    """The entries of the cache, also those that grow, the least recently used first."""
    manifests = [path for kind in KINDS for path in (cache_root() / kind).glob(f"*/{MANIFEST}")]
    entries = (_entry(path) for path in manifests)
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.used_utc)


def _entry(manifest: Path) -> CacheEntry | None:
    """The entry of a manifest; None if it is damaged (the next process that writes to the entry replaces it)."""
    folder = manifest.parent
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        return CacheEntry(
            path=folder,
            kind=folder.parent.name,
            dataset=content.get("dataset", ""),  # entries before version 3 have none
            facts=content["facts"],
            images_per_s=content["extraction"]["images_per_s"] if "extraction" in content else 0.0,
            flops_g=content["build"]["flops_g"] if "build" in content else 0.0,
            size_bytes=sum(file.stat().st_size for file in folder.iterdir()),
            used_utc=datetime.fromtimestamp(manifest.stat().st_mtime, UTC),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def measured_gflops() -> dict[str, float]:
    """Sustained 1e9 operations a second by backbone, from the entries of the cache and those that were removed."""
    # An extraction that goes on, or was killed, has no rate yet; with a cut, the operations are of more than it ran.
    measured = [entry for entry in list_cache() if entry.images_per_s * entry.flops_g > 0 and "cut" not in entry.facts]
    return _kept_gflops() | {str(entry.facts.get("backbone")): entry.images_per_s * entry.flops_g for entry in measured}


def _kept_gflops() -> dict[str, float]:
    """The rates of removed entries; none if their file is missing or damaged."""
    try:
        content = json.loads((cache_root() / RATES).read_text(encoding="utf-8"))
        return {str(backbone): float(rate) for backbone, rate in content.items() if 0 < float(rate) < math.inf}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def prune_cache(*, max_bytes: int, older_than_s: float | None = None) -> Iterator[CacheEntry]:
    """Remove the least recently used entries until the rest fits, and all old ones; yields each removed entry.

    What another process is filling stays, and so do the measured rates. Checkpoints of trainings are removed by their
    age or, with everything else, if nothing was written to them for `ABANDONED_S`.

    Args:
        max_bytes: The greatest size of the rest.
        older_than_s: Entries that were not used for longer are removed in any case.
    """
    for partial in [path for kind in KINDS for path in (cache_root() / kind).glob(f"*{PARTIAL}")]:
        if not (partial / MANIFEST).exists():  # nothing in it was saved
            with suppress(Timeout), lock_of(partial, 0):
                shutil.rmtree(partial, ignore_errors=True)
    now = time.time()
    usual_s = ABANDONED_S if max_bytes == 0 else math.inf
    shortest_s = usual_s if older_than_s is None else older_than_s
    for checkpoint in (cache_root() / TRAINING).glob("*.npz"):
        with suppress(OSError):  # its training ended meanwhile
            if now - checkpoint.stat().st_mtime >= shortest_s:
                checkpoint.unlink()
    entries, rates = list_cache(), measured_gflops()
    total = sum(entry.size_bytes for entry in entries)
    try:
        for entry in entries:
            is_old = older_than_s is not None and now - entry.used_utc.timestamp() > older_than_s
            if total > max_bytes or is_old:
                with suppress(Timeout), lock_of(entry.path, PATIENCE_S):
                    shutil.rmtree(entry.path, ignore_errors=True)
                    if not entry.path.exists():  # on Windows a file that is open stays
                        total -= entry.size_bytes
                        yield entry
    finally:  # on a full disk there is room only now
        if rates:
            with suppress(OSError), write_whole(cache_root() / RATES) as file:  # estimates can do without
                file.write(json.dumps(rates, indent=1).encode())
