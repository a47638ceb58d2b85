"""Folders of runs, and what is kept in them: policies, recordings, opponents, warm starts."""
