"""A sweep compared with its ledger: which cells are done, failed, missing or stale, and why."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmark.datasets import check_splits
from benchmark.errors import DownloadError
from benchmark.ledger import CELL_COLUMNS, DONE, FAILED, Ledger, cell_names
from benchmark.options import CLASSIFY
from benchmark.origins import DEFINITION, INPUTS, VERSIONS, what_changed
from benchmark.plan.cells import Cell, DatasetRequest, feature_facts, job_key, make_keys
from benchmark.plan.examining import examine_networks
from benchmark.plan.grid import expand, expanded
from benchmark.plan.planned import MISSING, REPEAT, STALE, DatasetFacts, Plan, PlannedCell
from benchmark.plan.wrong_modes import wrong_by_layers, wrong_modes
from benchmark.provenance import minor_version
from benchmark.recipes import Sweep
from benchmark.registry import Registry

if TYPE_CHECKING:
    from benchmark.xray.entries import Found

# A cell is stale if one of these columns of its row is not what it would be now.
CHANGEABLE = {
    column: name
    for column, name in {**INPUTS, **DEFINITION, **VERSIONS}.items()
    if column not in {"weights_sha256", "python_version"}
}

ScanProgress = Callable[[str, int, int], None]


def make_plan(
    sweep: Sweep,
    registry: Registry,
    ledger: Ledger,
    on_scan: ScanProgress | None = None,
    *,
    choose: Callable[[list[Cell]], list[Cell]] | None = None,
) -> Plan:
    """The cells of a sweep compared with its ledger.

    Datasets are read to compute their fingerprints, and networks that are not as shipped are built and checked in a
    child process. Cells of a dataset that cannot be downloaded fail when they are run, but for those that are finished;
    a dataset that is present but cannot be used is an error now.

    Args:
        sweep: The sweep.
        registry: The backbones.
        ledger: Where its rows are.
        on_scan: Called with a dataset's name, the number of files that were read, and the number of all files.
        choose: Returns those of the sweep's cells that are planned; None = all.

    Raises:
        BenchmarkError: A name is unknown, a dataset is unusable or too small for a split, a network is not what its
            registry entry says, or the ledger cannot be read.
    """
    # Whether a mode is wrong by the registry, and a job trains, depends on all cells of the sweep, chosen or not.
    sweep = expanded(sweep, registry)
    all_cells = expand(sweep, registry)
    warnings = {} if sweep.ablation else wrong_modes(all_cells)
    with_training = {job_key(cell) for cell in all_cells if cell.is_trained_by_keras}
    cells = choose(all_cells) if choose else all_cells
    past = _Past(ledger.read_runs())
    datasets = {
        request: _dataset_facts(request, [cell for cell in cells if cell.dataset == request], on_scan)
        for request in dict.fromkeys(cell.dataset for cell in cells)
    }
    available = {request: facts for request, facts in datasets.items() if isinstance(facts, DatasetFacts)}
    shapes = {request: (facts.n_channels, facts.n_classes) for request, facts in available.items()}
    networks = examine_networks(cells, shapes)
    planned = [
        replace(
            _planned(_identified(cell, networks), datasets[cell.dataset], past),
            warning=_warning(cell, networks.get(cell), warnings),
            has_training=job_key(cell) in with_training,
        )
        for cell in cells
    ]
    return Plan(sweep, tuple(_mark_repeats(planned, available)), available)


def _dataset_facts(
    request: DatasetRequest, cells: Iterable[Cell], on_scan: ScanProgress | None
) -> DatasetFacts | DownloadError:
    on_progress = functools.partial(on_scan, request.name) if on_scan else None
    try:
        dataset = request.load(on_progress, {cell.view.before_mode for cell in cells})
    except DownloadError as error:
        return error
    check_splits(dataset, [(cell.seed, cell.val_fraction, cell.folds, cell.shots) for cell in cells])
    for stage in {stage for cell in cells for stage in cell.stages}:
        stage.check_classes(dataset.class_names)
    return DatasetFacts(
        dataset.fingerprint,
        len(dataset),
        dataset.images.n_channels,
        len(dataset.class_names),
        dataset.notes,
        dataset.remarks,
        dataset.n_duplicates,
        dataset.val is not None,
        dataset.has_own_test,
    )


class _Past:
    """The rows of a ledger, with few columns, since there may be many thousands; each view is made when first needed.

    Args:
        runs: What `Ledger.read_runs` returns.
    """

    def __init__(self, runs: pd.DataFrame) -> None:
        reasons = (runs["error_type"] + ": " + runs["error_message"]).where(runs["status"] == FAILED, "")
        self._runs = runs.assign(reason=reasons)

    @functools.cached_property
    def by_key(self) -> dict[str, tuple[str, str]]:
        """State and reason of the last row of each key."""
        runs = self._runs
        return dict(zip(runs["cell_key"], zip(runs["status"], runs["reason"], strict=True), strict=True))

    @functools.cached_property
    def by_name(self) -> dict[tuple[Any, ...], dict[Any, Any]]:
        """The last finished row of each cell, by what the recipe asked of it."""
        done = self._runs[self._runs["status"] == DONE]
        facts = done[["run_id", "setting_key", *CHANGEABLE]].to_dict("records")
        return dict(zip(cell_names(done), facts, strict=True))

    def earlier(self, cell: Cell) -> dict[Any, Any] | None:
        """The last finished row of a cell, whatever its key."""
        # Rows of schema 1 do not hold the validation fraction.
        name_in_schema_1 = tuple({**cell.columns, "val_fraction": None}.values())
        return self.by_name.get(cell.name) or self.by_name.get(name_in_schema_1)

    @functools.cached_property
    def without_key(self) -> dict[tuple[Any, ...], str]:
        """Why each cell failed whose last row has no key, because its dataset was not available."""
        last = self._runs.drop_duplicates(list(CELL_COLUMNS), keep="last")
        unkeyed = last[(last["cell_key"] == "") & (last["status"] == FAILED)]
        return dict(zip(cell_names(unkeyed), unkeyed["reason"], strict=True))


def _warning(cell: Cell, network: "Found | None", by_registry: Mapping[Cell, str]) -> str:
    """What is wrong with the mode of a cell: the network's own layers decide, else the registry."""
    if network and network.shown_mode:
        return wrong_by_layers(cell, network.shown_mode)
    return by_registry.get(cell, "")


