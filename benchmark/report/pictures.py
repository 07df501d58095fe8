"""Pictures drawn by Matplotlib, as images that stand inside the page."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.charts import Drawn, Evidence, Skipped, draw, render

# The other plots are interactive here.
TITLES = {
    "accuracy": "Accuracy of every setting",
    "ablation-heatmap": "Points lost to wrong modes",
    "seeds": "Spread over seeds",
    "curves": "Learning curves",
    "confusion": "Confusion",
    "per-class": "Accuracy of each class",
    "gallery": "Sure answers, wrong and right",
    "efficiency": "Accuracy over parameters",
    "memory": "Memory",
}
# A drawing is sharper and smaller as SVG, unless it has many thousands of marks.
MOST_SVG_BYTES = 400_000


@dataclass(frozen=True)
class Picture:
    """An image inside the page.

    Attributes:
        title: What it shows.
        alt: What stands in for it.
        address: A `data:` URL; empty where there is no image, and `alt` says why.
    """

    title: str
    alt: str
    address: str


def draw_pictures(evidence: Evidence, dataset: str) -> Iterator[Picture]:
    """The pictures of one dataset; of one that only lacks something that can be brought, the reason.

    Args:
        evidence: Of the ledgers.
        dataset: One of `evidence.datasets`.
    """
    for name, title in TITLES.items():
        drawn = draw(name, evidence, dataset)
        if not isinstance(drawn, Skipped):
            yield Picture(title, drawn.alt, _address(drawn))
        elif drawn.is_lack:
            yield Picture(title, f"Left out: {drawn.reason.removesuffix('.')}.", "")


def _address(drawn: Drawn) -> str:
    kind, content = "svg+xml", render(drawn, "svg")
    if len(content) > MOST_SVG_BYTES:
        kind, content = "png", render(drawn, "png")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
