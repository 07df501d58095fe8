"""`benchmark mistakes`: the test images that a run named wrongly."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import console
from benchmark.cli.options import RESULTS, FormatOption, OutOption, PathsArgument, output, shown, within
from benchmark.cli.pictures import check_picture, write_picture
from benchmark.cli.results import choose_format, publish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import pandas as pd

    from benchmark.datasets import Dataset

# Without --top, a sheet shows this many.
USUAL_SHEET = 48


def mistakes(
    run_id: Annotated[str, typer.Argument(help="The run_id of the row, from runs.csv; its beginning is enough.")],
    paths: PathsArgument = None,
    top: Annotated[
        int | None,
        shown(
            metavar="N",
            callback=within(1),
            help="Only so many, the most confident ones.",
            show_default=f"all; {USUAL_SHEET} of a sheet",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        output(help="Also draw them into this file, .png or .svg, each with its caption.", show_default=False),
    ] = None,
    format_name: FormatOption = None,
    out: OutOption = None,
) -> None:
    """List every test image that a run named wrongly, the most confident answer first.

    The images are loaded again and must be those that the run saw. They are named
    by their files, those of other datasets by their number as stored, training images first.

    With the extra cleanlab, and if the setting was run with --folds, the column likely_label_error marks the images
    whose label is likely to be wrong, by the confident joint of the answers of all folds.
    """  # fmt: skip
    from benchmark.analysis.label_errors import find_label_errors, has_cleanlab
    from benchmark.analysis.loading import find_row, load_all_runs
    from benchmark.analysis.mistakes import make_mistakes, mistakes_sections, require_answers
    from benchmark.plan.tested import load_tested

    format_name = choose_format(format_name, out)
    check_picture("--sheet", sheet)
    runs = load_all_runs(paths or [RESULTS])
    (row,) = find_row(runs, run_id).to_dict("records")
    answers = require_answers(row)
    dataset = load_tested(row, row["dataset"], answers.class_names)
    found = find_label_errors(runs, row) if has_cleanlab() else None
    table = make_mistakes(
        answers, lambda index: dataset.images.name(int(dataset.test[index])), None if isinstance(found, str) else found
    )
    notes = [found] if isinstance(found, str) else []
    sections = mistakes_sections(table, row, len(answers.true), top=top, notes=notes)
    publish(table.head(top or len(table)), sections, format_name, out)
    if sheet is not None:
        _write_sheet(sheet, table.head(top or USUAL_SHEET), dataset, row)


def _write_sheet(path: Path, table: "pd.DataFrame", dataset: "Dataset", row: "Mapping[Any, Any]") -> None:
    from benchmark.charts.sheet import MOST_IMAGES, draw_sheet

    if table.empty:
        console.say(f"Without a mistake there is nothing to draw, so {path} is not written.")
        return
    if len(table) > MOST_IMAGES:
        console.say(f"{path} shows the first {MOST_IMAGES} mistakes: a sheet has no room for more.")
    write_picture(path, draw_sheet(table, dataset, row))
