"""SlateQ: targets and losses against plain loops over slates, what is learned against the world."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.marked_play import played

from recenv.env.visit import RECOMMENDER_AGENT
from recenv.sim.simulator import Simulator
from training.algorithms.replay_buffer import ReplayBuffer
from training.algorithms.slateq import slateq_losses, target_value
from training.config import TrainConfig
from training.config.algorithms import SlateQ
from training.config.network import NetworkConfig
from training.config.values import ValueConfig
from training.models.observations import MODULE, RECOMMENDER_LEAVES
from training.models.value_networks import ItemValues, make_value_network
from training.runs.load_policy import NetworkRecommender, load, save_policy
from training.sampling.env import TurnEnv
from training.sampling.fragments import fragment, fragments
from training.sampling.turns import Turn
from training.sampling.visit_sampler import VisitSampler
from training.session import algorithm_config

GAMMA = 0.9
CONFIG = NetworkConfig(hidden=8)


def make(world, game, choice="independent", search="greedy"):
    """A network with weights drawn at random."""
    torch.manual_seed(0)
    values = ValueConfig("slateq", choice, search)
    network = make_value_network("recommender", world, game, CONFIG, values)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def replayed(world, game):
    replay = ReplayBuffer(10_000, seed=0)
    for whole in played(world, game, times=2):
        replay.add(fragment(whole, RECOMMENDER_AGENT))
    return replay.sample(24)


def click_probability(slate, appeal, looked, choice):
    """[K] P(click) in each slot, in plain numbers."""
    if choice == "independent":
        return [e / (1 + math.exp(-appeal[i])) for i, e in zip(slate, looked, strict=True)]
    odds = [e * math.exp(appeal[i]) for i, e in zip(slate, looked, strict=True)]
    return [o / (1 + sum(odds)) for o in odds]


@pytest.mark.parametrize(("choice", "search"), [("independent", "greedy"), ("single", "exact")])
def test_the_target_is_the_best_of_all_slates(world, game, choice, search):
    network, batch = make(world, game, choice, search), replayed(world, game)
    target = target_value(network, batch)
    with torch.no_grad():
        worth, looked = network.worth(batch["next_obs"]), network.examination.tolist()
    assert 0 < batch["terminated"].sum() < 24
    slates = list(itertools.permutations(range(game.num_candidates), game.slate_size))
    for row in range(24):
        appeal, reward, future = (getattr(worth, n)[row].tolist() for n in ItemValues._fields[:3])
        best = -math.inf
        for slate in slates:
            p = click_probability(slate, appeal, looked, choice)
            gain = sum(p[k] * (reward[i] + future[i]) for k, i in enumerate(slate))
            best = max(best, float(worth.idle[row]) + gain)
        expected = 0.0 if batch["terminated"][row] else best
        assert float(target[row]) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("choice", ["independent", "single"])
def test_losses_are_those_of_a_plain_loop(world, game, choice, fitted):
    network, batch = make(world, game, choice), replayed(world, game)
    following = torch.randn(24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        worth, looked = network.worth(batch["obs"]), network.examination.tolist()
        losses = slateq_losses(network, worth, batch, following, gamma=GAMMA, fitted=fitted)
    choice_loss = reward_loss = q_loss = 0.0
    several = 0
    for row in range(24):
        slate = batch["actions"][row].tolist()
        earned = batch["slot_rewards"][row].tolist()
        clicked = [k for k, r in enumerate(batch["responses"][row].tolist()) if r > 0]
        labels = [float(k in clicked) for k in range(len(slate))]
        if fitted:
            labels = batch["fitted_clicks"][row].tolist()
        appeal, reward, future = (getattr(worth, n)[row].tolist() for n in ItemValues._fields[:3])
        idle = float(worth.idle[row])
        p = click_probability(slate, appeal, looked, choice)
        rest = float(batch["rewards"][row]) - sum(earned) + GAMMA * float(following[row])
        several += len(clicked) > 1
        if choice == "independent":
            for k in range(len(slate)):
                choice_loss -= labels[k] * math.log(p[k]) + (1 - labels[k]) * math.log(1 - p[k])
            reward_loss += sum((reward[slate[k]] - earned[k]) ** 2 for k in clicked)
            q_loss += (idle + sum(future[slate[k]] for k in clicked) - rest) ** 2
            continue
        # every way that independent clicks can fall, and each of the clicked as the one chosen
        for fall in itertools.product((0, 1), repeat=len(slate)):
            odds = math.prod(x if f else 1 - x for x, f in zip(labels, fall, strict=True))
            if not any(fall):
                choice_loss -= odds * math.log(1 - sum(p))
        total, none = sum(labels), math.prod(1 - x for x in labels)
        for k, x in enumerate(labels):
            if total > 0:
                choice_loss -= (1 - none) * x / total * math.log(p[k])
        for k in clicked:
            reward_loss += (reward[slate[k]] - sum(earned)) ** 2 / len(clicked)
            q_loss += (idle + future[slate[k]] - rest) ** 2 / len(clicked)
        if not clicked:
            q_loss += (idle - rest) ** 2
    assert several > 2
    for name, total in (("choice", choice_loss), ("reward", reward_loss), ("q", q_loss)):
        assert float(losses[f"{name}_loss"]) == pytest.approx(total / 24, rel=1e-4), name


@pytest.mark.parametrize("choice", ["independent", "single"])
def test_a_round_teaches_the_consumed_item_and_the_null_item_alone(world, game, choice):
    network, batch = make(world, game, choice), replayed(world, game)
    batch["responses"] = torch.zeros_like(batch["responses"])
    batch["responses"][:12, 1] = 1  # one click in half of the rounds, none in the others
    with torch.no_grad():
        seen = network.worth(batch["obs"])
    worth = ItemValues(*(leaf.clone().requires_grad_() for leaf in seen))
    losses = slateq_losses(network, worth, batch, torch.ones(24), gamma=GAMMA, fitted=False)
    reward, future, idle = torch.autograd.grad(
        losses["reward_loss"] + losses["q_loss"], [worth.reward, worth.future, worth.idle]
    )
    consumed = torch.nn.functional.one_hot(batch["actions"][:, 1], game.num_candidates).bool()
    consumed[12:] = False
    assert torch.equal(reward != 0, consumed)
    assert torch.equal(future != 0, consumed)
    assert (idle != 0).all()


def learner_of(config):
    """RLlib's learner of a run, in this process."""
    learner = algorithm_config(config).build_learner(env=TurnEnv(config.env_config))
    learner.build()
    return learner


