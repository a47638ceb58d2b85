"""What both networks are before training, and policies without RLlib."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from recenv.config import GameConfig
from recenv.errors import ArtifactError
from recenv.evaluation import rollout
from recenv.recommenders import PopularityRecommender, RandomRecommender
from recenv.sim.simulator import Simulator
from recenv.synthetic.world import PlantedConfig, planted_world
from recenv.users.user_policy import FittedUser
from training.config import NetworkConfig
from training.models.observations import RECOMMENDER_LEAVES, USER_LEAVES
from training.runs.load_policy import (
    NetworkRecommender,
    NetworkUser,
    load,
    load_user,
    make_network,
    save_policy,
)

CONFIG = NetworkConfig(hidden=16)


def tensors(observation, leaves):
    return {name: torch.from_numpy(observation[name]) for name in leaves}


def on_turn(world, game, batch=64, rounds=3):
    """A simulator with visits under way and slates on screen."""
    simulator = Simulator(world, game)
    state = simulator.reset(np.arange(batch))
    slates = np.tile(np.arange(game.slate_size), (batch, 1))
    for _ in range(rounds):
        simulator.show(state, slates)
        simulator.respond_fitted(state)
    if game.slate_size > 1:
        slates[: batch // 2, 1] = slates[: batch // 2, 0]  # an empty slot
    simulator.show(state, slates)
    return simulator, state


@pytest.mark.parametrize("slate_size", [1, 3])
def test_user_starts_as_the_fitted_user(world, slate_size):
    game = GameConfig(slate_size=slate_size, num_candidates=12)
    simulator, state = on_turn(world, game)
    observation = simulator.user_observation(state)
    network = make_network("user", world, game, CONFIG)
    logits = network(tensors(observation, USER_LEAVES)).logits.detach().numpy()
    behaviour = observation["behaviour"].astype(np.float64)
    response = behaviour[:, :-2].reshape(-1, slate_size, 3)
    if slate_size == 1:
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        wanted = (response[:, 0, :, None] * behaviour[:, None, -2:]).reshape(-1, 6)
        np.testing.assert_allclose(p, wanted, atol=1e-6)
    else:
        p = np.exp(logits)
        np.testing.assert_allclose(p, behaviour, atol=2e-7)  # they already sum to one per slot


@pytest.mark.parametrize("slate_size", [1, 3])
def test_untrained_user_gives_the_fitted_users_very_answers(world, slate_size):
    game = GameConfig(slate_size=slate_size, num_candidates=12)
    simulator, state = on_turn(world, game)
    observation = simulator.user_observation(state)
    ours = NetworkUser(make_network("user", world, game, CONFIG))
    fitted = FittedUser().answer(observation, state.key)
    np.testing.assert_array_equal(ours.answer(observation, state.key), fitted)


def test_greedy_user_gives_the_likeliest_answers(world, game):
    simulator, state = on_turn(world, game)
    observation = simulator.user_observation(state)
    ours = NetworkUser(make_network("user", world, game, CONFIG), greedy=True)
    response = observation["behaviour"][:, :-2].reshape(-1, game.slate_size, 3)
    answers = ours.answer(observation, state.key)
    np.testing.assert_array_equal(answers[:, :-1], response.argmax(-1))
    np.testing.assert_array_equal(answers[:, -1], observation["behaviour"][:, -1] > 0.5)


def test_untrained_recommender_ranks_by_interest_and_popularity(world, game):
    simulator, state = on_turn(world, game, rounds=0)
    observation = simulator.recommender_observation(state)
    seeds = NetworkConfig(interest_weight=1.0, popularity_weight=0.0)
    network = make_network("recommender", world, game, seeds)
    scores = network(tensors(observation, RECOMMENDER_LEAVES)).scores.detach().numpy()
    products = np.einsum("bp,bcp->bc", observation["interest"], observation["candidate_vectors"])
    for row, product in zip(scores, products, strict=True):
        assert np.corrcoef(row, product)[0, 1] == pytest.approx(1, abs=1e-4)
    seeds = NetworkConfig(interest_weight=0.0, popularity_weight=1.0)
    ours = NetworkRecommender(make_network("recommender", world, game, seeds))
    popularity = observation["candidate_popularity"]
    chosen, best = (
        np.sort(np.take_along_axis(popularity, r.recommend(observation, state.key, 3), 1), 1)
        for r in (ours, PopularityRecommender())
    )
    np.testing.assert_array_equal(chosen, best)  # equally popular ones may stand for each other


@pytest.mark.parametrize("init", ["lm", "cf", "hybrid", "random"])
def test_untrained_recommender_ranks_by_its_tables_whatever_they_begin_as(world, game, init):
    simulator, state = on_turn(world, game)
    observation = tensors(simulator.recommender_observation(state), RECOMMENDER_LEAVES)
    config = NetworkConfig(init=init, interest_weight=2.0, popularity_weight=0.5)
    network = make_network("recommender", world, game, config)
    scores = network(observation).scores.detach().numpy()
    seeds = [t.numpy() for t in (network.user_seed, network.item_seed, network.popularity)]
    users, items = observation["user"][:, 0].numpy(), observation["candidates"].numpy()
    wanted = 2 * np.einsum("bp,bcp->bc", seeds[0][users], seeds[1][items]) + 0.5 * seeds[2][items]
    np.testing.assert_allclose(scores, wanted, atol=1e-5)


@pytest.mark.parametrize("init", ["lm", "cf", "hybrid"])
def test_seeded_recommender_beats_random(world, game, init):
    simulator = Simulator(world, game)
    config = CONFIG.replace(init=init)
    ours = NetworkRecommender(make_network("recommender", world, game, config), "seeded")
    played = [
        rollout(simulator, r, users="heldout", episodes_per_user=20)
        for r in (ours, RandomRecommender())
    ]
    assert played[0].recommender_reward.mean() > played[1].recommender_reward.mean() + 1


@pytest.mark.parametrize("init", ["lm", "cf", "hybrid", "random"])
def test_a_visit_is_the_mean_of_what_was_clicked(world, game, init):
    """Observed by the platform in the world's vectors, remembered in all others."""
    simulator, state = on_turn(world, game)
    raw = simulator.recommender_observation(state)
    observation = tensors(raw, RECOMMENDER_LEAVES)
    config = NetworkConfig(init=init, interest_weight=0.0, popularity_weight=0.0)
    network = make_network("recommender", world, game, config)
    p = network.item_seed.shape[1]
    with torch.no_grad():
        network.bilinear.weight[:, p:] = torch.eye(p)  # the query is the visit
        network.item_offset.weight.normal_()
        scores = network(observation).scores.numpy()
        table = (network.item_seed + network.rate * network.item_offset.weight).numpy()
    own = 0 if init in ("cf", "random") else world.interests.items.shape[1]
    for b in range(len(scores)):
        clicked = raw["history_items"][b][raw["history_responses"][b] > 0]
        visit = table[clicked].mean(0) if len(clicked) else np.zeros(p)
        if own:
            visit[:own] = raw["visit_interest"][b] * network.visit_scale.item()
        np.testing.assert_allclose(scores[b], table[raw["candidates"][b]] @ visit, atol=1e-3)
    assert (raw["history_responses"] > 0).any(1).mean() > 0.3


