"""The turn-based adapter, and the batch that samples the same game."""

import numpy as np
import pytest
from helpers.marked_play import marked_actors
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

from recenv.config import GameConfig
from recenv.env.single import RecEnv
from recenv.env.visit import RECOMMENDER_AGENT, USER_AGENT
from recenv.recommenders import PopularityRecommender
from recenv.sim.simulator import Simulator
from training.models.observations import (
    LEAVES,
    RECOMMENDER_LEAVES,
    TRUE_INTEREST,
    USER_LEAVES,
    observe,
)
from training.sampling.env import TurnEnv
from training.sampling.episodes import chunks
from training.sampling.visit_sampler import VisitSampler

BOTH = ("recommender", "user")


def make(env_config, *trained, **game):
    config = {**env_config, "trained": list(trained)}
    return TurnEnv({**config, "game": {**config["game"], **game}})


@pytest.mark.parametrize("slate_size", [1, 3])
@pytest.mark.parametrize("trained", [BOTH, ("recommender",), ("user",)])
def test_random_play_keeps_the_contract(env_config, trained, slate_size):
    env = make(env_config, *trained, slate_size=slate_size)
    kinds, lengths = set(), set()
    for seed in range(60):
        observations, _ = env.reset(seed=seed)
        # RLlib's own bookkeeping refuses a broken contract
        episode = MultiAgentEpisode()
        episode.add_env_reset(observations=observations)
        turns, earned = 0, dict.fromkeys(env.possible_agents, 0.0)
        while True:
            (mover,) = observations
            assert env.get_observation_space(mover).contains(observations[mover])
            action = env.get_action_space(mover).sample()
            if mover == USER_AGENT and seed % 2:  # one who never leaves
                action = action - action % 2 if slate_size == 1 else [*action[:-1], 0]
            observations, rewards, terminated, truncated, infos = env.step({mover: action})
            episode.add_env_step(
                observations,
                {mover: action},
                rewards,
                infos,
                terminateds=terminated,
                truncateds=truncated,
            )
            turns += 1
            for agent, reward in rewards.items():
                earned[agent] += reward
            if len(trained) == 2:
                assert (len(rewards) == 2) == (mover == USER_AGENT)
            if terminated["__all__"] or truncated["__all__"]:
                break
        assert set(observations) == set(rewards) == set(env.possible_agents)
        for flags in (terminated, truncated):
            assert len(set(flags.values())) == 1  # both end together, in the same way
        assert terminated["__all__"] != truncated["__all__"]
        episode.validate()
        for agent, single in episode.agent_episodes.items():
            assert single.is_done
            assert len(single) == turns / len(trained)
            assert single.get_return() == pytest.approx(earned[agent], abs=1e-5)
        kinds.add(terminated["__all__"])
        lengths.add(turns // len(trained))
    assert kinds == {True, False}
    assert max(lengths) == 6


def test_it_is_the_game_of_the_single_agent_environment(env_config, world, game):
    env, single = make(env_config, "recommender"), RecEnv(world, game)
    rng = np.random.default_rng(0)
    for seed in range(5):
        mine, _ = env.reset(seed=seed)
        theirs, _ = single.reset(seed=seed)
        done = False
        while not done:
            for name, value in mine[RECOMMENDER_AGENT].items():
                np.testing.assert_array_equal(value, theirs[name])
            slate = rng.permutation(12)[:3]
            mine, rewards, terminated, truncated, _ = env.step({RECOMMENDER_AGENT: slate})
            theirs, reward, ended, cut, _ = single.step(slate)
            assert rewards == {RECOMMENDER_AGENT: reward}
            assert (terminated["__all__"], truncated["__all__"]) == (ended, cut)
            done = ended or cut


def test_the_opponent_fills_the_slates(env_config, world, game):
    env = make(env_config, "user")
    observations, _ = env.reset(seed=4)
    state = env.visit.simulator.reset(4)
    best = PopularityRecommender().recommend(
        env.visit.simulator.recommender_observation(state), state.key, 3
    )
    np.testing.assert_array_equal(
        observations[USER_AGENT]["slate"], np.take_along_axis(state.candidates, best, 1)[0]
    )


def visits_of(pieces):
    """Chunks joined to whole visits: lists of chunks in order, finished ones only."""
    going, done = {}, []

    def mark(observation, at):
        row = {k: v[at] for k, v in observation.items()}
        return (int(row["user"][0]), int(row["round"][0]), *row["candidates"].tolist())

    for chunk in pieces:
        observation = chunk.steps[RECOMMENDER_AGENT].observations
        parts = [*going.pop(mark(observation, 0), []), chunk]
        if chunk.terminated or chunk.truncated:
            done.append(parts)
        else:
            going[mark(observation, -1)] = parts
    return done


def test_batched_visits_are_the_adapters_visits(env_config, world, game):
    """Every visit of the batch, replayed turn by turn in the adapter, is the same visit."""
    trained = {RECOMMENDER_AGENT, USER_AGENT}
    rollout = VisitSampler(Simulator(world, game), 8, trained, None, every_final=True)
    rollout.reset(np.random.SeedSequence(7))
    actors, pieces = marked_actors(game), []
    for _ in range(6):
        pieces += chunks(rollout.play(actors, rounds=4))
        assert rollout.finished.rounds_played == 32
    env, first = make(env_config, *BOTH), {}
    for session in range(80):
        observations, _ = env.reset(seed=rollout._seed if session == 0 else None)
        key = tuple(observations[RECOMMENDER_AGENT]["candidates"])
        first[key] = session
    visits = visits_of(pieces)
    assert len(visits) > 20
    assert any(len(parts) > 1 for parts in visits)
    for parts in visits:
        joined = {
            agent: [p.steps[agent] for p in parts if agent in p.steps]
            for agent in (RECOMMENDER_AGENT, USER_AGENT)
        }
        session = first[tuple(joined[RECOMMENDER_AGENT][0].observations["candidates"][0])]
        observations, _ = env.reset(seed=rollout._seed)
        for _ in range(session):
            observations, _ = env.reset()
        taken = {
            agent: [(s, i) for s in steps for i in range(len(s.rewards))]
            for agent, steps in joined.items()
        }
        assert len(taken[RECOMMENDER_AGENT]) == len(taken[USER_AGENT])
        for ours, theirs in zip(taken[RECOMMENDER_AGENT], taken[USER_AGENT], strict=True):
            for agent, (steps, i) in ((RECOMMENDER_AGENT, ours), (USER_AGENT, theirs)):
                for name, value in observations[agent].items():
                    np.testing.assert_array_equal(steps.observations[name][i], value)
                observations, rewards, terminated, truncated, _ = env.step(
                    {agent: steps.actions[i]}
                )
            assert rewards[RECOMMENDER_AGENT] == pytest.approx(ours[0].rewards[ours[1]])
            assert rewards[USER_AGENT] == pytest.approx(theirs[0].rewards[theirs[1]])
        assert (terminated["__all__"], truncated["__all__"]) == (
            parts[-1].terminated,
            parts[-1].truncated,
        )
        for agent, steps in joined.items():  # what the last value is bootstrapped from
            final = {name: value[-1] for name, value in steps[-1].observations.items()}
            screen = ("slate", "prices", "utility", "behaviour")
            for name, value in observations[agent].items():
                if name not in screen:
                    np.testing.assert_array_equal(final[name], value, err_msg=name)
            if agent == USER_AGENT:  # a turn of the user, as all that it learns from
                assert final["slate"][0] >= 0
                assert final["behaviour"][0] < 1


@pytest.mark.parametrize("trained", [{RECOMMENDER_AGENT}, {USER_AGENT}])
def test_one_side_alone_gets_all_its_steps(world, game, trained):
    opponent = PopularityRecommender() if trained == {USER_AGENT} else None
    rollout = VisitSampler(Simulator(world, game), 8, trained, opponent, every_final=True)
    rollout.reset(np.random.SeedSequence(1))
    (agent,) = trained
    counts = []
    for _ in range(5):
        pieces = list(chunks(rollout.play(marked_actors(game), rounds=6)))
        counts.append(sum(len(c.steps[agent].rewards) for c in pieces))
        for chunk in pieces:
            steps = chunk.steps[agent]
            assert set(steps.observations) == set(LEAVES[agent])
            assert len(steps.observations["round"]) == len(steps.rewards) + 1
    assert 5 * 48 - 8 <= sum(counts) <= 5 * 48  # a user's last steps may still be waiting


def test_visits_can_be_asked_for(world, game):
    rollout = VisitSampler(Simulator(world, game), 4, {RECOMMENDER_AGENT}, None)
    rollout.reset(np.random.SeedSequence(1))
    rollout.play(marked_actors(game), visits=10)
    assert 10 <= rollout.finished.visits < 14
    assert 1 <= rollout.finished.length <= 6


def test_agents_observe_what_their_networks_read_and_a_central_critic_more(world):
    simulator = Simulator(world, GameConfig(num_candidates=12))
    state = simulator.reset([0, 1])
    for agent, leaves in LEAVES.items():
        assert set(observe(simulator, agent, state, central=False)) == set(leaves)
        whole = observe(simulator, agent, state, central=True)
        assert set(whole) == {*RECOMMENDER_LEAVES, *USER_LEAVES, TRUE_INTEREST}
        np.testing.assert_array_equal(whole[TRUE_INTEREST], state.interest)


def test_a_central_environment_lies_in_its_spaces(env_config):
    env = TurnEnv({**env_config, "trained": BOTH, "central": True})
    observations, _ = env.reset(seed=0)
    assert env.observation_spaces[RECOMMENDER_AGENT].contains(observations[RECOMMENDER_AGENT])
    assert TRUE_INTEREST in observations[RECOMMENDER_AGENT]
