"""Fidelity: how far the environment's own output is from held-out reality."""

from recenv.evaluation.fidelity.report import (
    Check,
    FidelityConfig,
    FidelityReport,
    Figure,
    Value,
)
from recenv.evaluation.fidelity.run import fidelity

__all__ = ["Check", "FidelityConfig", "FidelityReport", "Figure", "Value", "fidelity"]
