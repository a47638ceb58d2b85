"""Runs on disk: folders, trained policies, opponents, warm starts, recorded visits."""

from training.runs.folder import Checkpoint, RunFolder, create_seeds, seed_runs

__all__ = ["Checkpoint", "RunFolder", "create_seeds", "seed_runs"]
