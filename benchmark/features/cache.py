"""The feature cache: one folder per backbone, dataset and view, complete or absent."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.caching import MANIFEST, PARTIAL, lock_of
from benchmark.datasets import Identities
from benchmark.errors import FeaturesError
from benchmark.features.engine import Extraction
from benchmark.features.reuse import NOWHERE, Earlier
from benchmark.storage import cache_root, digest_of_text, sha256_of_file, write_whole

# Part of every key. Raise it when the code or the facts of a key change.
FEATURE_VERSION = 5

FEATURES = "features.npy"
# What reading an entry raises that is damaged or gone.
UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class BuildFacts:
    """Facts about a built backbone.

    Attributes:
        build_s: Seconds to build, load weights and freeze.
        params_backbone: Weights without the head.
        flops_g: Floating-point operations of one image, in 1e9.
        weights_sha256: Of the weights.
        model_mib: MiB of the weights.
        latency_ms: Median milliseconds of one image, from uint8 pixels to features; None if not measured.
        latency_p95_ms: As `latency_ms`, but of the slowest twentieth.
    """

    build_s: float
    params_backbone: int
    flops_g: float
    weights_sha256: str
    model_mib: float
    latency_ms: float | None = None
    latency_p95_ms: float | None = None


# Writes features to a file and returns their cost; see `extract_features` for the part so far and for saving.
Extract = Callable[[IO[bytes], Extraction | None, Callable[[Extraction], None]], tuple[Extraction, BuildFacts]]


@dataclass(frozen=True)
class CachedFeatures:
    """Features on disk, and their cost when they were made.

    Attributes:
        features: `(n, d)` float32, memory-mapped and read-only.
        extraction: Cost of the pass that made them.
        build: Of the backbone that made them.
        was_cached: Whether they were in the cache already.
        made: The conditions on which the cost depends, such as the processor.
    """

    features: NDArray[np.float32]
    extraction: Extraction
    build: BuildFacts
    was_cached: bool
    made: Mapping[str, Any]


def cache_key(facts: Mapping[str, Any]) -> str:
    """The key of a set of facts: 32 hexadecimal digits, the same for any order of the facts."""
    text = json.dumps({**facts, "feature_version": FEATURE_VERSION}, sort_keys=True)
    return digest_of_text(text)[:32]


def cached_features(
    facts: Mapping[str, Any],
    extract: Extract,
    *,
    dataset: str = "",
    made: Mapping[str, Any] | None = None,
    identities: Callable[[], Identities] | None = None,
    again: bool = False,
) -> CachedFeatures:
    """The features that these facts describe, extracted now unless they are in the cache.

    If two processes want the same features, one extracts and the other waits. The next process continues from
    the partial folder that a killed one leaves.

    Args:
        facts: Everything that can change a feature.
        extract: Extracts them.
        dataset: The dataset's name, only shown.
        made: The conditions under which they are extracted now, plain values by name; they change no feature.
        identities: Returns `Images.identities`, by which `earlier_features` finds them for another dataset.
        again: Extract them also if they are in the cache.
    """
    folder = _features_root() / cache_key(facts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(folder):
        found = None if again else _open(folder, was_cached=True)
        if found is None:
            if again:
                shutil.rmtree(_partial(folder), ignore_errors=True)
            manifest = {"dataset": dataset, "facts": dict(facts), "made": dict(made or {})}
            _extract_into(folder, manifest, extract, identities)
            found = _open(folder, was_cached=False)
            assert found is not None, f"{folder} was written but cannot be read"
    return found


def earlier_features(facts: Mapping[str, Any], made: Mapping[str, Any], identities: Identities) -> list[Earlier]:
    """Features in the cache of some of these images: of other datasets, and made under the same conditions.

    Args:
        facts: As of `cached_features`.
        made: As of `cached_features`. What may change no feature on one machine can change its last bits on another.
        identities: `Images.identities`.
    """
    found = []
    missing = np.arange(len(identities))
    for path in _largest_first(_features_root().glob(f"*/{_family(facts, made)}")):
        try:
            others = _read_identities(path)
            rows = np.full(len(identities), NOWHERE)
            rows[missing] = _places(identities[missing], others)
            if (rows == NOWHERE).all():
                continue
            cached = _read(path.parent, was_cached=True)
            if len(others) != cached.extraction.n_images:
                continue
        except UNREADABLE:  # damaged, or removed meanwhile
            continue
        with suppress(OSError):
            os.utime(path.parent / MANIFEST)
        found.append(Earlier(cached.features, cached.extraction, rows))
        missing = missing[rows[missing] == NOWHERE]
    return found


def _family(facts: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """The name of the file with the identities of an entry: of entries that may share rows, and of no others."""
    shared = {name: fact for name, fact in facts.items() if name != "dataset_fingerprint"}
    return f"{cache_key({**shared, 'made': dict(made)})}.npy"


def _largest_first(paths: Iterable[Path]) -> list[Path]:
    sizes = {}
    for path in paths:
        if path.parent.suffix != PARTIAL:
            with suppress(OSError):
                sizes[path] = path.stat().st_size
    return sorted(sizes, key=lambda path: (-sizes[path], path))


def _read_identities(path: Path) -> Identities:
    found = np.load(path, allow_pickle=False)
    if found.dtype.kind != "S" or found.ndim != 1 or not len(found):
        raise ValueError("no identities of images")
    return cast(Identities, found)


def _places(wanted: Identities, known: Identities) -> NDArray[np.int64]:
    """Where in `known` each of the wanted is first; `NOWHERE` if it is not."""
    order = np.argsort(known, kind="stable")
    places = order[np.searchsorted(known, wanted, sorter=order) % len(known)]
    return np.where(known[places] == wanted, places, NOWHERE)


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
        found = _read(folder, was_cached=was_cached)
    except UNREADABLE:
        shutil.rmtree(folder)
        return None
    os.utime(folder / MANIFEST)
    return found


def _read(folder: Path, *, was_cached: bool) -> CachedFeatures:
    """The features of a folder; one of `UNREADABLE` is raised if it is damaged."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    extraction, build = Extraction(**manifest["extraction"]), BuildFacts(**manifest["build"])
    if sha256_of_file(folder / FEATURES) != extraction.sha256:
        raise ValueError("other bytes than were written")
    features = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
    if not _fits(features, folder / FEATURES, extraction):
        raise ValueError("other numbers than were written")
    return CachedFeatures(features, extraction, build, was_cached, dict(manifest["made"]))


