"""Features of images that were extracted before are copied, and no bit and no byte of the file differs."""

import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from toy_images import write_classes, write_image

from benchmark.caching import list_cache, prune_cache
from benchmark.datasets import ArrayImages, EncodedImages, Identities, array_source, load_dataset
from benchmark.features import engine
from benchmark.features.cache import BuildFacts, CachedFeatures, cached_features, earlier_features
from benchmark.features.engine import Extraction, extract_features
from benchmark.features.extractor import Extractor, Features
from benchmark.features.reuse import Earlier

FACTS = {"backbone": "Toy", "view": "8 px"}
MADE = {"n_jobs": 1, "cpu": "a processor"}
BUILD = BuildFacts(build_s=1.5, params_backbone=123, flops_g=0.25, weights_sha256="ab", model_mib=0.5)
SIZE = 4  # of a batch
STOPPED = "stopped in the middle"

# The images of a dataset, by numbers; equal numbers are copies.
datasets = st.lists(st.integers(0, 30), min_size=1, max_size=25)


class Toy:
    """A network whose last bits depend on the number of images, as those of TensorFlow without oneDNN do.

    Attributes:
        computed: The numbers of the images that it has computed, batch after batch.
    """

    def __init__(self, *, is_filled_up: bool = True, stop_after: int | None = None) -> None:
        self.computed: list[list[int]] = []
        self.is_filled_up = is_filled_up
        self._stop_after = stop_after
        self.on_batch: Callable[[], object] = lambda: None
        self.shift = 0.0

    def __call__(self, images: np.ndarray) -> Features:
        if len(self.computed) == self._stop_after:
            raise KeyError(STOPPED)
        numbers = images[:, 0, 0, 0]
        self.computed.append(numbers.tolist())
        self.on_batch()
        size = SIZE if self.is_filled_up else len(images)
        return np.stack([numbers / 3, numbers + 0.1 * size + self.shift], axis=1).astype(np.float32)


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


def images_of(numbers: list[int]) -> ArrayImages:
    return ArrayImages(np.full((2, 2, 1, len(numbers)), numbers, np.uint8).transpose(3, 0, 1, 2))


def features_of(
    numbers: list[int], toy: Toy, *, facts: dict[str, Any] = FACTS, made: dict[str, Any] = MADE, **options: Any
) -> CachedFeatures:
    """The features of these images, in the cache or extracted now one batch at a time."""
    images = images_of(numbers)
    facts = {**facts, "dataset_fingerprint": str(numbers)}

    def extract(file: IO[bytes], so_far: Any, save: Any) -> tuple[Extraction, BuildFacts]:
        extractor = Extractor(toy, (2,), 1, toy.is_filled_up)
        earlier = earlier_features(facts, made, images.identities)
        source = array_source(images.pixels)
        extraction = extract_features(
            extractor, source, len(images), file, batch_size=SIZE, so_far=so_far, save=save, earlier=earlier, **options
        )
        return extraction, BUILD

    with (
        mock.patch.object(engine, "SAVE_INTERVAL_S", -1),
        mock.patch.object(engine, "_peak_device_mib", return_value=None),
    ):
        return cached_features(facts, extract, made=made, identities=lambda: images.identities)


@contextmanager
def empty_cache() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, BENCHMARK_CACHE=folder):
        yield


def whole_extraction(numbers: list[int], *, is_filled_up: bool) -> CachedFeatures:
    with empty_cache():
        return features_of(numbers, Toy(is_filled_up=is_filled_up))


def is_in_full_batch(number: int, numbers: list[int]) -> bool:
    return number in numbers[: len(numbers) - len(numbers) % SIZE]


@settings(deadline=None, max_examples=60)
@given(st.lists(datasets, max_size=3), datasets, st.booleans())
def test_features_after_other_datasets_are_those_of_an_empty_cache(others, numbers, is_filled_up):
    whole = whole_extraction(numbers, is_filled_up=is_filled_up)

    with empty_cache():
        for other in others:
            features_of(other, Toy(is_filled_up=is_filled_up))
        found = features_of(numbers, Toy(is_filled_up=is_filled_up))

        assert found.extraction.sha256 == whole.extraction.sha256
        assert found.features.tobytes() == whole.features.tobytes()
        assert found.extraction.n_images == len(numbers)


