"""What of a sweep is done, failed, missing or stale, and why."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from benchmark.errors import BenchmarkError, DownloadError, UnknownNameError
from benchmark.ledger import DONE, FAILED, IDENTITY, Ledger
from benchmark.plan.cells import Cell, DatasetRequest, cell_key, job_key, jobs_with_training
from benchmark.plan.grid import expand
from benchmark.plan.wrong_modes import wrong_modes
from benchmark.provenance import framework_versions, minor_version
from benchmark.recipes import Sweep
from benchmark.registry import Registry

MISSING = "missing"
STALE = "stale"

WHEN = ("missing", "failed", "always")

ScanProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PlannedCell:
    """A cell and where it stands.

    Attributes:
        cell: The cell.
        key: Its key; empty where it cannot be known because the dataset cannot be read.
        state: done, failed, missing or stale.
        reason: Why it is stale, or how it failed.
        dataset_fingerprint: Empty where the dataset cannot be read.
        n_images: Images that its features need.
        n_classes: Of its dataset.
        obstacle: Why its dataset cannot be had, if so.
        warning: Why its number should not be trusted, if so; see `plan.wrong_modes`.
        has_training: Whether TensorFlow trains something in the job that it belongs to, be it in another cell.
    """

    cell: Cell
    key: str
    state: str
    reason: str = ""
    dataset_fingerprint: str = ""
    n_images: int = 0
    n_classes: int = 0
    obstacle: BenchmarkError | None = None
    warning: str = ""
    has_training: bool = False


@dataclass(frozen=True)
class Plan:
    """All cells of a sweep with their states."""

    sweep: Sweep
    cells: tuple[PlannedCell, ...]
    bad_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Number of cells in each state."""
        return dict(Counter(planned.state for planned in self.cells))

    def to_run(self, when: str) -> list[PlannedCell]:
        """The cells that a run does now.

        Args:
            when: `missing` (stale ones too), `failed`, or `always`.
        """
        states = {"missing": {MISSING, STALE}, "failed": {FAILED}, "always": {DONE, FAILED, MISSING, STALE}}[when]
        return [planned for planned in self.cells if planned.state in states]


@dataclass(frozen=True)
class _DatasetFacts:
    fingerprint: str
    n_images: int
    n_classes: int
    bad_files: tuple[str, ...]


def check_when(when: str) -> None:
    """Raise an `UnknownNameError` unless `Plan.to_run` knows the word."""
    if when not in WHEN:
        raise UnknownNameError("value of --when", when, WHEN)


def make_plan(
    sweep: Sweep,
    registry: Registry,
    ledger: Ledger,
    on_scan: ScanProgress | None = None,
    *,
    where: Mapping[str, str] | None = None,
) -> Plan:
    """The cells of a sweep compared with its ledger.

    Datasets are read to learn their fingerprints. One that cannot be downloaded makes its cells fail when
    they are run; one that is at hand but cannot be used is the user's to mend first.

    Args:
        sweep: The sweep.
        registry: The backbones.
        ledger: Where its rows are.
        on_scan: Called with a dataset's name, the files looked at and all of them.
        where: Which cells, as for `expand`.

    Raises:
        BenchmarkError: A name is unknown, a dataset is unusable, or the ledger cannot be read.
    """
    cells = expand(sweep, registry, where)
    past = _Past.of_runs(ledger.read_runs())
    datasets = {request: _dataset_facts(request, on_scan) for request in dict.fromkeys(cell.dataset for cell in cells)}
    # A cell is looked at beside all others of its sweep, chosen or not.
    neighbours = expand(sweep, registry) if where else cells
    warnings = {} if sweep.ablation else wrong_modes(neighbours)
    with_training = jobs_with_training(neighbours)
    planned = [
        replace(
            _planned(cell, datasets[cell.dataset], past),
            warning=warnings.get(cell, ""),
            has_training=job_key(cell) in with_training,
        )
        for cell in cells
    ]
    bad_files = {
        request.name: facts.bad_files
        for request, facts in datasets.items()
        if isinstance(facts, _DatasetFacts) and facts.bad_files
    }
    return Plan(sweep, tuple(planned), bad_files)


def _dataset_facts(request: DatasetRequest, on_scan: ScanProgress | None) -> _DatasetFacts | DownloadError:
    def on_progress(n_done: int, n_total: int) -> None:
        if on_scan:
            on_scan(request.name, n_done, n_total)

    try:
        dataset = request.load(on_progress)
    except DownloadError as error:
        return error
    return _DatasetFacts(dataset.fingerprint, len(dataset), len(dataset.class_names), dataset.bad_files)


@dataclass(frozen=True)
class _Past:
    """What a ledger holds: few columns of it, since it may have many thousands of rows.

    Attributes:
        by_key: The last row of each key.
        by_identity: The last finished row of each cell, by the columns that name it.
        without_key: The reason of each cell whose last row has no key, since its dataset could not be had.
    """

    by_key: Mapping[str, Mapping[Any, Any]]
    by_identity: Mapping[tuple[Any, ...], Mapping[Any, Any]]
    without_key: Mapping[tuple[Any, ...], str]

    @classmethod
    def of_runs(cls, runs: pd.DataFrame) -> "_Past":
        states = runs[["cell_key", "status", "error_type", "error_message"]].to_dict("records")
        done = runs[runs["status"] == DONE]
        identities = done[list(IDENTITY)].itertuples(index=False, name=None)
        facts = done[["dataset_fingerprint", "weights", *framework_versions()]].to_dict("records")
        last = runs.drop_duplicates(list(IDENTITY), keep="last")
        unkeyed = last[(last["cell_key"] == "") & (last["status"] == FAILED)]
        names = unkeyed[list(IDENTITY)].itertuples(index=False, name=None)
        reasons = unkeyed["error_type"] + ": " + unkeyed["error_message"]
        return cls(
            {row["cell_key"]: row for row in states},
            dict(zip(identities, facts, strict=True)),
            dict(zip(names, reasons, strict=True)),
        )


def _planned(cell: Cell, dataset: _DatasetFacts | DownloadError, past: _Past) -> PlannedCell:
    columns = cell.columns
    identity = tuple(columns[column] for column in IDENTITY)
    failed = past.without_key.get(identity)
    if isinstance(dataset, DownloadError):
        return PlannedCell(cell, "", MISSING if failed is None else FAILED, str(dataset), obstacle=dataset)
    key = cell_key(cell, dataset.fingerprint)
    state, reason = MISSING, ""
    if (row := past.by_key.get(key)) is not None:
        state = str(row["status"])
        reason = f"{row['error_type']}: {row['error_message']}" if state == FAILED else ""
    elif failed is not None:
        state, reason = FAILED, failed
    elif (earlier := past.by_identity.get(identity)) is not None:
        state, reason = STALE, _staleness(cell, dataset, earlier)
    return PlannedCell(cell, key, state, reason, dataset.fingerprint, dataset.n_images, dataset.n_classes)


def _staleness(cell: Cell, dataset: _DatasetFacts, row: Mapping[Any, Any]) -> str:
    """What changed since a row was made."""
    reasons = []
    if row["dataset_fingerprint"] != dataset.fingerprint:
        reasons.append("the dataset changed")
    if row["weights"] != cell.backbone.weights:
        reasons.append(f"weights were {row['weights']}")
    for column, version in framework_versions().items():
        if minor_version(str(row[column])) != minor_version(version):
            reasons.append(f"{column} was {row[column]}, is {version}")
    return "; ".join(reasons) or "the registry entry, the recipe's options or the weights file changed"
