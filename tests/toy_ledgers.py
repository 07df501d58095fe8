"""Rows and predictions of ledgers made by hand."""

from typing import Any

import numpy as np

from benchmark.ledger import DONE, SCHEMA, Ledger

SETTING = {
    "backbone": "NetA", "weights": "random", "dataset": "digits", "mode": "native", "strategy": "probe",
    "head": "linear", "network": "", "input_size_px": 64, "resize": "bilinear", "crop": "squash", "augment": "",
    "precision": "float32", "seed": 0,
}  # fmt: skip
RESULT = {"n_test": 100, "accuracy": 0.5, "params_total": 2_000_000, "efficiency": 0.25, "wall_s": 10.0}
FINGERPRINT = "f" * 64


def add(ledger: Ledger, *, status: str = DONE, **columns: Any) -> str:
    """Append a run and return its id."""
    number = len(ledger.read_runs())
    row = {"schema": SCHEMA, "run_id": f"run{number}", "cell_key": f"key{number}", "status": status, **SETTING}
    ledger.append_run({**row, **(RESULT if status == DONE else {}), **columns})
    return f"run{number}"


def add_predicted(ledger: Ledger, right: np.ndarray, **columns: Any) -> str:
    """Append a run that names just these test images correctly, all of class 1 of 2."""
    right = np.asarray(right, bool)
    facts = {"n_test": len(right), "accuracy": right.mean(), "dataset_fingerprint": FINGERPRINT}
    facts = {**RESULT, **facts, **columns}
    facts["efficiency"] = facts["accuracy"] / (facts["params_total"] / 1e6)
    run_id = add(ledger, **facts)
    ledger.save_predictions(run_id, np.where(right[:, None], [0.1, 0.9], [0.9, 0.1]).astype(np.float32))
    ledger.save_true_labels(columns.get("dataset_fingerprint", FINGERPRINT), np.ones(len(right), int), ["no", "yes"])
    return run_id
