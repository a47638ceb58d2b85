import gymnasium
import numpy as np
import pytest

import recenv
from recenv.errors import ActionError, ConfigError, UnknownNameError
from recenv.synthetic.world import PlantedConfig, planted_world


def test_unknown_id_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'recenv/Toy-v0'"):
        recenv.parallel_env("recenv/Toy-v1")


def test_unknown_setting_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'slate_size'"):
        gymnasium.make("recenv/Toy-v0", slatesize=3)


def test_slate_larger_than_the_candidates():
    with pytest.raises(
        ConfigError, match=r"slate_size must be no larger than num_candidates \(3\)"
    ):
        recenv.parallel_env("recenv/Toy-v0", slate_size=4, num_candidates=3)


def test_more_candidates_than_items():
    with pytest.raises(ConfigError, match="has only 200 items"):
        recenv.parallel_env("recenv/Toy-v0", num_candidates=201)


def test_unknown_render_mode():
    with pytest.raises(ConfigError, match="render_mode must be None or one of 'ansi', 'rgb_array'"):
        recenv.parallel_env("recenv/Toy-v0", render_mode="human")


def test_actions_outside_the_space():
    env = recenv.parallel_env("recenv/Toy-v0")
    with pytest.raises(ActionError, match="before reset"):
        env.step({})
    env.reset(seed=0)
    idle = np.zeros(6, int)
    with pytest.raises(ActionError, match="recommender_0's turn"):
        env.step({"user_0": idle})
    with pytest.raises(ActionError, match="recommender_0 wants an action from MultiDiscrete"):
        env.step({"recommender_0": np.full(5, 20), "user_0": idle})
    with pytest.raises(ActionError, match="user_0 wants an action"):
        env.step({"recommender_0": np.arange(5), "user_0": np.full(6, 3)})
    with pytest.raises(ActionError, match="no agent 'user_1'"):
        env.step({"recommender_0": np.arange(5), "user_0": idle, "user_1": 0})


def test_a_refused_action_changes_nothing():
    env = recenv.parallel_env("recenv/Toy-v0")
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(ActionError):
        env.step({"recommender_0": np.full(5, -1), "user_0": np.zeros(6, int)})
    np.testing.assert_array_equal(env.state(), before)


def test_gymnasium_step_after_the_end():
    env = gymnasium.make("recenv/Toy-v0", max_rounds=1).unwrapped
    env.reset(seed=0)
    env.step(np.arange(5))
    with pytest.raises(ActionError, match="Call env.reset"):
        env.step(np.arange(5))


def test_wrong_seed_and_user():
    env = recenv.parallel_env("recenv/Toy-v0")
    for seed in (-1, 2**63, 1.5):
        with pytest.raises(ConfigError, match="seed must be an integer in"):
            env.reset(seed=seed)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="There is no user 999"):
        env.reset(seed=0, options={"user": 999})
    for user in ("5", [3], 1.7, True):
        with pytest.raises(ConfigError, match="must be a user's code"):
            env.reset(seed=0, options={"user": user})


def test_the_fitted_user_wants_to_know_the_visit():
    env = recenv.parallel_env("recenv/Toy-v0")
    observations, _ = env.reset(seed=0)
    with pytest.raises(ConfigError, match="call user.begin"):
        recenv.FittedUser().act(observations["user_0"])


def test_smallest_games_have_the_right_spaces(toy):
    env = recenv.parallel_env(toy, slate_size=2, num_candidates=2)
    env.reset(seed=0)
    env.step({"recommender_0": np.array([1, 0]), "user_0": np.zeros(3, int)})
    assert env.action_space("recommender_0").shape == (2,)
    one = recenv.parallel_env(toy, slate_size=1, num_candidates=3)
    assert one.action_space("recommender_0").n == 3
    assert one.action_space("user_0").n == 6


def test_a_world_of_few_items():
    world = planted_world(PlantedConfig(num_users=10, num_items=4))
    env = recenv.parallel_env(world, slate_size=2)
    env.reset(seed=0)
    assert env.game.num_candidates == 4
