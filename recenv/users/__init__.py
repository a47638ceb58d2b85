"""User model: the laws of the simulated user, their parameters and their fit."""
