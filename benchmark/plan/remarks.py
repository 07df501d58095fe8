"""What a person should know of a sweep before it runs, and what no row says."""

from benchmark.plan.planned import REPEAT, Plan


def remarks_on(plan: Plan) -> list[str]:
    """The seeds that are repeats and are not run, and own splits that folds do not keep, a sentence each."""
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
