"""Folders of runs, and the policies, opponents and recordings that are kept."""
