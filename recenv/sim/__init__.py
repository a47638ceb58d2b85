"""The simulator: state, step, observations, and planted worlds."""

from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import EMPTY, State
from recenv.sim.synthetic import emit_log, planted_world

__all__ = ["EMPTY", "Outcome", "Simulator", "State", "emit_log", "planted_world"]
