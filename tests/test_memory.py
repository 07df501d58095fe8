"""Peak memory of a stretch of work."""

import mmap
import time
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark import memory
from benchmark.memory import Footprint, PeakMemory, resident_mib, settled_mib
from benchmark.storage import MIB

BLOCK_MIB = 96
# What the interpreter itself may take or give back meanwhile.
TOLERANCE_MIB = 24


@pytest.fixture
def no_kernel_mark(monkeypatch) -> None:
    """A machine on which the kernel's mark cannot be reset."""
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)


@pytest.fixture
def kernel_mark() -> None:
    if not memory._reset_high_water_mark():
        pytest.skip("the kernel's high-water mark cannot be reset here")


@pytest.fixture(params=["kernel_mark", "no_kernel_mark"])
def either_way(request) -> None:
    request.getfixturevalue(request.param)


def allocate_and_free(hold_s: float) -> None:
    # Fresh pages: NumPy may be given memory that this process has already.
    with mmap.mmap(-1, BLOCK_MIB * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        pages = np.frombuffer(block, np.uint8)
        pages.fill(1)
        time.sleep(hold_s)
        del pages


def test_an_allocation_that_was_freed_inside_is_seen(either_way):
    before = resident_mib()

    with PeakMemory() as peak:
        allocate_and_free(hold_s=4 * memory.SAMPLE_INTERVAL_S)

    assert resident_mib() < before + TOLERANCE_MIB, "the block is still there"
    assert peak.rss_mib == pytest.approx(before + BLOCK_MIB, abs=TOLERANCE_MIB)


def test_a_measurement_inside_another_takes_nothing_from_it(either_way):
    before = resident_mib()

    with PeakMemory() as outer:
        allocate_and_free(hold_s=4 * memory.SAMPLE_INTERVAL_S)
        with PeakMemory() as inner:
            pass

    assert outer.rss_mib == pytest.approx(before + BLOCK_MIB, abs=TOLERANCE_MIB)
    assert inner.rss_mib == pytest.approx(before, abs=TOLERANCE_MIB)


def test_the_kernel_sees_even_the_shortest_allocation(kernel_mark):
    before = resident_mib()

    with PeakMemory() as peak:
        allocate_and_free(hold_s=0)

    assert peak.rss_mib == pytest.approx(before + BLOCK_MIB, abs=TOLERANCE_MIB)


def test_an_allocation_freed_before_does_not_count(either_way):
    before = resident_mib()
    allocate_and_free(hold_s=0)

    with PeakMemory() as peak:
        pass

    assert peak.rss_mib == pytest.approx(before, abs=TOLERANCE_MIB)


def test_what_is_held_throughout_counts(either_way):
    block = np.ones(BLOCK_MIB * MIB, np.uint8)

    with PeakMemory() as peak:
        pass

    assert peak.rss_mib >= block.nbytes / MIB
    assert peak.rss_mib == pytest.approx(resident_mib(), abs=TOLERANCE_MIB)


def test_the_peak_is_known_after_an_exception(either_way):
    peak = PeakMemory()

    with pytest.raises(ValueError, match="inside"), peak:
        raise ValueError("inside")

    assert peak.rss_mib == pytest.approx(resident_mib(), abs=TOLERANCE_MIB)


def a_block() -> np.ndarray:
    return np.ones(BLOCK_MIB * MIB, np.uint8)


def test_what_earlier_work_left_does_not_count(either_way):
    footprint = Footprint()
    base = footprint.of_parts()
    left = a_block()

    with PeakMemory(footprint.of_parts("mine")) as peak:
        own = a_block()

    assert left.any()
    assert own.any()
    assert peak.rss_mib == pytest.approx(base + BLOCK_MIB, abs=TOLERANCE_MIB)


def test_a_part_counts_for_the_work_that_uses_it_only(either_way):
    footprint = Footprint()
    base = footprint.of_parts()
    with footprint.keeping("used"):
        used = a_block()
    with footprint.keeping("other"):
        other = a_block()

    with PeakMemory(footprint.of_parts("used", "never made")) as peak:
        allocate_and_free(hold_s=4 * memory.SAMPLE_INTERVAL_S)

    assert used.any()
    assert other.any()
    assert peak.rss_mib == pytest.approx(base + 2 * BLOCK_MIB, abs=TOLERANCE_MIB)


def test_a_part_may_grow_later():
    footprint = Footprint()
    base = footprint.of_parts()

    blocks = []
    for _ in range(2):
        with footprint.keeping("part"):
            blocks.append(a_block())

    assert footprint.of_parts("part") == pytest.approx(base + 2 * BLOCK_MIB, abs=TOLERANCE_MIB)


def test_memory_that_was_freed_is_taken_anew(kernel_mark):
    """The allocator keeps small blocks, which later work would get without a trace."""
    small = [bytes(4000) for _ in range(BLOCK_MIB * MIB // 4096)]
    del small
    before = settled_mib()

    with PeakMemory(before) as peak:
        small = [bytes(4000) for _ in range(BLOCK_MIB * MIB // 4096)]

    assert len(small) > 0
    assert peak.rss_mib == pytest.approx(before + BLOCK_MIB, abs=TOLERANCE_MIB)


def test_pages_of_files_do_not_count(kernel_mark, tmp_path):
    np.save(tmp_path / "features.npy", a_block())
    before = resident_mib()

    with PeakMemory() as peak:
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        total = int(mapped[::4096].sum())

    assert total > 0
    assert peak.rss_mib == pytest.approx(before, abs=TOLERANCE_MIB)


def test_the_sampler_ends_with_the_stretch_of_work(no_kernel_mark):
    with PeakMemory() as peak:
        assert peak._sampler.is_alive()

    assert not peak._sampler.is_alive()


# --- available memory ------------------------------------------------------------------------------------------------


def test_in_a_container_pages_of_files_that_can_be_dropped_are_available(monkeypatch, tmp_path):
    for name, content in {
        "memory.max": f"{1000 * MIB}\n",
        "memory.current": f"{990 * MIB}\n",
        "memory.stat": f"anon {300 * MIB}\ninactive_file {600 * MIB}\nactive_file {90 * MIB}\n",
    }.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)

    assert memory.available_mib() == 610


@pytest.mark.parametrize("limit", ["max", None])
def test_without_a_limit_the_memory_of_the_machine_is_available(monkeypatch, tmp_path, limit):
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=2000 * MIB))

    assert memory.available_mib() == 2000
