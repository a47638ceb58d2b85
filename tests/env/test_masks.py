"""Action masks say whose turn it is, where they are asked for, and change nothing else."""

import gymnasium
import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test

import recenv
from recenv.errors import ConfigError

ID = "recenv/Toy-v0"
every_place = pytest.mark.parametrize("place", ["observation", "info"])
every_size = pytest.mark.parametrize("slots", [1, 3])


def told(place, observations, infos, agent):
    if place == "info":
        return infos[agent]["action_mask"]
    assert set(observations[agent]) == {"observation", "action_mask"}
    return observations[agent]["action_mask"]


def legal(space, mask):
    """Number of legal choices in each slot."""
    choices = [space.n] if isinstance(space, gymnasium.spaces.Discrete) else space.nvec
    assert mask.dtype == np.int8
    assert mask.shape == (sum(choices),)
    return [int(part.sum()) for part in np.split(mask, np.cumsum(choices)[:-1])], choices


@every_place
@every_size
@pytest.mark.parametrize("visits", [1, 3])
def test_only_who_is_on_turn_has_a_choice(place, slots, visits):
    env = recenv.parallel_env(ID, action_mask=place, slate_size=slots, num_sessions=visits)
    observations, infos = env.reset(seed=0)
    for turn in range(30):
        mover = "user" if turn % 2 else "recommender"
        for agent in observations:
            space = env.action_space(agent)
            mask = told(place, observations, infos, agent)
            free, choices = legal(space, mask)
            assert free == (list(choices) if agent.startswith(mover) else [1] * len(choices))
            assert env.observation_space(agent).contains(observations[agent])
            np.testing.assert_array_equal(mask, env.action_mask(agent))
            if not agent.startswith(mover):
                assert mask[0] == 1  # index 0 is what is left
        if not env.agents:
            break
        observations, _, _, _, infos = env.step(
            {agent: env.action_space(agent).sample() for agent in env.agents}
        )
    assert turn > 1


@every_place
def test_the_game_is_the_same(place):
    plain, masked = recenv.parallel_env(ID), recenv.parallel_env(ID, action_mask=place)
    a, _ = plain.reset(seed=4)
    b, _ = masked.reset(seed=4)
    while plain.agents:
        for agent in plain.agents:
            inner = b[agent]["observation"] if place == "observation" else b[agent]
            for name, leaf in a[agent].items():
                np.testing.assert_array_equal(leaf, inner[name])
        actions = {agent: plain.action_space(agent).sample() for agent in plain.agents}
        a, paid, *_ = plain.step(actions)
        b, same_paid, *_ = masked.step(actions)
        assert paid == same_paid
    np.testing.assert_array_equal(plain.state(), masked.state())


@every_place
def test_turn_by_turn_the_selected_agent_has_the_choice(place):
    env = recenv.aec_env(ID, action_mask=place)
    env.reset(seed=0)
    for _ in range(6):
        for agent in env.agents:
            seen = {agent: env.observe(agent)}
            mask = told(place, seen, env.infos, agent)
            assert bool(mask.all()) == (agent == env.agent_selection)
        if any(env.terminations.values()):
            break
        env.step(env.action_space(env.agent_selection).sample())


# preferences of PettingZoo's test that are none of ours, as in test_conformance
@pytest.mark.filterwarnings("ignore:Observation is not a NumPy array")
@pytest.mark.filterwarnings("ignore:Observations are different shapes")
@pytest.mark.filterwarnings("ignore:Observation space for each agent probably should be")
@pytest.mark.filterwarnings("ignore:Action space for each agent probably should be")
@pytest.mark.filterwarnings("ignore:Agents have different observation space sizes")
@every_place
def test_conforms(place):
    form = {"action_mask": place, "slate_size": 1, "observation": "flat"}
    parallel_api_test(recenv.parallel_env(ID, **form), num_cycles=60)
    api_test(recenv.aec_env(ID, **form), num_cycles=60)


def test_off_by_default_and_of_two_players_alone():
    assert recenv.GameConfig().action_mask is None
    env = recenv.parallel_env(ID)
    assert "action_mask" not in env.observation_space("user_0").spaces
    _, infos = env.reset(seed=0)
    assert "action_mask" not in infos["user_0"]
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ConfigError, match="action_mask is 'info'.*Leave it out"):
            make(ID, action_mask="info")
    with pytest.raises(ConfigError, match="action_mask must be one of 'observation', 'info'"):
        recenv.parallel_env(ID, action_mask="yes")
