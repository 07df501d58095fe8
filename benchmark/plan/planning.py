"""What of a sweep is done, failed, missing or stale, and why."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from benchmark.errors import BenchmarkError, DownloadError, UnknownNameError
from benchmark.ledger import CELL_COLUMNS, DONE, FAILED, Ledger, cell_names
from benchmark.origins import DEFINITION, INPUTS, VERSIONS, what_changed
from benchmark.plan.cells import Cell, DatasetRequest, job_key, make_keys, view_key
from benchmark.plan.grid import expand
from benchmark.plan.wrong_modes import wrong_modes
from benchmark.provenance import framework_versions, minor_version
from benchmark.recipes import Sweep
from benchmark.registry import Registry

MISSING = "missing"
STALE = "stale"

WHEN = ("missing", "failed", "always")

# What can change between a row and now, and makes the row stale.
CHANGEABLE = {
    column: name
    for column, name in {**INPUTS, **DEFINITION, **VERSIONS}.items()
    if column not in {"weights_sha256", "python_version"}
}

ScanProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PlannedCell:
    """A cell and its state.

    Attributes:
        cell: The cell.
        key: Its key; empty if its dataset is not available.
        state: done, failed, missing or stale.
        reason: Why it is stale, or how it failed.
        setting_key: The key of its setting; empty likewise.
        dataset_fingerprint: Empty if the dataset is not available.
        n_images: Images that its features need.
        n_classes: Of its dataset.
        obstacle: Why its dataset is not available.
        warning: Why its number should not be trusted; see `plan.wrong_modes`.
        has_training: Whether TensorFlow trains something in the job of this cell, in this cell or in another.
        taken_over: The `run_id` of the row of schema 1 by which the cell is done; empty otherwise.
    """

    cell: Cell
    key: str
    state: str
    reason: str = ""
    setting_key: str = ""
    dataset_fingerprint: str = ""
    n_images: int = 0
    n_classes: int = 0
    obstacle: BenchmarkError | None = None
    warning: str = ""
    has_training: bool = False
    taken_over: str = ""


# Cells that one process runs: they share a backbone, a dataset and a size.
Job = Sequence[PlannedCell]


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
    choose: Callable[[list[Cell]], list[Cell]] | None = None,
) -> Plan:
    """The cells of a sweep compared with its ledger.

    Datasets are read to learn their fingerprints. The cells of a dataset that cannot be downloaded fail when they are
    run; a dataset that is there but cannot be used is an error now.

    Args:
        sweep: The sweep.
        registry: The backbones.
        ledger: Where its rows are.
        on_scan: Called with a dataset's name, the number of files read, and of all.
        choose: From all cells of the sweep to those to plan; None for all.

    Raises:
        BenchmarkError: A name is unknown, a dataset is unusable, or the ledger cannot be read.
    """
    # Whether a mode is wrong, and a job trains, depends on all cells of the sweep, chosen or not.
    all_cells = expand(sweep, registry)
    warnings = {} if sweep.ablation else wrong_modes(all_cells)
    with_training = {job_key(cell) for cell in all_cells if cell.is_trained_by_tensorflow}
    cells = choose(all_cells) if choose else all_cells
    past = _Past.of_runs(ledger.read_runs())
    datasets = {request: _dataset_facts(request, on_scan) for request in dict.fromkeys(cell.dataset for cell in cells)}
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
        by_name: The last finished row of each cell, by what the recipe asked of it.
        without_key: The reason of each cell whose last row has no key, because its dataset was not available.
    """

    by_key: Mapping[str, Mapping[Any, Any]]
    by_name: Mapping[tuple[Any, ...], Mapping[Any, Any]]
    without_key: Mapping[tuple[Any, ...], str]

    @classmethod
    def of_runs(cls, runs: pd.DataFrame) -> "_Past":
        states = runs[["cell_key", "status", "error_type", "error_message"]].to_dict("records")
        done = runs[runs["status"] == DONE]
        facts = done[["run_id", "setting_key", *CHANGEABLE]].to_dict("records")
        last = runs.drop_duplicates(list(CELL_COLUMNS), keep="last")
        unkeyed = last[(last["cell_key"] == "") & (last["status"] == FAILED)]
        reasons = unkeyed["error_type"] + ": " + unkeyed["error_message"]
        return cls(
            {row["cell_key"]: row for row in states},
            dict(zip(cell_names(done), facts, strict=True)),
            dict(zip(cell_names(unkeyed), reasons, strict=True)),
        )


def _planned(cell: Cell, dataset: _DatasetFacts | DownloadError, past: _Past) -> PlannedCell:
    name = cell.name
    failed = past.without_key.get(name)
    if isinstance(dataset, DownloadError):
        return PlannedCell(cell, "", MISSING if failed is None else FAILED, str(dataset), obstacle=dataset)
    keys = make_keys(cell, dataset.fingerprint)
    state, reason, taken_over = MISSING, "", ""
    if (row := past.by_key.get(keys.cell)) is not None:
        state = str(row["status"])
        reason = f"{row['error_type']}: {row['error_message']}" if state == FAILED else ""
    elif failed is not None:
        state, reason = FAILED, failed
    elif (earlier := past.by_name.get(name) or past.by_name.get(cell.name_in_schema_1)) is not None:
        changes = _changes(cell, dataset, earlier)
        if earlier["setting_key"] or changes:
            state, reason = STALE, "; ".join(changes) or "the recipe's options or the weights file changed"
        else:
            state, taken_over = DONE, earlier["run_id"]
    return PlannedCell(
        cell,
        keys.cell,
        state,
        reason,
        setting_key=keys.setting,
        dataset_fingerprint=dataset.fingerprint,
        n_images=dataset.n_images,
        n_classes=dataset.n_classes,
        taken_over=taken_over,
    )


def _changes(cell: Cell, dataset: _DatasetFacts, row: Mapping[Any, Any]) -> list[str]:
    """What changed since a row was made, as far as keys depend on it."""
    now = {"dataset_fingerprint": dataset.fingerprint, **cell.facts, **framework_versions()}
    before, after = ({**facts, **_minor_versions(facts)} for facts in (row, now))
    return what_changed(before, after, CHANGEABLE)


def _minor_versions(facts: Mapping[Any, Any]) -> dict[str, str]:
    return {column: minor_version(str(facts[column])) for column in framework_versions()}


def group_into_jobs(cells: Iterable[PlannedCell]) -> list[Job]:
    """Jobs in the order of their first cells; in a job, cells of the same view stand next to each other."""
    jobs: dict[Any, dict[Any, list[PlannedCell]]] = {}
    for planned in cells:
        jobs.setdefault(job_key(planned.cell), {}).setdefault(view_key(planned.cell), []).append(planned)
    return [list(itertools.chain.from_iterable(views.values())) for views in jobs.values()]
