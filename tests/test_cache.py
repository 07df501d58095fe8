"""The feature cache: whole or absent, whatever happens while it is written."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark import caching
from benchmark.caching import MANIFEST, RATES, list_cache, measured_gflops, prune_cache
from benchmark.errors import FeaturesError
from benchmark.features import cache
from benchmark.features.cache import BuildFacts, cache_key, cached_features, is_cached
from benchmark.features.engine import Extraction
from benchmark.storage import cache_root, check_cache

FACTS = {"backbone": "Toy", "mode": "unit", "size_px": 32, "weights": None, "steps": ["unit", "tf"]}
BUILD = BuildFacts(build_s=1.5, params_backbone=123, flops_g=0.25, weights_sha256="ab", model_mib=0.5)


class Extractor:
    """Writes known features and counts how often it was asked to."""

    def __init__(self, n_images: int = 4, feature_dim: int = 3) -> None:
        self.features = np.arange(n_images * feature_dim, dtype=np.float32).reshape(n_images, feature_dim)
        self.n_calls = 0
        self.so_far: Extraction | None = None

    def __call__(self, file: IO[bytes], so_far: Extraction | None = None, *_: object) -> tuple[Extraction, BuildFacts]:
        self.n_calls += 1
        self.so_far = so_far
        buffer = io.BytesIO()
        np.save(buffer, self.features)
        file.truncate(0)
        file.write(buffer.getvalue())
        return extraction_of(self.features, hashlib.sha256(buffer.getvalue()).hexdigest()), BUILD


def extraction_of(features: np.ndarray, sha256: str) -> Extraction:
    n_images, feature_dim = features.shape
    return Extraction(
        n_images=n_images,
        feature_dim=feature_dim,
        sha256=sha256,
        extract_s=2.0,
        first_batch_s=0.5,
        images_per_s=8.0,
        batch_size=16,
        peak_rss_mib=100.0,
        peak_device_mib=None,
    )


def features_root() -> Path:
    return Path(os.environ["BENCHMARK_CACHE"]) / "features"


def left_behind() -> list[str]:
    """Everything in the cache but the locks."""
    return [path.name for path in features_root().iterdir() if path.suffix != ".lock"]


plain_facts = st.dictionaries(st.text(min_size=1, max_size=5), st.one_of(st.none(), st.integers(), st.text()))


@settings(deadline=None)
@given(plain_facts, st.randoms())
def test_the_key_does_not_depend_on_the_order_of_the_facts(facts, random):
    items = list(facts.items())
    random.shuffle(items)

    assert cache_key(dict(items)) == cache_key(facts)


@settings(deadline=None)
@given(plain_facts, plain_facts)
def test_two_sets_of_facts_share_a_key_only_if_equal(facts, others):
    assert (cache_key(facts) == cache_key(others)) == (facts == others)


@pytest.mark.parametrize(
    "changed",
    [
        {"backbone": "toy"},
        {"mode": "tf"},
        {"size_px": 33},
        {"size_px": "32"},
        {"weights": "None"},
        {"steps": ["tf", "unit"]},
        {"steps": ["unit"]},
        {"another": None},
    ],
    ids=str,
)
def test_the_key_changes_with_every_fact(changed):
    assert cache_key({**FACTS, **changed}) != cache_key(FACTS)


def test_the_key_changes_with_the_feature_version(monkeypatch):
    before = cache_key(FACTS)
    monkeypatch.setattr(cache, "FEATURE_VERSION", cache.FEATURE_VERSION + 1)

    assert cache_key(FACTS) != before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.astype(np.float16),
        lambda made: made.astype(np.float64),
        lambda made: made[:-1],
        lambda made: made[:, :-1],
    ],
    ids=["half", "double", "an image less", "a feature less"],
)
def test_an_entry_whose_file_is_not_what_its_manifest_says_is_never_read(spoil):
    """Its checksum is right, because it was written so."""
    extract = Extractor()
    extract.features, whole = spoil(extract.features), extract.features

    def write_spoilt(file: IO[bytes], *_: object) -> tuple[Extraction, BuildFacts]:
        made, built = extract(file)
        return replace(made, n_images=len(whole), feature_dim=whole.shape[1]), built

    with pytest.raises(AssertionError, match="cannot be read"):
        cached_features(FACTS, write_spoilt)
    found = cached_features(FACTS, Extractor())

    assert not found.was_cached
    np.testing.assert_array_equal(found.features, whole)


def test_a_file_that_is_shorter_than_its_header_says_is_never_read():
    """The features of a float16 network were written under a header of float32."""

    def write_short(file: IO[bytes], *_: object) -> tuple[Extraction, BuildFacts]:
        buffer = io.BytesIO()
        np.save(buffer, Extractor().features)
        content = buffer.getvalue()[:-20]
        file.write(content)
        return extraction_of(Extractor().features, hashlib.sha256(content).hexdigest()), BUILD

    with pytest.raises(AssertionError, match="cannot be read"):
        cached_features(FACTS, write_short)

    assert not cached_features(FACTS, Extractor()).was_cached


def test_features_are_extracted_again_where_that_is_asked_for():
    extract = Extractor()
    cached_features(FACTS, extract)
    extract.features = extract.features + 1

    again = cached_features(FACTS, extract, again=True)
    found = cached_features(FACTS, extract)

    assert (again.was_cached, found.was_cached, extract.n_calls) == (False, True, 2)
    np.testing.assert_array_equal(found.features, extract.features)


def test_features_come_back_as_they_were_written_with_what_they_cost():
    extract = Extractor()

    cached = cached_features(FACTS, extract)

    assert isinstance(cached.features, np.memmap)
    assert np.array_equal(cached.features, extract.features)
    assert cached.build == BUILD
    assert cached.extraction.extract_s == 2.0
    assert not cached.was_cached


def test_the_second_call_extracts_nothing():
    extract = Extractor()
    first = cached_features(FACTS, extract)

    second = cached_features(dict(reversed(FACTS.items())), extract)

    assert extract.n_calls == 1
    assert second.was_cached
    assert (second.extraction, second.build) == (first.extraction, first.build)
    assert np.array_equal(second.features, first.features)


def test_the_features_cannot_be_written_to():
    cached = cached_features(FACTS, Extractor())

    with pytest.raises(ValueError, match="read-only"):
        cached.features[0, 0] = 1


def test_other_facts_are_extracted_anew():
    extract = Extractor()
    cached_features(FACTS, extract)

    cached_features({**FACTS, "mode": "tf"}, extract)

    assert extract.n_calls == 2
    assert len(list_cache()) == 2


def test_is_cached_tells_before_and_after():
    assert not is_cached(FACTS)

    cached_features(FACTS, Extractor())

    assert is_cached(FACTS)
    assert not is_cached({**FACTS, "mode": "tf"})


@pytest.mark.parametrize("error", [FeaturesError("not finite"), OSError(28, "no space left")])
def test_an_exception_while_extracting_leaves_nothing(error):
    def fail(file: IO[bytes], *_: object) -> tuple[Extraction, BuildFacts]:
        file.write(b"half of it")
        raise error

    with pytest.raises(type(error), match=r"not finite|no space left"):
        cached_features(FACTS, fail)

    assert not is_cached(FACTS)
    assert left_behind() == []
    assert not cached_features(FACTS, Extractor()).was_cached


# Starts an extraction and stops in the middle of it, with half of the features in the file.
STALLING = """
import sys, time
from benchmark.features.cache import cached_features
from benchmark.features.engine import Extraction

