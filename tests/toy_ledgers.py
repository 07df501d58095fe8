"""Rows and predictions of ledgers made by hand."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.ledger import CELL_COLUMNS, DONE, RUNS, SCHEMA, Ledger, fold_of
from benchmark.storage import digest_of_text

SETTING = {
    "backbone": "NetA", "weights": "random", "dataset": "digits", "classes": "", "mode": "native", "strategy": "probe",
    "stages": "", "head": "linear", "head_options": "", "input_size_px": 64, "resize": "bilinear", "crop": "squash",
    "augment": "", "engine": "tensorflow", "precision": "float32", "val_fraction": 0.1, "seed": 0,
    "split_version": 2,
}  # fmt: skip
RESULT = {"n_test": 100, "accuracy": 0.5, "params_total": 2_000_000, "efficiency": 0.25, "wall_s": 10.0}
FINGERPRINT = "f" * 64


def keys_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Keys as `make_keys` gives them: the same for rows that a recipe asks for alike and that have the same origins."""
    varying = (*CELL_COLUMNS, "weights", "dataset_fingerprint", "split_version", "keras_version", "registry_sha256")
    facts = {name: row.get(name) for name in varying}
    facts["dataset"] = facts["dataset_fingerprint"] or facts["dataset"]
    seed = facts.pop("seed")
    setting = digest_of_text(repr(facts))[:32]
    return {"setting_key": setting, "cell_key": digest_of_text(f"{setting}{seed}")[:32]}


def add(ledger: Ledger, *, status: str = DONE, **columns: Any) -> str:
    """Append a run and return its id."""
    file = ledger.folder / RUNS
    number = file.read_bytes().count(b"\n") - 1 if file.exists() else 0  # reading all of it takes as long as a test
    row = {"schema": SCHEMA, "run_id": f"run{number}", "status": status, "n_jobs": 1, "is_deterministic": 0, **SETTING}
    row |= {**(RESULT if status == DONE else {}), **columns}
    ledger.append_run({**keys_of(row), **row})
    return f"run{number}"


def add_predicted(ledger: Ledger, right: np.ndarray, **columns: Any) -> str:
    """Append a run that names just these test images correctly, all of class 1 of 2."""
    right = np.asarray(right, bool)
    facts = {"n_test": len(right), "accuracy": right.mean(), "dataset_fingerprint": FINGERPRINT}
    facts = {**RESULT, **facts, **columns}
    facts["efficiency"] = facts["accuracy"] / (facts["params_total"] / 1e6)
    run_id = add(ledger, **facts)
    ledger.save_predictions(run_id, np.where(right[:, None], [0.1, 0.9], [0.9, 0.1]).astype(np.float32))
    fold = fold_of({"folds": None, "seed": 0, **columns})
    fingerprint = columns.get("dataset_fingerprint", FINGERPRINT)
    ledger.save_true_labels(fingerprint, np.ones(len(right), int), ["no", "yes"], fold)
    return run_id
