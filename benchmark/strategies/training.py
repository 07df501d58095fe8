"""Training in stages: what finetune and scratch share."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.options import Stage
from benchmark.strategies.checkpoint import Standing, assign_all, load_standing, save_standing, values_of
from benchmark.strategies.records import HistoryPoint
from benchmark.strategies.stage import EpochProgress, StageModel, StageTrainer, Task, TrainingLog


def train_in_stages(
    stages: Sequence[Stage],
    make_model: Callable[[int], StageModel],
    variables: Sequence[Any],
    task: Task,
    *,
    checkpoint: Path,
    on_epoch: EpochProgress | None = None,
) -> tuple[StageModel, TrainingLog]:
    """Train stage after stage, each from the best weights of the last.

    After every epoch all that the rest depends on is written to `checkpoint`, and all random numbers are drawn from
    seed, stage and epoch: an interrupted training goes on where it stood and ends with the same weights.

    Args:
        stages: What to do.
        make_model: Gives the model of the stage of that index, with whatever weights `variables` then have.
        variables: Every variable that any stage may change.
        task: What is learned.
        checkpoint: The file of the standing. The caller removes it when the result is safe.
        on_epoch: Called before each epoch with the stage's index, the epochs done in it, and its number of epochs.

    Returns:
        The last stage's model, with its best weights, and what was logged.

    Raises:
        DivergedError: The loss became infinite or no number.
        UnknownNameError: A class weight names a class that does not exist.
    """
    standing = load_standing(checkpoint)
    log, n_stages_done = TrainingLog(), 0
    if standing is not None:
        assign_all(variables, standing.arrays["variables"])
        log = _log_of(standing.facts["log"])
        n_stages_done = standing.facts["n_stages_done"]
    last: StageModel | None = None
    for index in range(n_stages_done, len(stages)):
        last = make_model(index)
        trainer = StageTrainer(stages[index], index, last, task, log)

        def save(trainer: StageTrainer = trainer, n_done: int = index) -> None:
            facts = {"n_stages_done": n_done, "log": asdict(log), **trainer.facts()}
            save_standing(checkpoint, Standing(facts, {"variables": values_of(variables), **trainer.arrays()}))

        trainer.fit(standing, save, on_epoch)
        standing = None
        facts = {"n_stages_done": index + 1, "log": asdict(log)}
        save_standing(checkpoint, Standing(facts, {"variables": values_of(variables)}))
    return last or make_model(len(stages) - 1), log


def _log_of(facts: dict[str, Any]) -> TrainingLog:
    points = [HistoryPoint(**point) for point in facts["history"]]
    return TrainingLog(points, facts["n_epochs"], facts["train_s"])
