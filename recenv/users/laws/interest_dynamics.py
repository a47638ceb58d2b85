"""Laws of a changing interest: drift towards what was consumed, boredom with what was shown."""

from __future__ import annotations

import numpy as np

from recenv.jit.compiled import inlined


@inlined
def drift(interest: np.float32, item: np.float32, rate: np.float32) -> np.float32:
    """Drift of one coordinate of the interest towards a consumed item.

    ``interest + rate * (item - interest)``.
    """
    return interest + rate * (item - interest)


@inlined
def bored(boredom: np.float32, decay: np.float32) -> np.float32:
    """Boredom of a category one round later, ``decay * boredom``, before what the round added."""
    return decay * boredom
