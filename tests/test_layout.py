"""The import order of the package is the order of the data flow."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "benchmark"

# Who may import whom, in the order of the data flow: a line names places of the lines above it only.
# A folder is one place; inside it files may import each other.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "escaping": set(),
    "storage": {"errors"},
    "ahead": set(),
    "caching": {"storage"},
    "provenance": set(),
    "memory": {"storage"},
    "isolation": {"errors", "provenance"},
    "tables": {"errors"},
    "preprocessing": {"errors"},
    "downloads": {"errors", "storage"},
    "presets": {"errors", "storage", "isolation", "downloads", "preprocessing"},
    "registry": {"errors", "storage", "tables", "preprocessing", "presets"},
    "options": {"errors"},
    "recipes": {"errors", "storage", "tables", "preprocessing", "registry", "options"},
    "datasets": {
        "ahead", "errors", "escaping", "storage", "caching", "provenance", "isolation", "downloads",
        "preprocessing",
    },
    "backbones": {"errors", "storage", "presets", "registry", "downloads", "preprocessing"},
    "xray": {"errors", "presets", "registry", "preprocessing", "backbones"},
    "features": {"ahead", "errors", "storage", "caching", "provenance", "memory", "datasets", "preprocessing"},
    "metrics": set(),
    "strategies": {"errors", "storage", "provenance", "options", "datasets", "preprocessing", "metrics"},
    "tidycsv": {"errors", "escaping", "storage"},
    "predictions": {"errors"},
    "origins": set(),
    "migration": {"tidycsv"},
    "ledger": {"errors", "escaping", "storage", "migration", "predictions", "tidycsv"},
    "outputs": {"errors", "storage", "ledger"},
    "plan": {
        "errors", "storage", "caching", "origins", "provenance", "isolation", "registry", "options", "recipes",
        "downloads", "datasets", "preprocessing", "backbones", "xray", "features", "strategies", "tidycsv", "ledger",
    },
    "work": {
        "errors", "storage", "caching", "provenance", "memory", "isolation", "options", "datasets", "preprocessing",
        "backbones", "features", "metrics", "strategies", "ledger", "plan",
    },
    "processes": {
        "errors", "storage", "provenance", "memory", "isolation", "ledger", "plan", "work",
    },
    "analysis": {
        "errors", "escaping", "storage", "options", "recipes", "features", "metrics", "origins", "migration", "ledger",
        "preprocessing", "plan", "work",
    },
    "charts": {
        "errors", "escaping", "storage", "options", "datasets", "preprocessing", "xray", "ledger", "outputs", "plan",
        "analysis",
    },
    "report": {"errors", "escaping", "storage", "provenance", "preprocessing", "ledger", "analysis", "charts"},
    "exporting": {
        "ahead", "errors", "provenance", "options", "datasets", "preprocessing", "features", "strategies",
        "predictions", "outputs", "plan", "work",
    },
    "doctor": {"storage", "provenance", "memory", "downloads"},
    "fitting": set(),
    "console": {"escaping", "fitting", "analysis"},
    "progress": {"escaping", "work", "console"},
    "actions": {
        "errors", "escaping", "isolation", "registry", "recipes", "preprocessing", "backbones", "xray", "features",
        "options", "ledger", "plan", "work", "processes", "analysis", "exporting", "console",
        "progress",
    },
    "cli": {
        "actions", "errors", "escaping", "storage", "caching", "isolation", "presets", "registry", "recipes",
        "datasets", "preprocessing", "backbones", "xray", "features", "strategies", "ledger", "outputs", "plan", "work",
        "processes", "analysis", "charts", "report", "exporting", "doctor", "console", "progress", "options",
    },
}  # fmt: skip

MAY_IMPORT_TENSORFLOW = (
    "backbones/", "xray/", "features/", "strategies/", "datasets/", "preprocessing.py", "presets.py",
    "work/state.py", "work/classifiers.py", "exporting/",
)  # fmt: skip
MAY_IMPORT_MATPLOTLIB = ("charts/",)
MAY_IMPORT_REPORT_LIBRARIES = ("report/",)
MAY_PRINT = ("cli/",)
TENSORFLOW = {"tensorflow", "keras"}
MATPLOTLIB = {"matplotlib", "seaborn"}
REPORT_LIBRARIES = {"itables"}  # of an extra, so it may be absent
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def files_of(place: str) -> list[Path]:
    return sorted((PACKAGE / place).rglob("*.py")) if (PACKAGE / place).is_dir() else [PACKAGE / f"{place}.py"]


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a syntax tree imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write `from benchmark.x import y`, not a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_places(source: str) -> set[str]:
    """Places of the package that a source imports; the package's own version does not count."""
    names = (name.split(".") for name in imported_names(ast.parse(source)) if name.startswith("benchmark."))
    return {parts[1] for parts in names if not parts[1].startswith("__")}


