"""Probabilities kept away from 0 and 1, where their log-odds are infinite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SMALLEST = 1e-6
"""How near to 0 or 1 a probability counts as it is."""


def clipped(
    p: npt.ArrayLike, least: float = SMALLEST, most: float | None = None
) -> npt.NDArray[np.floating]:
    """The probabilities, in their own type and shape, no nearer to 0 and 1 than this.

    Args:
        p: probabilities.
        least: the lowest.
        most: the highest; None: 1 - ``least``.
    """
    return np.clip(np.asarray(p), least, 1 - least if most is None else most)