def _fits(features: Any, path: Path, extraction: Extraction) -> bool:
    """Whether a file holds the numbers that its header and its manifest claim, and no others."""
    n_bytes = features.offset + features.nbytes
    shape = features.shape
    return (
        features.dtype == np.float32
        and (shape[0], shape[-1]) == (extraction.n_images, extraction.feature_dim)
        and path.stat().st_size == n_bytes
    )


def _extract_into(
    folder: Path, manifest: dict[str, Any], extract: Extract, identities: Callable[[], Identities] | None
) -> None:
    partial = _partial(folder)
    so_far, made = _read_manifest(partial)
    manifest = {**manifest, "made": {name: _both(made.get(name, now), now) for name, now in manifest["made"].items()}}

    def save(extraction: Extraction, **more: Any) -> None:
        # The features are on disk before the manifest says so.
        file.flush()
        os.fsync(file.fileno())
        content = {**manifest, "extraction": asdict(extraction), **more}
        with write_whole(partial / MANIFEST) as output:
            output.write(json.dumps(content, indent=2).encode())

    try:
        partial.mkdir(exist_ok=True)
        with (partial / FEATURES).open("r+b" if so_far else "w+b") as file:
            extraction, build = extract(file, so_far, save)
            save(extraction, build=asdict(build))
        if identities:
            with write_whole(partial / _family(manifest["facts"], manifest["made"])) as output:
                np.save(output, identities())
        if folder.exists():  # extracted again
            shutil.rmtree(folder)
        partial.replace(folder)
    except Exception as error:
        # What was saved is of use for the next try, unless the features are wrong.
        if isinstance(error, FeaturesError) or not (partial / MANIFEST).exists():
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _partial(folder: Path) -> Path:
    """The folder in which the features of `folder` grow."""
    return folder.with_suffix(PARTIAL)


def _read_manifest(partial: Path) -> tuple[Extraction | None, Mapping[str, Any]]:
    """What an interrupted extraction saved last, and its conditions; None if that is nothing, or damaged."""
    try:
        manifest = json.loads((partial / MANIFEST).read_bytes())
        so_far, made = Extraction(**manifest["extraction"]), dict(manifest["made"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, {}
    return (so_far, made) if (partial / FEATURES).exists() else (None, {})


def _both(earlier: Any, later: Any) -> Any:
    """A condition of an extraction that was interrupted, and may have gone on under another one."""
    return later if earlier == later else f"{earlier} and {later}"
