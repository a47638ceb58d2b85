"""Hyperparameter search: spaces, folders, trials."""
