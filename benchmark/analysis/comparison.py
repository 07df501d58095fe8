"""Two ledgers compared: which cells changed, and whether by more than noise."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.analysis.correctness import Correctness
from benchmark.analysis.overall import overall_difference
from benchmark.analysis.pairs import (
    BETTER,
    BROKEN,
    FAILED_TWICE,
    FIXED,
    GONE,
    INCOMPARABLE,
    MARKS,
    NEW,
    SAME,
    WITHIN_NOISE,
    WORSE,
    Pair,
    pairs_table,
    tested,
)
from benchmark.analysis.significance import ALPHA, Changes
from benchmark.ledger import DONE, cell_names, fold_of
from benchmark.origins import DEFINITION, INPUTS, MACHINE, VERSIONS, what_changed


def compare_ledgers(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Every cell of either ledger, those that got worse first.

    Args:
        before: What `load_runs` returns for the earlier ledgers.
        after: The same for the later ones.

    Returns:
        One row per cell: `mark` and `change` (a pair of `MARKS`), the columns of `CELL_COLUMNS`, `run_id_before`,
        `run_id_after`, `accuracy_before`, `accuracy_after`, `difference`, `p_value` (Holm-adjusted over the cells;
        McNemar's exact test where the predictions were kept, else Fisher's exact test), `n_predictions_changed`,
        `wall_ratio` (seconds after over seconds before; machines differ, so it is only a hint) and `note`: what else
        differs. Rows on different images are not compared. In all rows the same, the `Overall` of all cells:
        `overall_n_cells`, `overall_difference`, `overall_low`, `overall_high` and `overall_p_value`.
    """
    sides = (Correctness(runs, with_folds=True) for runs in (before, after))
    pairs = tested(pair_runs(before, after), *sides, test_unpaired=True)
    table = pairs_table(pairs, _judge_change).sort_values("difference", kind="stable")
    overall = overall_difference(_changes_by_dataset(pairs))
    table = table.assign(**{f"overall_{name}": value for name, value in overall._asdict().items()})
    return table.sort_values(
        "change", key=lambda change: change.map(list(MARKS).index), kind="stable", ignore_index=True
    )


def has_declined(table: pd.DataFrame) -> bool:
    """Whether all cells together got worse, from the table of `compare_ledgers`."""
    return bool(((table["overall_p_value"] < ALPHA) & (table["overall_difference"] < 0)).any())


def _changes_by_dataset(pairs: Iterable[Pair]) -> list[Changes]:
    """`(n_test, n_cells)` of the test images of each dataset, or of each of its folds."""
    columns: dict[tuple[str, str], list[NDArray[np.int8]]] = {}
    for pair in pairs:
        if pair.changes is not None and pair.after is not None:
            images = pair.after["dataset_fingerprint"], fold_of(pair.after)
            columns.setdefault(images, []).append(pair.changes)
    return [np.stack(of_dataset, axis=1) for of_dataset in columns.values()]


def pair_runs(before: pd.DataFrame, after: pd.DataFrame) -> list[Pair]:
    """The cells of either table: rows with the same key are one cell, otherwise those with equal `CELL_COLUMNS`.

    Of several rows with equal `CELL_COLUMNS`, those with the same weights are one cell. Keys differ between versions of
    Keras, names between spellings of a folder.
    """
    (rows_before, names_before), (rows_after, names_after) = (
        (runs.to_dict("records"), cell_names(runs.assign(dataset=runs["dataset_name"]))) for runs in (before, after)
    )
    by_key = {row["cell_key"]: row for row in rows_after if row["cell_key"]}
    by_origin = {(row["weights"], name): row for row, name in zip(rows_after, names_after, strict=True)}
    # One ledger can hold the same name with several weights.
    n_before, n_after = Counter(names_before), Counter(names_after)
    by_name = {name: row for (_, name), row in by_origin.items() if n_before[name] == n_after[name] == 1}
    pairs = [
        Pair(row, by_key.get(row["cell_key"]) or by_origin.get((row["weights"], name)) or by_name.get(name))
        for row, name in zip(rows_before, names_before, strict=True)
    ]
    paired = {id(pair.after) for pair in pairs}
    return pairs + [Pair(None, row) for row in rows_after if id(row) not in paired]


def _judge_change(pair: Pair) -> tuple[str, str]:
    if pair.before is None or pair.after is None:
        return (NEW if pair.before is None else GONE), str((pair.after or {}).get("error_message") or "")
    if pair.done is None:
        was_done, is_done = (row["status"] == DONE for row in (pair.before, pair.after))
        change = BROKEN if was_done else FIXED if is_done else FAILED_TWICE
        return change, str(pair.after["error_message"] or "")
    columns = {**INPUTS, "params_total": "parameters", **DEFINITION, **VERSIONS, **MACHINE}
    note = "; ".join(what_changed(*pair.done, columns))
    if pair.before["dataset_fingerprint"] != pair.after["dataset_fingerprint"]:
        return INCOMPARABLE, note
    if pair.p_value < ALPHA:
        return (BETTER if pair.difference > 0 else WORSE), note
    return (SAME if pair.difference == 0 else WITHIN_NOISE), note