def stall(file, so_far, save):
    file.write(b"half of the features" * 10_000)
    if len(sys.argv) > 1:
        save(Extraction(3, 2, "ab", 1.0, 0.1, 5.0, 16, 1.0, None))
    print("writing", flush=True)
    time.sleep(60)

cached_features({"backbone": "Toy"}, stall)
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("saved",)], ids=["nothing saved", "a part saved"])
def test_a_process_killed_while_it_extracts_leaves_a_part_to_go_on_with(options):
    facts = {"backbone": "Toy"}
    with subprocess.Popen([sys.executable, "-c", STALLING, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        process.kill()
    assert process.returncode != 0
    assert len(left_behind()) == 1, "the process was not killed in the middle"

    assert not is_cached(facts)
    assert len(list_cache()) == len(options)
    extract = Extractor()
    cached = cached_features(facts, extract)

    assert extract.n_calls == 1
    assert (extract.so_far is not None) == bool(options)
    assert extract.so_far is None or extract.so_far.n_images == 3
    assert np.array_equal(cached.features, extract.features)
    assert left_behind() == [cache_key(facts)]


# Extracts for a second, or waits for the process that does.
EXTRACTING = """
import hashlib, io, sys, time
from dataclasses import asdict
import numpy as np
from benchmark.features.cache import BuildFacts, cached_features
from benchmark.features.engine import Extraction

def extract(file, so_far, save):
    print("extracting", flush=True)
    time.sleep(1)
    buffer = io.BytesIO()
    np.save(buffer, np.full((5, 2), 7, np.float32))
    file.write(buffer.getvalue())
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    return Extraction(5, 2, sha256, 1.0, 0.1, 5.0, 16, 1.0, None), BuildFacts(1.0, 1, 1.0, "", 1.0)

cached = cached_features({"backbone": "Toy"}, extract)
print(f"{cached.features.sum():.0f} {cached.was_cached}")
"""


@pytest.mark.slow
def test_of_two_processes_at_once_one_extracts_and_the_other_waits():
    processes = [
        subprocess.Popen([sys.executable, "-c", EXTRACTING], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]

    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(outputs) == [["70 True"], ["extracting", "70 False"]]
    assert len(list_cache()) == 1


def only_folder() -> Path:
    return features_root() / cache_key(FACTS)


def empty_features(folder: Path) -> None:
    (folder / cache.FEATURES).write_bytes(b"")


def cut_features(folder: Path) -> None:
    path = folder / cache.FEATURES
    path.write_bytes(path.read_bytes()[:-4])


def alter_features(folder: Path) -> None:
    path = folder / cache.FEATURES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def remove_features(folder: Path) -> None:
    (folder / cache.FEATURES).unlink()


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def cut_manifest(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text(path.read_text()[:40])


def empty_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{}")


def manifest_of_another_kind(folder: Path) -> None:
    (folder / MANIFEST).write_text("[1, 2]")


def manifest_with_an_unknown_key(folder: Path) -> None:
    path = folder / MANIFEST
    content = json.loads(path.read_text())
    content["extraction"]["unheard_of"] = 1
    path.write_text(json.dumps(content))


MANIFEST_DAMAGE = [cut_manifest, empty_manifest, manifest_of_another_kind, manifest_with_an_unknown_key]


@pytest.mark.parametrize(
    "damage", [empty_features, cut_features, alter_features, remove_features, remove_manifest, *MANIFEST_DAMAGE]
)
def test_a_damaged_entry_is_extracted_anew(damage):
    extract = Extractor()
    cached_features(FACTS, extract)
    damage(only_folder())

    cached = cached_features(FACTS, extract)

    assert extract.n_calls == 2
    assert not cached.was_cached
    assert np.array_equal(cached.features, extract.features)
    assert cached_features(FACTS, extract).was_cached


@pytest.mark.parametrize("damage", MANIFEST_DAMAGE)
def test_one_damaged_manifest_does_not_hide_the_other_entries(damage):
    cached_features(FACTS, Extractor())
    cached_features({"backbone": "Other"}, Extractor())
    damage(only_folder())

    entries = list_cache()

    assert {"backbone": "Other"} in [entry.facts for entry in entries]


def use_entries(sizes: dict[str, int]) -> None:
    """One entry a backbone, of so many images of one feature; the first was used a day before the last."""
    now = time.time()
    for index, (backbone, n_images) in enumerate(sizes.items()):
        facts = {"backbone": backbone}
        cached_features(facts, Extractor(n_images, 1))
        used = now - 86_400 * (1 - index / (len(sizes) - 1))
        os.utime(features_root() / cache_key(facts) / MANIFEST, (used, used))


def backbones() -> list[str]:
    return [entry.facts["backbone"] for entry in list_cache()]


def test_an_empty_cache_lists_nothing():
    assert list_cache() == []
    assert list(prune_cache(max_bytes=0)) == []


def test_the_list_shows_what_an_entry_holds_the_least_recently_used_first():
    use_entries({"first": 1000, "second": 2000, "third": 10})

    entries = list_cache()

    assert [entry.facts for entry in entries] == [{"backbone": name} for name in ("first", "second", "third")]
    assert (entries[0].images_per_s, entries[0].flops_g) == (8.0, 0.25)
    for entry in entries:
        assert entry.size_bytes == sum(path.stat().st_size for path in entry.path.iterdir())
    assert 4 * 2000 < entries[1].size_bytes < 4 * 2000 + 2000


def test_using_an_entry_moves_it_to_the_end_of_the_list():
    use_entries({"first": 1, "second": 1, "third": 1})

    cached_features({"backbone": "first"}, Extractor())

    assert backbones() == ["second", "third", "first"]


def test_pruning_by_size_removes_the_least_recently_used_until_the_rest_fits():
    use_entries({"first": 10, "second": 10, "third": 10})
    sizes = [entry.size_bytes for entry in list_cache()]

    removed = list(prune_cache(max_bytes=sizes[1] + sizes[2]))

    assert [entry.facts["backbone"] for entry in removed] == ["first"]
    assert backbones() == ["second", "third"]
    assert not removed[0].path.exists()


def test_pruning_by_age_removes_what_was_not_used_for_longer():
    use_entries({"a day": 1, "half a day": 1, "now": 1})

    removed = list(prune_cache(max_bytes=10**9, older_than_s=3600 * 18))

    assert [entry.facts["backbone"] for entry in removed] == ["a day"]
    assert backbones() == ["half a day", "now"]


def test_pruning_to_nothing_empties_the_cache():
    use_entries({"first": 1, "second": 1})

    removed = list(prune_cache(max_bytes=0))

    assert len(removed) == 2
    assert list_cache() == []
    assert not cached_features({"backbone": "first"}, Extractor()).was_cached


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"max_bytes": 0}, ["new"]),
        ({"max_bytes": 0, "older_than_s": 0}, []),
        ({"max_bytes": 10**9}, ["new", "old"]),
        ({"max_bytes": 10**9, "older_than_s": 3600}, ["new"]),
    ],
)
def test_checkpoints_of_interrupted_trainings_go_by_their_age_or_with_everything(
    options: dict[str, int], left: list[str]
):
    folder = cache_root() / "training"
    folder.mkdir(parents=True)
    for name in ("old", "new"):
        (folder / f"{name}.npz").touch()
    os.utime(folder / "old.npz", (time.time() - 7200,) * 2)

    list(prune_cache(**options))

    assert sorted(path.stem for path in folder.iterdir()) == left


