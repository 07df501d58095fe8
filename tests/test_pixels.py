"""The cache of resized images: each image is decoded once, and a pixel never depends on the cache."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark.caching import list_cache, prune_cache
from benchmark.datasets import EncodedImages, load_dataset, pixels, scan
from benchmark.datasets.pixels import INDEX, PIXELS, RECORD, PixelCache
from benchmark.preprocessing import View
from benchmark.provenance import usable_cpus

VIEW = View(8, "bilinear-antialias", "squash", ("tf",))
N_IMAGES = 12


class Decoder:
    """Decodes a number to an image of that value, and counts how often."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def __call__(self, place: int, view: View | None) -> np.ndarray:
        self.decoded.append(place)
        assert view is not None
        return np.full((view.size_px, view.size_px, 3), place, np.uint8)


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


def images_of(decoder: Decoder, n: int = N_IMAGES) -> EncodedImages:
    return EncodedImages("home", tuple(map(str, range(n))), tuple(range(n)), decoder)


def values_of(images: EncodedImages, positions: list[int], view: View = VIEW) -> list[int]:
    taken = images.source(view).take(np.array(positions))
    assert taken.dtype == np.uint8
    assert taken.shape == (len(positions), view.size_px, view.size_px, 3)
    return taken[:, 0, 0, 0].tolist()


def folder_of(view: View = VIEW) -> Path:
    return PixelCache("home", view).folder


def test_each_image_is_decoded_once_for_a_size(decoder):
    images = images_of(decoder)

    first = values_of(images, [3, 0, 3, 11])
    second = values_of(images, list(range(N_IMAGES)))
    other_mode = values_of(images, [5], View(8, "bilinear-antialias", "squash", ("caffe",)))

    assert (first, second, other_mode) == ([3, 0, 3, 11], list(range(N_IMAGES)), [5])
    assert sorted(decoder.decoded) == list(range(N_IMAGES))


@pytest.mark.parametrize(
    "other", [View(9, *"bilinear-antialias squash".split()), View(8, "area", "squash"), View(8, VIEW.resize, 0.5)]
)
def test_another_size_filter_or_crop_is_decoded_on_its_own(decoder, other):
    images = images_of(decoder)
    values_of(images, [0])

    values_of(images, [0], other)

    assert len(decoder.decoded) == 2 * N_IMAGES


def test_new_images_are_added_to_those_that_are_there(decoder):
    values_of(images_of(decoder, 4), [0])

    assert values_of(images_of(decoder), list(range(N_IMAGES))) == list(range(N_IMAGES))
    assert sorted(decoder.decoded) == list(range(N_IMAGES))


