"""Environments for PettingZoo and Gymnasium."""
