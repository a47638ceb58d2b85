"""The simulator: state, step, observations, and planted worlds."""

from recenv.sim.emit import emit_log
from recenv.sim.simulator import Outcome, Simulator
from recenv.sim.state import EMPTY, State
from recenv.sim.synthetic import planted_world

__all__ = ["EMPTY", "Outcome", "Simulator", "State", "emit_log", "planted_world"]
