"""Which rows and columns of a table are shown: `--where`, `--top` and `--columns`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from benchmark.analysis.formats import MISSING_VALUE, Section, count_of, heading_of, number_texts
from benchmark.analysis.leaderboard import NOT_MEASURED
from benchmark.errors import BenchmarkError, check_known


def rows_where(runs: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    """The runs whose columns have these values or match these shell patterns.

    Args:
        runs: What `load_runs` returns.
        where: By column. `dataset` is the name that tables show, or exactly that of the file.

    Raises:
        UnknownNameError: There is no such column, or no row matches.
    """
    from benchmark.plan.grid import matching

    for column in where:
        check_known("column in --where", column, runs.columns)
    named = runs.assign(dataset=runs["dataset_name"]) if where.get("dataset") in {*runs["dataset_name"]} else runs
    return runs.iloc[matching(named[list(where)].to_dict("records"), where)] if where else runs


def first_ranked(table: pd.DataFrame, top: int | None) -> pd.DataFrame:
    """The rows of a leaderboard or an ablation whose rank is at most `top`; all of them if it is None.

    Equal values have equal ranks, so there may be more than `top`; rows without a rank are left out.
    """
    return table if top is None else table[table["rank"].le(top).fillna(False).astype(bool)]


def check_columns(names: Sequence[str] | None, known: Sequence[str], *, by: str = "") -> list[str] | None:
    """The columns that a table is to have, each once and in this order, `by` among them; None for all.

    Raises:
        UnknownNameError: There is no such column.
        BenchmarkError: None is named.
    """
    if names is None:
        return None
    if not names:
        raise BenchmarkError(f"--columns takes names, comma separated, got none. Known: {', '.join(known)}.")
    for name in names:
        check_known("column in --columns", name, known)
    return list(dict.fromkeys([*names, by] if by else names))


def note_on_top(rows: pd.DataFrame, top: int | None) -> list[str]:
    """What `top` leaves out of a leaderboard or ablation, and how much of that may belong to the first `top`."""
    shown = first_ranked(rows, top)
    if len(shown) == len(rows):
        return []
    note = f"Shown: the first {len(shown)} of {count_of(len(rows), 'row')}."
    others = rows.drop(shown.index)
    n_as_good = int(others["rank_first"].le(top).sum()) if "rank_first" in others else 0
    if n_as_good:
        note += f" {n_as_good} of the others may be among the best {top}: their range of ranks begins there."
    n_unmeasured = int((others["not_ranked"] == NOT_MEASURED).sum()) if "not_ranked" in others else 0
    if n_unmeasured:
        note += f" In {count_of(n_unmeasured, 'other')}, what they are ranked by was not measured."
    return [note]


def with_columns(
    section: Section, table: pd.DataFrame, columns: Iterable[str] | None, headings: Mapping[str, str]
) -> Section:
    """The section with the cells that show these columns, in their order; as it is if they are None.

    Args:
        section: As people see it by default.
        table: The same rows with their numbers.
        columns: Of `table`.
        headings: The columns that cells show in a form of their own, with the heading of these cells.
    """
    if columns is None:
        return section
    cells = {}
    for column in columns:
        heading = headings.get(column, "")
        if heading in section.cells:
            cells[heading] = section.cells[heading].tolist()
        else:
            cells[heading_of(column)] = _texts(table[column])
    return replace(section, cells=pd.DataFrame(cells, index=table.index), least_telling=(), is_chosen=True)


def _texts(values: pd.Series) -> list[str]:
    if pd.api.types.is_numeric_dtype(values):
        is_whole = bool((values.dropna() % 1 == 0).all())
        return number_texts(values, "{:,.0f}" if is_whole else "{:.4g}")
    return [MISSING_VALUE if pd.isna(value) or value == "" else str(value) for value in values]
