"""The leaderboard as text: Markdown, CSV or JSON."""

import json
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

MISSING_VALUE = "–"
TEXT_HEADINGS = ("Backbone", "Strategy", "Mode", "Head", "Augmentation", "Precision", "Metric", "Note")
# Greater numbers are counts, not fractions.
FIRST_COUNT = 1000


def leaderboard_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard of one dataset as people read it: one column of text a heading, a row a setting."""
    readable = pd.DataFrame(
        {
            "Rank": table["rank"].map(str),
            "Backbone": table["backbone"],
            "Mode": table["mode"],
            "Head": table["head"],
            "Input px": table["input_size_px"].map(_number("{:.0f}")),
            "Accuracy": [_with_spread(row) for row in table.to_dict("records")],
            "95 % interval": [
                f"{low:.3f}–{high:.3f}" for low, high in zip(table["accuracy_low"], table["accuracy_high"], strict=True)
            ],
            "Published": table["published"].map(_number("{:.3f}")),
            "Difference": table["difference"].map(_number("{:+.3f}")),
            "Params, M": (table["params_total"] / 1e6).map(_number("{:.2f}")),
            "Accuracy / M": table["efficiency"].map(_number("{:.3f}")),
            "Wall, s": table["wall_s"].map(_number("{:.0f}")),
            "Images/s": table["images_per_s"].map(_number("{:.0f}")),
            "Peak MiB": table["peak_rss_mib"].map(_number("{:.0f}")),
            "Seeds": table["n_seeds"].map(str),
        },
        index=table.index,
    )
    for heading, column, usual in (
        ("Strategy", "strategy", "probe"),
        ("Augmentation", "augment", ""),
        ("Precision", "precision", "float32"),
        ("Resize", "resize", "bilinear"),
        ("Crop", "crop", "squash"),
    ):
        if set(table[column]) != {usual}:
            readable.insert(4, heading, table[column])
    return readable if table["published"].notna().any() else readable.drop(columns=["Published", "Difference"])


def comparison_cells(comparison: pd.DataFrame) -> pd.DataFrame:
    """Published figures beside measured ones as people read them; counts to the last digit."""

    def text(value: float, sign: str = "") -> str:
        return MISSING_VALUE if pd.isna(value) else f"{value:{sign},.{0 if abs(value) >= FIRST_COUNT else 4}f}"

    readable = comparison[["backbone", "strategy", "mode", "head", "metric"]].copy()
    for column, sign in (("published", ""), ("measured", ""), ("difference", "+")):
        readable[column] = [text(value, sign) for value in comparison[column]]
    readable["note"] = comparison["note"]
    return readable.rename(columns=str.capitalize)


def to_markdown(table: pd.DataFrame, comparison: pd.DataFrame | None = None) -> str:
    """A heading and a Markdown table a dataset, and one of published figures where there are any.

    Args:
        table: The leaderboard.
        comparison: What `leaderboard.compare_published` gives.
    """
    parts = []
    for dataset, group in table.groupby("dataset", sort=True):
        parts.append(_markdown_table(f"## {dataset}", leaderboard_cells(group)))
        if comparison is not None and len(about := comparison[comparison["dataset"] == dataset]):
            parts.append(_markdown_table(f"### {dataset}: published and measured", comparison_cells(about)))
    return "\n\n".join(parts) + "\n"


def _markdown_table(heading: str, cells: pd.DataFrame) -> str:
    lines = [" | ".join(cells.columns), " | ".join(_alignment(heading) for heading in cells.columns)]
    lines += [" | ".join(_escaped(value) for value in row) for row in cells.itertuples(index=False)]
    return "\n".join([_escaped(heading), "", *(f"| {line} |" for line in lines)])


def to_csv(table: pd.DataFrame, _: pd.DataFrame | None = None) -> str:
    """Every column of the leaderboard, fractions in 0..1, empty where not measured."""
    text: str = table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return text


def to_json(table: pd.DataFrame, _: pd.DataFrame | None = None) -> str:
    """A list of records, null where not measured."""
    records = [{key: _json_value(value) for key, value in row.items()} for row in table.to_dict("records")]
    return json.dumps(records, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], str]] = {"md": to_markdown, "csv": to_csv, "json": to_json}


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(pattern: str) -> Callable[[float | None], str]:
    return lambda value: MISSING_VALUE if value is None or pd.isna(value) else pattern.format(value)


def _with_spread(row: dict[Any, Any]) -> str:
    spread = "" if pd.isna(row["accuracy_std"]) else f" ± {row['accuracy_std']:.4f}"
    return f"{row['accuracy']:.4f}{spread}"


def _alignment(heading: str) -> str:
    return "---" if heading in TEXT_HEADINGS else "---:"


def _escaped(value: str) -> str:
    return value.replace("|", "\\|")
