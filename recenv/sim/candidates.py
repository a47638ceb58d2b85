# numba infers the types of these functions; they are documented where they are called
# ruff: noqa: ANN001, ANN201
"""Candidates of a round, drawn from the catalogue."""

from __future__ import annotations

import numpy as np
from numba import uint32, uint64

from recenv import rng
from recenv.jit.compiled import inlined
from recenv.sim import screens

_ZERO = np.float32(0)
_ATTEMPTS = 8  # draws of a candidate that the user has not had


@inlined
def draw_candidates(b, tables, rules, state):
    """Candidates of a round: one from each of C equal strata of the shuffled catalogue, rotated.

    Systematic sampling: no repeats, every item is equally likely to be a candidate, and the
    cost is O(C) whatever the size of the catalogue. Where nothing is consumed twice, what the
    user has had is drawn anew, up to ``_ATTEMPTS`` times. Drawn once more in the same round, they
    are the same.
    """
    n, c = np.int32(len(tables.order)), state.candidates.shape[1]
    key, round_ = state.key[b], state.round[b]
    turned = np.int32(rng.integer(key, round_, rng.CANDIDATES, 0, n))
    for j in range(c):
        low, high = tables.strata[j], tables.strata[j + 1]
        drawn = rng.integer(key, round_, rng.CANDIDATES, j + 1, uint64(high - low))
        at = np.int32(np.int32(low + turned) + np.int32(drawn))
        state.candidates[b, j] = at - n if at >= n else at
    for j in range(c):
        item = tables.order[uint32(state.candidates[b, j])]
        state.candidates[b, j] = item
        state.candidate_popularity[b, j] = tables.popularity[uint32(item)]
    if rules.exclude_consumed:
        for j in range(c):
            item = state.candidates[b, j]
            for attempt in range(1, _ATTEMPTS):
                if screens.bonus_of_past(b, item, tables, state) == _ZERO and not screens.taken(
                    b, item, state
                ):
                    break
                low, high = tables.strata[j], tables.strata[j + 1]
                slot = attempt * (c + 1) + j + 1
                drawn = rng.integer(key, round_, rng.CANDIDATES, slot, uint64(high - low))
                at = low + np.int32(drawn) + turned
                item = tables.order[at - n if at >= n else at]
            state.candidates[b, j] = item
            state.candidate_popularity[b, j] = tables.popularity[uint32(item)]
    for j in range(state.candidate_vectors.shape[1]):
        item = state.candidates[b, j]
        scale = tables.items[uint32(item)].shown_scale
        for d in range(state.candidate_vectors.shape[2]):
            state.candidate_vectors[b, j, d] = scale * np.float32(tables.shown_vectors[item, d])