def test_the_choice_model_learns_where_one_looks_and_what_is_clicked(world, env_config):
    """From clicks on slates drawn at random; the planted law is the truth."""
    config = TrainConfig(
        env=env_config["env"],
        game=env_config["game"],
        algorithm="slateq",
        train="recommender",
        slateq=SlateQ(rounds_per_iteration=1024, updates=60, learning_rate=0.005),
        num_envs_per_env_runner=64,
    )
    _, game = config.resolve()
    learner = learner_of(config)
    simulator = Simulator(world, game)
    rollout = VisitSampler(simulator, 64, {RECOMMENDER_AGENT}, None)
    rollout.reset(np.random.SeedSequence(0))
    rng = np.random.default_rng(0)

    def act(observation):
        slates = rng.permuted(np.tile(np.arange(game.num_candidates), (64, 1)), axis=1)
        return Turn(observation, slates[:, : game.slate_size], np.zeros(64), np.zeros((64, 1)))

    network = learner.module["recommender"].network
    last, steps = None, []
    for step in range(10):
        whole = rollout.play({RECOMMENDER_AGENT: act}, rounds=16)
        last = fragment(whole, RECOMMENDER_AGENT)
        if step == 0:
            before = clicks_of(network, last)
        sampled = SimpleNamespace(episodes=list(fragments(whole, MODULE)), solve_refs=lambda: None)
        results = learner.update(training_data=sampled, timesteps={})
        steps.append(results["recommender"]["num_module_steps_trained"].peek())
    truth = world.user_model.examination[: game.slate_size]
    np.testing.assert_allclose(network.examination.detach(), truth, atol=0.08)
    predicted = clicks_of(network, last)
    assert np.corrcoef(predicted.ravel(), last.fitted_clicks.ravel())[0, 1] > 0.85
    assert np.corrcoef(before.ravel(), last.fitted_clicks.ravel())[0, 1] < 0.7
    assert abs(predicted.mean() - last.fitted_clicks.mean()) < 0.02
    assert steps[0] < 3 * 1024  # no more than two passes while little is there
    assert steps[-1] == 60 * 256


def clicks_of(network, piece):
    """(N, K) probabilities of clicks in the slates of a fragment."""
    n = len(piece)
    seen = {k: torch.from_numpy(np.array(v[:n])) for k, v in piece.observations.items()}
    with torch.no_grad():
        return network.clicks(network.worth(seen), torch.from_numpy(piece.actions)).numpy()


def test_a_saved_policy_shows_the_slates_that_its_search_finds(world, game, tmp_path):
    network = make(world, game, "single", "exact")
    simulator = Simulator(world, game)
    observation = simulator.recommender_observation(simulator.reset(np.arange(40)))
    leaves = {name: torch.from_numpy(observation[name]) for name in RECOMMENDER_LEAVES}
    with torch.no_grad():
        slates = network.slates(network.worth(leaves)).numpy()
    keys = np.zeros(40, np.uint64)
    shown = NetworkRecommender(network).recommend(observation, keys, game.slate_size)
    np.testing.assert_array_equal(shown, slates)
    save_policy(tmp_path, "recommender", network, world, game, CONFIG, {})
    loaded = load(tmp_path, world)
    assert loaded.network.values == ValueConfig("slateq", "single", "exact")
    np.testing.assert_array_equal(loaded.recommend(observation, keys, game.slate_size), slates)
    plain = make(world, game)  # the same weights, another choice and search
    other = NetworkRecommender(plain).recommend(observation, keys, game.slate_size)
    assert (other != slates).any()