def libraries(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for name in imported_names(tree)}


def outside_functions(tree: ast.Module) -> ast.Module:
    """A tree without the bodies of its functions and without what only type checkers see."""

    class Pruned(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            is_hint = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            if is_hint or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                return ast.Pass()
            return self.generic_visit(node)

    return Pruned().visit(tree)


@functools.cache
def libraries_of(path: Path) -> tuple[set[str], set[str]]:
    """The libraries that a file imports anywhere, and those that it imports when it is imported."""
    tree = ast.parse(path.read_text())
    return libraries(tree), libraries(outside_functions(tree))


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_a_place_imports_only_what_stands_upstream(place: str):
    imported = set().union(*(imported_places(path.read_text()) for path in files_of(place)))

    extra = imported - MAY_IMPORT[place] - {place}

    assert not extra, f"benchmark.{place} may not import {sorted(extra)}"


def test_the_table_points_upstream_only():
    order = list(MAY_IMPORT)

    downstream = {place: allowed - set(order[: order.index(place)]) for place, allowed in MAY_IMPORT.items()}

    assert not any(downstream.values()), downstream


def test_every_module_has_its_place_in_the_order():
    modules = {path.stem for path in PACKAGE.glob("[!_]*.py")}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert modules | folders == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("libraries", "may_import"),
    [
        (TENSORFLOW, MAY_IMPORT_TENSORFLOW),
        (MATPLOTLIB, MAY_IMPORT_MATPLOTLIB),
        (REPORT_LIBRARIES, MAY_IMPORT_REPORT_LIBRARIES),
    ],
    ids=["tensorflow", "matplotlib", "itables"],
)
def test_a_heavy_library_is_imported_inside_functions_and_in_few_places(
    libraries: set[str], may_import: tuple[str, ...]
):
    found = {name_of(path): libraries_of(path) for path in FILES}

    assert {name: on_import & libraries for name, (_, on_import) in found.items() if on_import & libraries} == {}
    elsewhere = {name: anywhere for name, (anywhere, _) in found.items() if not name.startswith(may_import)}
    assert {name: anywhere & libraries for name, anywhere in elsewhere.items() if anywhere & libraries} == {}


def test_only_the_command_line_prints_and_exits():
    texts = {name_of(path): path.read_text() for path in FILES if not name_of(path).startswith(MAY_PRINT)}

    assert {name: found for name, text in texts.items() if (found := prints_and_exits(ast.parse(text)))} == {}


def prints_and_exits(tree: ast.AST) -> set[str]:
    """The names in a syntax tree of what prints or ends the program."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names & {"print"} | attributes & {"sys.exit", "os._exit", "typer.Exit"}


def test_no_module_is_a_box_for_everything():
    names = {path.stem for path in FILES} | {path.parent.name for path in FILES}

    assert not names & FORBIDDEN_NAMES


def test_the_reader_of_imports_sees_every_form():
    source = (
        "import benchmark\nimport benchmark.ledger\nfrom benchmark import __version__, cli\n"
        "from benchmark.plan.cells import Cell\ndef act():\n    from benchmark.errors import DataError\nimport json\n"
    )

    assert imported_places(source) == {"ledger", "cli", "plan", "errors"}


def test_pruning_hides_functions_and_type_checking_only():
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import keras\n"
        "def act():\n    import seaborn\nclass Thing:\n    def act(self):\n        import scipy\n    import numpy\n"
        "if 1:\n    import tensorflow\n"
    )

    assert libraries(outside_functions(ast.parse(source))) == {"typing", "numpy", "tensorflow"}
