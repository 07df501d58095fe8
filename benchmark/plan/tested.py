"""The test images of a finished run, loaded again and checked to be those that it saw."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.datasets import ALL_CLASSES, OWN_CLASSES, Dataset, load_local_dataset, split_dataset
from benchmark.errors import DataError, some_of
from benchmark.ledger import fold_of
from benchmark.options import CLASSIFY


def rerun_command(row: Mapping[Any, Any] | pd.Series) -> str:
    """What makes a row of a ledger again."""
    return shlex.join(["benchmark", "rerun", row["run_id"], str(row["folder"])])


def load_tested(row: Mapping[Any, Any] | pd.Series, name: str, class_names: Sequence[str]) -> Dataset:
    """The dataset of a run, from this machine; its test images are those of the run, also of a fold.

    Args:
        row: Of the run.
        name: Of the dataset, as the file has it.
        class_names: In the order of the labels.

    Raises:
        DataError: The dataset is not on this machine, cannot be used, or has changed.
    """
    imagenet_classes = None
    if row["strategy"] == CLASSIFY:
        imagenet_classes = OWN_CLASSES if row["restrict_classes"] == 1 else ALL_CLASSES
    # With all 1,000 classes, the names are not those that were chosen.
    chosen = row["classes"].split(",") if imagenet_classes == ALL_CLASSES else class_names
    dataset = load_local_dataset(
        name,
        limit=None if pd.isna(row["limit"]) else int(row["limit"]),
        part=row["part"] or None,
        classes=chosen if row["classes"] else None,
        drop_duplicates=row["drop_duplicates"] == 1,
        imagenet_classes=imagenet_classes,
    )
    if dataset.fingerprint != row["dataset_fingerprint"]:
        same = "the numbers of images are the same, but the images are not" if pd.isna(row["shots"]) else "other images"
        changes = "; ".join(_changes(row, dataset, class_names)) or same
        raise DataError(
            f"{name} has changed since run {row['run_id']}: {changes}. Restore the images, or make the row again: "
            f"{rerun_command(row)}"
        )
    if not fold_of(row):
        return dataset
    split = split_dataset(
        dataset, seed=int(row["seed"]), val_fraction=float(row["val_fraction"]), folds=int(row["folds"])
    )
    return replace(dataset, test=split.test)


def _changes(row: Mapping[Any, Any] | pd.Series, dataset: Dataset, class_names: Sequence[str]) -> list[str]:
    """What is different now, as far as the row and the names of its classes tell."""
    n_before = row["n_train"] + row["n_val"] + row["n_test"] if pd.isna(row["shots"]) else float("nan")
    numbers = {"images": (n_before, len(dataset)), "files left out": (row["n_left_out"], dataset.n_left_out)}
    if not fold_of(row):
        numbers["test images"] = (row["n_test"], len(dataset.test))
    changes = [
        f"{before:,.0f} {what} then, {now:,} now"
        for what, (before, now) in numbers.items()
        if pd.notna(before) and before != now
    ]
    names = {"gone": [*class_names], "new": [*dataset.class_names]}
    for what, some, others in (("gone", names["gone"], names["new"]), ("new", names["new"], names["gone"])):
        if found := [one for one in some if one not in others]:
            changes.append(f"classes that are {what}: {some_of(found)}")
    return changes
