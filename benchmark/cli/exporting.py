"""`benchmark export` and `predict`: a run made into one model, and what such a model says of images."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import console
from benchmark.analysis.formats import count_of
from benchmark.cli import options, parsing
from benchmark.cli.running import EXIT_SOME_FAILED
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd


def export(
    run_id: Annotated[str | None, typer.Argument(help="The run_id of the row, or its beginning.")] = None,
    paths: options.PathsArgument = None,
    best: Annotated[
        Path | None,
        typer.Option(help="Instead of a run_id: a ledger. Its best setting in mode native that has layers is taken."),
    ] = None,
    out: Annotated[Path, options.output(help="The file: *.keras, *.onnx, *.tflite; a folder for saved_model.")] = Path(
        "model.keras"
    ),
    format_name: Annotated[
        str | None,
        options.output("--format", help="keras, onnx, tflite or saved_model.", show_default="by the suffix of --out"),
    ] = None,
    as_json: options.JsonOption = False,
    registry: options.RegistryOption = None,
) -> None:
    """Make one model of a run: images of any size in, class probabilities out, preprocessing inside.

    The file holds class names, accuracy and where it comes from. A .keras file loads with keras.saving.load_model,
    without this program. What the run trained is taken from its ledger (run --keep-weights), or trained again. The
    model is only written if it predicts for the test images what the run predicted.
    """
    from benchmark.actions.exporting import export_model

    known = parsing.known_backbones(registry)
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
        console.show(f"Next: benchmark predict {shlex.quote(str(out))} FOLDER")


def predict(
    model: Annotated[Path, typer.Argument(help="A .keras file that benchmark export wrote.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Images, or folders of them.")],
    top: Annotated[
        int,
        options.shown(metavar="N", callback=options.within(1), help="The number of classes to name for each image."),
    ] = 3,
    as_csv: Annotated[bool, options.output("--csv", help="Print CSV: a line for each image and class.")] = False,
    as_json: options.JsonOption = False,
    engine: options.EngineOption = None,
) -> None:
    """Name the most likely classes of images, with their probabilities, by an exported model.

    Files that are no images are named, the others are done; then the exit code is 1.
    """
    from benchmark.actions.predicting import predict_table

    if as_csv and as_json:
        raise BenchmarkError("Give --csv or --json, not both.")
    table = predict_table(model, images, engine)
    _show(table, top, as_csv=as_csv, as_json=as_json)
    faults = [fault for fault in table.iloc[:, 1] if fault]
    for fault in faults:
        console.say(fault, style="red")
    if faults:
        console.say(f"{count_of(len(faults), 'file')} of {len(table):,} could not be predicted.", style="red")
        sys.exit(EXIT_SOME_FAILED)


def _show(table: "pd.DataFrame", top: int, *, as_csv: bool, as_json: bool) -> None:
    """Print the most likely classes of each image; `table` is that of `predict_table`."""
    import pandas as pd

    from benchmark.analysis.formats import FORMATS

    files, faults, shares = table.iloc[:, 0].tolist(), table.iloc[:, 1].tolist(), table.iloc[:, 2:]
    numbers = shares.to_numpy(float)
    orders = (-numbers).argsort(axis=1, kind="stable")[:, :top]
    likely = [
        [(str(shares.columns[place]), float(numbers[row, place])) for place in order]
        for row, order in enumerate(orders)
    ]
    if as_json:
        console.show_json([
            {"file": file, "fault": fault} if fault else
            {"file": file, "classes": [{"class": name, "probability": share} for name, share in classes]}
            for file, fault, classes in zip(files, faults, likely, strict=True)
        ])  # fmt: skip
        return
    done = [(file, classes) for file, fault, classes in zip(files, faults, likely, strict=True) if not fault]
    if as_csv:
        rows = [(file, rank, *one) for file, classes in done for rank, one in enumerate(classes, start=1)]
        console.write(FORMATS["csv"](pd.DataFrame(rows, columns=["file", "rank", "class", "probability"]), []))
    elif done:
        headings = ["class", *(f"class {rank}" for rank in range(2, len(done[0][1]) + 1))]
        # A class and its probability are one column, so that a narrow screen leaves out both.
        cells = [[file, *(f"{name} ({share:.4f})" for name, share in some)] for file, some in done]
        console.show_table(["file", *headings], cells, least_telling=headings[:0:-1])
