"""Charts of ledgers, each defined once: `PLOTS` names them, `draw` gives one, `render` and `save_plots` write them."""

from benchmark.charts.chart import Chart
from benchmark.charts.drawing import FORMATS, PLOTS, draw, render, save_plots
from benchmark.charts.evidence import Evidence, NothingToDrawError

__all__ = ["FORMATS", "PLOTS", "Chart", "Evidence", "NothingToDrawError", "draw", "render", "save_plots"]
