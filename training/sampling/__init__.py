"""Sampling: visits played by learning agents, as RLlib takes them."""
