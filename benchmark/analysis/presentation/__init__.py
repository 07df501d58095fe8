"""Leaderboards, ablations and comparisons with published figures as tables for people."""

from benchmark.analysis.presentation.ablation import ablation_cells, ablation_sections
from benchmark.analysis.presentation.leaderboard import (
    LEADERBOARD_LEAST_TELLING,
    SHOTS_NOTE,
    UNBALANCED,
    leaderboard_cells,
    leaderboard_sections,
    not_ranked,
)
from benchmark.analysis.presentation.published import comparison_cells
from benchmark.analysis.presentation.settings import FOLDS_NOTE, notes_on_seeds, rows_of, setting_cells

__all__ = [
    "FOLDS_NOTE",
    "LEADERBOARD_LEAST_TELLING",
    "SHOTS_NOTE",
    "UNBALANCED",
    "ablation_cells",
    "ablation_sections",
    "comparison_cells",
    "leaderboard_cells",
    "leaderboard_sections",
    "not_ranked",
    "notes_on_seeds",
    "rows_of",
    "setting_cells",
]
