"""The sweep on a Ray cluster: the same ledger as on one machine, even if a node is lost."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toy_sweep import N_ROWS, assert_same_rows, start_sweep, write_sweep

from benchmark.ledger import DONE, Ledger

cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray warns of much that is its own affair


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, done once without Ray into `local`."""
    folder = tmp_path_factory.mktemp("ray")
    write_sweep(folder)
    assert start_sweep(folder, "local").wait(300) == 0
    return folder


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[cluster_utils.Cluster]:
    """A cluster whose head does no jobs."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


def add_node(cluster: cluster_utils.Cluster) -> object:
    return cluster.add_node(num_cpus=os.cpu_count())


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def test_a_cluster_of_two_nodes_gives_the_same_ledger_as_one_machine(workplace: Path, cluster: cluster_utils.Cluster):
    add_node(cluster)
    add_node(cluster)

    sweep = start_sweep(workplace, "cluster", "--executor", "ray", "--ray-address", cluster.address)

    assert sweep.wait(300) == 0
    assert_same_rows(Ledger(workplace / "cluster" / "toy"), Ledger(workplace / "local" / "toy"))


def test_the_jobs_of_a_lost_node_are_done_elsewhere(workplace: Path, cluster: cluster_utils.Cluster):
    doomed = add_node(cluster)
    ledger = Ledger(workplace / "lost" / "toy")
    sweep = start_sweep(workplace, "lost", "--executor", "ray", "--ray-address", cluster.address)
    wait_until(lambda: len(ledger.read_runs()) > 0, 120)

    cluster.remove_node(doomed, allow_graceful=False)
    n_rows_at_loss = len(ledger.read_runs())
    add_node(cluster)

    assert sweep.wait(300) == 0
    assert n_rows_at_loss < N_ROWS
    runs = ledger.read_runs()
    assert (len(runs), set(runs["status"])) == (N_ROWS, {DONE})
    assert_same_rows(ledger, Ledger(workplace / "local" / "toy"))
