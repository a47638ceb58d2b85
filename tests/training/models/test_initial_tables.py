"""What tables begin as: scales, planted answers, and who is not known."""

import dataclasses
import sys

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch

from recenv.errors import ConfigError, MissingDependencyError
from recenv.schema import CLICK
from recenv.sim.simulator import Simulator
from recenv.synthetic.world import PlantedConfig, planted_world
from training.config import NetworkConfig, TrainConfig
from training.config.algorithms import BC
from training.models.initial_tables import blank_seeds, make_seeds
from training.models.observations import RECOMMENDER_LEAVES
from training.models.rl_modules import module_specs
from training.runs.load_policy import NetworkRecommender, load, make_network, save_policy

INITS = ("lm", "cf", "hybrid", "random")


@pytest.fixture(scope="module")
def gaps(world):
    """The world where user 0 and a held-out one have no history, and item 3 no clicks."""
    user, item = world.train.column("user"), world.train.column("item")
    nobody = np.isin(user, [0, np.flatnonzero(world.heldout)[0]])
    return dataclasses.replace(world, train=world.train.take(~nobody & (item != 3)))


@pytest.fixture(scope="module")
def tribes():
    """Even users click even items and odd users odd ones; items 0 to 9 are clicked."""
    blank = planted_world(PlantedConfig(num_users=40, num_items=20))
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 4)
    item = user % 2 + 2 * np.concatenate([rng.permutation(5)[:4] for _ in range(40)])
    events = pd.DataFrame(
        {
            "user": user.astype(np.int32),
            "item": item.astype(np.int32),
            "time": np.arange(len(user), dtype=np.float64),
            "response": np.full(len(user), CLICK, np.int8),
        }
    )
    log = dataclasses.replace(blank.train, events=events)
    return dataclasses.replace(blank, train=log)


@pytest.mark.parametrize("init", INITS)
def test_products_have_mean_zero_and_unit_spread(world, init):
    seeds = make_seeds(world, NetworkConfig(init=init))
    products = seeds.users[~world.heldout] @ seeds.items.T
    assert products.mean() == pytest.approx(0, abs=1e-5)
    assert products.std() == pytest.approx(1, abs=1e-4)
    assert seeds.users.dtype == seeds.items.dtype == np.float32


@pytest.mark.parametrize("init", INITS)
def test_blank_tables_have_the_shapes_of_real_ones(world, init):
    config = NetworkConfig(init=init, factors=5)
    made, blank = make_seeds(world, config), blank_seeds(world, config)
    assert [np.shape(part) for part in made] == [np.shape(part) for part in blank]
    assert made.platform == blank.platform


def test_language_model_tables_are_the_worlds_vectors(world):
    seeds = make_seeds(world, NetworkConfig())
    items = world.interests.items - world.interests.items.mean(0)
    np.testing.assert_allclose(seeds.items, items * seeds.scale, atol=1e-6)
    np.testing.assert_allclose(seeds.users, world.interests.users * seeds.scale, atol=1e-6)
    assert seeds.platform == seeds.items.shape[1]


def test_collaborative_tables_tell_the_tribes_of_users_never_fitted_on(tribes):
    seeds = make_seeds(tribes, NetworkConfig(init="cf", factors=4))
    products = seeds.users @ seeds.items[:10].T
    own = np.arange(40)[:, None] % 2 == np.arange(10) % 2
    for user in np.flatnonzero(tribes.heldout):
        assert products[user, own[user]].min() > products[user, ~own[user]].max() + 1


@pytest.mark.parametrize("init", ["cf", "hybrid"])
def test_who_and_what_the_log_does_not_know_stands_at_the_mean(gaps, init):
    seeds = make_seeds(gaps, NetworkConfig(init=init))
    users, items = seeds.users[:, seeds.platform :], seeds.items[:, seeds.platform :]
    clicked = gaps.train.column("response") >= CLICK
    known = np.isin(np.arange(gaps.num_users), gaps.train.column("user")[clicked])
    assert not known[0]
    assert (gaps.heldout & ~known).any()
    wanted = users[known & ~gaps.heldout].mean(0)
    np.testing.assert_allclose(users[~known], np.tile(wanted, (sum(~known), 1)), atol=1e-5)
    assert (items[3] == 0).all()
    assert np.abs(items.mean(0)).max() < 1e-5
    others = np.ptp(users[known], axis=0)
    assert (others > 0.1).all()  # everybody else has a row of their own


