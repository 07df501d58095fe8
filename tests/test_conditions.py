"""The conditions under which workers run cells."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from faulty_sweep import faulty_sweep

from benchmark.options import FINETUNE, PROBE, SCRATCH
from benchmark.plan.grid import select_cells
from benchmark.plan.planning import make_plan
from benchmark.processes import conditions
from benchmark.processes.conditions import DETERMINISM_VARIABLE, Conditions
from benchmark.processes.runner import run_cells

pytestmark = pytest.mark.usefixtures("unexamined")


@pytest.mark.parametrize(
    ("asked", "strategies", "heads", "gpu", "chosen"),
    [
        (None, (PROBE,), ("linear", "ridge", "knn"), "", True),
        (None, (PROBE,), ("linear", "dense"), "", False),
        (None, (FINETUNE,), ("knn",), "", False),
        (None, (PROBE, SCRATCH), ("knn",), "", False),
        (None, (PROBE,), ("linear",), "A GPU", False),
        (True, (SCRATCH,), ("dense",), "A GPU", True),
        (False, (PROBE,), ("knn",), "", False),
    ],
)
def test_tensorflow_is_deterministic_where_it_is_asked_or_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked, strategies, heads, gpu, chosen
):
    monkeypatch.setenv(DETERMINISM_VARIABLE, "as the user had it")
    monkeypatch.setattr(conditions, "environment", lambda: {"gpu": gpu})
    (planned,) = faulty_sweep(tmp_path, "tiny").plan.cells
    cells = [replace(planned.cell, strategy=strategy, head=head) for strategy in strategies for head in heads]
    planned = replace(planned, has_training=any(cell.is_trained_by_keras for cell in cells))

    is_deterministic = Conditions(tmp_path / "log", is_deterministic=asked).apply_determinism(planned)

    assert is_deterministic == chosen
    assert os.environ[DETERMINISM_VARIABLE] == str(int(chosen))


@pytest.mark.parametrize("where", [{}, {"head": "knn"}])
def test_what_is_left_of_a_job_is_done_as_all_of_it(tmp_path: Path, where: dict[str, str]):
    """The rows of a sweep that was interrupted are those of one that was not."""
    sick = faulty_sweep(tmp_path, "tiny")
    (grid,) = sick.sweep.grid
    sweep = sick.sweep.model_copy(update={"grid": (grid.model_copy(update={"heads": ("dense", "knn")}),)})
    plan = make_plan(sweep, sick.registry, sick.ledger, choose=partial(select_cells, where=where))
    given = []

    def execute(jobs, again):
        given.extend(jobs)
        return iter(())

    rest = [planned for planned in plan.cells if planned.cell.head == "knn"]
    list(run_cells(rest, sick.ledger, execute, recipe_sha256="", again=False))

    assert [[planned.has_training for planned in job] for job in given] == [[True]]