def test_measured_rates_outlive_the_entries_that_they_were_measured_with():
    use_entries({"first": 1, "second": 1})

    list(prune_cache(max_bytes=0))
    list(prune_cache(max_bytes=0))  # with nothing left to learn from

    assert measured_gflops() == {"first": 8.0 * 0.25, "second": 8.0 * 0.25}


def test_an_extraction_without_a_rate_hides_none_that_was_measured(monkeypatch: pytest.MonkeyPatch):
    use_entries({"first": 1, "second": 1})
    measured, killed = list_cache()
    killed = dataclasses.replace(killed, facts=measured.facts, flops_g=0.0)
    monkeypatch.setattr(caching, "list_cache", lambda: [measured, killed])

    assert measured_gflops() == {"first": 8.0 * 0.25}


def test_a_pass_over_the_lower_layers_only_is_no_rate_of_the_backbone(monkeypatch: pytest.MonkeyPatch):
    use_entries({"first": 1, "second": 1})
    whole, _ = list_cache()
    lower = dataclasses.replace(whole, facts={**whole.facts, "cut": "block_3"}, images_per_s=10 * whole.images_per_s)
    monkeypatch.setattr(caching, "list_cache", lambda: [whole, lower])

    assert measured_gflops() == {"first": 8.0 * 0.25}