def test_frozen_tables_do_not_learn_and_others_do(world, game):
    simulator, state = on_turn(world, game)
    observation = tensors(simulator.recommender_observation(state), RECOMMENDER_LEAVES)
    for rate, learns in ((0.0, False), (0.3, True)):
        config = NetworkConfig(init="hybrid", table_rate=rate)
        network = make_network("recommender", world, game, config)
        network(observation).scores[:, 0].sum().backward()
        before = network.user_seed.clone()
        torch.optim.SGD(network.parameters(), 1.0).step()
        assert torch.equal(network.user_seed, before)
        assert (network.user_offset is not None) == learns
        if learns:
            assert network.user_offset.weight.abs().max() > 0


def test_slots_of_their_own_begin_as_a_ranking_and_learn_apart(world, game):
    simulator, state = on_turn(world, game)
    raw = simulator.recommender_observation(state)
    observation = tensors(raw, RECOMMENDER_LEAVES)
    k, c = game.slate_size, game.num_candidates
    plain = make_network("recommender", world, game, NetworkConfig())
    network = make_network("recommender", world, game, NetworkConfig(slates="independent"))
    scores = network(observation).scores
    assert scores.shape == (len(raw["round"]), k * c)
    base = plain(observation).scores
    lean = scores.unflatten(-1, (k, c)) - base[:, None]
    best = base.topk(k).indices
    for slot in range(k):
        wanted = torch.zeros_like(base).scatter(1, best[:, slot : slot + 1], 2.0)
        torch.testing.assert_close(lean[:, slot], wanted, atol=1e-5, rtol=0)
    ours = NetworkRecommender(network).recommend(raw, state.key, k)
    close = (base.max(1).values - base.gather(1, best[:, -1:])[:, 0] < 2.0).numpy()
    assert close.mean() > 0.3
    np.testing.assert_array_equal(ours[close], best.numpy()[close])
    # each slot's scores move by themselves
    scores.unflatten(-1, (k, c))[:, 1, 0].sum().backward()
    gradient = network.slot_map.weight.grad.unflatten(0, (k, -1)).abs().amax((1, 2))
    assert gradient[1] > 0
    assert gradient[0] == gradient[2] == 0


