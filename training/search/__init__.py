"""Searches for settings: spaces, folders, trials."""
