"""Studies of the simulator, each of one question, run by ``python -m``."""
