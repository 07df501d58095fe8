"""`benchmark export` and `predict`: a run made into one model, and what such a model says of images."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from benchmark import console
from benchmark.analysis.formats import count_of, duration_text
from benchmark.cli import options
from benchmark.cli.executing import Execution
from benchmark.errors import BenchmarkError
from benchmark.escaping import in_utf8, printable
from benchmark.isolation import call_silently_in_child, iterate_in_child

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from benchmark.export.predicting import Prediction
    from benchmark.plan.planning import PlannedCell

EXIT_SOME_FAILED = 1
SHOWN_DIGITS = 4


def export(
    run_id: Annotated[str | None, typer.Argument(help="The run_id of the row, or its beginning.")] = None,
    paths: options.PathsArgument = None,
    best: Annotated[
        Path | None,
        typer.Option(help="Instead of a run_id: the ledger whose best setting in mode native is exported."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file: *.keras, *.onnx, *.tflite; a folder for saved_model.")] = Path(
        "model.keras"
    ),
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="keras, onnx, tflite or saved_model.", show_default="by the suffix of --out"),
    ] = None,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Make one model of a run: images of any size in, class probabilities out, preprocessing inside.

    The file holds class names, accuracy and where it comes from. A .keras file loads with keras.saving.load_model,
    without this program. What the run trained is taken from its ledger (run --keep-weights), or trained again. The
    model is only written if it predicts for the test images what the run predicted.
    """
    import pandas as pd

    from benchmark.analysis.loading import find_row, load_all_runs, load_runs
    from benchmark.export.exporting import Trained, export_run
    from benchmark.export.files import check_place, format_of
    from benchmark.ledger import Ledger
    from benchmark.plan.repeating import plan_again

    chosen_format = format_of(out, format_name)
    check_place(out, chosen_format)
    if (run_id is None) == (best is None):
        raise BenchmarkError("Give the run_id of a row, or --best LEDGER.")
    row = _best_row(load_runs([best])) if best else find_row(load_all_runs(paths or [options.RESULTS]), str(run_id))
    (record,) = row.to_dict("records")
    _check_exportable(record)
    ledger = Ledger(Path(record["folder"]))
    predictions = ledger.read_predictions(record["run_id"])
    if predictions is None:
        raise BenchmarkError(f"Run {record['run_id']} has no predictions to compare with: run it again.")
    (planned,) = plan_again(row.assign(dataset=record.get("dataset_name", record["dataset"])),
                            options.known_backbones(registry), ledger)  # fmt: skip
    if planned.obstacle is not None:
        raise planned.obstacle
    if planned.dataset_fingerprint != record["dataset_fingerprint"]:
        raise BenchmarkError(f"{record['dataset']} has changed since run {record['run_id']}: run it again.")
    weights = ledger.read_weights(record["run_id"]) or _train_again(planned, record)
    known = {str(column): value for column, value in record.items() if pd.notna(value) and value != ""}
    trained = Trained(planned.cell, weights, predictions[0], known)
    with console.stderr.status(Text(printable(f"writing and checking {out}"))):
        exported = call_silently_in_child(export_run, trained, out, chosen_format)
    same = f"{exported.n_checked - exported.n_undecided} of {exported.n_checked:,} test images"
    if as_json:
        console.show_json({"file": str(out), "format": chosen_format, **exported._asdict(), "row": known})
        return
    console.show(
        f"{out}: {planned.cell}, accuracy {record['accuracy']:.4f} ({record['accuracy_low']:.3f} to "
        f"{record['accuracy_high']:.3f}). It predicts {same} as the run did."
    )
    if chosen_format == "keras":
        console.show(f"Next: benchmark predict {out} FOLDER")


def _best_row(runs: "pd.DataFrame") -> "pd.DataFrame":
    """The row of the best setting in mode native; of its seeds, the one with the best validation accuracy."""
    from benchmark.analysis.correctness import Correctness
    from benchmark.analysis.leaderboard import make_leaderboard
    from benchmark.analysis.loading import SETTING, finished

    datasets = runs["dataset"].unique()
    if len(datasets) > 1:
        raise BenchmarkError(f"The ledger has several datasets: give a run_id. It has {', '.join(datasets)}.")
    board = make_leaderboard(runs, correctness=Correctness(runs))
    board = board[board["rank"].notna()]
    if board.empty:
        raise BenchmarkError("The ledger has no finished row to export.")
    first = board.iloc[[0]][list(SETTING)]
    rows = finished(runs).reset_index().merge(first, on=list(SETTING)).set_index("index")
    return rows.sort_values("val_accuracy", ascending=False, kind="stable").iloc[[0]]


