"""The migration of earlier schemas to the present one, in which every fact has a column of its own."""

from pathlib import Path

import pandas as pd

from benchmark.tidycsv import read_fields

# Schema 1 appended options to the name that they belong to, and facts about the run to those of the machine.
_SUFFIXES = {
    "dataset": r"(?s)^(?P<dataset>.*?)(?:\[(?P<classes>.*)\])?(?:@(?P<limit>\d+))?$",
    "strategy": r"^(?P<strategy>[^(]*)(?:\((?P<stages>.*?)(?:(?:^|; |(?<=\())folds=(?P<folds>\d+))?\))?$",
    "head": r"^(?P<head>[^(]*)(?:\((?P<head_options>.*)\))?$",
    "cpu": r"^(?P<cpu>.*?)(?:, (?P<cpu_vectors>AMX|AVX(?:-512|2)?(?: BF16)?))?(?: \((?P<n_jobs>\d+) jobs at once\))?$",
    "platform": r"^(?P<platform>.*?)(?P<is_deterministic> \(deterministic operations\))?$",
    "git_commit": r"^(?P<git_commit>.*?)(?P<is_dirty>\+dirty)?$",
}
WRONG_MODE = "wrong_mode"
# Columns that the first files of schema 2 do not have.
LATER_COLUMNS = frozenset(
    """
    network_sha256 part drop_duplicates restrict_classes shots n_left_out n_duplicates engine batch_size
    openvino_version pillow_version model_mib latency_ms latency_p95_ms weighted_precision weighted_recall auroc
    calibration_error split_version costs_from keras_hub_version pooling
    """.split()
)
# What those columns hold in the rows of such files, where it is known: there was no other.
BEFORE_THE_COLUMN = {"engine": "tensorflow", "split_version": "1"}
# Columns of schema 2 that schema 1 did not have; it had `network` instead.
_SINCE_SCHEMA_2 = LATER_COLUMNS | frozenset(
    """
    classes limit stages folds head_options cpu_vectors n_jobs is_deterministic is_dirty warning setting_key
    val_fraction registry_sha256 feature_version
    """.split()
)


def from_schema_1(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of `runs.csv` in schema 2.

    `setting_key`, `val_fraction`, `registry_sha256` and `feature_version` stay empty: schema 1 did not hold them.

    Args:
        runs: The columns of schema 1, all as text. Not changed.
    """
    rows = runs.copy()
    for column, pattern in _SUFFIXES.items():
        parts = runs[column].str.extract(pattern).fillna("")
        rows[parts.columns.tolist()] = parts
    rows["n_jobs"] = rows["n_jobs"].replace("", "1")
    for column in ("is_deterministic", "is_dirty"):
        rows[column] = (rows[column] != "").astype(int).astype(str)
    is_warning = rows["error_type"] == WRONG_MODE
    rows["warning"] = rows["error_message"].where(is_warning, "")
    rows.loc[is_warning, ["error_type", "error_message"]] = ""
    return rows.assign(schema="2").drop(columns="network")


def to_present_schema(content: bytes, path: Path, columns: tuple[str, ...]) -> bytes:
    """A `runs.csv` of an earlier schema, or with its columns in another order, in the present form.

    Any other content is returned as it is.

    Args:
        content: Whole lines of the file.
        path: The file, for messages.
        columns: Of the present schema, in order. Those that an earlier file lacks are left empty.

    Raises:
        LedgerError: A line has more or fewer fields than the header.
    """
    names = tuple(content.partition(b"\n")[0].decode(errors="replace").split(","))
    missing, unknown = set(columns) - set(names), set(names) - set(columns)
    is_schema_1 = unknown == {"network"} and missing == set(_SINCE_SCHEMA_2)
    if names == columns or (not is_schema_1 and (unknown or missing - LATER_COLUMNS)):
        return content
    text = read_fields(content, path, names)
    present = (from_schema_1(text) if is_schema_1 else text).reindex(columns=list(columns), fill_value="")
    for column in BEFORE_THE_COLUMN.keys() - set(names):
        present[column] = BEFORE_THE_COLUMN[column]
    return present.to_csv(index=False, lineterminator="\n").encode()
