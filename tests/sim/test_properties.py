"""What holds in every game, whatever is played (hypothesis draws the games)."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import recenv
from recenv.config import GameConfig
from recenv.env.registration import load_world
from recenv.sim import EMPTY, Simulator

GAMES = st.builds(
    GameConfig,
    slate_size=st.integers(1, 6),
    num_candidates=st.integers(6, 40),
    max_rounds=st.integers(1, 8),
    history_length=st.integers(1, 30),
    users=st.sampled_from(["train", "heldout", "all"]),
)


@settings(max_examples=60, deadline=None)
@given(game=GAMES, seed=st.integers(0, 2**32), data=st.randoms(use_true_random=False))
def test_every_game_keeps_the_rules(game, seed, data):
    simulator = Simulator(load_world("recenv/Toy-v0"), game)
    batch = 7
    state = simulator.reset(seed + np.arange(batch))
    ended = np.zeros(batch, bool)
    draw = np.random.default_rng(data.randrange(2**32))
    for round_ in range(1, game.max_rounds + 1):
        slates = draw.integers(game.num_candidates, size=(batch, game.slate_size))
        simulator.show(state, slates)
        shown = state.slate.copy()
        behaviour = state.behaviour[:, :-2].reshape(batch, -1, 3)
        assert (behaviour >= 0).all()
        np.testing.assert_allclose(behaviour.sum(2), 1, atol=1e-5)
        np.testing.assert_allclose(state.behaviour[:, -2:].sum(1), 1, atol=1e-5)
        if draw.random() < 0.5:
            outcome = simulator.respond_fitted(state)
        else:
            answers = draw.integers(3, size=(batch, game.slate_size + 1))
            answers[:, -1] = draw.random(batch) < 0.2
            outcome = simulator.respond(state, answers)
        assert (outcome.purchases <= outcome.clicks).all()
        assert (outcome.clicks <= (shown != EMPTY).sum(1)).all()
        assert (outcome.answers[:, :-1][shown == EMPTY] == 0).all()
        assert (state.slate == EMPTY).all()
        for name, value in simulator.recommender_observation(state).items():
            leaf = simulator.recommender_leaves[name]
            assert ((value >= leaf.low) & (value <= leaf.high)).all(), name
        assert not (outcome.terminated & outcome.truncated).any()
        leaving = (outcome.answers[:, -1] == 1) & ~ended
        np.testing.assert_array_equal(outcome.terminated & ~ended, leaving)
        if round_ == game.max_rounds:
            np.testing.assert_array_equal(outcome.truncated | outcome.terminated, True)
        else:
            assert not (outcome.truncated & ~ended).any()
        ended |= outcome.terminated | outcome.truncated


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    slate_size=st.integers(1, 5),
    observation=st.sampled_from(["dict", "flat"]),
)
def test_both_agents_end_together(seed, slate_size, observation):
    env = recenv.parallel_env(
        "recenv/Toy-v0", slate_size=slate_size, max_rounds=5, observation=observation
    )
    for i, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed((seed + i) % 2**31)
    observations, _ = env.reset(seed=seed)
    rounds = 0
    while env.agents:
        turn = env.visit.user_turn
        assert env.state_space.contains(env.state())
        actions = {a: env.action_space(a).sample() for a in env.agents}
        observations, rewards, terminated, truncated, _ = env.step(actions)
        rounds += turn
        assert set(observations) == set(rewards) == set(env.possible_agents)
        for agent in env.possible_agents:
            assert env.observation_space(agent).contains(observations[agent])
        assert len(set(terminated.values())) == len(set(truncated.values())) == 1
        assert not (terminated["user_0"] and truncated["user_0"])
        left = turn and (
            actions["user_0"] % 2 == 1 if slate_size == 1 else actions["user_0"][-1] == 1
        )
        assert terminated["user_0"] == left
        assert truncated["user_0"] == (bool(turn) and rounds == 5 and not left)
        assert bool(env.agents) == (not terminated["user_0"] and not truncated["user_0"])
        if not turn:
            assert rewards == {"recommender_0": 0.0, "user_0": 0.0}