@settings(deadline=None, max_examples=60)
@given(datasets, datasets, st.booleans(), st.integers(1, 6), st.booleans())
def test_an_extraction_that_was_interrupted_goes_on_to_the_same_file(other, numbers, is_filled_up, n_batches, prune):
    whole = whole_extraction(numbers, is_filled_up=is_filled_up)

    with empty_cache():
        before = features_of(other, Toy(is_filled_up=is_filled_up))
        with suppress(KeyError):
            features_of(numbers, Toy(is_filled_up=is_filled_up, stop_after=n_batches))
        if prune:
            shutil.rmtree(Path(before.features.filename).parent)
        found = features_of(numbers, Toy(is_filled_up=is_filled_up))

        assert found.extraction.sha256 == whole.extraction.sha256
        assert found.extraction.n_images == len(numbers)


@settings(deadline=None, max_examples=60)
@given(datasets, datasets)
def test_only_the_images_that_are_new_are_extracted(other, numbers):
    with empty_cache():
        features_of(other, Toy())
        toy = Toy()
        features_of(numbers, toy)

    new = [number for number in numbers if number not in other]
    # Where some were known, the first batch checks them.
    is_checked = len(new) < len(numbers) and numbers != other
    checked, computed = (toy.computed[:1], toy.computed[1:]) if is_checked else ([], toy.computed)
    assert numbers == other or flat(computed) == new
    assert set(flat(checked)) <= set(other)


@settings(deadline=None, max_examples=60)
@given(datasets, datasets)
def test_a_last_batch_that_is_smaller_is_extracted_as_it_is_and_not_reused(other, numbers):
    with empty_cache():
        features_of(other, Toy(is_filled_up=False))
        toy = Toy(is_filled_up=False)
        features_of(numbers, toy)

    n_last = len(numbers) % SIZE
    body, last = numbers[: len(numbers) - n_last], numbers[len(numbers) - n_last :]
    new = [number for number in body if not is_in_full_batch(number, other)]
    if numbers != other:
        batches = toy.computed[1:] if len(new) < len(body) else toy.computed
        assert not last or batches.pop() == last
        assert all(len(batch) == SIZE for batch in batches)
        assert flat(batches)[: len(new)] == new


@pytest.mark.parametrize(
    "changed",
    [
        {"facts": {**FACTS, "view": "9 px"}},
        {"facts": {**FACTS, "cut": "a layer"}},
        {"made": {**MADE, "n_jobs": 2}},
        {"made": {**MADE, "cpu": "another"}},
    ],
    ids=str,
)
def test_features_of_another_network_view_or_machine_are_not_reused(changed):
    features_of([1, 2, 3, 4], Toy())
    toy = Toy()

    features_of([1, 2, 3, 4, 5], toy, **changed)

    assert toy.computed == [[1, 2, 3, 4], [5]]


def test_features_that_would_have_other_bits_now_are_not_reused(caplog):
    features_of([1, 2, 3, 4], Toy())
    toy = Toy()
    toy.shift = 1e-6

    with caplog.at_level(logging.WARNING):
        found = features_of([1, 2, 3, 4, 5], toy)

    assert toy.computed == [[1, 2, 3, 4], [1, 2, 3, 4], [5]]
    assert "other bits" in caplog.text
    with empty_cache():
        assert found.extraction.sha256 == features_of([1, 2, 3, 4, 5], toy).extraction.sha256


def test_features_that_ran_out_of_memory_in_the_middle_are_not_reused():
    toy = Toy()

    def run_out() -> None:
        if len(toy.computed[-1]) > 2:
            raise MemoryError

    toy.on_batch = run_out
    assert features_of([1, 2, 3, 4], toy).extraction.batch_size == 2
    toy = Toy()

    features_of([1, 2, 3, 4, 5], toy)

    assert toy.computed == [[1, 2, 3, 4], [5]]


def test_where_memory_does_not_suffice_for_the_check_all_is_extracted():
    features_of([1, 2, 3, 4], Toy())
    toy = Toy()

    def run_out() -> None:
        if len(toy.computed[-1]) > 2:
            raise MemoryError

    toy.on_batch = run_out

    found = features_of([1, 2, 3, 4, 5], toy)

    assert found.features[:, 0].tolist() == np.float32(np.array([1, 2, 3, 4, 5], np.uint8) / 3).tolist()


def spoil_features(entry: Path) -> None:
    path = entry / "features.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def spoil_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text("{}")


def identities_file(entry: Path) -> Path:
    (path,) = (path for path in entry.glob("*.npy") if path.name != "features.npy")
    return path


def empty_identities(entry: Path) -> None:
    identities_file(entry).write_bytes(b"")


def remove_identities(entry: Path) -> None:
    """As in entries of earlier versions."""
    identities_file(entry).unlink()


def other_identities(entry: Path) -> None:
    np.save(identities_file(entry), np.arange(4))


def no_identities(entry: Path) -> None:
    np.save(identities_file(entry), np.array([], "S16"))


