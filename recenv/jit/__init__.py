"""Compilation with numba, and what compiled code needs of memory and threads."""
