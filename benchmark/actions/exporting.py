"""A run of a ledger exported as one model; what it trained is taken from the ledger, or trained again."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from benchmark import console
from benchmark.analysis.formats import duration_text
from benchmark.errors import BenchmarkError
from benchmark.escaping import printable
from benchmark.isolation import call_silently_in_child
from benchmark.processes.execution import Execution
from benchmark.progress import SweepDisplay

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from benchmark.plan.planned import PlannedCell
    from benchmark.registry import Registry


def export_model(
    run_id: str | None,
    paths: Sequence[Path],
    registry: "Registry",
    out: Path,
    *,
    best: Path | None = None,
    format_name: str | None = None,
) -> dict[str, Any]:
    """Write the model of a run to a file.

    Args:
        run_id: Of the row, or its beginning.
        paths: Folders of results, one of which has it.
        registry: The backbones.
        out: The file or, for a saved model, the folder.
        best: In place of `run_id`: the ledger whose best setting that can be exported is; in mode native, or trained
            from scratch.
        format_name: A key of `exporting.files.FORMATS`; None for that of the suffix.

    Returns:
        `file`, `format`, the fields of `exporting.runs.Exported`, and `row`: what `runs.csv` has of the run.

    Raises:
        BenchmarkError: The run cannot be exported; nothing is written.
    """
    import pandas as pd

    from benchmark.analysis.loading import find_row, load_all_runs, load_runs
    from benchmark.exporting.files import check_place, format_of
    from benchmark.exporting.runs import Trained, export_run
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import plan_again

    chosen_format = format_of(out, format_name)
    check_place(out, chosen_format)
    if (run_id is None) == (best is None):
        raise BenchmarkError("Give the run_id of a row, or --best LEDGER.")
    row = _best_row(load_runs([best])) if best else find_row(load_all_runs(paths), str(run_id))
    (record,) = row.to_dict("records")
    _check_exportable(record)
    ledger = Ledger(Path(record["folder"]))
    predictions = ledger.read_predictions(record["run_id"])
    if predictions is None:
        raise BenchmarkError(f"Run {record['run_id']} has no predictions to compare with: run it again.")
    as_asked = row.assign(dataset=record.get("dataset_name", record["dataset"]))
    (planned,) = plan_again(as_asked, registry, ledger)
    if planned.obstacle is not None:
        raise planned.obstacle
    if planned.dataset_fingerprint != record["dataset_fingerprint"]:
        raise BenchmarkError(f"{record['dataset']} has changed since run {record['run_id']}: run it again.")
    weights = ledger.read_weights(record["run_id"]) or _train_again(planned, record)
    known = {str(column): value for column, value in record.items() if pd.notna(value) and value != ""}
    trained = Trained(planned.cell, weights, predictions[0], known)
    with console.stderr.status(Text(printable(f"writing and checking {out}"))):
        exported = call_silently_in_child(export_run, trained, out, chosen_format)
    return {"file": str(out), "format": chosen_format, **exported._asdict(), "row": known}


def _best_row(runs: "pd.DataFrame") -> "pd.DataFrame":
    """The row of the best setting that `are_exportable` lets pass; of its seeds, the best on validation."""
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.leaderboard import make_leaderboard
    from benchmark.analysis.loading import SETTING, finished

    runs = runs[are_exportable(runs)]
    datasets = runs["dataset"].unique()
    if len(datasets) > 1:
        raise BenchmarkError(f"The ledger has several datasets: give a run_id. It has {', '.join(datasets)}.")
    board = make_leaderboard(runs, correctness=Correctness(runs))
    board = board[board["rank"].notna()]
    if board.empty:
        raise BenchmarkError(
            "The ledger has no finished row to take as the best: expected one in mode native (or trained from scratch) "
            "with a head of layers. To export another, give its run_id."
        )
    first = board.sort_values("accuracy", ascending=False, kind="stable").iloc[[0]][list(SETTING)]
    rows = finished(runs).reset_index().merge(first, on=list(SETTING)).set_index("index")
    return rows.sort_values("val_accuracy", ascending=False, kind="stable").iloc[[0]]


def are_exportable(runs: "pd.DataFrame") -> "pd.Series[bool]":
    """The finished rows with the right preprocessing that `_check_exportable` lets pass."""
    from benchmark.exporting.model import EXPORTED_HEADS
    from benchmark.ledger import DONE
    from benchmark.options import CLASSIFY, PROBE, SCRATCH
    from benchmark.preprocessing import NATIVE

    has_layers = (runs["strategy"] != PROBE) | runs["head"].isin(EXPORTED_HEADS)
    is_right = (runs["mode"] == NATIVE) | (runs["strategy"] == SCRATCH)
    return (runs["status"] == DONE) & (runs["strategy"] != CLASSIFY) & has_layers & is_right


def _check_exportable(record: Mapping[Any, Any]) -> None:
    from benchmark.exporting.model import EXPORTED_HEADS
    from benchmark.ledger import DONE
    from benchmark.options import CLASSIFY, PROBE

    run_id = record["run_id"]
    if record["status"] != DONE:
        raise BenchmarkError(
            f"Run {run_id} failed ({record['error_type']}: {record['error_message']}): export another."
        )
    if record["strategy"] == CLASSIFY:
        raise BenchmarkError(
            f"Run {run_id} trained nothing, so there is nothing to export: {record['backbone']} with its own "
            "classifier is a model of keras.applications. Export a run of another strategy."
        )
    if record["strategy"] == PROBE and record["head"] not in EXPORTED_HEADS:
        raise BenchmarkError(
            f"Run {run_id} has the head {record['head']!r}, which gives no probabilities by layers: export a run with "
            f"the head {' or '.join(EXPORTED_HEADS)}."
        )


def _train_again(planned: "PlannedCell", record: Mapping[Any, Any]) -> "list[NDArray[np.float32]]":
    """What a run trains, trained again with the same seed; the row and the cached features stay as they are."""
    import pandas as pd

    from benchmark.ledger import FAILED, Ledger
    from benchmark.plan.estimate import estimate
    from benchmark.processes.runner import run_cells
    from benchmark.work.events import CellEnded

    console.say(
        f"Run {record['run_id']} did not keep its weights (run --keep-weights does): training again, about "
        f"{duration_text(estimate([planned]).total_s)}."
    )
    with tempfile.TemporaryDirectory(prefix="benchmark-export-") as folder:
        ledger = Ledger(Path(folder))
        execution = Execution(is_deterministic=record["is_deterministic"] == 1, keep_weights=True)
        execute = execution.start(ledger, pd.DataFrame([record]))
        with SweepDisplay(1) as display:
            for event in run_cells([planned], ledger, execute, recipe_sha256="", again=False):
                display.show(event)
                if isinstance(event, CellEnded):
                    row = event.row
        if row["status"] == FAILED:
            raise BenchmarkError(f"It could not be trained again ({row['error_type']}): {row['error_message']}")
        weights = ledger.read_weights(row["run_id"])
    assert weights is not None, "a finished run keeps its weights"
    return weights
