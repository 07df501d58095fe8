"""How people read the columns that name a setting: a name, and behind it the options that are not the usual ones."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

Row = Mapping[Any, Any]


def dataset_label(row: Row) -> str:
    """The dataset of a row: `folder:pets[cat,dog]@100` is 100 images of two of its classes."""
    classes = f"[{row['classes']}]" if row["classes"] else ""
    limit: str = "" if pd.isna(row["limit"]) else f"@{row['limit']:.0f}"
    return f"{row['dataset']}{classes}{limit}"


def strategy_label(row: Row) -> str:
    """The strategy of a row: `finetune(0,epochs=5 + 20)` gives of each stage the layers that learn first."""
    folds: str = "" if pd.isna(row["folds"]) else f"folds={row['folds']:.0f}"
    return _labelled(row["strategy"], "; ".join(filter(None, (row["stages"], folds))))


def head_label(row: Row) -> str:
    """The head of a row: `dense(units=512)`."""
    return _labelled(row["head"], row["head_options"])


def _labelled(name: str, options: str) -> str:
    return f"{name}({options})" if options else name