def _check_exportable(record: dict[Any, Any]) -> None:
    from benchmark.export.model import EXPORTED_HEADS
    from benchmark.ledger import DONE
    from benchmark.options import PROBE

    run_id = record["run_id"]
    if record["status"] != DONE:
        raise BenchmarkError(
            f"Run {run_id} failed ({record['error_type']}: {record['error_message']}): export another."
        )
    if record["strategy"] == PROBE and record["head"] not in EXPORTED_HEADS:
        raise BenchmarkError(
            f"Run {run_id} has the head {record['head']!r}, which gives no probabilities by layers: export a run with "
            f"the head {' or '.join(EXPORTED_HEADS)}."
        )


def _train_again(planned: "PlannedCell", record: dict[Any, Any]) -> "list[NDArray[np.float32]]":
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
        with console.SweepDisplay(1) as display:
            for event in run_cells([planned], ledger, execute, recipe_sha256="", again=False):
                display.show(event)
                if isinstance(event, CellEnded):
                    row = event.row
        if row["status"] == FAILED:
            raise BenchmarkError(f"It could not be trained again ({row['error_type']}): {row['error_message']}")
        weights = ledger.read_weights(row["run_id"])
    assert weights is not None, "a finished run keeps its weights"
    return weights


def predict(
    model: Annotated[Path, typer.Argument(help="A .keras file that benchmark export wrote.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Images, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="The number of classes to name for each image.")] = 3,
    engine: options.EngineOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a line for each image and class.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Name the most likely classes of images, with their probabilities, by an exported model.

    Files that are no images are named, the others are done; then the exit code is 1.
    """
    from benchmark.export.files import read_facts
    from benchmark.export.predicting import find_images, predict_files
    from benchmark.features.engines import AUTO, OPENVINO, choose_engine

    if as_csv and as_json:
        raise BenchmarkError("Give --csv or --json, not both.")
    class_names = read_facts(model)["class_names"]
    files = find_images(images)
    chosen = choose_engine(engine or AUTO, OPENVINO, has_gpu=False)
    found: list[Prediction] = []
    with console.scan_display("predicting") as on_done:
        for prediction in iterate_in_child(predict_files, model, files, chosen):
            found.append(prediction)
            on_done(model.name, len(found), len(files))
    names = [in_utf8(str(file)) for file in files]
    _show(found, names, class_names, top, as_csv=as_csv, as_json=as_json)
    faults = [one.fault for one in found if one.probabilities is None]
    for fault in faults:
        console.say(fault, style="red")
    if faults:
        console.say(f"{count_of(len(faults), 'file')} of {len(files):,} could not be predicted.", style="red")
        sys.exit(EXIT_SOME_FAILED)


def _show(
    found: "list[Prediction]", names: list[str], class_names: list[str], top: int, *, as_csv: bool, as_json: bool
) -> None:
    import pandas as pd

    from benchmark.analysis.formats import FORMATS

    likely = {
        one.place: [
            (class_names[place], float(one.probabilities[place])) for place in (-one.probabilities).argsort()[:top]
        ]
        for one in found
        if one.probabilities is not None
    }
    if as_json:
        faults = {one.place: one.fault for one in found if one.fault}
        console.show_json([
            {"file": names[place], "fault": faults[place]} if place in faults else
            {"file": names[place], "classes": [{"class": name, "probability": share} for name, share in likely[place]]}
            for place in range(len(found))
        ])  # fmt: skip
    elif as_csv:
        rows = [
            (names[place], rank, *one) for place, classes in likely.items() for rank, one in enumerate(classes, start=1)
        ]
        console.write(FORMATS["csv"](pd.DataFrame(rows, columns=["file", "rank", "class", "probability"]), []))
    else:
        headings = ["file", *(f"{heading} {rank}" if rank > 1 else heading for rank in range(1, top + 1)
                              for heading in ("class", "probability"))]  # fmt: skip
        headings = headings[: 1 + 2 * min(top, len(class_names))]
        console.show_table(headings, [
            [names[place], *(cell for name, share in classes for cell in (name, round(share, SHOWN_DIGITS)))]
            for place, classes in likely.items()
        ], least_telling=headings[:0:-1])  # fmt: skip
