"""The laws of the simulated user: their form, their parameters, their fit."""
