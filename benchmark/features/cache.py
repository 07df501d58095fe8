"""The feature cache: one folder per backbone, dataset and view, complete or absent."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from benchmark.features.engine import Extraction
from benchmark.storage import cache_root, digest_of_text, sha256_of_file, write_whole

# Part of every key. Raise it when the code or the facts of a key change.
FEATURE_VERSION = 3

FEATURES = "features.npy"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BuildFacts:
    """Facts about a built backbone.

    Attributes:
        build_s: Seconds to build, load weights and freeze.
        params_backbone: Weights without the head.
        flops_g: Floating-point operations of one image, in 1e9.
        weights_sha256: Of the weights.
    """

    build_s: float
    params_backbone: int
    flops_g: float
    weights_sha256: str


Extract = Callable[[IO[bytes]], tuple[Extraction, BuildFacts]]


@dataclass(frozen=True)
class CachedFeatures:
    """Features on disk, and their cost when they were made.

    Attributes:
        features: `(n, d)` float32, memory-mapped and read-only.
        extraction: Cost of the pass that made them.
        build: Of the backbone that made them.
        was_cached: Whether they were in the cache already.
    """

    features: NDArray[np.float32]
    extraction: Extraction
    build: BuildFacts
    was_cached: bool


@dataclass(frozen=True)
class CacheEntry:
    """One folder of the cache.

    Attributes:
        path: The folder.
        dataset: The dataset's name in the sweep that made it; not part of the key.
        facts: The facts of its key.
        images_per_s: Steady rate of the extraction.
        flops_g: Floating-point operations of one image, in 1e9.
        size_bytes: On disk.
        used_utc: When it was last used.
    """

    path: Path
    dataset: str
    facts: Mapping[str, Any]
    images_per_s: float
    flops_g: float
    size_bytes: int
    used_utc: datetime


def cache_key(facts: Mapping[str, Any]) -> str:
    """The key of a set of facts: 32 hexadecimal digits, the same for any order of the facts."""
    text = json.dumps({**facts, "feature_version": FEATURE_VERSION}, sort_keys=True)
    return digest_of_text(text)[:32]


def cached_features(
    facts: Mapping[str, Any], extract: Extract, *, dataset: str = "", again: bool = False
) -> CachedFeatures:
    """The features that these facts describe, extracted now unless they are in the cache.

    If two processes want the same features, one extracts and the other waits. A process that is killed while it
    extracts leaves only a partial folder, which is never used; the next process removes it.

    Args:
        facts: Everything that can change a feature.
        extract: Writes the features to a file and returns the cost.
        dataset: The dataset's name, only shown.
        again: Extract them also if they are in the cache.
    """
    folder = _features_root() / cache_key(facts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        found = None if again else _open(folder, was_cached=True)
        if found is None:
            for partial in folder.parent.glob(f"{folder.name}.*.partial"):
                shutil.rmtree(partial)
            _extract_into(folder, {"dataset": dataset, "facts": dict(facts)}, extract)
            found = _open(folder, was_cached=False)
            assert found is not None, f"{folder} was written but cannot be read"
    return found


def is_cached(facts: Mapping[str, Any]) -> bool:
    """Whether the cache has these features; their checksum is not verified."""
    return (_features_root() / cache_key(facts) / MANIFEST).exists()


def _features_root() -> Path:
    return cache_root() / "features"


def _open(folder: Path, *, was_cached: bool) -> CachedFeatures | None:
    """The features of a folder; None if it is absent or damaged (then it is removed)."""
    if not folder.exists():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        extraction, build = Extraction(**manifest["extraction"]), BuildFacts(**manifest["build"])
        if sha256_of_file(folder / FEATURES) != extraction.sha256:
            raise ValueError("other bytes than were written")
        features = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
        is_intact = _fits(features, folder / FEATURES, extraction)
    except (OSError, ValueError, KeyError, TypeError):
        is_intact = False
    if not is_intact:
        shutil.rmtree(folder)
        return None
    os.utime(folder / MANIFEST)
    return CachedFeatures(features, extraction, build, was_cached)


def _fits(features: Any, path: Path, extraction: Extraction) -> bool:
    """Whether a file holds the numbers that its header and its manifest claim, and no others."""
    n_bytes = features.offset + features.nbytes
    shape = features.shape
    return (
        features.dtype == np.float32
        and (shape[0], shape[-1]) == (extraction.n_images, extraction.feature_dim)
        and path.stat().st_size == n_bytes
    )


def _extract_into(folder: Path, manifest: dict[str, Any], extract: Extract) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        with write_whole(partial / FEATURES) as file:
            extraction, build = extract(file)
        manifest = {**manifest, "extraction": asdict(extraction), "build": asdict(build)}
        with write_whole(partial / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=2).encode())
        if folder.exists():  # extracted again
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def list_cache() -> list[CacheEntry]:
    """The complete entries of the cache, the least recently used first."""
    manifests = [path for path in _features_root().glob(f"*/{MANIFEST}") if path.parent.suffix != ".partial"]
    entries = (_entry(path) for path in manifests)
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.used_utc)


def _entry(manifest: Path) -> CacheEntry | None:
    """The entry of a manifest; None if it is damaged (the next use of the entry replaces it)."""
    folder = manifest.parent
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        return CacheEntry(
            path=folder,
            facts=content["facts"],
            dataset=content.get("dataset", ""),  # entries before version 3 have none
            images_per_s=content["extraction"]["images_per_s"],
            flops_g=content["build"]["flops_g"],
            size_bytes=sum(file.stat().st_size for file in folder.iterdir()),
            used_utc=datetime.fromtimestamp(manifest.stat().st_mtime, UTC),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_partial() -> None:
    """Remove the partial folders of killed extractions: no process holds the lock of their key."""
    for partial in _features_root().glob("*.partial"):
        key = partial.name.split(".", 1)[0]
        with suppress(Timeout), FileLock(_features_root() / f"{key}.lock", timeout=0):
            shutil.rmtree(partial, ignore_errors=True)


def prune_cache(*, max_bytes: int, older_than_s: float | None = None) -> Iterator[CacheEntry]:
    """Remove the least recently used entries until the rest fits, and all old ones; yields each removed entry.

    Args:
        max_bytes: The greatest size of the rest.
        older_than_s: Entries that were not used for longer are removed in any case.
    """
    remove_partial()
    entries = list_cache()
    total = sum(entry.size_bytes for entry in entries)
    now = time.time()
    for entry in entries:
        is_old = older_than_s is not None and now - entry.used_utc.timestamp() > older_than_s
        if total > max_bytes or is_old:
            with FileLock(f"{entry.path}.lock"):
                shutil.rmtree(entry.path, ignore_errors=True)
            total -= entry.size_bytes
            yield entry