def _identified(cell: Cell, networks: "Mapping[Cell, Found]") -> Cell:
    return replace(cell, network_sha256=networks[cell].sha256) if cell in networks else cell


def _planned(cell: Cell, dataset: DatasetFacts | DownloadError, past: _Past) -> PlannedCell:
    name = cell.name
    if isinstance(dataset, DownloadError):
        if past.earlier(cell):
            return PlannedCell(cell, "", DONE, f"not checked: {dataset}", obstacle=dataset)
        failed = past.without_key.get(name)
        return PlannedCell(cell, "", MISSING if failed is None else FAILED, str(dataset), obstacle=dataset)
    key, setting_key = make_keys(cell, dataset.fingerprint)
    state, reason, taken_over = MISSING, "", ""
    if key in past.by_key:
        state, reason = past.by_key[key]
    elif name in past.without_key and not past.earlier(cell):
        state, reason = FAILED, past.without_key[name]
    elif earlier := past.earlier(cell):
        changes = _changes(cell, dataset, earlier)
        if earlier["setting_key"] or changes:
            state, reason = STALE, "; ".join(changes) or "the recipe's options or the weights file changed"
        else:
            state, taken_over = DONE, earlier["run_id"]
    return PlannedCell(
        cell,
        key,
        state,
        reason,
        setting_key=setting_key,
        dataset_fingerprint=dataset.fingerprint,
        notes=dataset.notes,
        n_images=dataset.n_images,
        n_classes=dataset.n_classes,
        taken_over=taken_over,
    )


def _mark_repeats(
    cells: Iterable[PlannedCell], datasets: Mapping[DatasetRequest, DatasetFacts]
) -> Iterator[PlannedCell]:
    """The cells, those that would only repeat the numbers of an earlier seed as `REPEAT`.

    A seed draws the validation split, shots, and what Keras trains; without all of these, its number has no effect.
    """
    first_seeds: dict[str, int] = {}
    for planned in cells:
        cell, facts = planned.cell, datasets.get(planned.cell.dataset)
        is_trained = cell.strategy != CLASSIFY
        is_random = cell.is_trained_by_keras or cell.folds or cell.shots
        is_drawn = is_trained and (is_random or not (facts and facts.has_own_val))
        first = cell.seed if is_drawn else first_seeds.setdefault(planned.setting_key, cell.seed)
        if first == cell.seed or planned.state == DONE:
            yield planned
        else:
            why = "the validation split is given and nothing else is random" if is_trained else "nothing is trained"
            reason = f"it would repeat seed {first}, since {why}"
            yield replace(planned, state=REPEAT, reason=reason)


def _changes(cell: Cell, dataset: DatasetFacts, row: Mapping[Any, Any]) -> list[str]:
    """What changed since a row was made, as far as keys depend on it."""
    facts = feature_facts(cell, dataset.fingerprint)
    versions = {column: str(facts[column]) for column in VERSIONS if column in facts}
    now = {"dataset_fingerprint": dataset.fingerprint, **cell.facts, **versions}
    before, after = (
        {**facts, **{column: minor_version(str(facts[column])) for column in versions}} for facts in (row, now)
    )
    return what_changed(before, after, CHANGEABLE)
