"""Baselines: legal slates, independence of the batch, and each against something independent."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from scipy import stats

from recenv import rng
from recenv.config import GameConfig
from recenv.errors import ConfigError, MissingDependencyError
from recenv.recommenders import (
    ALSConfig,
    ALSRecommender,
    ContentRecommender,
    PopularityRecommender,
    PrivilegedRecommender,
    RandomRecommender,
    Recommender,
    baselines,
)
from recenv.sim import Simulator
from recenv.sim.state import State
from recenv.synthetic import planted_world
from recenv.world import World

GAME = GameConfig(num_candidates=20)


@pytest.fixture(scope="module")
def world() -> World:
    return planted_world()


@pytest.fixture(scope="module")
def simulator(world: World) -> Simulator:
    return Simulator(world, GAME)


def played(simulator: Simulator, visits: int, rounds: int = 2) -> State:
    """Visits a few rounds old, so that nothing is at its starting value."""
    state = simulator.reset(np.arange(visits))
    for _ in range(rounds):
        simulator.show(state, np.tile(np.arange(GAME.slate_size), (visits, 1)))
        simulator.respond_fitted(state)
    return state


def slates(
    recommender: Recommender | PrivilegedRecommender, simulator: Simulator, state: State
) -> np.ndarray:
    if isinstance(recommender, PrivilegedRecommender):
        return recommender.recommend_privileged(simulator, state)
    observation = simulator.recommender_observation(state)
    return recommender.recommend(observation, state.key, GAME.slate_size)


def test_baselines_are_named_and_ordered(world: World) -> None:
    names = [r.name for r in baselines(world)]
    assert names == ["random", "popularity", "content", "ALS", "oracle (greedy)"]


def test_slates_are_legal_without_repeats_and_independent_of_the_batch(
    world: World, simulator: Simulator
) -> None:
    state = played(simulator, 40)
    state = State._make(leaf[state.ended == 0] for leaf in state)
    for recommender in baselines(world):
        whole = slates(recommender, simulator, state)
        assert whole.shape == (len(state.key), GAME.slate_size)
        assert whole.min() >= 0
        assert whole.max() < GAME.num_candidates
        assert (np.diff(np.sort(whole, axis=1), axis=1) > 0).all(), recommender.name
        for row in (0, 7):
            alone = State._make(leaf[[row]] for leaf in state)
            np.testing.assert_array_equal(slates(recommender, simulator, alone)[0], whole[row])


def test_random_is_uniform_and_changes_with_the_round(simulator: Simulator) -> None:
    state = simulator.reset(np.arange(4000))
    found = slates(RandomRecommender(), simulator, state)
    for slot in (0, 4):
        counts = np.bincount(found[:, slot], minlength=GAME.num_candidates)
        assert stats.chisquare(counts).pvalue > 1e-3
    draws = rng.uniforms(state.key, state.round, rng.POLICY, GAME.num_candidates)
    np.testing.assert_array_equal(found[:, 0], draws.argmax(axis=1))  # on the policies' stream
    state.round[:] += 1
    assert (slates(RandomRecommender(), simulator, state) != found).mean() > 0.9


def test_popularity_takes_the_most_clicked_candidates(world: World, simulator: Simulator) -> None:
    train = world.train.events
    seen = train[(train.response > 0) & ~world.heldout[train.user]]
    clicks = seen.item.value_counts().reindex(range(len(world.catalog)), fill_value=0).to_numpy()
    state = simulator.reset(np.arange(30))
    found = slates(PopularityRecommender(), simulator, state)
    chosen = np.take_along_axis(clicks[state.candidates], found, axis=1)
    best = -np.sort(-clicks[state.candidates], axis=1)[:, : GAME.slate_size]
    np.testing.assert_array_equal(chosen, best)


def test_content_takes_the_nearest_candidates_and_its_name_is_honest(
    world: World, simulator: Simulator
) -> None:
    state = simulator.reset(np.arange(10))
    found = slates(ContentRecommender(world), simulator, state)
    for row in range(10):
        items = world.interests.items[state.candidates[row]]
        order = np.argsort(-(items @ world.interests.users[state.user[row]]))
        np.testing.assert_array_equal(found[row], order[: GAME.slate_size])
    assert ContentRecommender(world).name == "content"
    with_model = dataclasses.replace(
        world, interests=dataclasses.replace(world.interests, is_language_model=True)
    )
    assert ContentRecommender(with_model).name == "LM-content"


def test_als_folds_users_in_by_the_closed_form(world: World) -> None:
    config = ALSConfig(factors=6, regularization=3.0, click_confidence=2.0)
    als = ALSRecommender(world, config)
    items = als.item_factors.astype(np.float64)
    train = world.train.events
    for user in (int(np.flatnonzero(world.heldout)[0]), int(np.flatnonzero(~world.heldout)[0])):
        own = train[(train.user == user) & (train.response > 0)]
        confidence = np.ones(len(items))
        for item, response in zip(own.item, own.response, strict=True):
            confidence[item] += 2.0 + (response == 2)
        liked = (confidence > 1).astype(float)
        # Hu, Koren & Volinsky (2008), equation 4
        left = items.T @ (confidence[:, None] * items) + 3.0 * np.eye(6)
        expected = np.linalg.solve(left, items.T @ (confidence * liked))
        np.testing.assert_allclose(als.user_factors[user], expected, rtol=2e-3, atol=2e-4)


def test_als_item_factors_never_see_heldout_users_and_repeat_exactly(world: World) -> None:
    als = ALSRecommender(world)
    kept = world.train.take(~world.heldout[world.train.column("user")])
    blind = ALSRecommender(dataclasses.replace(world, train=kept))
    np.testing.assert_array_equal(als.item_factors, blind.item_factors)
    np.testing.assert_array_equal(blind.user_factors[world.heldout], 0)
    assert np.abs(als.user_factors[world.heldout]).max() > 0
    np.testing.assert_array_equal(als.user_factors, ALSRecommender(world).user_factors)


def test_als_without_implicit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MissingDependencyError, match=r"recenv\[benchmark\]"):
        ALSRecommender(world)
    assert "ALS" not in [r.name for r in baselines(world)]


def test_als_config_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"ALSConfig.factors must be positive"):
        ALSConfig(factors=0)
