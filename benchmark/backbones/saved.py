"""Saved Keras models read without running code from them."""

import zipfile
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError


def load_model(path: Path) -> Any:
    """A saved Keras model, not compiled, refused if it holds code.

    Raises:
        BenchmarkError: There is no such file, it is not a `.keras` archive, or it cannot be loaded safely.
    """
    if not path.is_file():
        raise BenchmarkError(f"There is no file {path}.")
    if path.suffix != ".keras":
        raise BenchmarkError(f"{path} is not a .keras file: save the model with model.save('x.keras').")
    if not (zipfile.is_zipfile(path) and zipfile.Path(path, "config.json").exists()):
        raise BenchmarkError(f"{path} is not a saved Keras model: it is not an archive with a config.json.")
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    # Keras raises these for unknown classes, Lambda layers, damaged archives and weights that do not fit.
    except (ValueError, TypeError, KeyError, AttributeError, OSError, ImportError) as error:
        raise BenchmarkError(
            f"{path} cannot be loaded: {_reason(error)}. Only models of Keras's own layers can be inspected: Lambda "
            "layers and custom classes would run code."
        ) from error


def _reason(error: BaseException) -> str:
    """The first sentence of the original error; Keras wraps it in others that print whole configurations."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".") or type(error).__name__
