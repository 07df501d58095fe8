"""Interactive charts, by plotly: accuracy against parameters, what wrong modes cost, and where the time goes.

Each carries its main finding in words and its data as a table, so nothing depends on seeing or on JavaScript.
"""

from benchmark.report.charts.ablation import ablation_chart
from benchmark.report.charts.cost import cost_chart
from benchmark.report.charts.pareto import pareto_chart
from benchmark.report.charts.style import DARK_COLOURS, Chart

__all__ = ["DARK_COLOURS", "Chart", "ablation_chart", "cost_chart", "pareto_chart"]