def fewer_identities(entry: Path) -> None:
    np.save(identities_file(entry), images_of([1, 2, 3]).identities)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_features, spoil_manifest, empty_identities, remove_identities, other_identities, no_identities,
        fewer_identities,
    ],
)  # fmt: skip
def test_a_damaged_entry_is_not_reused(spoil):
    entry = Path(features_of([1, 2, 3, 4], Toy()).features.filename).parent
    spoil(entry)
    toy = Toy()

    features_of([1, 2, 3, 4, 5], toy)

    assert toy.computed == [[1, 2, 3, 4], [5]]
    assert entry.exists()


def test_an_entry_that_grows_is_not_reused():
    with pytest.raises(KeyError, match=STOPPED):
        features_of([1, 2, 3, 4, 5], Toy(stop_after=1))
    toy = Toy()

    features_of([1, 2, 3, 4], toy)

    assert toy.computed == [[1, 2, 3, 4]]


@pytest.mark.skipif(os.name != "posix", reason="open files stay on Windows")
def test_an_entry_that_is_pruned_while_it_is_copied_breaks_nothing():
    numbers = [9, *range(8), 10]
    whole = whole_extraction(numbers, is_filled_up=True)
    features_of(list(range(8)), Toy())
    toy = Toy()
    toy.on_batch = lambda: [*prune_cache(max_bytes=0)]

    found = features_of(numbers, toy)

    assert flat(toy.computed[1:]) == [9, 10]
    assert found.extraction.sha256 == whole.extraction.sha256


def test_an_entry_that_disappears_before_it_is_read_breaks_nothing(monkeypatch):
    features_of([1, 2, 3, 4], Toy())

    def gone(_: Path) -> Identities:
        raise FileNotFoundError

    monkeypatch.setattr("benchmark.features.cache._read_identities", gone)

    assert len(features_of([1, 2, 3, 4, 5], Toy()).features) == 5


def test_the_cache_lists_and_prunes_entries_with_all_their_files():
    features_of([1, 2, 3, 4], Toy())

    (entry,) = list_cache()

    assert entry.size_bytes == sum(path.stat().st_size for path in entry.path.iterdir())
    assert len([*entry.path.iterdir()]) == 3
    assert [*prune_cache(max_bytes=0)] == [entry]
    assert not entry.path.exists()


def test_files_of_entries_that_share_nothing_are_not_read(monkeypatch):
    features_of([1, 2, 3, 4], Toy())
    read = []
    monkeypatch.setattr("benchmark.features.cache.sha256_of_file", read.append)
    monkeypatch.setattr("benchmark.features.cache._fits", lambda *_: True)

    assert earlier_features({**FACTS, "view": "9 px"}, MADE, images_of([1]).identities) == []
    assert earlier_features(FACTS, MADE, images_of([7]).identities) == []
    assert read == []


def test_the_progress_begins_with_the_images_that_were_extracted_before():
    features_of([1, 2, 3, 4], Toy())
    calls = []

    features_of([1, 2, 3, 4, *range(10, 16)], Toy(), on_progress=lambda *done: calls.append(done))

    assert calls == [(4, 10), (8, 10), (10, 10)]


def earlier_of(n_images: int, rows: list[int]) -> Earlier:
    extraction = Extraction(
        n_images=n_images, feature_dim=2, sha256="", extract_s=500.0, first_batch_s=100.0, images_per_s=2.0,
        batch_size=SIZE, peak_rss_mib=1e6, peak_device_mib=None,
    )  # fmt: skip
    numbers = np.arange(n_images, dtype=np.uint8)
    return Earlier(Toy()(images_of(numbers.tolist()).pixels), extraction, np.array(rows))


def test_a_set_of_copied_features_carries_its_share_of_the_pass_that_made_them(tmp_path):
    """Of 200 images that took 500 s, 40 are copied and 4 are new."""
    numbers = [*range(40), *range(220, 224)]
    earlier = earlier_of(200, [*range(40), *[-1] * 4])
    toy = Toy()
    with (tmp_path / "features.npy").open("wb") as file:
        extractor = Extractor(toy, (2,), 1, is_filled_up=True)
        source = array_source(images_of(numbers).pixels)

        cost = extract_features(extractor, source, len(numbers), file, batch_size=SIZE, earlier=[earlier])

    assert len(toy.computed) == 2
    assert cost.n_images == 44
    assert 100 < cost.extract_s < 105
    assert 20 < cost.first_batch_s < 25
    assert cost.images_per_s == 2.0, "the rate is not that of the pass that made most"
    assert cost.peak_rss_mib == 1e6