def test_pruning_goes_on_where_the_rates_cannot_be_kept(monkeypatch: pytest.MonkeyPatch):
    use_entries({"first": 1, "second": 1})
    (cache_root() / RATES).mkdir()  # a file cannot take the place of a folder

    assert len(list(prune_cache(max_bytes=0))) == 2


@pytest.mark.parametrize("content", ["", "[1]", '{"first": "fast"}', '{"first": [2]}', '{"first": NaN, "second": -1}'])
def test_a_damaged_file_of_rates_is_as_none(content: str):
    cache_root().mkdir(parents=True)
    (cache_root() / RATES).write_text(content)

    assert measured_gflops() == {}


def test_pruning_to_nothing_removes_what_a_killed_extraction_left():
    cached_features(FACTS, Extractor())
    leftover = features_root() / f"{'0' * 32}.abc.partial"
    leftover.mkdir()
    (leftover / cache.FEATURES).write_bytes(bytes(1000))
    os.utime(leftover, (1, 1))

    list(prune_cache(max_bytes=0))

    assert left_behind() == []


def test_the_manifest_holds_the_facts_and_the_costs():
    made = {"n_jobs": 2, "cpu": "a processor"}
    cached = cached_features(FACTS, Extractor(), dataset="toys", made=made)

    manifest = json.loads((only_folder() / MANIFEST).read_text())

    assert manifest == {
        "dataset": "toys",
        "facts": FACTS,
        "made": made,
        "extraction": asdict(cached.extraction),
        "build": asdict(BUILD),
    }


def test_features_are_found_with_the_conditions_under_which_they_were_made():
    made = {"n_jobs": 2, "cpu": "a processor"}
    cached_features(FACTS, Extractor(), made=made)

    found = cached_features(FACTS, Extractor(), made={**made, "n_jobs": 1})

    assert found.was_cached
    assert found.made == made


def test_features_that_were_made_in_two_parts_have_the_conditions_of_both():
    def stop_half_way(file: IO[bytes], _: object, save: Callable[[Extraction], None]) -> tuple[Extraction, BuildFacts]:
        file.write(b"a part")
        save(extraction_of(np.ones((2, 3), np.float32), "ab"))
        raise KeyError("interrupted")

    with pytest.raises(KeyError, match="interrupted"):
        cached_features(FACTS, stop_half_way, made={"n_jobs": 2, "cpu": "a processor"})

    found = cached_features(FACTS, Extractor(), made={"n_jobs": 1, "cpu": "a processor"})

    assert found.made == {"n_jobs": "2 and 1", "cpu": "a processor"}


def test_partial_files_that_nobody_writes_to_any_more_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path))
    left, written = tmp_path / "weights" / ".1-a.partial", tmp_path / "weights" / ".2-b.partial"
    left.parent.mkdir()
    for path in (left, written):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))

    check_cache()

    assert [*left.parent.iterdir()] == [written]
