"""Readable names of datasets, strategies and heads, with the options that differ from the usual ones."""

import pandas as pd

from benchmark.options import CLASSIFY


def dataset_labels(table: pd.DataFrame) -> list[str]:
    """The dataset of each row, such as `folder:pets[cat,dog]@100 (train)`: its classes, its limit and its part.

    What `classify` scores is another dataset, with other test images and classes: `folder:val (classify)`.
    """
    columns = [table[column] for column in ("dataset", "classes", "limit", "part", "strategy", "restrict_classes")]
    return [
        name
        + (f"[{classes}]" if classes else "")
        + ("" if pd.isna(limit) else f"@{limit:.0f}")
        + (f" ({part})" if part and not pd.isna(part) else "")
        + (f" ({CLASSIFY}{', restricted' if is_restricted == 1 else ''})" if strategy == CLASSIFY else "")
        for name, classes, limit, part, strategy, is_restricted in zip(*columns, strict=True)
    ]


def strategy_labels(table: pd.DataFrame) -> list[str]:
    """The strategy of each row, such as `probe(shots=5)`.

    `finetune(0, epochs=5 + 20)` starts each stage with the layers that it trains.
    """
    numbers = (
        ["" if pd.isna(number) else f"{column}={number:.0f}" for number in table[column]]
        for column in ("folds", "shots")
    )
    options = ["; ".join(filter(None, some)) for some in zip(table["stages"], *numbers, strict=True)]
    return _labelled(table["strategy"], options)


def head_labels(table: pd.DataFrame) -> list[str]:
    """The head of each row: `dense(units=512)`."""
    return _labelled(table["head"], table["head_options"])


def _labelled(names: "pd.Series[str]", options: "list[str] | pd.Series[str]") -> list[str]:
    # The space after a comma is where a narrow column breaks the line.
    return [f"{name}({some.replace(',', ', ')})" if some else name for name, some in zip(names, options, strict=True)]
