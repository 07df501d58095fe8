"""Exported models in files: the formats, what a file says of itself, and how each is run."""

import importlib.util
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, check_known
from benchmark.exporting.model import ExportError
from benchmark.outputs import check_output

# What a file says of its model: a JSON file inside it.
FACTS = "benchmark.json"
# Where TensorFlow keeps files that belong to a saved model.
EXTRA = "assets.extra"
FACTS_VERSION = 1
SAVED_MODEL = "saved_model"

# From images `(n, height, width, 3)` uint8 to probabilities `(n, k)`.
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Format(NamedTuple):
    """A format of exported models.

    Attributes:
        suffix: Of its files; empty for a folder.
        write: Writes a Keras model and its facts, as JSON, to a path.
        load: From a path to a function that runs the model.
        needs: Packages that it takes beside Keras and TensorFlow, of the extra `onnx`.
    """

    suffix: str
    write: Callable[[Any, str, Path], None]
    load: Callable[[Path], Run]
    needs: tuple[str, ...] = ()


def format_of(path: Path, asked: str | None) -> str:
    """The format to export to: the one asked for, or that of the suffix.

    Raises:
        UnknownNameError: There is no such format.
        ExportError: The suffix says another one, or none.
        BenchmarkError: A package that it needs is not installed.
    """
    if asked is not None:
        check_known("format", asked, FORMATS)
    by_suffix = {one.suffix: name for name, one in FORMATS.items()}
    found = asked or by_suffix.get(path.suffix.lower())
    if found is None:
        raise ExportError(f"{path}: give --out a name that ends in {', '.join(filter(None, by_suffix))}, or --format.")
    if by_suffix.get(path.suffix.lower(), SAVED_MODEL) != found:
        suffix = FORMATS[found].suffix
        advice = f"is named *{suffix}" if suffix else "is a folder: give --out a name without this suffix"
        raise ExportError(f"{path}: a model of format {found} {advice}.")
    missing = [name for name in FORMATS[found].needs if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchmarkError(
            f"--format {found} needs {', '.join(missing)}, which is not installed: "
            "pip install 'backbone-benchmark[onnx]'."
        )
    return found


@contextmanager
def written(model: Any, facts: Mapping[str, Any], path: Path, format_name: str) -> Iterator[Path]:
    """A model in a file beside `path`, which gets that name, and replaces what has it, if nothing fails meanwhile."""
    chosen = FORMATS[format_name]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        made = Path(folder, f"model{chosen.suffix}")
        chosen.write(model, json.dumps({"version": FACTS_VERSION, **facts}, indent=2), made)
        yield made
        if path.is_dir():  # an earlier saved model; see `check_place`
            shutil.rmtree(path)
        made.replace(path)


def check_place(path: Path, format_name: str) -> None:
    """Refuse to replace a folder that is no exported model, and what `check_output` refuses.

    Raises:
        BenchmarkError: The path is such a place.
    """
    if format_name == SAVED_MODEL and path.is_dir():
        if any(path.iterdir()) and not (path / EXTRA / FACTS).exists():
            raise ExportError(f"{path} is a folder of other things: give --out a new name.")
    else:
        check_output(path)


def read_facts(path: Path) -> dict[str, Any]:
    """What the file of an exported `.keras` or `.tflite` model says of it.

    Raises:
        ExportError: It is not such a file, or a newer version wrote it.
    """
    if not path.is_file():
        raise ExportError(f"{path} is not a file: give a model that 'benchmark export' wrote.")
    try:
        with zipfile.ZipFile(path) as members:
            facts: dict[str, Any] = json.loads(members.read(FACTS))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(
            f"{path} is not a model that 'benchmark export' wrote as .keras or .tflite: class names and the size of "
            "its images are not known."
        ) from error
    if facts.get("version") != FACTS_VERSION:
        raise ExportError(
            f"{path} was written by another version of backbone-benchmark ({facts.get('harness_version')}): use that "
            "one."
        )
    return facts


def _write_keras(model: Any, facts: str, path: Path) -> None:
    model.save(path)
    with zipfile.ZipFile(path, "a") as members:
        members.writestr(FACTS, facts)


def _load_keras(path: Path) -> Run:
    import keras

    model = keras.saving.load_model(path, compile=False)
    return lambda images: np.asarray(model.predict_on_batch(images))


def _write_onnx(model: Any, facts: str, path: Path) -> None:
    import onnx

    model.export(path, format="onnx", verbose=False)
    made = onnx.load(str(path))
    onnx.helper.set_model_props(made, {FACTS: facts})
    onnx.save(made, str(path))


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0], np.float32)


def _write_tflite(model: Any, facts: str, path: Path) -> None:
    model.export(path, format="litert", verbose=False)
    with zipfile.ZipFile(path, "a") as members:  # as TensorFlow Lite keeps files that belong to a model
        members.writestr(FACTS, facts)


def _load_tflite(path: Path) -> Run:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow would rather have its interpreter in a package of its own
        interpreter = tf.lite.Interpreter(str(path))

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        taken = interpreter.get_input_details()[0]
        interpreter.resize_tensor_input(taken["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], images)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))

    return run


def _write_saved_model(model: Any, facts: str, path: Path) -> None:
    model.export(path, format="tf_saved_model", verbose=False)
    (path / EXTRA).mkdir()
    (path / EXTRA / FACTS).write_text(facts, encoding="utf-8")


def _load_saved_model(path: Path) -> Run:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    return lambda images: np.asarray(model.serve(images))


FORMATS = {
    "keras": Format(".keras", _write_keras, _load_keras),
    "onnx": Format(".onnx", _write_onnx, _load_onnx, ("onnx", "tf2onnx", "onnxruntime")),
    "tflite": Format(".tflite", _write_tflite, _load_tflite),
    SAVED_MODEL: Format("", _write_saved_model, _load_saved_model),
}
