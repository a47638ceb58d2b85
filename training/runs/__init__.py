"""Runs on disk: folders, trained policies, opponents, warm starts, recorded visits."""
