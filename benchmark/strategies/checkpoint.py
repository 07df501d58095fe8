"""An interrupted training, in one file that is whole or absent."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.storage import write_whole

FACTS = "facts"

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs.

    Attributes:
        facts: Plain values, for JSON.
        arrays: Lists of arrays by name.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, Arrays]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the last one."""
    facts = {**checkpoint.facts, "lengths": {name: len(arrays) for name, arrays in checkpoint.arrays.items()}}
    members: dict[str, Any] = {FACTS: np.array(json.dumps(facts))}
    members |= {f"{name}/{i}": array for name, arrays in checkpoint.arrays.items() for i, array in enumerate(arrays)}
    content = io.BytesIO()
    np.savez(content, **members)
    with write_whole(path) as file:
        file.write(content.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint | None:
    """The last checkpoint; None if there is none or its file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            facts = json.loads(str(members[FACTS]))
            lengths = facts.pop("lengths")
            arrays = {name: [members[f"{name}/{i}"] for i in range(n)] for name, n in lengths.items()}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return Checkpoint(facts, arrays)


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of the variables' values."""
    import keras

    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign_all(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Set variables to values in the same order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