def test_one_slot_is_one_categorical_for_all_kinds_of_slates(world):
    game = GameConfig(slate_size=1, num_candidates=12)
    simulator, state = on_turn(world, game)
    observation = tensors(simulator.recommender_observation(state), RECOMMENDER_LEAVES)
    shapes = {
        make_network("recommender", world, game, NetworkConfig(slates=s))(observation).scores.shape
        for s in ("plackett-luce", "independent", "greedy")
    }
    assert shapes == {(64, 12)}


def test_seed_tables_are_in_no_checkpoint(world, game):
    names = set(make_network("recommender", world, game, CONFIG).state_dict())
    assert not names & {"user_seed", "item_seed", "popularity", "category"}
    frozen = make_network("recommender", world, game, NetworkConfig(table_rate=0.0))
    assert not any("offset" in name for name in frozen.state_dict())


def saved(folder, world, game):
    for side in ("recommender", "user"):
        network = make_network(side, world, game, CONFIG)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save_policy(folder, side, network, world, game, CONFIG, {"seed": 0})
        yield network


def test_policies_load_as_they_were_saved(world, game, tmp_path):
    recommender, user = saved(tmp_path, world, game)
    simulator, state = on_turn(world, game)
    observation = simulator.recommender_observation(state)
    slates = load(tmp_path, world).recommend(observation, state.key, 3)
    wanted = NetworkRecommender(recommender).recommend(observation, state.key, 3)
    np.testing.assert_array_equal(slates, wanted)
    observation = simulator.user_observation(state)
    answers = load_user(tmp_path / "user", world).answer(observation, state.key)
    np.testing.assert_array_equal(answers, NetworkUser(user).answer(observation, state.key))


def test_policies_of_another_world_or_of_nothing_are_refused(world, game, tmp_path):
    list(saved(tmp_path, world, game))
    other = planted_world(PlantedConfig(num_users=60, num_items=50, seed=1))
    with pytest.raises(ArtifactError, match="trained in the world"):
        load(tmp_path, other)
    with pytest.raises(ArtifactError, match="no trained user"):
        load_user(tmp_path / "nowhere", world)


def test_policies_load_without_ray(world, game, tmp_path):
    list(saved(tmp_path / "policy", world, game))
    world.save(tmp_path / "world")
    code = f"""
import sys
class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ImportError("ray is blocked")
sys.meta_path.insert(0, NoRay())
from recenv.world import World
from recenv.config import GameConfig
from recenv.evaluation import rollout
from recenv.sim.simulator import Simulator
from training.runs.load_policy import load, load_user
world = World.load({str(tmp_path / "world")!r})
game = GameConfig.from_dict({game.to_dict()!r})
played = rollout(Simulator(world, game), load({str(tmp_path)!r}, world),
                 load_user({str(tmp_path)!r}, world), users=[0, 1, 2], episodes_per_user=2)
assert len(played) == 6 and "ray" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
