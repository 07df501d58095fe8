"""What the doctor finds on this machine, and what it advises."""

from pathlib import Path

import psutil
import pytest

from benchmark import doctor
from benchmark.doctor import Finding, examine
from benchmark.storage import cache_root


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "can_reach", lambda _: False)
    monkeypatch.setattr(doctor, "CHECKS", tuple(check for check in doctor.CHECKS if check.__name__ != "_wheels"))


def findings() -> dict[str, Finding]:
    return {finding.what: finding for finding in examine()}


def test_it_names_versions_cores_memory_and_the_cache():
    found = findings()

    assert {"Python", "Keras, TensorFlow", "cores", "memory", "cache", "oneDNN", "GPU"} <= set(found)
    assert f"of {psutil.virtual_memory().total / 2**30:.1f} GiB" in found["memory"].value
    assert str(cache_root()) in found["cache"].value


def test_the_cache_is_weighed():
    (cache_root() / "features").mkdir(parents=True)
    (cache_root() / "features" / "one").write_bytes(bytes(3 * 2**20))

    assert "3 MiB used" in findings()["cache"].value


def test_weights_out_of_reach_come_with_advice():
    finding = findings()["ImageNet weights"]

    assert "does not answer" in finding.value
    assert "KERAS_HOME" in finding.advice


def test_a_limit_on_threads_is_mentioned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    assert "OMP_NUM_THREADS=1 keeps TensorFlow" in findings()["cores"].advice


def test_little_memory_is_mentioned(monkeypatch: pytest.MonkeyPatch):
    scarce = psutil.virtual_memory()._replace(available=500 * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: scarce)

    assert "close something" in findings()["memory"].advice


def test_a_full_disk_is_mentioned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**20})())

    assert "benchmark cache prune" in findings()["cache"].advice


def test_nothing_is_made_where_there_is_no_cache_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "not" / "yet"))

    assert "0 MiB used" in findings()["cache"].value
    assert list(tmp_path.iterdir()) == []
