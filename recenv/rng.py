"""Counter-based random numbers: a draw is a pure function of (key, round, stream, slot).

``draw(key, counter)`` is output number ``counter`` of the SplitMix64 generator seeded with
``key`` (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
No generator carries state, so row 5 of a batch draws what the same visit draws alone, in
any order and on any number of threads, and two policies can be compared on the same draws.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import uint64

from recenv.jit.compiled import compiled, inlined

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# Streams: one for each purpose, so that no two purposes share a draw.
USER, CANDIDATES, ANSWER, LEAVE, POLICY, LOGGING, NEED, RETURN = range(8)


@inlined
def _mix(z: np.uint64) -> np.uint64:
    z = uint64((z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9))
    z = uint64((z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB))
    return z ^ (z >> uint64(31))


@inlined
def draw(key: np.uint64, counter: np.uint64) -> np.uint64:
    """64 random bits: output ``counter`` (from 0) of SplitMix64 seeded with ``key``."""
    return _mix(uint64(key + _GOLDEN * (uint64(counter) + uint64(1))))


@inlined
def counter(round_: int, stream: int, slot: int) -> np.uint64:
    """Counter of one draw; ``slot`` < 2**24, ``stream`` < 2**8."""
    return (uint64(round_) << uint64(32)) | (uint64(stream) << uint64(24)) | uint64(slot)


@inlined
def uniform(key: np.uint64, round_: int, stream: int, slot: int) -> np.float32:
    """A float32 uniform on [0, 1), a multiple of 2**-24."""
    bits = draw(key, counter(round_, stream, slot)) >> uint64(40)
    return np.float32(bits) * np.float32(2.0**-24)


@inlined
def integer(key: np.uint64, round_: int, stream: int, slot: int, bound: int) -> int:
    """An integer uniform on [0, bound), ``bound`` < 2**32 (Lemire's multiply-shift)."""
    bits = draw(key, counter(round_, stream, slot)) >> uint64(32)
    return int((bits * uint64(bound)) >> uint64(32))


@inlined
def session_key(seed: np.uint64, session: np.uint64) -> np.uint64:
    """The key of the ``session``-th visit after a reset with ``seed``."""
    return draw(_mix(uint64(seed) ^ _GOLDEN), uint64(session))


@compiled
def session_keys(
    seeds: npt.NDArray[np.uint64], sessions: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """(B,) keys of (B,) seeds and session numbers."""
    keys = np.empty(len(seeds), np.uint64)
    for b in range(len(seeds)):
        keys[b] = session_key(seeds[b], sessions[b])
    return keys


@compiled
def uniforms(
    keys: npt.NDArray[np.uint64], rounds: npt.NDArray[np.int32], stream: int, slots: int
) -> npt.NDArray[np.float32]:
    """(B, slots) float32 uniforms of one stream, for policies that draw outside the kernel."""
    out = np.empty((len(keys), slots), np.float32)
    for b in range(len(keys)):
        for k in range(slots):
            out[b, k] = uniform(keys[b], rounds[b], stream, k)
    return out
