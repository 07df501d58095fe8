"""A process that is killed at any moment, while it fills the cache of images or extracts, loses little and no bits."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sampling import sampled

from benchmark.caching import list_cache

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")]

LEAST_KILLS = 8
SEED = 0
PROGRAM = """
import sys, time
import numpy as np
from benchmark.datasets import EncodedImages
from benchmark.features import engine
from benchmark.features.cache import BuildFacts, cached_features, earlier_features
from benchmark.preprocessing import View

N_IMAGES = 640
VIEW = View(24, "bilinear-antialias", "squash")
engine.SAVE_INTERVAL_S = 0.05
engine._peak_device_mib = lambda: None

def decode(place, view):
    time.sleep(0.001)
    return np.random.default_rng(place).integers(0, 256, (24, 24, 3), dtype=np.uint8)

def compute(images):
    time.sleep(0.06)
    return images.reshape(len(images), -1)[:, :500].astype(np.float32) / 3

def features_of(numbers):
    images = EncodedImages("home", tuple(map(str, numbers)), tuple(numbers), decode)
    facts = {"backbone": "Toy", "dataset_fingerprint": str(numbers)}

    def extract(file, so_far, save):
        extractor = engine.Extractor(compute, (500,), 2)
        earlier = earlier_features(facts, {}, images.identities)
        extraction = engine.extract_features(
            extractor, images.source(VIEW), len(numbers), file, so_far=so_far, save=save, earlier=earlier
        )
        return extraction, BuildFacts(1.0, 1, 1.0, "", 1.0)

    return cached_features(facts, extract, identities=lambda: images.identities)

if "grown" in sys.argv:
    features_of(range(0, N_IMAGES, 3))
found = features_of(range(N_IMAGES))
print(found.extraction.n_images, found.extraction.sha256)
"""


def start(cache: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "BENCHMARK_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *options], stdout=subprocess.PIPE, text=True, env=environment
    )


def result_of(cache: Path, *options: str) -> str:
    """What a process prints that is left alone."""
    out, _ = start(cache, *options).communicate(timeout=60)
    return out


@pytest.mark.parametrize("options", sampled([(), ("grown",)], [("grown",)]), ids=["at once", "after a part of it"])
def test_filling_and_extraction_go_on_after_kills_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, options: tuple[str, ...]
):
    started = time.monotonic()
    calm = result_of(tmp_path / "calm")
    calm_s = time.monotonic() - started
    draw = random.Random(SEED)
    sizes: list[list[int]] = [[]]

    n_left, number = max(LEAST_KILLS, request.config.getoption("--kills")), 0
    while n_left:
        cache = tmp_path / f"killed-{number}"
        process = start(cache, *options)
        try:
            out, _ = process.communicate(timeout=draw.uniform(0, calm_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            n_left -= 1
            monkeypatch.setenv("BENCHMARK_CACHE", str(cache))
            sizes[-1].append(sum(entry.size_bytes for entry in list_cache() if entry.kind == "features"))
        else:  # it came to its end, so another one begins
            assert out == calm
            number += 1
            sizes.append([])
    assert result_of(tmp_path / f"killed-{number}", *options) == calm
    grown = [after > before > 0 for of_cache in sizes for before, after in itertools.pairwise(of_cache)]
    assert any(grown), "no extraction was resumed"
