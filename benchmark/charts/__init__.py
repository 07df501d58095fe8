"""Pictures of ledgers: `draw` gives one, `save_plots` writes them, `PLOTS` names them."""

from benchmark.charts.drawing import FORMATS, PLOTS, draw, draw_all, render, save_plots
from benchmark.charts.evidence import Evidence
from benchmark.charts.records import Drawn, Skipped

__all__ = ["FORMATS", "PLOTS", "Drawn", "Evidence", "Skipped", "draw", "draw_all", "render", "save_plots"]
