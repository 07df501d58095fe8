"""A page read into its elements, and ledgers that fill a report."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from toy_ledgers import RESULT, SETTING, add, add_predicted

from benchmark.ledger import COLUMNS, DONE, FAILED, RUNS, SCHEMA, Ledger
from benchmark.tidycsv import append_rows

VOID = {"meta", "img", "br", "input", "link", "hr"}
PHASES = {"load_s": 1.0, "build_s": 2.0, "extract_s": 5.0, "train_s": 1.5, "eval_s": 0.5}


@dataclass
class Element:
    """An element of a page with what is inside."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    inside: list["Element | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.inside)

    def all(self, *tags: str, **attributes: str) -> "list[Element]":
        """Elements below this one of one of these tags, with these attributes, in the order of the page."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.below()
            if (not tags or element.tag in tags) and wanted.items() <= element.attributes.items()
        ]

    def one(self, *tags: str, **attributes: str) -> "Element":
        (element,) = self.all(*tags, **attributes)
        return element

    def below(self) -> "Iterator[Element]":
        for part in self.inside:
            if isinstance(part, Element):
                yield part
                yield from part.below()

    def above(self) -> "Iterator[Element]":
        element = self.parent
        while element is not None:
            yield element
            element = element.parent


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.here = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.inside.append(element)
        if tag not in VOID:
            self.here = element

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.here.tag, f"</{tag}> ends <{self.here.tag} {self.here.attributes}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.inside.append(data)


def read_page(text: str) -> Element:
    """The page; a start tag without its end tag, or the other way round, is an error."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.here is reader.root, f"<{reader.here.tag} {reader.here.attributes}> is not ended"
    return reader.root


def rows_of_table(table: Element) -> list[dict[str, str]]:
    """The rows of a table by its headings."""
    headings = [cell.text for cell in table.one("thead").all("th")]
    return [
        dict(zip(headings, (cell.text for cell in row.all("th", "td")), strict=True))
        for row in table.one("tbody").all("tr")
    ]


def tips_of(page: Element, chart_id: str) -> list[str]:
    """The tooltips of a chart's marks."""
    return [title.text for title in page.one("figure", id=chart_id).all("title")]


def a_report_ledger(folder: Path, rng: np.random.Generator, **columns: Any) -> Ledger:
    """Two backbones in two modes with two seeds, and a failed cell; NetA loses 40 points in mode `unit`."""
    ledger = Ledger(folder)
    for backbone, params, shares in (
        ("NetA", 2_000_000, {"native": 0.9, "unit": 0.5}),
        ("NetB", 8_000_000, {"native": 0.7, "unit": 0.7}),
    ):
        for mode, share in shares.items():
            for seed in (0, 1):
                right = rng.permutation(200) < 200 * share
                facts = {
                    "n_classes": 2, "chance": 0.5, "params_total": params, "efficiency": share / params * 1e6,
                    "wall_s": sum(PHASES.values()) * params / 1e6, "seed": seed, "mode": mode, "backbone": backbone,
                    "started_utc": f"2026-01-0{1 + seed}T00:00:00Z", "harness_version": "0.1.0", "cpu_count": 2,
                    "git_commit": "c" * 40, "keras_version": "3.15.1", "tensorflow_version": "2.21.0",
                    **{phase: seconds * params / 1e6 for phase, seconds in PHASES.items()},
                }  # fmt: skip
                add_predicted(ledger, right, **{**facts, **columns})
    add(ledger, status=FAILED, **{"mode": "raw", "error_type": "oom", "error_message": "no room", **columns})
    return ledger


def a_large_ledger(folder: Path, n_rows: int, rng: np.random.Generator) -> Ledger:
    """Settings of one seed on two datasets, without predictions."""
    modes, heads = ("native", "unit", "raw", "tf", "caffe"), ("linear", "ridge", "knn", "dense")
    rows = []
    for number in range(n_rows):
        backbone = f"Backbone{number // 40:03d}"
        params = 1_000_000 * (1 + number // 40)
        accuracy = float(rng.uniform(0.2, 0.95))
        row = {
            "schema": SCHEMA, "run_id": f"run{number}", "cell_key": f"key{number}", "status": DONE, **SETTING, **RESULT,
            **PHASES, "backbone": backbone, "mode": modes[number % 5], "head": heads[number // 5 % 4],
            "dataset": ("cifar10", "digits")[number // 20 % 2], "accuracy": accuracy, "params_total": params,
            "efficiency": accuracy / params * 1e6, "efficiency_above_chance": (accuracy - 0.1) / params * 1e6,
            "wall_s": 10.0 + number / 7, "images_per_s": 100.0 + number / 3, "peak_rss_mib": 500.0 + number,
            "n_test": 10_000, "n_classes": 10, "chance": 0.1, "started_utc": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        rows.append(row)
    ledger = Ledger(folder)
    folder.mkdir(parents=True)
    append_rows(folder / RUNS, COLUMNS[RUNS], rows)
    return ledger
