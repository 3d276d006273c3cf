"""The figures: a DataFrame in, an Altair chart out. A new chart is one file here and one line below."""

from analysis.charts.learning import learning_curves
from analysis.charts.stealth import stealth_bars
from analysis.charts.trajectories import trajectories

__all__ = ["learning_curves", "stealth_bars", "trajectories"]
