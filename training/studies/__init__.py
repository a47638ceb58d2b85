"""Studies of training, each run by ``python -m``."""