def test_images_of_equal_content_share_a_row(decoder):
    images = EncodedImages("home", ("a", "b", "a"), (1, 2, 1), decoder)

    assert values_of(images, [0, 1, 2]) == [1, 2, 1]
    assert (folder_of() / PIXELS).stat().st_size == 2 * 8 * 8 * 3


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_whatever_happens_to_its_files_the_pixels_are_right(data, tmp_path_factory):
    """A torn end is what a kill leaves; other damage is what a disk does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHMARK_CACHE", str(tmp_path_factory.mktemp("cache")))
        images = images_of(Decoder())
        values_of(images, [0])
        path = folder_of() / data.draw(st.sampled_from([PIXELS, INDEX]))
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[place:]
        else:
            content[place] ^= 0xFF
        path.write_bytes(content)

        for _ in range(2):
            assert values_of(images, list(range(N_IMAGES))) == list(range(N_IMAGES))


def test_a_torn_end_is_written_anew(decoder):
    images = images_of(decoder)
    values_of(images, [0])
    for name, size in ((PIXELS, 8 * 8 * 3), (INDEX, RECORD.size)):
        content = (folder_of() / name).read_bytes()
        (folder_of() / name).write_bytes(content[: -size // 2])
    decoder.decoded.clear()

    values_of(images, [0])

    assert decoder.decoded == [N_IMAGES - 1]
    assert (folder_of() / INDEX).stat().st_size == N_IMAGES * RECORD.size


def test_on_a_full_disk_images_are_decoded_each_time(decoder, monkeypatch):
    monkeypatch.setattr(pixels, "RESERVE_BYTES", 2**62)
    source = images_of(decoder).source(VIEW)

    assert not source.is_cached
    assert [source.take(np.array([7, 2]))[:, 0, 0, 0].tolist() for _ in range(2)] == [[7, 2]] * 2
    assert sorted(decoder.decoded) == [2, 2, 7, 7]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_becomes_full_loses_nothing(decoder, monkeypatch):
    """The last rows do not fit any more."""
    n_written = 0
    add = PixelCache.add
    full = open("/dev/full", "ab", buffering=0)  # noqa: SIM115, PTH123  # closed below

    def add_some(cache: PixelCache, image_id: str, row: np.ndarray) -> bool:
        nonlocal n_written
        n_written += 1
        if n_written == 6:
            assert cache._files is not None
            cache._files = (full, cache._files[1])
        return add(cache, image_id, row)

    monkeypatch.setattr(PixelCache, "add", add_some)
    with full:
        source = images_of(decoder).source(VIEW)

    assert not source.is_cached
    assert source.take(np.arange(N_IMAGES))[:, 0, 0, 0].tolist() == list(range(N_IMAGES))
    assert (folder_of() / INDEX).stat().st_size == 5 * RECORD.size


def test_two_threads_fill_it_together(decoder):
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: found.append(values_of(images_of(decoder), list(range(N_IMAGES)))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [list(range(N_IMAGES))] * 2
    assert sorted(decoder.decoded) == list(range(N_IMAGES))


def test_it_is_listed_and_pruned_with_the_features(decoder):
    values_of(images_of(decoder), [0])

    (entry,) = list_cache()
    assert (entry.kind, entry.dataset) == ("images", "home")
    assert entry.facts == {"view": "8px bilinear-antialias squash"}
    assert entry.size_bytes > N_IMAGES * 8 * 8 * 3
    assert list(prune_cache(max_bytes=0)) == [entry]
    assert list_cache() == []


def test_an_entry_that_is_pruned_while_it_is_read_is_decoded_again(decoder):
    source = images_of(decoder).source(VIEW)
    assert list(prune_cache(max_bytes=0))

    assert source.take(np.array([4]))[0, 0, 0, 0] == 4


def test_pruning_leaves_alone_what_another_process_fills(decoder):
    values_of(images_of(decoder), [0])

    with PixelCache("home", VIEW).filling():
        thread_found: list[object] = []
        thread = threading.Thread(target=lambda: thread_found.extend(prune_cache(max_bytes=0)))
        thread.start()
        thread.join()

    assert thread_found == []
    assert len(list_cache()) == 1


# Folders


def test_the_scan_of_a_folder_keeps_the_images_that_it_decodes(image_folder, monkeypatch):
    dataset = load_dataset(f"folder:{image_folder}", views=[VIEW])

    def refuse(*_: object) -> None:
        raise AssertionError("an image was decoded a second time")

    monkeypatch.setattr("benchmark.datasets.decoding.decode", refuse)
    taken = dataset.images.source(VIEW).take(np.arange(len(dataset)))

    assert taken.shape == (20, 8, 8, 3)
    assert taken[dataset.labels == 0].max() < taken[dataset.labels == 1].min()


def test_the_scan_of_a_folder_of_which_a_part_is_used_keeps_nothing(image_folder):
    load_dataset(f"folder:{image_folder}", limit=8, views=[VIEW])

    assert list_cache() == []


def test_pixels_are_the_same_from_the_scan_from_the_cache_and_without(image_folder, monkeypatch):
    def pixels_of(**options: object) -> np.ndarray:
        dataset = load_dataset(f"folder:{image_folder}", **options)
        return dataset.images.source(VIEW).take(np.arange(len(dataset)))

    from_scan = pixels_of(views=[VIEW])
    from_cache = pixels_of()
    list(prune_cache(max_bytes=0))
    filled = pixels_of()
    list(prune_cache(max_bytes=0))
    monkeypatch.setattr(pixels, "RESERVE_BYTES", 2**62)
    streamed = pixels_of()

    for others in (from_cache, filled, streamed):
        np.testing.assert_array_equal(from_scan, others)


def test_sixteen_bit_grey_is_scaled_as_the_whole_folder_says(tmp_path):
    """The scan cannot know yet by how many bits."""
    for name, value in (("a", 1000), ("b", 4000)):
        (tmp_path / name).mkdir()
        for number in range(5):
            grey = np.full((9, 9), value + number, np.uint16)
            Image.fromarray(grey).save(tmp_path / name / f"{number}.png")

    dataset = load_dataset(f"folder:{tmp_path}", views=[VIEW])

    taken = dataset.images.source(VIEW).take(np.arange(10))[:, 0, 0, 0]
    assert taken.tolist() == [(value + number) >> 4 for value in (1000, 4000) for number in range(5)]


@pytest.mark.parametrize("is_killed", [True, False])
def test_an_interrupted_scan_goes_on_where_it_stood(image_folder, monkeypatch, is_killed):
    decoded: list[str] = []
    decode = scan.decode

    def count(file: object, path: Path, view: View) -> object:
        if len(decoded) == 7:
            raise KeyboardInterrupt
        decoded.append(path.name)
        return decode(file, path, view)

    monkeypatch.setattr(scan, "decode", count)
    monkeypatch.setattr(scan, "usable_cpus", lambda: 1)
    if is_killed:  # nothing is done at the end
        monkeypatch.setattr(scan, "SAVE_INTERVAL_S", -1.0)
        monkeypatch.setattr(scan.ExitStack, "callback", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(f"folder:{image_folder}", views=[VIEW])
    first = len(decoded)
    decoded.append("of the second scan")

    dataset = load_dataset(f"folder:{image_folder}", views=[VIEW])

    assert first == 7
    assert len(decoded) == 1 + 20
    assert PixelCache(dataset.images.home, VIEW).fill(dataset.images.ids, refuse_to_decode)


def refuse_to_decode(position: int) -> np.ndarray:
    raise AssertionError(f"image {position} was decoded a second time")


KILLED = """
import sys, time
import numpy as np
from benchmark.datasets import EncodedImages
from benchmark.preprocessing import View

def decode(place, view):
    print(place, flush=True)
    time.sleep(0.02)
    return np.full((view.size_px, view.size_px, 3), place, np.uint8)

EncodedImages("home", tuple(map(str, range(200))), tuple(range(200)), decode).source(
    View(8, "bilinear-antialias", "squash")
)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("n_decoded", [1, 20, 77])
def test_a_process_killed_while_it_fills_leaves_whole_rows_to_the_next(decoder, n_decoded):
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(n_decoded):
        process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    images = images_of(decoder, 200)

    assert values_of(images, list(range(200))) == list(range(200))
    # What was being decoded by each thread when the process was killed is decoded again.
    assert 200 - n_decoded <= len(decoder.decoded) <= 200 - n_decoded + 4 * usable_cpus()
