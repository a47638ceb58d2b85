"""Simulator of visits: state, step, observations."""

from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import EMPTY, State

__all__ = ["EMPTY", "Outcome", "Simulator", "State"]
