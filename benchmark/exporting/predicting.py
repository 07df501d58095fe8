"""The predictions of an exported model for image files, at the speed of the engine that extracts features."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.ahead import map_ahead
from benchmark.datasets.decoding import USUAL_SHIFT, decode_file
from benchmark.datasets.files import is_named_as_image, walk_files
from benchmark.errors import DataError
from benchmark.exporting.files import read_facts
from benchmark.exporting.model import CLASSIFIER, ExportError
from benchmark.preprocessing import View
from benchmark.provenance import usable_cpus

# Of the classifier's input, which holds the mode inside.
AS_IT_IS = ("raw",)
# Images at a time.
AT_ONCE = 16


class Prediction(NamedTuple):
    """What a model says of a file.

    Attributes:
        place: The position of the file.
        probabilities: `(k,)`; None if it is no image.
        fault: Why it is none; else empty.
    """

    place: int
    probabilities: NDArray[np.float32] | None
    fault: str = ""


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files to predict: each file that is given, and every file named as an image in the folders, sorted.

    Raises:
        DataError: A path does not exist, or a folder has no such file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.")
        if not path.is_dir():
            found.append(path)
            continue
        files = [file.path for file in walk_files(path) if file.reason is None and is_named_as_image(file.path)]
        if not files:
            raise DataError(f"The folder {path} has no images.")
        found += files
    return list(dict.fromkeys(found))


def predict_files(model: Path, files: Sequence[Path], engine: str) -> Iterator[Prediction]:
    """The predictions of an exported `.keras` model, in the order of the files.

    Files are decoded and resized as those of a dataset are. To be called in a child process.

    Args:
        model: The file of the model.
        files: Of images.
        engine: A key of `features.engines.ENGINES`.

    Raises:
        ExportError: The file is not an exported `.keras` model.
    """
    facts = read_facts(model)
    view, shift = View(**facts["view"]), facts.get("grey_shift", USUAL_SHIFT)  # earlier files lack the shift
    extractor = _extractor(model, facts["n_channels"], view.size_px, engine)

    def decode(path: Path) -> NDArray[np.uint8] | DataError:
        try:
            return decode_file(path, view, shift)
        except DataError as error:
            return error

    decoded = enumerate(map_ahead(decode, files, usable_cpus()))
    batches = map_ahead(lambda batch: _predict(extractor, batch, facts["n_channels"]), _batches(decoded), 2)
    for predictions in batches:
        yield from predictions


Decoded = tuple[int, NDArray[np.uint8] | DataError]


def _batches(decoded: Iterator[Decoded]) -> Iterator[list[Decoded]]:
    """Items until `AT_ONCE` of them are images."""
    batch: list[Decoded] = []
    n_images = 0
    for place, image in decoded:
        batch.append((place, image))
        n_images += not isinstance(image, DataError)
        if n_images == AT_ONCE:
            yield batch
            batch, n_images = [], 0
    if batch:
        yield batch


def _predict(extractor: Any, batch: list[Decoded], n_channels: int) -> list[Prediction]:
    images = [image for _, image in batch if not isinstance(image, DataError)]
    if n_channels == 1:
        images = [_grey(image) for image in images]
    found = iter(extractor.features(np.stack(images)) if images else ())
    return [
        Prediction(place, None, str(image)) if isinstance(image, DataError) else Prediction(place, next(found))
        for place, image in batch
    ]


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB `(height, width, 3)` as grey `(height, width, 1)`; `to_grey` does the same in an exported model."""
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis]


def _extractor(model: Path, n_channels: int, size_px: int, engine: str) -> Any:
    import keras

    from benchmark.features.engines import CompiledNetwork
    from benchmark.features.graph import FrozenNetwork

    try:
        classifier = keras.saving.load_model(model, compile=False).get_layer(CLASSIFIER)
    except ValueError as error:
        raise ExportError(f"{model} is not a .keras file that 'benchmark export' wrote: {error}") from error
    frozen = FrozenNetwork(classifier, size_px)
    return CompiledNetwork(engine, frozen, n_channels, "float32", AT_ONCE).extractor(AS_IT_IS)
