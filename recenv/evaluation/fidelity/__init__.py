"""Fidelity: how far the environment's own output is from held-out reality."""

from recenv.evaluation.fidelity.assessment import fidelity
from recenv.evaluation.fidelity.config import FidelityConfig
from recenv.evaluation.fidelity.report_writer import FOLDER as REPORT_FOLDER
from recenv.evaluation.fidelity.report_writer import markdown, write_fidelity
from recenv.evaluation.fidelity.results import Check, FidelityReport, Figure, Value
from recenv.evaluation.fidelity.world_log import held_out

__all__ = [
    "REPORT_FOLDER",
    "Check",
    "FidelityConfig",
    "FidelityReport",
    "Figure",
    "Value",
    "fidelity",
    "held_out",
    "markdown",
    "write_fidelity",
]