def test_memory_does_not_grow_with_the_number_of_copied_images(tmp_path):
    n, width = 24_000, 1024
    path = tmp_path / "earlier.npy"
    made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, width))
    made[:] = 0
    made.flush()
    del made
    cost = earlier_of(200, []).extraction

    def copy(n_images: int) -> float:
        earlier = Earlier(np.load(path, mmap_mode="r"), replace(cost, peak_rss_mib=0.0), np.arange(n_images))
        extractor = Extractor(lambda images: np.zeros((len(images), width), np.float32), (width,), 1, True)
        source = array_source(np.zeros((n_images, 1, 1, 1), np.uint8))
        with (tmp_path / "features.npy").open("wb") as file:
            return extract_features(extractor, source, n_images, file, batch_size=SIZE, earlier=[earlier]).peak_rss_mib

    few_mib = copy(1000)
    assert copy(n) < few_mib + 40
    assert (tmp_path / "features.npy").stat().st_size > n * width * 4


# What decides the pixels of an image.


def test_equal_bytes_in_another_shape_are_another_image():
    content = np.arange(12, dtype=np.uint8)
    shapes = [(1, 2, 6, 1), (1, 6, 2, 1), (1, 2, 2, 3), (1, 12, 1, 1)]

    identities = [ArrayImages(content.reshape(shape)).identities[0] for shape in shapes]

    assert len(set(identities)) == len(shapes)


def test_images_keep_their_identities_in_a_subset_and_copies_share_one(image_folder):
    shutil.copy(image_folder / "cat" / "0.png", image_folder / "cat" / "copy.png")
    whole = load_dataset(f"folder:{image_folder}").images

    part = whole.take([3, 0, 10])

    assert part.identities.tolist() == [whole.identities[index] for index in (3, 0, 10)]
    assert len(set(whole.identities)) == len(whole) - 1
    assert whole.identities.dtype == np.dtype("S16")


def test_a_folder_that_grows_keeps_the_identities_of_its_images(tmp_path):
    root = write_classes(tmp_path / "pets", {"cat": 5, "dog": 5})
    before = set(load_dataset(f"folder:{root}").images.identities)
    write_image(root / "cat" / "0-new.png", seed=99)

    after = set(load_dataset(f"folder:{root}").images.identities)

    assert before < after
    assert len(after) == 11


def test_grey_images_whose_scale_changes_with_the_folder_get_other_identities(tmp_path):
    """A 12-bit image is brighter in a folder of 12-bit images than beside one of 16 bits; its file is the same."""
    root = write_classes(tmp_path / "scans", {"cat": 5, "dog": 5})
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(root / "cat" / "a.png")
    before = load_dataset(f"folder:{root}").images
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(root / "cat" / "b.png")

    after = load_dataset(f"folder:{root}").images

    pixels = {
        name: images.read([_position(images, "a.png")])[0].max() for name, images in [("b", before), ("a", after)]
    }
    assert pixels["b"] != pixels["a"]
    assert before.identities[_position(before, "a.png")] != after.identities[_position(after, "a.png")]
    assert len(set(before.identities) & set(after.identities)) == 10


def _position(images: EncodedImages, name: str) -> int:
    return next(index for index, path in enumerate(images.places) if path.name == name)


# Real engines.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_real_features_after_another_dataset_are_those_of_an_empty_cache(name, rng):
    import keras

    from benchmark.features.engines import CompiledNetwork
    from benchmark.features.graph import FrozenNetwork

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    extractor = CompiledNetwork(name, FrozenNetwork(model, 32), 3, "float32").extractor(("tf",))
    pixels = rng.integers(0, 256, (90, 32, 32, 3), dtype=np.uint8)
    grown = rng.permutation(90)[:75]
    n_extracted = []

    def extract_into(path: Path, positions: np.ndarray, earlier: list[Earlier]) -> Extraction:
        def features(images: np.ndarray) -> Features:
            n_extracted.append(len(images))
            return extractor.features(images)

        with path.open("wb") as file:
            source = array_source(pixels[positions])
            return extract_features(
                extractor._replace(features=features), source, len(positions), file, earlier=earlier
            )

    def after(folder: Path) -> None:
        before = extract_into(folder / "before", np.arange(50), [])
        rows = np.where(grown < 50, grown, -1)
        earlier = Earlier(np.load(folder / "before", mmap_mode="r"), before, rows)
        n_extracted.clear()
        extract_into(folder / "after", grown, [earlier])

    with tempfile.TemporaryDirectory() as root:
        extract_into(Path(root, "whole"), grown, [])
        after(Path(root))

        assert sum(n_extracted) < 75
        assert Path(root, "after").read_bytes() == Path(root, "whole").read_bytes()
