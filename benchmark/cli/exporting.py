"""`benchmark export` and `predict`: a run made into one model, and what such a model says of images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import console
from benchmark.analysis.formats import count_of
from benchmark.cli import options
from benchmark.errors import BenchmarkError
from benchmark.escaping import in_utf8
from benchmark.isolation import iterate_in_child

if TYPE_CHECKING:
    from benchmark.export.predicting import Prediction

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
    from benchmark.actions.exporting import export_model

    known = options.known_backbones(registry)
    made = export_model(run_id, paths or [options.RESULTS], known, out, best=best, format_name=format_name)
    if as_json:
        console.show_json(made)
        return
    row, n_same = made["row"], made["n_checked"] - made["n_undecided"]
    console.show(
        f"{out}: {row['backbone']}, mode {row['mode']}, {row['strategy']} {row.get('head', '')}, accuracy "
        f"{row['accuracy']:.4f} ({row['accuracy_low']:.3f} to {row['accuracy_high']:.3f}). It predicts {n_same:,} of "
        f"{count_of(made['n_checked'], 'test image')} as the run did."
    )
    if made["format"] == "keras":
        console.show(f"Next: benchmark predict {out} FOLDER")


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
