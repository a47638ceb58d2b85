"""Weights of a network as arrays by name."""

from __future__ import annotations

import numpy as np

Weights = dict[str, np.ndarray]
"""A network's tensors by name."""
