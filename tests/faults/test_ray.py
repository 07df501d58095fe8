"""The sweep on a Ray cluster: the same ledger as on one machine, even if a node is lost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty_sweep import faulty_sweep, write_backbones
from toy_sweep import N_ROWS, UNEXAMINED, assert_same_rows, start_sweep, write_sweep

from benchmark.cli import main
from benchmark.errors import BenchmarkError
from benchmark.ledger import DONE, Ledger
from benchmark.processes.ray_tasks import RayExecutor, share_of_node

# Ray gives a node up after half a minute, unless it looks more often, and lets its workers wait for all that is not
# nice; here those are the other tests.
SETTINGS = {
    "worker_niceness": 0,
    "prestart_worker_first_driver": False,
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
}
TIMEOUT_S = 3600
# The program, whose clock jumps ahead once a cell sleeps: the cell's time is over then, however late it began.
HURRIED = """
import time
from pathlib import Path
from types import SimpleNamespace
from benchmark.processes import ray_tasks

ray_tasks.PATIENCE_S = 0.5
is_asleep = Path("sleep_for_ever").exists
ray_tasks.time = SimpleNamespace(monotonic=lambda: time.monotonic() + TIMEOUT_S * is_asleep())
""".replace("TIMEOUT_S", str(TIMEOUT_S))

cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray warns of much that is its own affair
    pytest.mark.usefixtures("unexamined"),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, done once without Ray into `local`."""
    folder = tmp_path_factory.mktemp("ray")
    write_sweep(folder)
    assert start_sweep(folder, "local").wait(300) == 0
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[cluster_utils.Cluster]:
    """A cluster of two nodes, whose head does no jobs; it takes longer to start than most of its jobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": SETTINGS}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(num_cpus=os.cpu_count())
        yield cluster
        cluster.shutdown()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def test_a_cluster_of_two_nodes_gives_the_same_ledger_as_one_machine(workplace: Path, cluster: cluster_utils.Cluster):
    sweep = start_sweep(workplace, "cluster", "--executor", "ray", "--ray-address", cluster.address)

    assert sweep.wait(600) == 0
    assert_same_rows(Ledger(workplace / "cluster" / "toy"), Ledger(workplace / "local" / "toy"))


def run_faulty(folder: Path, fault: str, *options: str, program: str = UNEXAMINED) -> Ledger:
    """The ledger of two cells of a backbone of `faulty_sweep`, of which the first one fails."""
    write_backbones(folder, fault)
    arguments = (
        "--backbones",
        fault,
        "--registry",
        "faulty.toml",
        "--limit",
        "200",
        "--seeds",
        "0,1",
        "--executor",
        "ray",
    )
    path = os.pathsep.join([str(folder), *sys.path])
    of_ray = {"RAY_AUTH_MODE": "disabled"} | {f"RAY_{name}": str(value) for name, value in SETTINGS.items()}
    environment = {**os.environ, "PYTHONPATH": path, **of_ray}
    ended = subprocess.run(
        [sys.executable, "-c", program, "run", *arguments, *options], cwd=folder, env=environment,
        capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    return Ledger(folder / "results" / "custom")


@pytest.mark.exhaustive
def test_a_killed_worker_fails_its_cell_on_a_cluster_that_ray_starts_by_itself(tmp_path: Path):
    runs = run_faulty(tmp_path, "killed").read_runs()

    assert runs["error_type"].tolist() == ["crashed", ""]
    assert "worker process ended" in runs["error_message"][0]


@pytest.mark.exhaustive
def test_a_cell_that_takes_too_long_is_ended_on_a_running_cluster(tmp_path: Path, cluster: cluster_utils.Cluster):
    options = ("--ray-address", cluster.address, "--timeout", str(TIMEOUT_S))

    runs = run_faulty(tmp_path, "sleeping", *options, program=HURRIED + UNEXAMINED).read_runs()

    assert runs["error_type"].tolist() == ["timeout", ""]
    assert f"longer than {TIMEOUT_S} s" in runs["error_message"][0]


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    sick = faulty_sweep(tmp_path, "tiny")

    with pytest.raises(BenchmarkError, match=r"pip install 'backbone-benchmark\[ray\]'"):
        sick.run("missing", executor=RayExecutor)


def test_an_address_without_a_cluster_is_the_users_mistake(tmp_path: Path):
    write_sweep(tmp_path)

    sweep = start_sweep(tmp_path, "none", "--executor", "ray", "--ray-address", "127.0.0.1:1")

    assert sweep.wait(120) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--executor", "slurm"), "Unknown executor 'slurm'"),
        (("--ray-address", "auto"), "--ray-address needs --executor ray"),
    ],
)
def test_an_executor_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
):
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", "demo", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("resources", "n_jobs", "cpus", "gpus"),
    [
        ([{"CPU": 8.0, "memory": 8e9}], 1, 8, 0.0),
        ([{"CPU": 8.0, "memory": 8e9}, {"CPU": 4.0, "memory": 4e9}], 2, 2, 0.0),
        ([{"CPU": 8.0, "memory": 8e9}], 3, 3, 0.0),
        ([{"CPU": 8.0, "GPU": 2.0, "memory": 8e9}], 3, 3, 0.5),
        ([{"CPU": 8.0, "GPU": 2.0, "memory": 8e9}, {"CPU": 8.0, "memory": 8e9}], 4, 2, 0.5),
        ([{"CPU": 1.0, "memory": 8e9}], 3, 1, 0.0),
    ],
)
def test_the_smallest_node_has_room_for_that_many_shares(resources: list[dict[str, float]], n_jobs, cpus, gpus):
    share = share_of_node(resources, n_jobs)

    assert (share["num_cpus"], share["num_gpus"]) == (cpus, gpus)
    assert share["memory"] == max(node["memory"] for node in resources)
    assert min(node["CPU"] for node in resources) // share["num_cpus"] <= n_jobs


@pytest.mark.exhaustive
def test_the_jobs_of_a_lost_node_are_done_elsewhere(workplace: Path, cluster: cluster_utils.Cluster):
    """The last test of the cluster, which has one node afterwards."""
    ledger = Ledger(workplace / "lost" / "toy")
    sweep = start_sweep(workplace, "lost", "--executor", "ray", "--ray-address", cluster.address)
    wait_until(lambda: len(ledger.read_runs()) > 0, 300)

    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    n_rows_at_loss = len(ledger.read_runs())

    assert sweep.wait(600) == 0
    assert n_rows_at_loss < N_ROWS
    runs = ledger.read_runs()
    assert (len(runs), set(runs["status"])) == (N_ROWS, {DONE})
    assert_same_rows(ledger, Ledger(workplace / "local" / "toy"))
