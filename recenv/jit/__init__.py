"""Compilation with numba, and memory and threads for compiled code."""
