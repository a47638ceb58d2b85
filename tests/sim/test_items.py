"""Item tables in fewer bits, and observing items by code."""

import numpy as np
import pytest

from recenv.config import GameConfig
from recenv.errors import ConfigError
from recenv.sim import Simulator
from recenv.sim.state import stored

GAME = GameConfig(slate_size=4, num_candidates=12)


@pytest.mark.parametrize(("table", "most"), [("int16", 32767), ("int8", 127)])
def test_an_entry_is_off_by_half_a_step_at_most(table, most):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 9)).astype(np.float32)
    vectors[3] = 0
    vectors[4] *= 1e4
    whole, scale = stored(vectors, table)
    assert whole.dtype == table
    largest = np.abs(vectors).max(axis=1)
    error = np.abs(whole * scale[:, None] - vectors).max(axis=1)
    assert (error <= 0.501 * largest / most + 1e-12).all()
    assert (np.abs(whole).max(axis=1)[largest > 0] == most).all()


@pytest.mark.parametrize(("table", "close"), [("int16", 1e-4), ("int8", 0.02)])
def test_probabilities_are_close(toy, table, close):
    exact, coarse = Simulator(toy, GAME), Simulator(toy, GAME.replace(item_table=table))
    a, b = exact.reset(np.arange(300)), coarse.reset(np.arange(300))
    slates = np.tile(np.arange(4), (300, 1))
    exact.show(a, slates)
    coarse.show(b, slates)
    error = np.abs(a.behaviour - b.behaviour).max()
    assert 0 < error < close


@pytest.mark.parametrize("table", ["float32", "int16", "int8"])
def test_agents_see_what_is_stored(toy, table):
    simulator = Simulator(toy, GAME.replace(item_table=table))
    state = simulator.reset(np.arange(20))
    simulator.show(state, np.tile([0, -1, 2, 2], (20, 1)))
    shown, shown_scale = stored(toy.interests.items, table)
    items, scale = stored(toy.user_model.item_vectors, table)
    seen = simulator.recommender_observation(state)["candidate_vectors"]
    expected = shown[state.candidates] * shown_scale[state.candidates][..., None]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    vectors = simulator.user_observation(state)["slate_vectors"]
    for k, filled in enumerate([True, False, True, False]):
        code = state.slate[:, k]
        right = items[code] * scale[code][:, None] if filled else 0 * vectors[:, k]
        np.testing.assert_allclose(vectors[:, k], right, rtol=1e-6)


def test_what_is_not_kept_is_not_shown(toy):
    simulator = Simulator(toy, GAME, user_sees=False)
    state = simulator.reset([0])
    assert "candidate_vectors" in simulator.recommender_observation(state)
    with pytest.raises(ConfigError, match="user_sees=True"):
        simulator.user_observation(state)


def test_without_vectors_nothing_else_changes(toy):
    a, b = (Simulator(toy, GAME.replace(vectors=v)) for v in (True, False))
    x, y = a.reset(np.arange(50)), b.reset(np.arange(50))
    slates = np.tile(np.arange(4), (50, 1))
    for _ in range(6):
        a.step(x, slates, autoreset=True)
        b.step(y, slates, autoreset=True)
    for name in x._fields:
        if not name.endswith("_vectors"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))
    assert b.user_observation(y).keys() == a.user_observation(x).keys() - {"slate_vectors"}
    assert y.slate_vectors.size == y.candidate_vectors.size == 0
