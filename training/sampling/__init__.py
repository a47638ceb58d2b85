"""Sampling of visits played by learning agents, in RLlib's forms."""