def test_hybrid_counts_both_alike_and_new_items_by_their_text_alone(gaps):
    lm, cf, both = (make_seeds(gaps, NetworkConfig(init=i)) for i in ("lm", "cf", "hybrid"))
    assert both.platform == lm.items.shape[1]
    vectors = gaps.interests.items - gaps.interests.items.mean(0)
    np.testing.assert_allclose(both.items[:, : both.platform], vectors * both.scale, atol=1e-6)
    parts = [slice(both.platform), slice(both.platform, None)]
    text, log = (both.users[:, p] @ both.items[:, p].T for p in parts)
    own = ~gaps.heldout
    assert text[own].std() == pytest.approx(log[own].std(), rel=1e-4)
    for part, alone in ((text, lm), (log, cf)):
        correlation = np.corrcoef(part.ravel(), (alone.users @ alone.items.T).ravel())[0, 1]
        assert correlation == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose((both.users @ both.items.T)[:, 3], text[:, 3], atol=1e-5)
    assert np.abs(text[:, 3]).max() > 0.1


def test_random_tables_are_drawn_by_the_seed_and_know_no_held_out_user(world, game):
    config = NetworkConfig(init="random")
    tables = [make_network("recommender", world, game, config, seed=s) for s in (1, 1, 2)]
    users = [t.user_seed.numpy() for t in tables]
    np.testing.assert_array_equal(users[0], users[1])
    assert np.abs(users[0] - users[2]).max() > 0.1
    assert users[0].shape == world.interests.users.shape
    held = users[0][world.heldout]
    mean = users[0][~world.heldout].mean(0)
    np.testing.assert_allclose(held, np.tile(mean, (len(held), 1)), atol=1e-6)
    assert abs(np.corrcoef(users[0].ravel(), world.interests.users.ravel())[0, 1]) < 0.2


def saved(world, game, config, folder):
    network = make_network("recommender", world, game, config, seed=5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_policy(folder, "recommender", network, world, game, config, {"seed": 5})
    return NetworkRecommender(network)


@pytest.mark.parametrize("init", INITS)
def test_policies_load_bit_for_bit_and_without_a_fit(world, game, init, tmp_path, monkeypatch):
    ours = saved(world, game, NetworkConfig(init=init, hidden=8), tmp_path)
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    fresh = dataclasses.replace(world)  # of which nothing was derived yet
    loaded = load(tmp_path, fresh)
    for name, buffer in ours.network.named_buffers():
        assert torch.equal(buffer, loaded.network.get_buffer(name)), name
    simulator = Simulator(world, game)
    observation = simulator.recommender_observation(simulator.reset(np.arange(60)))
    leaves = {name: torch.from_numpy(observation[name]) for name in RECOMMENDER_LEAVES}
    with torch.no_grad():
        assert torch.equal(ours.network(leaves).scores, loaded.network(leaves).scores)


def test_only_what_the_world_does_not_hold_goes_with_the_weights(world, game):
    for init in INITS:
        network = make_network("recommender", world, game, NetworkConfig(init=init))
        stored = {"user_seed", "item_seed"} & set(network.state_dict())
        assert stored == (set() if init == "lm" else {"user_seed", "item_seed"})


def test_a_fit_that_is_not_installed_is_told(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MissingDependencyError, match="implicit"):
        make_seeds(dataclasses.replace(world), NetworkConfig(init="cf"))


def test_wrong_settings_are_told():
    with pytest.raises(ConfigError, match="one of 'lm', 'cf', 'hybrid', 'random'"):
        NetworkConfig(init="word2vec")
    with pytest.raises(ConfigError, match="factors"):
        NetworkConfig(factors=0)


def test_algorithms_that_cannot_learn_with_these_slates_say_so():
    for algorithm in ("ippo", "mappo", "impala", "appo", "bc"):
        ours = TrainConfig(algorithm=algorithm, bc=BC(data="log"))
        ours.replace(network={"slates": "independent"})
        with pytest.raises(ConfigError, match=f"independent with {algorithm}, which learns from"):
            ours.replace(network={"slates": "greedy"})
    TrainConfig(train="user", network=NetworkConfig(slates="greedy"))  # no slate is learned
    for algorithm in ("slateq", "idqn"):
        ours = TrainConfig(algorithm=algorithm, train="recommender")
        ours.replace(network={"slates": "greedy"})
        with pytest.raises(ConfigError, match=f"greedy with {algorithm}, which ranks"):
            ours.replace(network={"slates": "independent"})


@pytest.mark.parametrize("init", INITS)
def test_runners_get_the_learners_tables(env_config, init):
    config = TrainConfig(
        env=env_config["env"],
        game=env_config["game"],
        train="recommender",
        network=NetworkConfig(init=init, hidden=8),
    )
    spec = module_specs(config).rl_module_specs["recommender"]
    space = gymnasium.spaces.Discrete(2)  # the module makes its own way from the config
    spec.observation_space = spec.action_space = space
    modules = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        modules.append(spec.build())
    learner, runner = modules
    apart = (learner.network.user_seed - runner.network.user_seed).abs().max()
    assert (apart > 0.1) == (init == "random")
    runner.set_state(learner.get_state(inference_only=True))
    for name, value in learner.network.state_dict().items():
        assert torch.equal(value, runner.network.state_dict()[name]), name
    assert torch.equal(learner.network.user_seed, runner.network.user_seed)
