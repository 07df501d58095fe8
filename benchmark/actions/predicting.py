"""Images predicted by an exported model, in a child process, with progress."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.escaping import in_utf8
from benchmark.isolation import iterate_in_child
from benchmark.progress import scan_display

if TYPE_CHECKING:
    import pandas as pd


def predict_table(model: Path, images: Sequence[Path], engine: str | None = None) -> "pd.DataFrame":
    """The class probabilities of images.

    Args:
        model: A `.keras` file that was exported.
        images: Files, or folders of them.
        engine: A key of `features.engines.ENGINES`; None for the fastest that is installed.

    Returns:
        One row per image: `file`, `fault` (why it could not be predicted; else empty), and the probability of each
        class under its name.

    Raises:
        BenchmarkError: The model is none, or there are no images.
    """
    import pandas as pd

    from benchmark.errors import BenchmarkError, check_known
    from benchmark.exporting.files import read_facts
    from benchmark.exporting.predicting import find_images, predict_files
    from benchmark.features.engines import AUTO, ENGINES, OPENVINO, choose_engine

    if model.exists() and model.suffix.lower() != ".keras":
        raise BenchmarkError(f"{model}: predict takes a .keras file: export the run with --out NAME.keras.")
    class_names = read_facts(model)["class_names"]
    files = find_images(images)
    check_known("engine", engine or AUTO, (AUTO, *ENGINES))
    chosen = choose_engine(engine or AUTO, OPENVINO, has_gpu=False)
    found = []
    with scan_display("predicting") as on_done:
        for prediction in iterate_in_child(predict_files, model, files, chosen):
            found.append(prediction)
            on_done(model.name, len(found), len(files))
    shares = [[None] * len(class_names) if one.probabilities is None else one.probabilities for one in found]
    table = pd.DataFrame(shares, columns=class_names, dtype=float)
    about = pd.DataFrame({"file": [in_utf8(str(file)) for file in files], "fault": [one.fault for one in found]})
    return pd.concat([about, table], axis=1)  # a class may be called `file`
