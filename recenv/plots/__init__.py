"""Figures of results. Matplotlib is imported at first use and its global state left alone."""

from recenv.plots.policies import Curve, comparison_plot, learning_curve_plot
from recenv.plots.studies import (
    Panel,
    RankingPoint,
    Shrinkage,
    has_data,
    panels_plot,
    ranking_plot,
    scale_plot,
    shrinkage_plot,
)
from recenv.plots.style import require_matplotlib

__all__ = [
    "Curve",
    "Panel",
    "RankingPoint",
    "Shrinkage",
    "comparison_plot",
    "has_data",
    "learning_curve_plot",
    "panels_plot",
    "ranking_plot",
    "require_matplotlib",
    "scale_plot",
    "shrinkage_plot",
]
