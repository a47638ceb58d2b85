import numpy as np
from scipy import stats

from recenv import rng


def test_draw_is_splitmix64():
    # the published outputs of SplitMix64 seeded with 1234567
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    got = [int(rng.draw(np.uint64(1234567), np.uint64(i))) for i in range(3)]
    assert got == expected


def test_uniforms_are_uniform_and_streams_and_sessions_are_uncorrelated():
    n = 20_000
    keys = rng.session_keys(np.arange(n, dtype=np.uint64), np.zeros(n, np.uint64))
    rounds = np.zeros(n, np.int32)
    u = rng.uniforms(keys, rounds, rng.ANSWER, 3)
    v = rng.uniforms(keys, rounds, rng.LEAVE, 1)
    next_round = rng.uniforms(keys, rounds + 1, rng.ANSWER, 1)
    columns = np.hstack([u, v, next_round])
    assert columns.min() >= 0
    assert columns.max() < 1
    for column in columns.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    correlation = np.corrcoef(columns.T) - np.eye(5)
    assert np.abs(correlation).max() < 4 / np.sqrt(n)  # four standard errors


def test_integers_cover_their_range_evenly():
    n, bound = 30_000, 7
    keys = rng.session_keys(np.arange(n, dtype=np.uint64), np.ones(n, np.uint64))
    draws = np.array([rng.integer(k, 0, rng.CANDIDATES, 0, bound) for k in keys])
    counts = np.bincount(draws, minlength=bound)
    assert len(counts) == bound
    assert stats.chisquare(counts).pvalue > 1e-4


def test_sessions_of_one_seed_differ():
    keys = rng.session_keys(np.full(1000, 5, np.uint64), np.arange(1000, dtype=np.uint64))
    assert len(np.unique(keys)) == 1000
