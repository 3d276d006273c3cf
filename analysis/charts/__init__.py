"""The figures: a DataFrame in, an Altair chart out. A new chart is one file here and one line below.

Where nothing could be drawn, a chart is None.
"""

from analysis.charts.ablation import ablation, ablation_mi
from analysis.charts.classes import class_panels
from analysis.charts.clusters import tsne_panels
from analysis.charts.estimators import estimator_comparison
from analysis.charts.gaps import gap_over_epochs
from analysis.charts.ladder import noise_ladder, tau_half
from analysis.charts.learning import learning_curves
from analysis.charts.losses import class_losses
from analysis.charts.overview import sweep_overview
from analysis.charts.plane import information_plane
from analysis.charts.sensitivity import sensitivity
from analysis.charts.stealth import stealth_bars
from analysis.charts.table1 import table1_heatmap
from analysis.charts.tradeoff import tradeoff_scatter
from analysis.charts.trajectories import trajectories

__all__ = [
    "ablation",
    "ablation_mi",
    "class_losses",
    "class_panels",
    "estimator_comparison",
    "gap_over_epochs",
    "information_plane",
    "learning_curves",
    "noise_ladder",
    "sensitivity",
    "stealth_bars",
    "sweep_overview",
    "table1_heatmap",
    "tau_half",
    "tradeoff_scatter",
    "trajectories",
    "tsne_panels",
]
