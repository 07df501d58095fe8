"""Charts as SVG elements inside the page, in its colours."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from benchmark.charts import Evidence, NothingToDrawError, draw, render
from benchmark.charts.style import FAINT, GRID, INK, ON_DARK, PAPER
from benchmark.report.page_tables import Table, ablation_table, pareto_table, speed_table, time_table

# In the order of the page.
TITLES = {
    "pareto": "Accuracy and parameters",
    "ablation": "What wrong preprocessing costs",
    "time": "Where the time goes",
    "accuracy": "Accuracy of every setting",
    "shots": "Few training images",
    "ablation-heatmap": "Points lost to wrong modes",
    "seeds": "Spread over seeds",
    "curves": "Learning curves",
    "confusion": "Confusion",
    "per-class": "Accuracy of each class",
    "gallery": "Sure answers, wrong and right",
    "efficiency": "Accuracy over parameters",
    "memory": "Memory",
    "speed": "Speed and parameters",
}
TABLES = {"pareto": pareto_table, "ablation": ablation_table, "time": time_table, "speed": speed_table}
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
# In a style attribute, the colours of the page instead of those of a file.
PAGE_COLOURS = {INK: "var(--ink)", FAINT: "var(--muted)", GRID: "var(--line)", PAPER: "var(--surface)"}
PAGE_COLOURS |= {light.lower(): f"light-dark({light}, {dark})" for light, dark in ON_DARK.items()}
COLOUR = re.compile("|".join(PAGE_COLOURS))


@dataclass(frozen=True)
class Figure:
    """A chart inside the page.

    Attributes:
        name: Of the plot.
        title: What it shows.
        alt: The text that stands in for it.
        svg: An SVG element; empty if there is no chart, and `alt` says why.
        table: Its data; None if there is no table.
    """

    name: str
    title: str
    alt: str
    svg: str = ""
    table: Table | None = None


@dataclass
class Figures:
    """The charts of a page, which share the shapes that they are made of.

    Attributes:
        shapes: Letters, markers and clips by their id, as SVG; equal ids have equal content.
    """

    shapes: dict[str, str] = field(default_factory=dict)

    def draw(self, evidence: Evidence, dataset: str) -> Iterator[Figure]:
        """The charts of one dataset, and the reason for each that only lacks something the user can supply.

        Args:
            evidence: Of the ledgers.
            dataset: One of `evidence.datasets`.
        """
        for name, title in TITLES.items():
            chart = draw(name, evidence, dataset)
            if not isinstance(chart, NothingToDrawError):
                table = TABLES[name](chart.data, dataset) if chart.data is not None else None
                yield Figure(name, title, chart.alt, self._inline(render(chart, "svg"), chart.alt), table)
            elif chart.is_fixable:
                yield Figure(name, title, f"Left out: {chart}.")

    def _inline(self, file: bytes, alt: str) -> str:
        """An SVG file as an element of the page: without what the page has once for all charts."""
        root = ElementTree.fromstring(file)
        box = root.attrib["viewBox"]
        root.attrib = {"viewBox": box, "role": "img", "aria-label": alt}
        for unseen in [*root.findall(f"{SVG}metadata"), *root.findall(f"{SVG}title")]:
            root.remove(unseen)
        for element in root.iter():
            _adapt(element)
        for parent in list(root.iter()):
            for shared in parent.findall(f"{SVG}defs"):
                self.shapes.update({shape.attrib["id"]: _as_text(shape) for shape in shared if "id" in shape.attrib})
                parent.remove(shared)
        return _as_text(root)


def _adapt(element: Element) -> None:
    """Without the ids of groups, which nothing refers to, and in the colours of the page."""
    if element.tag == f"{SVG}g":
        element.attrib.pop("id", None)
    if HREF in element.attrib:
        element.attrib["href"] = element.attrib.pop(HREF)
    if "style" in element.attrib:
        element.attrib["style"] = COLOUR.sub(lambda found: PAGE_COLOURS[found[0]], element.attrib["style"])


def _as_text(element: Element) -> str:
    for part in element.iter():
        part.tag = part.tag.removeprefix(SVG)
        part.tail = None
    return ElementTree.tostring(element, encoding="unicode")
