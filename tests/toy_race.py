"""Races of made-up backbones, run in memory: what each would do is known, so only the rules decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from toys import RUN, runs_table

from benchmark.analysis.boards import Boards
from benchmark.analysis.race import Course, Entrant, Race, Step, replay
from benchmark.plan.racing import N_FOLDS, Round

# Of a dataset of 2,000 images, 400 of which are test images.
ROUNDS = (Round(500, 400, 500), Round(None, 1600, 2000))


@dataclass(frozen=True)
class Net:
    """A made-up backbone: the share of images that it names correctly, what it costs, and how it fails."""

    skill: float
    latency_ms: float = 10.0
    params: float = 2e6
    images_per_s: float = 100.0
    flops_g: float = 0.1
    error_type: str = ""
    needs_download: bool = False
    test_skill: float | None = None


@dataclass
class World:
    """Backbones, the rules, and the rows so far."""

    nets: Mapping[str, Net]
    budget_s: float = 10_000.0
    limits: Mapping[str, float] = field(default_factory=dict)
    n_seeds: int = 2
    rounds: tuple[Round, ...] = ROUNDS
    rows: list[dict[str, Any]] = field(default_factory=list)
    boards: Boards = field(default_factory=Boards)

    @property
    def race(self) -> Race:
        entrants = tuple(Entrant(name, net.flops_g, net.needs_download) for name, net in self.nets.items())
        return Race(entrants, self.rounds, self.n_seeds, self.budget_s, self.limits)

    @property
    def runs(self) -> pd.DataFrame:
        steps = pd.Series([row["known_step"] for row in self.rows], dtype=object)
        return runs_table(self.rows or [RUN]).head(len(self.rows)).assign(step=steps)

    # As `Correctness` does.
    def of_run(self, _: str, run_id: str) -> np.ndarray:
        (row,) = [row for row in self.rows if row["run_id"] == run_id]
        return row["right"]

    def replay(self) -> Course:
        return replay(self.race, self.runs, self, self.boards)

    def run(self, step: Step) -> None:
        """The rows of a step, as workers would write them."""
        net, one = self.nets[step.backbone], self.rounds[step.number]
        n_images = one.n_all if step.is_test else one.n_images
        n_test = one.n_all - one.n_images if step.is_test else round(one.n_images / 5)
        skill = net.test_skill if step.is_test and net.test_skill is not None else net.skill
        known = {row["known_step"]: None for row in self.rows if row["known_step"].backbone == step.backbone}
        n_there = max((self.rounds[earlier.number].n_images for earlier in known), default=0)
        for seed in range(self.n_seeds if step.is_test else N_FOLDS):
            # Everybody errs on the images at the end, whatever the seed.
            right = np.arange(n_test) < round(skill * n_test)
            dataset = f"{step.number} {step.is_test}"
            if f"{step}{seed}" in {row["run_id"] for row in self.rows}:
                continue
            extract_s = (n_images - n_there) / net.images_per_s if seed == 0 else 0.0
            done = {
                "accuracy": right.mean(), "n_test": n_test, "latency_ms": net.latency_ms,
                "images_per_s": net.images_per_s, "params_backbone": net.params, "params_total": net.params + 1000,
                "model_mib": net.params * 4 / 2**20, "flops_g": net.flops_g, "load_s": 0.5, "build_s": 2.0,
                "extract_s": extract_s, "train_s": n_images / 1000, "eval_s": 0.1,
                "elapsed_s": 2.5 + extract_s + n_images / 1000,
            }  # fmt: skip
            failed = {"status": "failed", "error_type": net.error_type, "error_message": f"no {step.backbone}"}
            self.rows.append(
                {
                    **RUN, **({**dict.fromkeys(done, np.nan), **failed} if net.error_type else done),
                    "run_id": f"{step}{seed}", "backbone": step.backbone, "seed": seed, "mode": "native",
                    "folds": np.nan if step.is_test else N_FOLDS,
                    "dataset": dataset, "dataset_fingerprint": dataset,
                    "setting_key": step.backbone, "known_step": step, "right": right,
                }
            )  # fmt: skip

    def play(self) -> Course:
        """Run the race to its end."""
        while step := (course := self.replay()).step:
            self.run(step)
        return course

    def steps(self) -> Sequence[Step]:
        """The steps that were run, in their order."""
        return list(dict.fromkeys(row["known_step"] for row in self.rows))
