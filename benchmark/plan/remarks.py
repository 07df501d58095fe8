"""Remarks on a sweep that are shown before it runs and are in no row."""

from benchmark.plan.planned import REPEAT, Plan


def remarks_on(plan: Plan) -> list[str]:
    """A sentence for each group of seeds that would only repeat another one, and for own splits that folds ignore."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    pooled: dict[str, None] = {}
    for planned in plan.cells:
        cell, facts = planned.cell, plan.datasets.get(planned.cell.dataset)
        if planned.state == REPEAT:
            seeds.setdefault((cell.dataset.name, cell.head or cell.strategy, planned.reason), []).append(cell.seed)
        if cell.folds and facts and (facts.has_own_val or facts.has_own_test):
            pooled[f"{cell.dataset.name}: folds are drawn from all images, whatever its own splits"] = None
    repeats = [
        f"{dataset}: {what} is not run with seed {', '.join(map(str, dict.fromkeys(some)))}: {reason}"
        for (dataset, what, reason), some in seeds.items()
    ]
    return [*repeats, *pooled]
